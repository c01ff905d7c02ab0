"""How this process uses CPUs and memory: available CPUs, threads and how they wait, and freed memory.

The functions set what torch's OpenMP runtime and glibc's allocator read when they start, so they are called before
torch is imported. What the user has set in the environment takes precedence.
"""

import contextlib
import ctypes
import math
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["available_cpus", "keep_freed_memory", "limit_threads", "use_threads", "wait_passively"]

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
SPINS = "1000"  # before a waiting thread sleeps; 10,000 are slower beside a busy process
MALLOC = ("MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of malloc.h
CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


def available_cpus() -> int:
    """Return the number of CPUs that this process may use, at least 1.

    The affinity (taskset, Slurm) and the quotas of cgroups (Docker, Kubernetes) limit the CPUs of the machine. A
    fraction of a CPU counts as one.
    """
    return max(1, min(_affinity(), *(math.ceil(quota) for quota in _quotas()), os.cpu_count() or 1))


def limit_threads() -> None:
    """Let torch use at most :func:`available_cpus` threads, if it is imported later: by itself it ignores quotas."""
    if available_cpus() < _affinity():
        os.environ.setdefault("OMP_NUM_THREADS", str(available_cpus()))


def use_threads(threads: int) -> None:
    """Let torch use this number of threads."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def wait_passively() -> None:
    """Let OpenMP's threads sleep after a short time if they wait for one another, instead of spinning.

    A thread that spins while another process has the CPU of the thread it waits for loses its own time slice: with one
    busy process beside it, training on two CPUs is several times slower.
    """
    if "torch" not in sys.modules and not any(name in os.environ for name in WAITING):
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.environ["GOMP_SPINCOUNT"] = SPINS


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next allocation, instead of returning it to the kernel at every step.

    The process then keeps its peak memory, which grows too, see benchmarks/README.md.
    """
    if (
        "torch" not in sys.modules
        and platform.libc_ver()[0] == "glibc"
        and not any(name in os.environ for name in MALLOC)
    ):
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quotas() -> Iterator[float]:
    """Yield the quotas, in CPUs, of this process's control groups and their parents, of cgroup version 1 and 2."""
    try:
        groups = [line.split(":", 2) for line in OWN_CGROUPS.read_text().splitlines()]
    except OSError:  # not Linux
        return
    for _, controllers, group in groups:
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = CGROUPS / "cpu" if controllers else CGROUPS
        path = root / group.lstrip("/")
        # in a container the group may be named as outside of it: then only the root exists
        for folder in (path, *(parent for parent in path.parents if parent.is_relative_to(root))):
            with contextlib.suppress(OSError, ValueError):  # "max" and missing files: no quota
                if controllers:
                    quota = int((folder / "cpu.cfs_quota_us").read_text())
                    period = int((folder / "cpu.cfs_period_us").read_text())
                else:
                    quota, period = (int(number) for number in (folder / "cpu.max").read_text().split())
                if quota > 0 and period > 0:
                    yield quota / period
