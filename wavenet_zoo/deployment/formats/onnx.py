"""ONNX files, run by ONNX Runtime and quantized by it."""

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wavenet_zoo.deployment.formats import Files, Run
from wavenet_zoo.deployment.metadata import ExportMetadata
from wavenet_zoo.deployment.optional import invalid_file, missing_extra, quiet_libraries
from wavenet_zoo.weights.metadata import METADATA_KEY

__all__ = ["at_least_two", "convert", "load", "onnx_bytes", "quantize", "scheme"]


def convert(network: nn.Module, images: torch.Tensor, metadata: ExportMetadata) -> Files:
    """Convert a network to an ONNX file with a dynamic batch size."""
    return {".onnx": onnx_bytes(network, images, metadata.model_dump_json(), metadata.output.name)}


def onnx_bytes(network: nn.Module, images: torch.Tensor, metadata: str = "", output: str = "logits") -> bytes:
    """Convert a network to an ONNX file with a dynamic batch size.

    Args:
        network: The network, in evaluation mode.
        images: Example input, (B, C, H, W) or (B, H, W, C).
        metadata: JSON text to store in the file.
        output: Name of the output.

    Raises:
        WavezooError: If onnx or onnxscript is not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401  torch.onnx.export requires it
    except ImportError as error:
        raise missing_extra("onnx", error) from error
    with quiet_libraries():
        program = torch.onnx.export(
            network, (at_least_two(images),), dynamo=True, input_names=["images"], output_names=[output],
            dynamic_shapes=({0: torch.export.Dim("batch")},), verbose=False,
        )  # fmt: skip
    assert program is not None
    for node in program.model.graph:
        node.metadata_props.pop("pkg.torch.onnx.stack_trace", None)  # contains paths of this machine
    proto = program.model_proto
    if metadata:
        onnx.helper.set_model_props(proto, {METADATA_KEY: metadata})
    return proto.SerializeToString()


def load(path: Path, threads: int | None = None) -> tuple[Run, str]:
    """Load an ONNX file.

    Raises:
        WavezooError: If it is damaged, or onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise missing_extra("onnx", error) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    if threads is not None:
        options.intra_op_num_threads = threads
    options.add_session_config_entry("session.force_spinning_stop", "1")  # idle threads slow down other work
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
    except Exception as error:  # onnxruntime's exceptions have no common base
        raise invalid_file(path, "ONNX file", error) from error

    def run(images: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(session.run(None, {name: images.contiguous().numpy()})[0])

    return run, session.get_modelmeta().custom_metadata_map.get(METADATA_KEY, "")


def at_least_two(images: torch.Tensor) -> torch.Tensor:
    """Return at least two images: torch.export specializes a batch size of 1."""
    return images if len(images) > 1 else torch.cat([images, images])


def scheme(reduce_range: bool) -> dict[str, str]:
    """Describe the quantization of :func:`quantize`."""
    return {
        "method": "ONNX Runtime, static, QDQ",
        "weights": f"int8 per channel{', 7 bits (reduced range)' if reduce_range else ''}",
        "activations": "uint8 per tensor",
    }


def quantize(
    network: nn.Module, calibration: torch.Tensor, metadata: ExportMetadata, reduce_range: bool = True
) -> Files:
    """Quantize a network by ONNX Runtime: QDQ, per channel, ranges of activations from the calibration images.

    Args:
        network: The network, in evaluation mode.
        calibration: Images in the layout of the input, (N, ...).
        metadata: Metadata of the file.
        reduce_range: Use 7 of 8 bits of the weights, so that sums of two products do not saturate on CPUs without VNNI.

    Raises:
        WavezooError: If an optional dependency is not installed.
    """
    try:
        import onnx
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise missing_extra("onnx", error) from error

    class Reader(CalibrationDataReader):
        images = iter(calibration.split(1))

        def get_next(self) -> dict[str, Any] | None:
            image = next(self.images, None)
            return None if image is None else {"images": image.numpy()}

    with tempfile.TemporaryDirectory() as folder, quiet_libraries():
        source, prepared, target = (Path(folder, name) for name in ("fp32.onnx", "prepared.onnx", "int8.onnx"))
        source.write_bytes(onnx_bytes(network, calibration[:2], output=metadata.output.name))
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared), str(target), Reader(), QuantFormat.QDQ, per_channel=True, reduce_range=reduce_range,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            nodes_to_exclude=_float_nodes(onnx.load(str(prepared))),
            extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]},  # 8-bit logits have ties
        )  # fmt: skip
        proto = onnx.load(str(target))
    onnx.helper.set_model_props(proto, {METADATA_KEY: metadata.model_dump_json()})
    return {".onnx": proto.SerializeToString()}


def _float_nodes(model: Any) -> list[str]:
    """Return the names of the nodes of the normalization, before the first convolution, and of the softmax."""
    nodes = model.graph.node
    first = next((i for i, node in enumerate(nodes) if node.op_type == "Conv"), 0)
    return [node.name for i, node in enumerate(nodes) if i < first or node.op_type == "Softmax"]
