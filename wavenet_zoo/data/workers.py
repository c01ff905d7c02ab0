"""Default number of loader workers."""

from wavenet_zoo.runtime.cpus import available_cpus

__all__ = ["MAX_WORKERS", "WORKERS_HELP", "default_workers"]

MAX_WORKERS = 8
WORKERS_HELP = f"one per available CPU, at most {MAX_WORKERS}; 0 for images in memory"


def default_workers(in_memory: bool, local_world_size: int = 1) -> int:
    """Return the number of loader workers for each of ``local_world_size`` processes of this machine.

    It is 0 for images in memory, else the process's share of the available CPUs, between 1 and ``MAX_WORKERS``.
    """
    if in_memory:
        return 0
    return max(1, min(MAX_WORKERS, available_cpus() // local_world_size))
