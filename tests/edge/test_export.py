import json
import sys

import pytest
import torch
from PIL import Image

from wavenet_zoo import evaluate, export
from wavenet_zoo.deployment.exported import open_exported_file
from wavenet_zoo.deployment.formats import format_of
from wavenet_zoo.deployment.formats.onnx import onnx_bytes
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.weights.metadata import METADATA_KEY

onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
pytestmark = pytest.mark.long  # exports take seconds


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("exports") / "m1.onnx"
    return export("waveletnet_cifar_m1", "onnx", path, form={"blocks.1.0": "halves", "blocks.2.0": "split"}), path


def test_onnx_file_gives_the_counts_of_the_network(onnx_file, wavezoo):
    result, path = onnx_file
    assert result.largest_difference < 1e-4
    assert result.form == "mixed"
    ours = evaluate("waveletnet_cifar_m1", per_class=True)
    theirs = wavezoo("eval", path, "--per-class", "--json").json
    assert theirs["per_class"] == ours.per_class
    assert (theirs["correct_top1"], theirs["correct_top5"]) == (ours.correct_top1, ours.correct_top5)
    assert theirs["model"] == "waveletnet_cifar_m1"
    assert theirs["form"] == "mixed"
    assert theirs["data"]["seen"] == "validation"
    assert theirs["weights"]["sha256"] == result.sha256


def test_exported_file_with_another_size_is_refused(onnx_file, wavezoo):
    finished = wavezoo("eval", onnx_file[1], "--size", 24)
    assert finished.code == 2 and "m1.onnx: is exported for 32 px (remove --size" in finished.err
    assert wavezoo("eval", onnx_file[1], "--size", 32, "--limit", 10).code == 0


def test_onnx_file_contains_preprocessing_classes_and_forms(onnx_file):
    _, path = onnx_file
    model = onnx.load(str(path))
    onnx.checker.check_model(model)
    (metadata,) = [json.loads(entry.value) for entry in model.metadata_props if entry.key == METADATA_KEY]
    assert metadata["classes"] == [str(digit) for digit in range(10)]
    assert metadata["preprocessing"]["input_size"] == [3, 32, 32]
    assert metadata["forms"]["blocks.1.0"] == "halves"
    (images,) = model.graph.input
    assert images.name == "images"
    assert images.type.tensor_type.shape.dim[0].dim_param  # dynamic batch size
    assert str(path.parent) not in json.dumps(metadata)


def test_pt2_file_gives_the_counts_of_the_network(tmp_path, wavezoo):
    finished = wavezoo("export", "waveletnet_cifar_m1", "--to", "pt2", "--json")
    assert finished.code == 0, finished.err
    theirs = wavezoo("eval", "waveletnet_cifar_m1.pt2", "--json").json
    assert theirs["correct_top1"] == evaluate("waveletnet_cifar_m1").correct_top1


@pytest.mark.parametrize("form", ["dense", "factored", "split2", "halves"])
def test_executorch_file_gives_the_counts_of_the_network(form, tmp_path):
    pytest.importorskip("executorch", reason="needs the extra executorch")
    export("waveletnet_cifar_m1", "executorch", tmp_path / "m1.pte", form=form)
    theirs = evaluate(str(tmp_path / "m1.pte"), batch_size=100)
    assert theirs.correct_top1 == evaluate("waveletnet_cifar_m1").correct_top1


def test_file_with_different_logits_is_not_written(tmp_path, monkeypatch):
    def damaged(network, images, metadata="", output="logits"):
        with torch.no_grad():
            network.classifier.bias += 1
        return onnx_bytes(network, images, metadata, output)

    monkeypatch.setattr("wavenet_zoo.deployment.formats.onnx.onnx_bytes", damaged)
    with pytest.raises(WavezooError, match="not written, because its logits differ by"):
        export("waveletnet_cifar_m1", "onnx", tmp_path / "m1.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "m1.pth"], "m1.pth: the suffix for onnx must be .onnx"),
        (["--out", "missing/m1.onnx"], "its folder does not exist"),
        (["--form", "slit"], "unknown form 'slit'"),
        (["--form", "split3"], "unknown form 'split3'"),
        (["--form", "missing.json"], "missing.json: cannot be read"),
    ],
)
def test_invalid_path_or_form_is_refused_before_the_export(arguments, message, wavezoo, monkeypatch):
    monkeypatch.delattr("wavenet_zoo.edge.export.load_model")
    finished = wavezoo("export", "waveletnet_cifar_m1", "--to", "onnx", *arguments)
    assert finished.code == 2
    assert message in finished.err
    assert len(finished.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("file", "engine"),
    [("m.onnx", "onnxruntime"), ("m.xml", "openvino"), ("m.pte", "executorch"), ("m.pt2", "torch")],
)
def test_forms_are_measured_in_the_engine_of_the_file(file, engine, tmp_path, monkeypatch):
    def resolve(*arguments, engine, progress):
        raise WavezooError(engine)

    monkeypatch.setattr("wavenet_zoo.edge.export.resolve_forms", resolve)
    with pytest.raises(WavezooError, match=f"^{engine}$"):
        export("waveletnet_cifar_m1", format_of(file).name, tmp_path / file, form="auto")


def test_unknown_format_is_refused():
    with pytest.raises(WavezooError, match="unknown format 'tensorrt'"):
        export("waveletnet_cifar_m1", "tensorrt")


@pytest.mark.parametrize(("to", "file"), [("onnx", "m1.onnx"), ("pt2", "m1.pt2")])
def test_file_compared_on_one_image_has_a_dynamic_batch_size(to, file, tmp_path):
    (tmp_path / "data" / "0").mkdir(parents=True)
    Image.new("RGB", (32, 32), "red").save(tmp_path / "data" / "0" / "0.png")
    result = export("waveletnet_cifar_m1", to, tmp_path / file, data=tmp_path / "data")
    assert result.compared_on.startswith("1 images")
    network, _, _ = open_exported_file(tmp_path / file)
    assert network(torch.zeros(3, 3, 32, 32)).shape == (3, 10)


def test_damaged_and_foreign_files_are_refused_in_one_line(onnx_file, tmp_path, wavezoo):
    _, path = onnx_file
    (tmp_path / "cut.onnx").write_bytes(path.read_bytes()[:1000])
    (tmp_path / "text.pt2").write_text("no archive")
    foreign = onnx.load(str(path))
    del foreign.metadata_props[:]
    onnx.save(foreign, str(tmp_path / "foreign.onnx"))
    invalid = onnx.load(str(path))
    onnx.helper.set_model_props(invalid, {METADATA_KEY: '{"model": "waveletnet_cifar_m1", "num_classes": 7}'})
    onnx.save(invalid, str(tmp_path / "invalid.onnx"))
    for name, message in {
        "missing.onnx": "file not found",
        "cut.onnx": "is not a valid ONNX file",
        "text.pt2": "is not a valid exported program",
        "foreign.onnx": "contains no wavenet_zoo metadata",
        "invalid.onnx": "invalid metadata: preprocessing",
    }.items():
        finished = wavezoo("eval", tmp_path / name, "--data", "digits")
        assert finished.code == 2, name
        assert len(finished.err.strip().splitlines()) == 1
        assert name in finished.err
        assert message in finished.err
    finished = wavezoo("eval", path, "--weights", "none")
    assert finished.code == 2
    assert "weights and form of an exported file are fixed" in finished.err


@pytest.mark.parametrize("change", ["weights", "metadata"])
def test_file_that_differs_from_its_metadata_is_refused(onnx_file, tmp_path, wavezoo, change):
    _, path = onnx_file
    content, metadata = bytearray(path.read_bytes()), path.with_name("m1.onnx.json").read_bytes()
    content[len(content) // 2] ^= 1
    copy = tmp_path / "m1.onnx"
    copy.write_bytes(content if change == "weights" else path.read_bytes())
    copy.with_name("m1.onnx.json").write_bytes(metadata if change == "weights" else metadata[:-9])
    run = wavezoo("eval", copy)
    assert run.code == 2
    assert run.err.startswith("error:") and run.err.count("\n") == 1 and "m1.onnx.json" in run.err
    copy.with_name("m1.onnx.json").unlink()  # an ONNX file has the metadata too
    assert wavezoo("eval", path if change == "weights" else copy, "--limit", 10).code == 0


def test_missing_extra_is_named(wavezoo, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    finished = wavezoo("export", "waveletnet_cifar_m1", "--to", "onnx")
    assert finished.code == 2
    assert "pip install onnx" in finished.err


def test_existing_file_is_replaced_with_force_only(tmp_path, wavezoo):
    (tmp_path / "m1.pt2").write_text("old")
    arguments = ("export", "waveletnet_cifar_m1", "--to", "pt2", "--out", "m1.pt2")
    finished = wavezoo(*arguments)
    assert finished.code == 2 and "m1.pt2: exists already (pass --force to replace it" in finished.err
    assert (tmp_path / "m1.pt2").read_text() == "old"
    assert wavezoo(*arguments, "--force").code == 0
    assert (tmp_path / "m1.pt2").read_bytes()[:2] == b"PK"


@pytest.mark.reliability(9, 61)
@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("input_size", [3, 64, 64], "does not accept images of 64 x 64 px"),
        ("crop_pct", 0, "preprocessing: crop_pct 0.0: must be a number above 0"),
        ("interpolation", "evil", "preprocessing: interpolation 'evil': must be one of"),
        ("input_size", [1, 32, 32], "preprocessing: input_size (1, 32, 32): must be 3 channels"),
    ],
)
def test_preprocessing_that_the_file_does_not_accept_is_refused(onnx_file, tmp_path, wavezoo, key, value, reason):
    model = onnx.load(str(onnx_file[1]))
    metadata = json.loads(next(entry.value for entry in model.metadata_props if entry.key == METADATA_KEY))
    metadata["preprocessing"][key] = value
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(metadata)})
    onnx.save(model, str(tmp_path / "m.onnx"))
    finished = wavezoo("eval", tmp_path / "m.onnx", "--data", "digits")
    assert finished.code == 2 and reason in finished.err and len(finished.err.strip().splitlines()) == 1
