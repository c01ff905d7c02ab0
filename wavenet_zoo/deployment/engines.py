"""Engines that run networks on the CPU: PyTorch, torch.compile, ONNX Runtime, OpenVINO, ExecuTorch."""

import contextlib
import types
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from wavenet_zoo.deployment.formats.executorch import executorch_bytes, open_program
from wavenet_zoo.deployment.formats.onnx import onnx_bytes
from wavenet_zoo.deployment.formats.openvino import compile_for_cpu, openvino_core
from wavenet_zoo.deployment.optional import missing_extra, quiet_libraries

__all__ = ["ENGINES", "TRAINING_ENGINES", "build_runner", "build_training_runner", "engine_versions"]

ENGINES = ("torch", "compile", "onnxruntime", "openvino", "executorch")
TRAINING_ENGINES = ("torch", "compile")
PACKAGES = {"compile": "torch"}  # engines whose package has another name
RECOMPILE_LIMIT = 1000  # above the default of 8, Dynamo silently runs networks without compiling them


def build_runner(
    engine: str, network: nn.Module, images: torch.Tensor, channels_last: bool = True
) -> Callable[[], object]:
    """Return a function that runs a network on ``images`` in an engine, with torch's number of threads.

    Call this function and the returned one in inference mode.

    Args:
        engine: One of :data:`ENGINES`.
        network: The network, in evaluation mode. ``torch`` and ``compile`` change its memory format.
        images: (B, C, H, W).
        channels_last: Memory format for ``torch`` and ``compile``. The other engines choose their own.

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
    compiled = _compile(network, options={"freezing": True})
    with _raised_limits(), quiet_libraries():
        compiled(images)
    return lambda: compiled(images)


def build_training_runner(
    engine: str, network: nn.Module, images: torch.Tensor, labels: torch.Tensor, channels_last: bool = True
) -> Callable[[], object]:
    """Return a function that runs a training step: forward, cross entropy, backward, SGD with momentum.

    Args:
        engine: One of :data:`TRAINING_ENGINES`.
        network: The network; it is set to training mode, and its weights change.
        images: (B, C, H, W).
        labels: Class indices, (B,).
        channels_last: Memory format.
    """
    network, images = _set_layout(network.train(), images, channels_last)
    forward = _compile(network) if engine == "compile" else network
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        F.cross_entropy(forward(images), labels).backward()
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
