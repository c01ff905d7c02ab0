"""OpenVINO IR, the graph in NAME.xml and the weights in NAME.bin; quantized by NNCF.

The metadata is in the sidecar, whose hashes show that both files belong together.
"""

import contextlib
import functools
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wavenet_zoo.deployment.formats import Files, Run
from wavenet_zoo.deployment.formats.pt2 import MAX_BYTES, exported_program
from wavenet_zoo.deployment.metadata import ExportMetadata
from wavenet_zoo.deployment.optional import invalid_file, missing_extra, quiet_libraries
from wavenet_zoo.runtime.files import read_regular_file

__all__ = ["compile_for_cpu", "convert", "load", "openvino_core", "openvino_model", "quantize", "scheme"]


def convert(network: nn.Module, images: torch.Tensor, metadata: ExportMetadata) -> Files:
    """Convert a network to an OpenVINO IR with a dynamic batch size, without compression of the weights to fp16."""
    return _serialize(openvino_model(network, images, metadata.output.name))


def load(path: Path, threads: int | None = None) -> tuple[Run, None]:
    """Load an OpenVINO IR; it is computed in fp32 where it is not int8.

    It is compiled for each batch size: for a dynamic one, OpenVINO is slower.

    Raises:
        WavezooError: If it is damaged, or openvino is not installed.
    """
    core = openvino_core()
    graph, weights = (read_regular_file(file, MAX_BYTES) for file in (path, path.with_suffix(".bin")))

    @functools.lru_cache(maxsize=4)
    def compiled(batch_size: int) -> Any:
        model = dynamic.clone()
        model.reshape([batch_size, *list(dynamic.inputs[0].get_partial_shape())[1:]])
        return compile_for_cpu(model, threads)

    try:
        dynamic = core.read_model(graph, weights)
        compiled(1)
    except Exception as error:  # a RuntimeError of the parser, or of the plugin
        raise invalid_file(path, "OpenVINO IR", error) from error

    def run(images: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(compiled(len(images))(images.contiguous().numpy())[0])

    return run, None


def openvino_model(network: nn.Module, images: torch.Tensor, output: str = "logits") -> Any:
    """Convert a network to an OpenVINO model with a dynamic batch size.

    Args:
        network: The network, in evaluation mode.
        images: Example input, (B, C, H, W) or (B, H, W, C).
        output: Name of the output.

    Raises:
        WavezooError: If openvino is not installed.
    """
    openvino_core()
    with _no_telemetry():
        import openvino

        model = openvino.convert_model(exported_program(network, images))
    model.reshape([-1, *images.shape[1:]])
    model.inputs[0].get_tensor().set_names({"images"})
    model.outputs[0].get_tensor().set_names({output})
    return model


def compile_for_cpu(model: Any, threads: int | None = None) -> Any:
    """Compile an OpenVINO model for the CPU, for the lowest latency.

    Args:
        model: The model.
        threads: Number of threads. Default: that of OpenVINO.
    """
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # the default is bf16 on CPUs that support it
    }
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    return openvino_core().compile_model(model, "CPU", settings)


@functools.cache
def openvino_core() -> Any:
    """Return the only Core of this process.

    Each Core installs a signal stack and later restores the previous one. With several of them that stack may be freed
    by then, and Ctrl-C ends in a segmentation fault.

    Raises:
        WavezooError: If openvino is not installed.
    """
    try:
        with _no_telemetry():
            import openvino
    except ImportError as error:
        raise missing_extra("openvino", error) from error
    return openvino.Core()


def scheme(reduce_range: bool) -> dict[str, str]:
    """Describe the quantization of :func:`quantize`."""
    return {
        "method": "NNCF, post-training, fast bias correction",
        "weights": f"int8 per channel{', 7 bits (overflow fix)' if reduce_range else ''}",
        "activations": "int8 or uint8 per tensor, depthwise per channel",
    }


def quantize(
    network: nn.Module, calibration: torch.Tensor, metadata: ExportMetadata, reduce_range: bool = True
) -> Files:
    """Quantize a network by NNCF: weights per channel, ranges of activations from the calibration images.

    Args:
        network: The network, in evaluation mode.
        calibration: Images in the layout of the input, (N, ...).
        metadata: Metadata of the file.
        reduce_range: Use 7 of 8 bits of the weights, so that sums of two products do not saturate on CPUs without VNNI.

    Raises:
        WavezooError: If an optional dependency is not installed.
    """
    model = openvino_model(network, calibration[:2], metadata.output.name)
    try:
        with _no_telemetry(), contextlib.redirect_stdout(io.StringIO()):  # NNCF draws progress bars on stdout
            import nncf
            from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix

            fix = OverflowFix.ENABLE if reduce_range else OverflowFix.DISABLE
            quantized = nncf.quantize(
                model,
                nncf.Dataset([image.numpy() for image in calibration.split(1)]),
                subset_size=len(calibration),
                advanced_parameters=AdvancedQuantizationParameters(overflow_fix=fix),
            )
    except ImportError as error:
        raise missing_extra("openvino-int8", error) from error
    return _serialize(quantized)


@contextlib.contextmanager
def _no_telemetry() -> Iterator[None]:
    """Run OpenVINO's or NNCF's Python code without messages, and without the usage data that both send unasked."""
    with quiet_libraries():
        os.environ.update(CI="true", NNCF_CI="1")
        yield


def _serialize(model: Any) -> Files:
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.xml")
        openvino.save_model(model, path, compress_to_fp16=False)
        return {suffix: path.with_suffix(suffix).read_bytes() for suffix in (".xml", ".bin")}
