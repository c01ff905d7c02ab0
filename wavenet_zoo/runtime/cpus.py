"""The CPUs that this process may use: those of its affinity, within the quota of its control groups."""

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["available_cpus", "limit_threads"]

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
