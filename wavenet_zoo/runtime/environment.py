"""The machine a result was made on, and the device to use on it."""

import os
import platform
from importlib.metadata import version
from typing import Any

import torch

from wavenet_zoo import __version__
from wavenet_zoo.errors import WavezooError

__all__ = ["choose_device", "describe_environment", "make_deterministic", "package_versions", "wait_for"]


def choose_device(name: str = "auto") -> torch.device:
    """Return the device: ``auto`` is CUDA where there is one, else MPS, else the CPU.

    Raises:
        WavezooError: If the device asked for is not there.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        name = "cuda" if cuda else "mps" if mps else "cpu"
    if (name.startswith("cuda") and not cuda) or (name == "mps" and not mps):
        raise WavezooError(f"--device {name}: there is no such device here", "--device auto takes what there is")
    return torch.device(name)


def make_deterministic() -> None:
    """Choose algorithms that give the same result each time, in this process and from now on."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True)


def wait_for(device: torch.device) -> None:
    """Return when the device has done all the work it was given, so that a clock reads true."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def package_versions() -> dict[str, str]:
    """Return the versions that a result can depend on."""
    others = {name: version(name) for name in ("timm", "torch", "torchvision", "pillow")}
    return {"wavenet_zoo": __version__, "python": platform.python_version(), **others}


def describe_environment(device: torch.device) -> dict[str, Any]:
    """Return versions and machine, for the record of a result."""
    accelerator = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "versions": package_versions(),
        "device": str(device),
        "accelerator": accelerator,
        "machine": platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
    }
