"""What runs a network: PyTorch, torch.compile, ONNX Runtime, OpenVINO, ExecuTorch."""

import functools
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

from wavenet_zoo.deployment.convert import executorch_bytes, onnx_bytes
from wavenet_zoo.deployment.exported import missing_extra

__all__ = ["ENGINES", "engine_versions", "prepare"]

ENGINES = ("torch", "compile", "onnxruntime", "openvino", "executorch")
PACKAGES = {"compile": "torch"}  # where a package is not called like the engine


def prepare(engine: str, network: nn.Module, images: torch.Tensor, channels_last: bool = True) -> Callable[[], object]:
    """Return a function that runs ``network`` on ``images`` in an engine, with as many threads as torch has.

    Args:
        engine: One of :data:`ENGINES`.
        network: In evaluation mode.
        images: (B, C, H, W).
        channels_last: Memory format for ``torch`` and ``compile``; the others choose their own.

    Raises:
        WavezooError: If the engine's extra is not installed.
    """
    if engine in ("torch", "compile"):
        layout = torch.channels_last if channels_last else torch.contiguous_format
        network, images = network.to(memory_format=layout), images.contiguous(memory_format=layout)
        if engine == "torch":
            return lambda: network(images)
        torch._dynamo.config.recompile_limit = 1000  # many networks of one class: each is compiled, none left out
        compiled = torch.compile(network, dynamic=False, options={"freezing": True})
        return lambda: compiled(images)
    if engine == "onnxruntime":
        return _prepare_onnxruntime(network, images)
    if engine == "openvino":
        return _prepare_openvino(network, images)
    return _prepare_executorch(network, images)


def engine_versions(engines: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of what runs the networks."""
    return {engine: version(PACKAGES.get(engine, engine)) for engine in engines}


def _prepare_onnxruntime(network: nn.Module, images: torch.Tensor) -> Callable[[], object]:
    try:
        import onnxruntime
    except ImportError as error:
        raise missing_extra("onnx", error) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.force_spinning_stop", "1")  # or it takes time from whoever runs next
    content = onnx_bytes(network, _at_least_two(images))
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    array = images.contiguous().numpy()
    return lambda: session.run(None, {"images": array})


def _prepare_openvino(network: nn.Module, images: torch.Tensor) -> Callable[[], object]:
    core = _openvino_core()
    model = core.read_model(onnx_bytes(network, _at_least_two(images)))
    model.reshape(list(images.shape))
    settings = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # where it could, it would compute in bf16
    }
    compiled = core.compile_model(model, "CPU", settings)
    array = images.contiguous().numpy()
    return lambda: compiled(array)


@functools.cache
def _openvino_core() -> Any:
    """Return the process's one core: each sets the stack that signals run on, and the next one puts back a stack that
    is gone by then, so that with several of them Ctrl-C is a segmentation fault.
    """
    try:
        import openvino
    except ImportError as error:
        raise missing_extra("openvino", error) from error
    return openvino.Core()


def _prepare_executorch(network: nn.Module, images: torch.Tensor) -> Callable[[], object]:
    images = images.contiguous()
    content = executorch_bytes(network, images)
    from executorch.runtime import Runtime

    program = Runtime.get().load_program(content)
    method = program.load_method("forward")

    def run() -> object:
        assert content and program  # the method points into both and keeps neither
        return method.execute([images])

    return run


def _at_least_two(images: torch.Tensor) -> torch.Tensor:
    """Return a batch that torch.export does not take for one of a fixed size."""
    return images if len(images) > 1 else images.repeat(2, 1, 1, 1)
