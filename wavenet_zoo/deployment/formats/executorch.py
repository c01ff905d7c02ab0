"""ExecuTorch programs, lowered to XNNPACK."""

from pathlib import Path

import torch
from torch import nn

from wavenet_zoo.deployment.formats import Files, Run
from wavenet_zoo.deployment.formats.pt2 import MAX_BYTES, exported_program
from wavenet_zoo.deployment.metadata import ExportMetadata
from wavenet_zoo.deployment.optional import invalid_file, missing_extra, quiet_libraries
from wavenet_zoo.runtime.files import read_regular_file
from wavenet_zoo.weights.metadata import METADATA_KEY

__all__ = ["convert", "executorch_bytes", "load", "quantize", "scheme"]

MAX_BATCH = 8  # ExecuTorch plans memory for a maximum batch size


def convert(network: nn.Module, images: torch.Tensor, metadata: ExportMetadata) -> Files:
    """Convert a network to an ExecuTorch program for at most 8 images at once."""
    return {".pte": executorch_bytes(network, images, metadata.model_dump_json(), MAX_BATCH)}


def executorch_bytes(network: nn.Module, images: torch.Tensor, metadata: str = "", max_batch_size: int = 0) -> bytes:
    """Convert a network to an ExecuTorch program for XNNPACK.

    Args:
        network: The network, in evaluation mode.
        images: Example input, (B, C, H, W) or (B, H, W, C).
        metadata: JSON text to store in the program.
        max_batch_size: Maximum batch size, for which memory is planned. 0 fixes the batch size to that of ``images``.

    Raises:
        WavezooError: If executorch is not installed.
    """
    try:
        with quiet_libraries():
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
            from executorch.exir import to_edge_transform_and_lower

            program = exported_program(network, images, max_batch_size)
            lowered = to_edge_transform_and_lower(
                program,
                partitioner=[XnnpackPartitioner()],
                constant_methods={METADATA_KEY: metadata},
            )
            return bytes(lowered.to_executorch().buffer)
    except ImportError as error:
        raise missing_extra("executorch", error) from error


def load(path: Path, threads: int | None = None) -> tuple[Run, str]:
    """Load an ExecuTorch program; it uses the threads of ExecuTorch's pool.

    Raises:
        WavezooError: If it is damaged, or executorch is not installed.
    """
    try:
        with quiet_libraries():
            from executorch.runtime import Runtime
    except ImportError as error:
        raise missing_extra("executorch", error) from error
    content = read_regular_file(path, MAX_BYTES)
    try:
        program = Runtime.get().load_program(content)
        method = program.load_method("forward")
        text = program.load_method(METADATA_KEY).execute([])[0] if METADATA_KEY in program.method_names else ""
    except Exception as error:  # mostly a RuntimeError with a code
        raise invalid_file(path, "ExecuTorch program", error) from error

    def run(images: torch.Tensor) -> torch.Tensor:
        assert content and program  # keeps both alive: the method points into them
        parts = images.contiguous().split(MAX_BATCH)
        return torch.cat([method.execute([part])[0].clone() for part in parts])  # the next call overwrites its memory

    return run, text


def scheme(reduce_range: bool) -> dict[str, str]:
    """Describe the quantization of :func:`quantize`."""
    return {
        "method": "torchao PT2E, XNNPACKQuantizer, static",
        "weights": "int8 per channel, symmetric",
        "activations": "int8 per tensor",
    }


def quantize(
    network: nn.Module, calibration: torch.Tensor, metadata: ExportMetadata, reduce_range: bool = False
) -> Files:
    """Quantize a network by torchao: weights per channel, ranges of activations from the calibration images.

    Args:
        network: The network, in evaluation mode.
        calibration: Images in the layout of the input, (N, ...).
        metadata: Metadata of the file.
        reduce_range: Not used: XNNPACK does not saturate.

    Raises:
        WavezooError: If executorch is not installed.
    """
    try:
        with quiet_libraries():
            from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
                XNNPACKQuantizer,
                get_symmetric_quantization_config,
            )
            from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    except ImportError as error:
        raise missing_extra("executorch", error) from error
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    with quiet_libraries():
        prepared = prepare_pt2e(exported_program(network, calibration[:2]).module(), quantizer)
        with torch.inference_mode():
            for images in calibration.split(MAX_BATCH):
                prepared(images)
        return convert(convert_pt2e(prepared), calibration[:2], metadata)
