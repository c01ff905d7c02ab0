import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch

from wavenet_zoo import WavezooError, bench, evaluate, export
from wavenet_zoo.deployment.exported import open_exported_file
from wavenet_zoo.deployment.formats.openvino import compile_for_cpu, load, openvino_core

pytest.importorskip("openvino", reason="needs the extra openvino")
pytestmark = pytest.mark.long  # exports take seconds

MODEL = "waveletnet_cifar_m1"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("exports") / "m1.xml"
    return export(MODEL, "openvino", path), path


@pytest.fixture
def copied(exported, tmp_path):
    folder = exported[1].parent
    return [Path(shutil.copy(folder / name, tmp_path)) for name in ("m1.xml", "m1.bin", "m1.xml.json")]


def test_openvino_file_gives_the_counts_of_the_network(exported, wavezoo):
    result, path = exported
    assert result.largest_difference < 1e-4
    assert set(result.files) == {"m1.xml", "m1.bin"}
    ours = evaluate(MODEL, per_class=True)
    theirs = wavezoo("eval", path, "--per-class", "--json").json
    assert theirs["per_class"] == ours.per_class
    assert theirs["weights"]["sha256"] == result.sha256


def test_openvino_file_has_names_and_a_dynamic_batch_size(exported):
    _, path = exported
    model = openvino_core().read_model(path)
    assert (model.inputs[0].names, model.outputs[0].names) == ({"images"}, {"logits"})
    network, _, _ = open_exported_file(path)
    images = torch.randn(5, 3, 32, 32)
    with torch.inference_mode():
        separate = torch.cat([network(image[None]) for image in images])
    assert torch.allclose(network(images), separate, atol=1e-4)


def test_floor_of_an_openvino_file_is_measured(exported):
    rows = bench([str(exported[1])], batches=[1], seconds=0.01, threads=1, floor=True).rows
    assert [row.form for row in rows] == ["dense", "no projection"]
    assert {row.engine for row in rows} == {"OpenVINO"}


def test_openvino_computes_in_fp32_with_the_given_threads(exported):
    model = compile_for_cpu(openvino_core().read_model(exported[1]), threads=1)
    assert model.get_property("INFERENCE_NUM_THREADS") == 1
    assert model.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"


def test_openvino_file_of_pixels_gives_the_softmax_of_the_logits(tmp_path):
    export(MODEL, "openvino", tmp_path / "m.xml", input_dtype="uint8", softmax=True)
    network, _, _ = open_exported_file(tmp_path / "m.xml")
    pixels = torch.randint(256, (3, 3, 32, 32), dtype=torch.uint8)
    with torch.inference_mode():
        logits = timm.create_model(MODEL, pretrained=True).eval()(pixels / 127.5 - 1)
    assert torch.allclose(network(pixels).exp(), logits.softmax(1), atol=1e-5)


def test_int8_openvino_file_agrees_with_the_network(exported, tmp_path, wavezoo):
    pytest.importorskip("nncf", reason="needs the extra openvino-int8")
    finished = wavezoo(
        "export", MODEL, "--to", "openvino", "--int8", "--calibrate", "digits", "--calibration-images", 100,
        "--max-drop", "none", "--input", "uint8", "--softmax", "--out", "m.xml", "--json",
    )  # fmt: skip
    assert finished.code == 0, finished.err
    assert finished.json["int8"]["agreement"] > 95
    assert (tmp_path / "m.bin").stat().st_size < exported[1].with_suffix(".bin").stat().st_size / 2
    network, _, metadata = open_exported_file(tmp_path / "m.xml")
    assert metadata.quantization.weights == "int8 per channel, 7 bits (overflow fix)"
    probabilities = network(torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)).exp()
    assert probabilities.sum(1).tolist() == pytest.approx([1, 1])
    assert all(len(row.unique()) == 10 for row in probabilities)  # not rounded to 8 bits


def test_openvino_files_that_do_not_belong_together_are_refused(copied, wavezoo):
    graph, weights, _ = copied
    content = bytearray(weights.read_bytes())
    content[5000] ^= 1
    cases = {
        "m1.xml: hash mismatch: m1.xml.json is of another file": lambda: weights.write_bytes(content),
        "m1.bin: file not found": weights.unlink,
    }
    for message, damage in cases.items():
        damage()
        finished = wavezoo("eval", graph, "--data", "digits")
        assert finished.code == 2
        assert message in finished.err
        assert len(finished.err.strip().splitlines()) == 1


def test_damaged_openvino_file_is_refused(copied):
    graph, _, _ = copied
    graph.write_bytes(graph.read_bytes()[:1000])
    with pytest.raises(WavezooError, match=r"m1\.xml: is not a valid OpenVINO IR"):
        load(graph)


def test_renamed_openvino_files_are_accepted(copied, tmp_path):
    for file in copied:
        file.rename(tmp_path / file.name.replace("m1", "other"))
    assert open_exported_file(tmp_path / "other.xml")[2].model == MODEL


@pytest.mark.parametrize(
    ("module", "options", "hint"),
    [
        ("openvino", {}, "pip install openvino"),
        ("nncf", {"int8": True, "calibrate": "digits", "max_drop": None}, "pip install openvino nncf"),
    ],
)
def test_missing_package_of_openvino_is_named(module, options, hint, tmp_path, monkeypatch):
    openvino_core.cache_clear()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(WavezooError, match=hint):
        export(MODEL, "openvino", tmp_path / "m1.xml", **options)
    assert not list(tmp_path.iterdir())


def test_export_to_openvino_sends_no_usage_data(tmp_path):
    script = f"import wavenet_zoo; wavenet_zoo.export('{MODEL}', 'openvino', 'm1.xml')"
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | {"HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True)
    assert not (tmp_path / "intel").exists()  # the folder of openvino_telemetry
