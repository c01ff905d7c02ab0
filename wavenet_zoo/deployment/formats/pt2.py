"""Files of torch.export."""

import io
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wavenet_zoo.deployment.formats import Files, Run
from wavenet_zoo.deployment.formats._program import safe_program
from wavenet_zoo.deployment.formats.onnx import at_least_two
from wavenet_zoo.deployment.metadata import ExportMetadata
from wavenet_zoo.deployment.optional import invalid_file, quiet_libraries
from wavenet_zoo.runtime.files import read_regular_file
from wavenet_zoo.weights.metadata import METADATA_KEY

__all__ = ["convert", "exported_program", "load"]

MAX_BYTES = 8 * 2**30


def convert(network: nn.Module, images: torch.Tensor, metadata: ExportMetadata) -> Files:
    """Export a network with a dynamic batch size."""
    program = exported_program(network, torch.zeros_like(images))  # the file contains the example input
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # contains paths of this machine
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={METADATA_KEY: metadata.model_dump_json()})
    return {".pt2": buffer.getvalue()}


def exported_program(network: nn.Module, images: torch.Tensor, max_batch_size: int | None = None) -> Any:
    """Export a network by torch.export, with a dynamic batch size.

    Args:
        network: The network, in evaluation mode.
        images: Example input, (B, C, H, W) or (B, H, W, C).
        max_batch_size: Maximum batch size; None for any. 0 fixes the batch size to that of ``images``.
    """
    if max_batch_size == 0:
        return torch.export.export(network, (images,))
    shapes = ({0: torch.export.Dim("batch", max=max_batch_size)},)
    return torch.export.export(network, (at_least_two(images),), dynamic_shapes=shapes)


def load(path: Path, threads: int | None = None) -> tuple[Run, str]:
    """Load a file of torch.export without running code from it; it uses torch's threads.

    Raises:
        WavezooError: If it is damaged, or contains more than ``wavezoo export`` writes.
    """
    program, metadata = safe_program(path, read_regular_file(path, MAX_BYTES))
    try:
        with quiet_libraries():
            module = torch.export.load(io.BytesIO(program)).module()
    except Exception as error:  # a damaged archive raises many types
        raise invalid_file(path, "exported program", error) from error
    return lambda images: module(images), metadata  # a function: this module refuses eval()
