import json

import pytest
import torch

from wavenet_zoo import WavezooError, evaluate, export
from wavenet_zoo.deployment.exported import open_exported_file
from wavenet_zoo.edge.int8 import Int8
from wavenet_zoo.errors import BELOW_THRESHOLD
from wavenet_zoo.evaluation.paired import difference_interval

MODEL = "waveletnet_cifar_m1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "pt2", "--calibrate", "digits"], "format 'pt2' does not support int8 (use onnx"),
        (["--to", "onnx"], "int8 requires calibration images (pass --calibrate"),
        (["--to", "onnx", "--calibrate", "digits", "--form", "factored"], "int8 requires form 'dense'"),
        (["--to", "onnx", "--calibrate", "digits", "--max-drop", "-1"], "'-1' is neither a number of points"),
        (["--to", "onnx", "--calibrate", "digits", "--max-drop", "nan"], "'nan' is neither a number of points"),
    ],
)
def test_invalid_options_are_refused_before_loading_the_model(arguments, message, wavezoo, monkeypatch):
    monkeypatch.delattr("wavenet_zoo.edge.export.load_model")
    finished = wavezoo("export", MODEL, "--int8", *arguments)
    assert finished.code == 2 and message in finished.err
    assert len(finished.err.strip().splitlines()) == 1


@pytest.mark.parametrize("option", ["--calibrate=digits", "--full-range", "--max-drop=2", "--calibration-images=9"])
def test_options_of_int8_require_it(option, wavezoo):
    finished = wavezoo("export", MODEL, "--to", "onnx", option)
    assert finished.code == 2 and f"{option.partition('=')[0]} requires --int8" in finished.err


def test_data_of_the_weights_is_opened_only_for_an_evaluation(tmp_path):
    options = {"model": MODEL, "weights": None, "model_kwargs": None, "size": None, "calibrate": "digits", "images": 9}
    options |= {"data": None, "full_range": False, "progress": False}
    missing = str(tmp_path / "missing")
    assert len(Int8(**options, max_drop=None).open_calibration(missing).source.targets) == 9
    with pytest.raises(WavezooError, match="missing: no such data folder"):
        Int8(**options, max_drop=1.0).open_calibration(missing)


def test_held_out_images_are_evaluated_and_not_calibrated_on(small_digits, wavezoo):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    train = small_digits / "train"
    options = ["export", MODEL, "--to", "onnx", "--int8", "--calibrate", train, "--data", train, "--max-drop", 100]
    finished = wavezoo(*options, "--split", "0.2", "--json")
    assert finished.code == 0, finished.err
    checks = finished.json["int8"]
    assert checks["images"] == 20 and checks["held_out_images"] == finished.json["quantization"]["images"] == 40
    assert "calibration images are among the evaluation images" in wavezoo(*options, "--out", "x.onnx").err
    again = wavezoo(*options, "--split", "0.2", "--force")
    assert f"--data {train} --split 0.2" in " ".join(again.out.split())


def test_evaluation_data_is_required_unless_it_has_a_name(wavezoo, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    finished = wavezoo("export", "waveletnet_x1", "--to", "onnx", "--int8", "--calibrate", "digits")
    assert finished.code == 2 and "pass --data DIR, or --max-drop none" in finished.err
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_int8_onnx_file_is_calibrated_and_compared(tmp_path, wavezoo):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    finished = wavezoo(
        "export", MODEL, "--to", "onnx", "--int8", "--calibrate", "digits", "--calibration-images", 100,
        "--max-drop", 5, "--out", "m.onnx", "--json",
    )  # fmt: skip
    assert finished.code == 0, finished.err
    result = finished.json
    assert (result["precision"], result["quantization"]["images"], result["quantization"]["data"]) == (
        "int8",
        100,
        "digits",
    )
    checks = result["int8"]
    assert checks["held_out_images"] == 100 and checks["agreement"] > 95
    ours, theirs = evaluate(MODEL), evaluate(str(tmp_path / "m.onnx"))
    assert (checks["top1"], checks["top1_fp32"]) == (theirs.top1, ours.top1)
    assert theirs.precision == "int8"
    only_fp32 = int((ours.predictions.correct & ~theirs.predictions.correct).sum())
    only_int8 = int((theirs.predictions.correct & ~ours.predictions.correct).sum())
    assert checks["interval"] == pytest.approx(difference_interval(only_fp32, only_int8, 360))
    saved = json.loads((tmp_path / "m.onnx.json").read_text())
    assert saved["checks"] == checks and saved["quantization"] == result["quantization"]
    assert result["bytes"] < export(MODEL, "onnx", tmp_path / "fp32.onnx").bytes / 1.8  # mostly weights of one byte


@pytest.mark.long
def test_int8_file_that_loses_too_much_is_not_written(tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    with pytest.raises(WavezooError, match=r"m\.onnx: not written, because its top-1 on 360 images of") as error:
        export(MODEL, "onnx", tmp_path / "m.onnx", int8=True, calibrate="digits", max_drop=0.0)  # 360 images: no proof
    assert error.value.exit_code == BELOW_THRESHOLD
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_int8_file_takes_pixels_and_returns_probabilities(tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    export(MODEL, "onnx", tmp_path / "m.onnx", int8=True, calibrate="digits", max_drop=None, input_dtype="uint8",
           softmax=True)  # fmt: skip
    network, _, metadata = open_exported_file(tmp_path / "m.onnx")
    assert (metadata.input.dtype, metadata.input.layout, metadata.output.kind) == ("uint8", "NHWC", "probabilities")
    probabilities = network(torch.randint(256, (2, 3, 32, 32)).to(torch.uint8)).exp()
    assert probabilities.sum(1).tolist() == pytest.approx([1, 1])
    assert all(len(row.unique()) == 10 for row in probabilities)  # not rounded to 8 bits
    assert evaluate(str(tmp_path / "m.onnx")).top1 > 96
