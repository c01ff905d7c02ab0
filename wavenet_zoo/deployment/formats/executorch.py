"""ExecuTorch programs, lowered to XNNPACK."""

import weakref
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wavenet_zoo.deployment.device_model import DeviceModel
from wavenet_zoo.deployment.formats import Files, Run
from wavenet_zoo.deployment.formats.pt2 import MAX_BYTES, exported_program
from wavenet_zoo.deployment.metadata import ExportMetadata
from wavenet_zoo.deployment.optional import invalid_file, missing_extra, quiet_libraries, quiet_native_code
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.files import read_regular_file
from wavenet_zoo.weights.metadata import METADATA_KEY

__all__ = ["convert", "executorch_bytes", "load", "open_program", "quantize", "scheme"]

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
    except WavezooError:
        raise
    except Exception as error:  # mostly a RuntimeError with a code
        raise invalid_file(path, "ExecuTorch program", error) from error

    def run(images: torch.Tensor) -> torch.Tensor:
        parts = images.contiguous().split(MAX_BATCH)
        return torch.cat([execute(part).clone() for part in parts])  # the next call overwrites its memory

    return run, text


def open_program(content: bytes, threads: int | None = None) -> tuple[Run, str]:
    """Open an ExecuTorch program.

    Args:
        content: The program.
        threads: Size of ExecuTorch's pool of threads. A process has only one: programs that are already open use it
            too. Default: unchanged, at first one thread per core.

    Returns:
        A function from images to the output, whose memory its next call overwrites, and the metadata in the program.

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
    with quiet_native_code():  # messages of the pool and of cpuinfo, and reasons of errors that are raised as well
        if threads is not None and threads != pool._threadpool_get_thread_count():
            for opened in _PROGRAMS:
                opened.close()
            pool._unsafe_reset_threadpool(threads)
        program = _Program(content, Runtime.get())
        return program.execute, program.metadata()


class _Program:
    """A program that is closed while the pool is resized: a loaded method points to the pool, and is kept by the
    program of ExecuTorch that it belongs to.
    """

    def __init__(self, content: bytes, runtime: Any):
        self.content = content  # keeps it alive: the program points into it
        self.runtime = runtime
        self.program: Any = None
        _PROGRAMS.add(self)

    def open(self) -> Any:
        if self.program is None:
            self.program = self.runtime.load_program(self.content)
            self.program.load_method("forward")
        return self.program

    def close(self) -> None:
        self.program = None

    def metadata(self) -> str:
        program = self.open()
        text: str = program.load_method(METADATA_KEY).execute([])[0] if METADATA_KEY in program.method_names else ""
        return text

    def execute(self, images: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.open().load_method("forward").execute([images])[0]
        return output


_PROGRAMS: weakref.WeakSet[_Program] = weakref.WeakSet()


def scheme(reduce_range: bool) -> dict[str, str]:
    """Describe the quantization of :func:`quantize`."""
    return {
        "method": "torchao PT2E, XNNPACKQuantizer, static",
        "weights": "int8 per channel, symmetric",
        "activations": "int8 per tensor, of linear layers dynamic",
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
    quantizer.set_operator_type(  # keeps logits in float: 8-bit logits have ties
        torch.ops.aten.linear.default, get_symmetric_quantization_config(is_per_channel=True, is_dynamic=True)
    )
    quantizer.set_filter_function(_is_of_network)
    with quiet_libraries():
        prepared = prepare_pt2e(exported_program(network, calibration[:2]).module(), quantizer)
        with torch.inference_mode():
            for images in calibration.split(MAX_BATCH):
                prepared(images)
        return convert(convert_pt2e(prepared), calibration[:2], metadata)


def _is_of_network(node: torch.fx.Node) -> bool:
    """Return whether a node is part of the network, not of the normalization before it."""
    modules = list(node.meta.get("nn_module_stack", {}).values())
    return not modules or not str(modules[-1][1]).endswith(DeviceModel.__name__)
