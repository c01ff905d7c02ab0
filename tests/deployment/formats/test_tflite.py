import importlib.metadata
import logging
import subprocess
import sys

import pytest
import torch
from torch import nn

from wavenet_zoo import evaluate, export
from wavenet_zoo.deployment.exported import open_exported_file
from wavenet_zoo.deployment.formats import tflite
from wavenet_zoo.deployment.metadata import ExportMetadata, InputFormat, OutputFormat
from wavenet_zoo.errors import WavezooError

MODEL = "waveletnet_cifar_m1"
METADATA = ExportMetadata.model_construct(input=InputFormat(layout="NHWC"), output=OutputFormat())


def require_converter():
    pytest.importorskip("litert_torch", reason="needs the extra tflite")


@pytest.fixture(scope="module")
def fp32_file(tmp_path_factory):
    require_converter()
    path = tmp_path_factory.mktemp("tflite") / "m1.tflite"
    return export(MODEL, "tflite", path), path


@pytest.mark.long
def test_file_gives_the_counts_of_the_network_from_nhwc_images(fp32_file, wavezoo):
    result, path = fp32_file
    assert (result.input.layout, result.input.max_batch) == ("NHWC", 1)
    finished = wavezoo("eval", path, "--json")
    assert finished.err == ""
    ours = evaluate(MODEL)
    assert (finished.json["correct_top1"], finished.json["correct_top5"]) == (ours.correct_top1, ours.correct_top5)


@pytest.mark.long
def test_tensors_have_the_names_of_the_metadata_and_no_module_paths(fp32_file):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(fp32_file[1]))
    assert interpreter.get_signature_list() == {"serving_default": {"inputs": ["images"], "outputs": ["logits"]}}
    assert [detail["name"] for detail in interpreter.get_input_details()] == ["images"]
    assert b"wavenet_zoo" not in fp32_file[1].read_bytes()


@pytest.mark.long
def test_messages_of_the_engine_are_hidden(fp32_file):
    arguments = [sys.executable, "-m", "wavenet_zoo", "eval", str(fp32_file[1]), "--limit", "10", "--json"]
    finished = subprocess.run(arguments, capture_output=True, text=True, check=True)  # it writes to file descriptor 2
    assert finished.stderr == ""


@pytest.mark.long
def test_int8_file_takes_pixels_and_returns_probabilities(tmp_path, monkeypatch):
    require_converter()
    monkeypatch.setattr(logging.root, "handlers", [])
    result = export(
        MODEL, "tflite", tmp_path / "m.tflite", int8=True, calibrate="digits", max_drop=None, input_dtype="uint8",
        softmax=True,
    )  # fmt: skip
    assert result.int8.agreement > 97
    assert logging.root.handlers == []  # the quantizer adds one
    network, _, metadata = open_exported_file(tmp_path / "m.tflite")
    assert (metadata.input.dtype, metadata.input.layout, metadata.output.kind) == ("uint8", "NHWC", "probabilities")
    assert metadata.precision == "int8"
    probabilities = network(torch.randint(256, (2, 3, 32, 32)).to(torch.uint8)).exp()
    assert probabilities.sum(1).tolist() == pytest.approx([1, 1])
    assert all(len(row.unique()) == 10 for row in probabilities)  # not rounded to 8 bits


@pytest.mark.long
def test_int8_ranges_include_all_calibration_images():
    require_converter()
    from ai_edge_litert.interpreter import Interpreter

    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    nn.init.constant_(network[0].weight, 1)
    nn.init.zeros_(network[0].bias)
    images = torch.zeros(20, 8, 8, 3)
    images[3] = 10  # the first convolution returns 30 for this image, 0 for all others
    content = tflite.quantize(network.eval(), images, METADATA)[".tflite"]
    details = Interpreter(model_content=content).get_tensor_details()
    ranges = [255 * detail["quantization"][0] for detail in details if detail["shape"].tolist() == [1, 8, 8, 4]]
    assert any(value == pytest.approx(30, rel=0.01) for value in ranges)


@pytest.mark.long
def test_network_that_cannot_be_converted_is_refused_in_one_line(monkeypatch):
    require_converter()

    class Unsupported(nn.Module):
        def forward(self, x):
            return torch.linalg.svd(x.flatten(2)).S.sum(1)

    monkeypatch.setattr(tflite, "PINS", {})  # those of this environment
    with pytest.raises(WavezooError, match=r"LiteRT Torch does not convert this network: .+ \(use another --to"):
        tflite.convert(Unsupported(), torch.zeros(1, 8, 8, 3), METADATA)


@pytest.mark.parametrize("content", [b"", b"no flatbuffer"])
def test_damaged_file_is_refused_in_one_line(content, tmp_path):
    pytest.importorskip("ai_edge_litert", reason="needs the extra tflite")
    (tmp_path / "damaged.tflite").write_bytes(content)
    with pytest.raises(WavezooError, match=r"damaged\.tflite: is not a valid TFLite file: ") as error:
        tflite.load(tmp_path / "damaged.tflite")
    assert "\n" not in str(error.value)


def test_file_without_its_metadata_is_refused_in_one_line(tmp_path, wavezoo):
    (tmp_path / "other.tflite").write_bytes(b"no flatbuffer")
    finished = wavezoo("eval", "other.tflite", "--data", "digits")
    assert finished.code == 2 and "its metadata, other.tflite.json, is not beside it" in finished.err
    assert len(finished.err.strip().splitlines()) == 1


def test_missing_converter_is_named(wavezoo, monkeypatch):
    monkeypatch.setattr(tflite, "PINS", {})
    monkeypatch.setitem(sys.modules, "litert_torch", None)
    finished = wavezoo("export", MODEL, "--to", "tflite")
    assert finished.code == 2 and finished.err == "error: litert_torch is not installed (pip install litert-torch)\n"


def test_missing_interpreter_does_not_ask_for_the_converter(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    with pytest.raises(WavezooError, match="is not installed") as error:
        tflite.load(tmp_path / "m1.tflite")
    assert error.value.hint == "pip install ai-edge-litert"


def test_torch_that_the_converter_does_not_support_is_named(wavezoo, monkeypatch):
    versions = {"torch": "2.15.0", "typing-extensions": "4.12.0"}
    monkeypatch.setattr(importlib.metadata, "requires", {"litert-torch": ["torch<2.15,>=2.4"], "xdsl": []}.__getitem__)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: versions.get(name, "1.0"))
    monkeypatch.setitem(sys.modules, "litert_torch", None)
    finished = wavezoo("export", MODEL, "--to", "tflite")
    assert finished.code == 2
    assert "litert-torch requires torch<2.15,>=2.4, but 2.15.0 is installed (export to tflite in a sep" in finished.err
    assert len(finished.err.strip().splitlines()) == 1


def test_full_range_is_refused_without_a_reduced_one(wavezoo):
    finished = wavezoo("export", MODEL, "--to", "tflite", "--int8", "--calibrate", "digits", "--full-range")
    assert finished.code == 2 and "--full-range: the quantizer of 'tflite' uses 8 bits" in finished.err
