"""Core ML packages. No machine here runs them: their program is computed with torch, operator by operator."""

import json
import sys

import pytest
import torch
import torch.nn.functional as F

from wavenet_zoo import compare, export
from wavenet_zoo.deployment.calibration import to_input
from wavenet_zoo.deployment.formats import coreml as coreml_format
from wavenet_zoo.deployment.metadata import ExportMetadata, InputFormat
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.weights.loading import load_model
from wavenet_zoo.weights.metadata import METADATA_KEY

pytest.importorskip("coremltools", reason="needs the extra coreml")
pytestmark = [
    pytest.mark.long,  # converts models
    pytest.mark.skipif(sys.platform == "darwin", reason="macOS runs and compares Core ML packages itself"),
]

MODEL = "waveletnet_cifar_m1"


def open_package(path):
    """Return the description of a package, and a function that computes its program on one input."""
    import coremltools
    from coremltools.converters.mil.frontend.milproto.load import load

    spec = coremltools.models.MLModel(str(path), skip_model_load=True).get_spec()
    program = load(spec, spec.specificationVersion, str(path / "Data/com.apple.CoreML/weights")).functions["main"]

    def run(images):
        values = {spec.description.input[0].name: images}
        for operation in program.operations:
            if operation.op_type != "const":
                values[operation.outputs[0].name] = compute(operation, values)
        return values[spec.description.output[0].name]

    return spec.description, run


def compute(operation, values):
    """Compute an operator as its documentation in coremltools defines it."""

    def get(name):
        value = operation.inputs.get(name)
        if isinstance(value, tuple | list):
            return [values[v.name] if v.name in values else torch.as_tensor(v.val) for v in value]
        if value is None or value.name in values:
            return values[value.name] if value is not None else None
        return value.val.tolist() if hasattr(value.val, "tolist") and value.val.size < 16 else value.val

    def tensor(name):
        return torch.as_tensor(get(name), dtype=torch.float32)

    x = get("x")
    match operation.op_type:
        case "conv":
            assert get("pad_type") in ("custom", "valid")
            top, bottom, left, right = get("pad") if get("pad_type") == "custom" else (0, 0, 0, 0)
            bias = None if get("bias") is None else tensor("bias")
            padded = F.pad(x, (left, right, top, bottom))
            return F.conv2d(padded, tensor("weight"), bias, get("strides"), 0, get("dilations"), get("groups"))
        case "batch_norm":
            statistics = (tensor(name) for name in ("mean", "variance", "gamma", "beta"))
            return F.batch_norm(x, *statistics, eps=get("epsilon"))
        case "clip":
            return x.clamp(get("alpha"), get("beta"))
        case "add":
            return tensor("x") + tensor("y")
        case "sub":
            return tensor("x") - tensor("y")
        case "reduce_mean":
            return x.mean(get("axes"), keepdim=get("keep_dims"))
        case "reshape":
            return x.reshape(get("shape"))
        case "linear":
            return F.linear(x, tensor("weight"), tensor("bias"))
        case "softmax":
            return x.softmax(get("axis"))
        case "concat":
            return torch.cat(get("values"), get("axis"))
        case "slice_by_index":
            masks = zip(get("begin"), get("end"), get("begin_mask") or [False] * 4, get("end_mask") or [False] * 4)
            return x[tuple(slice(None if b else begin, None if e else end) for begin, end, b, e in masks)]
    raise AssertionError(operation.op_type)


@pytest.mark.parametrize("form", ["dense", "factored", "split2", "halves"])
def test_program_computes_the_logits_of_the_network(form, tmp_path):
    result = export(MODEL, "coreml", tmp_path / "m1.mlpackage", form=form)
    assert (result.largest_difference, result.compared_on) == (None, None)
    description, run = open_package(tmp_path / "m1.mlpackage")
    (images,), (logits,) = description.input, description.output
    assert (images.name, list(images.type.multiArrayType.shape)) == ("images", [1, 3, 32, 32])
    assert (logits.name, list(logits.type.multiArrayType.shape)) == ("logits", [1, 10])
    sidecar = json.loads((tmp_path / "m1.mlpackage.json").read_text())
    assert sidecar["checks"] == {"largest_difference": None, "compared_on": None}
    metadata = json.loads(description.metadata.userDefined[METADATA_KEY])
    assert metadata["input"] == sidecar["input"] == {**result.input.model_dump(), "max_batch": 1}
    assert metadata["classes"] == [str(digit) for digit in range(10)]
    network = load_model(MODEL)[0].eval()
    with torch.inference_mode():
        pixels = torch.randn(1, 3, 32, 32)
        torch.testing.assert_close(run(pixels), network(pixels), rtol=1e-4, atol=1e-4)


def test_uint8_input_is_an_image_that_the_program_normalizes(tmp_path, wavezoo):
    arguments = ("--input", "uint8", "--softmax", "--out", "m1.mlpackage")
    finished = wavezoo("export", MODEL, "--to", "coreml", *arguments)
    assert finished.code == 0 and "not compared: Core ML files do not run on this machine" in finished.out
    assert finished.err == ""
    description, run = open_package(tmp_path / "m1.mlpackage")
    image = description.input[0].type.imageType
    assert (image.width, image.height, image.ColorSpace.Name(image.colorSpace)) == (32, 32, "RGB")
    metadata = ExportMetadata.model_validate_json(description.metadata.userDefined[METADATA_KEY])
    assert metadata.input == InputFormat(layout="NHWC", dtype="uint8", max_batch=1)
    pixels = torch.randint(256, (1, 3, 32, 32), dtype=torch.uint8)
    network = load_model(MODEL)[0].eval()
    with torch.inference_mode():
        expected = network(to_input(pixels, metadata.preprocessing, "float32", "NCHW")).softmax(1)
        torch.testing.assert_close(run(pixels.float()), expected, rtol=1e-4, atol=1e-5)


def test_package_does_not_run_on_this_machine(tmp_path, wavezoo):
    export(MODEL, "coreml", tmp_path / "m1.mlpackage")
    for command in (("eval", "m1.mlpackage"), ("compare", MODEL, "m1.mlpackage", "--limit", "10")):
        finished = wavezoo(*command)
        assert finished.code == 2 and len(finished.err.strip().splitlines()) == 1
        assert "m1.mlpackage: Core ML files run on macOS only" in finished.err
    with pytest.raises(WavezooError, match=r"missing\.mlpackage: file not found"):
        compare([MODEL, "missing.mlpackage"])


def test_network_that_core_ml_does_not_support_is_refused():
    class Unsupported(torch.nn.Module):
        def forward(self, images):
            return torch.linalg.svdvals(images[:, 0])

    metadata = ExportMetadata.model_construct(input=InputFormat())
    with pytest.raises(WavezooError, match="Core ML does not support this network: ") as error:
        coreml_format.convert(Unsupported(), torch.rand(1, 3, 8, 8), metadata)
    assert error.value.exit_code == 1


def test_missing_extra_of_core_ml_is_named(tmp_path, wavezoo, monkeypatch):
    monkeypatch.setitem(sys.modules, "coremltools", None)
    finished = wavezoo("export", MODEL, "--to", "coreml")
    assert finished.code == 2 and "pip install coremltools" in finished.err
    assert not list(tmp_path.iterdir())


def test_export_to_core_ml_leaves_global_state_unchanged(unchanged_state, tmp_path):
    with unchanged_state():
        export(MODEL, "coreml", tmp_path / "m1.mlpackage")
