"""Seeds and the state of the global random number generators."""

import contextlib
import random
from collections.abc import Iterator

__all__ = ["mix_seed", "preserve_rng_state"]


def mix_seed(*parts: int) -> int:
    """Mix ``parts`` into one 63-bit seed (splitmix64)."""
    state = 0
    for part in parts:
        state = (state + part + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state & 0x7FFFFFFFFFFFFFFF


@contextlib.contextmanager
def preserve_rng_state() -> Iterator[None]:
    """Restore the state of the global generators of Python, NumPy and PyTorch (CPU and current GPU) on exit."""
    import numpy as np
    import torch

    python, numpy = random.getstate(), np.random.get_state()
    # by default, fork_rng initializes CUDA on every GPU of the machine in every process, and warns about it
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
