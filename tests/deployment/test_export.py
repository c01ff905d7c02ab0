import json
import sys

import pytest
import torch

from wavenet_zoo import evaluate, export
from wavenet_zoo.deployment.exported import METADATA_KEY
from wavenet_zoo.errors import WavezooError

onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
pytestmark = pytest.mark.long  # each exports, for seconds


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("exports") / "m1.onnx"
    return export("waveletnet_cifar_m1", "onnx", path, forms={"blocks.1.0": "halves", "blocks.2.0": "split"}), path


def test_an_onnx_file_gives_the_counts_of_the_network_it_was_made_from(onnx_file, wavezoo):
    result, path = onnx_file
    assert result.largest_difference < 1e-4
    assert result.form == "mixed"
    ours = evaluate("waveletnet_cifar_m1", per_class=True)
    theirs = wavezoo("eval", path, "--per-class", "--json").json
    assert theirs["per_class"] == ours.per_class
    assert (theirs["correct_top1"], theirs["correct_top5"]) == (ours.correct_top1, ours.correct_top5)
    assert theirs["model"] == "waveletnet_cifar_m1"
    assert theirs["form"] == "mixed"
    assert theirs["data"]["seen"] == "validation"  # it knows what its weights have seen
    assert theirs["weights"]["sha256"] == result.sha256


def test_an_onnx_file_says_how_to_feed_it_and_what_comes_out(onnx_file):
    _, path = onnx_file
    model = onnx.load(str(path))
    onnx.checker.check_model(model)
    (said,) = [json.loads(entry.value) for entry in model.metadata_props if entry.key == METADATA_KEY]
    assert said["classes"] == [str(digit) for digit in range(10)]
    assert said["preprocessing"]["input_size"] == [3, 32, 32]
    assert said["forms"]["blocks.1.0"] == "halves"
    (given,) = model.graph.input
    assert given.name == "images"
    assert given.type.tensor_type.shape.dim[0].dim_param  # any number of images
    assert str(path.parent) not in json.dumps(said)


def test_a_pt2_file_gives_the_same_counts(tmp_path, wavezoo):
    finished = wavezoo("export", "waveletnet_cifar_m1", "--to", "pt2", "--json")
    assert finished.code == 0, finished.err
    theirs = wavezoo("eval", "waveletnet_cifar_m1.pt2", "--json").json
    assert theirs["correct_top1"] == evaluate("waveletnet_cifar_m1").correct_top1


@pytest.mark.parametrize("form", ["dense", "factored", "split2", "halves"])
def test_an_executorch_file_gives_the_same_counts(form, tmp_path):
    pytest.importorskip("executorch", reason="needs the extra executorch")
    export("waveletnet_cifar_m1", "executorch", tmp_path / "m1.pte", forms=form)
    theirs = evaluate(str(tmp_path / "m1.pte"), batch_size=100)
    assert theirs.correct_top1 == evaluate("waveletnet_cifar_m1").correct_top1


def test_a_file_that_computes_something_else_is_not_kept(tmp_path, monkeypatch):
    from wavenet_zoo import exporting

    def damaged(network, images, metadata=""):
        with torch.no_grad():
            network.classifier.bias += 1
        return whole(network, images, metadata)

    whole = exporting.onnx_bytes
    monkeypatch.setattr(exporting, "onnx_bytes", damaged)
    with pytest.raises(WavezooError, match="its logits differ by"):
        export("waveletnet_cifar_m1", "onnx", tmp_path / "m1.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("m1.pth",), "m1.pth: a file for onnx ends in .onnx"),
        (("missing/m1.onnx",), "its folder does not exist"),
    ],
)
def test_a_wrong_place_is_refused_before_the_work(arguments, message, wavezoo):
    finished = wavezoo("export", "waveletnet_cifar_m1", "--to", "onnx", "--out", *arguments)
    assert finished.code == 2
    assert message in finished.err


def test_damaged_and_foreign_files_are_named_in_one_line(onnx_file, tmp_path, wavezoo):
    _, path = onnx_file
    (tmp_path / "cut.onnx").write_bytes(path.read_bytes()[:1000])
    (tmp_path / "text.pt2").write_text("no archive")
    silent = onnx.load(str(path))
    del silent.metadata_props[:]
    onnx.save(silent, str(tmp_path / "silent.onnx"))
    lying = onnx.load(str(path))
    onnx.helper.set_model_props(lying, {METADATA_KEY: '{"model": "waveletnet_cifar_m1", "num_classes": 7}'})
    onnx.save(lying, str(tmp_path / "lying.onnx"))
    for name, message in {
        "missing.onnx": "no such file",
        "cut.onnx": "not an ONNX file that can be run",
        "text.pt2": "not an exported program that can be run",
        "silent.onnx": "does not say how images go into it",
        "lying.onnx": "what it says of itself is not valid: preprocessing",
    }.items():
        finished = wavezoo("eval", tmp_path / name, "--data", "digits")
        assert finished.code == 2, name
        assert len(finished.err.strip().splitlines()) == 1
        assert name in finished.err
        assert message in finished.err
    finished = wavezoo("eval", path, "--weights", "none")
    assert finished.code == 2
    assert "has its weights" in finished.err


def test_a_format_whose_extra_is_missing_names_it(wavezoo, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    finished = wavezoo("export", "waveletnet_cifar_m1", "--to", "onnx")
    assert finished.code == 2
    assert "pip install 'wavenet_zoo[onnx]'" in finished.err
