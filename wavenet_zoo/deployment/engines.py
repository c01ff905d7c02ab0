"""Engines that run networks: PyTorch, torch.compile and CUDA graphs, ONNX Runtime, OpenVINO, ExecuTorch."""

import contextlib
import types
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from wavenet_zoo.deployment.formats.executorch import executorch_bytes, open_program
from wavenet_zoo.deployment.formats.onnx import onnx_bytes
from wavenet_zoo.deployment.formats.openvino import compile_for_cpu, openvino_core
from wavenet_zoo.deployment.optional import missing_extra, quiet_libraries
from wavenet_zoo.errors import WavezooError

__all__ = ["ENGINES", "TORCH_ENGINES", "build_runner", "build_training_runner", "check_engine", "engine_versions"]

ENGINES = {  # by type of the device
    "cpu": ("torch", "compile", "onnxruntime", "openvino", "executorch"),
    "cuda": ("torch", "compile", "cudagraph"),
    "mps": ("torch", "compile"),
}
TORCH_ENGINES = ("torch", "compile", "cudagraph")  # run the network itself, in its own precision
TRAINING_ENGINES = ("torch", "compile")
PACKAGES = {"compile": "torch", "cudagraph": "torch"}  # engines whose package has another name
WARM_UP_RUNS = 3  # before a CUDA graph is captured, as torch's documentation does
RECOMPILE_LIMIT = 1000  # above the default of 8, Dynamo silently runs networks without compiling them


def check_engine(engine: str, device: torch.device, precision: str = "fp32", train: bool = False) -> None:
    """Check that an engine runs on a device, in a precision.

    Raises:
        WavezooError: If it does not exist, or does not.
    """
    everywhere = tuple(dict.fromkeys(name for names in ENGINES.values() for name in names))
    if engine not in everywhere:
        raise WavezooError(f"unknown engine '{engine}'", f"use {', '.join(ENGINES[device.type])}")
    if engine not in ENGINES[device.type]:
        devices = " or ".join(name for name, engines in ENGINES.items() if engine in engines)
        raise WavezooError(
            f"engine '{engine}' does not run on device '{device.type}'",
            f"use --device {devices}, or {', '.join(ENGINES[device.type])}",
        )
    if train and engine not in TRAINING_ENGINES:
        raise WavezooError(f"engine '{engine}' does not support training", f"use {' or '.join(TRAINING_ENGINES)}")
    if precision != "fp32" and engine not in TORCH_ENGINES:
        raise WavezooError(
            f"engine '{engine}' does not support --precision {precision}", f"use {', '.join(TORCH_ENGINES)}"
        )


def build_runner(
    engine: str, network: nn.Module, images: torch.Tensor, channels_last: bool = True
) -> Callable[[], object]:
    """Return a function that runs a network on ``images`` in an engine, with torch's number of threads.

    Call this function and the returned one in inference mode.

    Args:
        engine: One of :data:`ENGINES`.
        network: The network, in evaluation mode. :data:`TORCH_ENGINES` change its memory format.
        images: (B, C, H, W), on the network's device and of its dtype.
        channels_last: Memory format for :data:`TORCH_ENGINES`. The other engines choose their own.

    Raises:
        WavezooError: If the engine is not installed.
    """
    if engine == "onnxruntime":
        return _build_onnxruntime(network, images)
    if engine == "openvino":
        return _build_openvino(network, images)
    if engine == "executorch":
        return _build_executorch(network, images)
    network, images = _set_layout(network, images, channels_last)
    if engine == "torch":
        return lambda: network(images)
    if engine == "cudagraph":
        return _capture(network, images)
    compiled = _compile(network, options={"freezing": True})
    with _raised_limits(), quiet_libraries():
        compiled(images)
    return lambda: compiled(images)


def build_training_runner(
    engine: str,
    network: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    channels_last: bool = True,
    precision: str = "fp32",
) -> Callable[[], object]:
    """Return a function that runs a training step: forward, cross entropy, backward, SGD with momentum.

    Args:
        engine: One of :data:`TRAINING_ENGINES`.
        network: The network; it is set to training mode, and its weights change.
        images: (B, C, H, W).
        labels: Class indices, (B,).
        channels_last: Memory format.
        precision: ``fp32``, or ``bf16`` for autocast.
    """
    network, images = _set_layout(network.train(), images, channels_last)
    forward = _compile(network) if engine == "compile" else network
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = F.cross_entropy(forward(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    if engine == "compile":
        with _raised_limits(), quiet_libraries():
            step()
    return step


def engine_versions(engines: tuple[str, ...]) -> dict[str, str]:
    """Return the version of each engine's package."""
    return {engine: version(PACKAGES.get(engine, engine)) for engine in engines}


def _set_layout(network: nn.Module, images: torch.Tensor, channels_last: bool) -> tuple[nn.Module, torch.Tensor]:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return network.to(memory_format=layout), images.contiguous(memory_format=layout)


def _compile(network: nn.Module, **options: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Compile a network separately from all others.

    Dynamo caches by code object. A copy of the code keeps this network out of the cache that others of its class share,
    so no torch._dynamo.reset() is needed, and the cache is freed with the network.
    """

    def forward(images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = network(images)
        return logits

    separate = types.FunctionType(forward.__code__.replace(), globals(), "forward", None, forward.__closure__)
    return torch.compile(separate, dynamic=False, **options)


def _capture(network: nn.Module, images: torch.Tensor) -> "_CapturedForward":
    """Capture a forward pass as a CUDA graph. Called, the result replays it."""
    stream, current = torch.cuda.Stream(), torch.cuda.current_stream()
    stream.wait_stream(current)
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP_RUNS):
            network(images)
    current.wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        logits = network(images)
    return _CapturedForward(graph, network, images, logits)


@dataclass(frozen=True)
class _CapturedForward:
    """Replays a CUDA graph. It holds the tensors that the graph reads: once freed, their memory is used by others."""

    graph: Any
    network: nn.Module
    images: torch.Tensor
    logits: torch.Tensor

    def __call__(self) -> torch.Tensor:
        self.graph.replay()
        return self.logits


def _raised_limits() -> contextlib.AbstractContextManager[Any]:
    """Raise Dynamo's limits for networks with graph breaks, whose parts share a cache."""
    limits = {"recompile_limit": RECOMPILE_LIMIT, "accumulated_recompile_limit": RECOMPILE_LIMIT}
    return torch._dynamo.config.patch(limits)


def _build_onnxruntime(network: nn.Module, images: torch.Tensor) -> Callable[[], object]:
    try:
        import onnxruntime
    except ImportError as error:
        raise missing_extra("onnx", error) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.force_spinning_stop", "1")  # idle threads slow down the other candidates
    content = onnx_bytes(network, images)
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    array = images.contiguous().numpy()
    return lambda: session.run(None, {"images": array})


def _build_openvino(network: nn.Module, images: torch.Tensor) -> Callable[[], object]:
    model = openvino_core().read_model(onnx_bytes(network, images))
    model.reshape(list(images.shape))
    compiled = compile_for_cpu(model, torch.get_num_threads())
    array = images.contiguous().numpy()
    return lambda: compiled(array)


def _build_executorch(network: nn.Module, images: torch.Tensor) -> Callable[[], object]:
    images = images.contiguous()
    execute, _ = open_program(executorch_bytes(network, images), torch.get_num_threads())
    return lambda: execute(images)
