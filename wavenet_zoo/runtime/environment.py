"""The environment of a result: device, machine, library versions and the commit of the code."""

import contextlib
import functools
import os
import platform
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import torch

from wavenet_zoo import __version__
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.cpus import available_cpus
from wavenet_zoo.runtime.resources import CHECKOUT

__all__ = [
    "available_cpus",
    "choose_device",
    "computes_in_bf16",
    "describe_environment",
    "deterministic_algorithms",
    "git_state",
    "package_versions",
    "synchronize",
]


def choose_device(name: str = "auto") -> torch.device:
    """Return a device. ``auto`` is CUDA if available, else MPS, else the CPU.

    Raises:
        WavezooError: If the device is not available.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        name = "cuda" if cuda else "mps" if mps else "cpu"
    if (name.startswith("cuda") and not cuda) or (name == "mps" and not mps):
        raise WavezooError(f"--device {name}: not available on this machine", "use --device auto")
    return torch.device(name)


@contextlib.contextmanager
def deterministic_algorithms(enabled: bool) -> Iterator[None]:
    """Use deterministic algorithms in the body, if ``enabled``."""
    if not enabled:
        yield
        return
    variable = "CUBLAS_WORKSPACE_CONFIG"
    before = os.environ.get(variable), torch.backends.cudnn.benchmark, torch.are_deterministic_algorithms_enabled()
    os.environ.setdefault(variable, ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        if before[0] is None:
            os.environ.pop(variable, None)
        torch.backends.cudnn.benchmark = before[1]
        torch.use_deterministic_algorithms(before[2])


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished its work, so that a clock reads the time of that work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def computes_in_bf16(device: torch.device) -> bool:
    """Return whether a device has instructions for bf16: emulated, it is slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # not public, and younger than torch 2.5
        return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)
    return False


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that a result depends on."""
    others = {name: version(name) for name in ("timm", "torch", "torchvision", "pillow")}
    return {"wavenet_zoo": __version__, "python": platform.python_version(), **others}


@functools.cache
def git_state() -> dict[str, Any] | None:
    """Return the commit that the code is checked out at, and whether tracked files differ from it.

    Returns:
        ``{"commit": ..., "dirty": ...}``; None when the package does not run from a git checkout.
    """
    if not (CHECKOUT / ".git").exists():
        return None
    try:
        commit = _git("rev-parse", "HEAD").strip()
        dirty = bool(_git("status", "--porcelain", "--untracked-files=no").strip())
    except (OSError, subprocess.SubprocessError):  # git is missing, slow, or refuses the folder's owner
        return None
    return {"commit": commit, "dirty": dirty}


def describe_environment(device: torch.device) -> dict[str, Any]:
    """Return versions, commit and machine, as every result records them."""
    accelerator = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "versions": package_versions(),
        "git": git_state(),
        "device": str(device),
        "accelerator": accelerator,
        "machine": platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count(),
        "available_cpus": available_cpus(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),  # AVX2, AVX512 ...
        "torch_threads": torch.get_num_threads(),
    }


def _git(*args: str) -> str:
    command = ["git", "-C", str(CHECKOUT), *args]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout
