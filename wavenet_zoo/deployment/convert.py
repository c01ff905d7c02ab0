"""Convert a network to the formats of other engines, as bytes."""

import warnings
from typing import Any

import torch
from torch import nn

from wavenet_zoo.deployment.exported import missing_extra, quiet_loggers
from wavenet_zoo.weights.metadata import METADATA_KEY

__all__ = ["executorch_bytes", "exported_program", "onnx_bytes"]


def onnx_bytes(network: nn.Module, images: torch.Tensor, metadata: str = "") -> bytes:
    """Return a network as an ONNX file that takes any number of images of this size.

    Raises:
        WavezooError: If the extra is not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401  which the exporter needs
    except ImportError as error:
        raise missing_extra("onnx", error) from error
    with warnings.catch_warnings(), quiet_loggers():
        warnings.simplefilter("ignore")  # of what the exporter's own parts deprecate
        program = torch.onnx.export(
            network, (images,), dynamo=True, input_names=["images"], output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},), verbose=False,
        )  # fmt: skip
    assert program is not None
    proto = program.model_proto
    if metadata:
        onnx.helper.set_model_props(proto, {METADATA_KEY: metadata})
    return proto.SerializeToString()


def executorch_bytes(folded: nn.Module, images: torch.Tensor, metadata: str = "", largest_batch: int = 0) -> bytes:
    """Return a network as an ExecuTorch program for XNNPACK.

    Args:
        folded: The network, in evaluation mode.
        images: (B, C, H, W).
        metadata: What the program says of itself.
        largest_batch: What its memory is planned for; 0: it takes just as many images as these.

    Raises:
        WavezooError: If the extra is not installed.
    """
    try:
        with warnings.catch_warnings(), quiet_loggers():
            warnings.simplefilter("ignore")
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
            from executorch.exir import to_edge_transform_and_lower

            program = exported_program(folded, images, largest_batch)
            lowered = to_edge_transform_and_lower(
                program,
                partitioner=[XnnpackPartitioner()],
                constant_methods={METADATA_KEY: metadata},
            )
            return bytes(lowered.to_executorch().buffer)
    except ImportError as error:
        raise missing_extra("executorch", error) from error


def exported_program(network: nn.Module, images: torch.Tensor, largest_batch: int | None = None) -> Any:
    """Return a program for any number of images up to ``largest_batch``, or for as many as these where it is 0."""
    shapes = None if largest_batch == 0 else ({0: torch.export.Dim("batch", max=largest_batch)},)
    return torch.export.export(network, (images,), dynamic_shapes=shapes)
