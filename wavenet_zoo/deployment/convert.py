"""Convert a network to the file formats of other engines, as bytes."""

from typing import Any

import torch
from torch import nn

from wavenet_zoo.deployment.optional import missing_extra, quiet_libraries
from wavenet_zoo.weights.metadata import METADATA_KEY

__all__ = ["executorch_bytes", "exported_program", "onnx_bytes"]


def onnx_bytes(network: nn.Module, images: torch.Tensor, metadata: str = "") -> bytes:
    """Convert a network to an ONNX file with a dynamic batch size.

    Args:
        network: The network, in evaluation mode.
        images: Example input, (B, C, H, W).
        metadata: JSON text to store in the file.

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
            network, (_at_least_two(images),), dynamo=True, input_names=["images"], output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},), verbose=False,
        )  # fmt: skip
    assert program is not None
    for node in program.model.graph:
        node.metadata_props.pop("pkg.torch.onnx.stack_trace", None)  # contains paths of this machine
    proto = program.model_proto
    if metadata:
        onnx.helper.set_model_props(proto, {METADATA_KEY: metadata})
    return proto.SerializeToString()


def executorch_bytes(network: nn.Module, images: torch.Tensor, metadata: str = "", max_batch_size: int = 0) -> bytes:
    """Convert a network to an ExecuTorch program for XNNPACK.

    Args:
        network: The network, in evaluation mode.
        images: Example input, (B, C, H, W).
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


def exported_program(network: nn.Module, images: torch.Tensor, max_batch_size: int | None = None) -> Any:
    """Export a network by torch.export, with a dynamic batch size.

    Args:
        network: The network, in evaluation mode.
        images: Example input, (B, C, H, W).
        max_batch_size: Maximum batch size; None for any. 0 fixes the batch size to that of ``images``.
    """
    if max_batch_size == 0:
        return torch.export.export(network, (images,))
    shapes = ({0: torch.export.Dim("batch", max=max_batch_size)},)
    return torch.export.export(network, (_at_least_two(images),), dynamic_shapes=shapes)


def _at_least_two(images: torch.Tensor) -> torch.Tensor:
    """Return at least two images: torch.export specializes a batch size of 1."""
    return images if len(images) > 1 else images.repeat(2, 1, 1, 1)
