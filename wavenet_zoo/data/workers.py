"""Default number of loader workers."""

import os

__all__ = ["MAX_WORKERS", "WORKERS_HELP", "default_workers"]

MAX_WORKERS = 8
WORKERS_HELP = f"one per core, at most {MAX_WORKERS}; 0 for images in memory"


def default_workers(in_memory: bool, local_world_size: int = 1) -> int:
    """Return the number of loader workers for each of ``local_world_size`` processes of this machine.

    It is 0 for images in memory, else the process's share of the cores, between 1 and ``MAX_WORKERS``.
    """
    if in_memory:
        return 0
    return max(1, min(MAX_WORKERS, (os.cpu_count() or 1) // local_world_size))
