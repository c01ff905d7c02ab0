"""ExecuTorch programs, lowered to XNNPACK."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wavenet_zoo.deployment.formats import Files, Run
from wavenet_zoo.deployment.formats.pt2 import MAX_BYTES, exported_program
from wavenet_zoo.deployment.metadata import ExportMetadata
from wavenet_zoo.deployment.optional import invalid_file, missing_extra, quiet_libraries
from wavenet_zoo.runtime.files import read_regular_file
from wavenet_zoo.weights.metadata import METADATA_KEY

__all__ = ["convert", "executorch_bytes", "load", "open_program"]

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
    """Load an ExecuTorch program.

    Raises:
        WavezooError: If it is damaged, or executorch is not installed.
    """
    content = read_regular_file(path, MAX_BYTES)
    try:
        execute, text = open_program(content, threads)
    except RuntimeError as error:
        raise invalid_file(path, "ExecuTorch program", error) from error

    def run(images: torch.Tensor) -> torch.Tensor:
        parts = images.contiguous().split(MAX_BATCH)
        return torch.cat([execute(part).clone() for part in parts])  # the next call overwrites its memory

    return run, text


def open_program(content: bytes, threads: int | None = None) -> tuple[Callable[[torch.Tensor], torch.Tensor], str]:
    """Open an ExecuTorch program.

    Args:
        content: The program.
        threads: Number of threads of ExecuTorch's pool, which all programs of the process share. Default: unchanged.

    Returns:
        A function from images to logits, whose memory the next call overwrites, and the metadata in the program.

    Raises:
        RuntimeError: If the program is damaged.
        WavezooError: If executorch is not installed.
    """
    try:
        with quiet_libraries():
            from executorch.extension.pybindings import portable_lib
            from executorch.runtime import Runtime
    except ImportError as error:
        raise missing_extra("executorch", error) from error
    pool: Any = portable_lib
    if threads is not None and pool._threadpool_get_thread_count() != threads:
        pool._unsafe_reset_threadpool(threads)
    program = Runtime.get().load_program(content)
    text = program.load_method(METADATA_KEY).execute([])[0] if METADATA_KEY in program.method_names else ""
    loaded: dict[int, Any] = {pool._threadpool_get_thread_count(): program.load_method("forward")}

    def execute(images: torch.Tensor) -> torch.Tensor:
        assert content  # keeps it alive: the program points into it
        count = pool._threadpool_get_thread_count()
        if count not in loaded:  # the method uses a pool that was replaced
            loaded.clear()
            loaded[count] = program.load_method("forward")
        logits: torch.Tensor = loaded[count].execute([images])[0]
        return logits

    return execute, text
