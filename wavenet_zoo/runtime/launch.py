"""Rank and world size of this process, as torchrun states them in the environment, read without importing torch."""

import os
from dataclasses import dataclass

from wavenet_zoo.errors import WavezooError

__all__ = ["Launch", "read_launch", "reporting_rank"]

REQUIRED = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
HINT = "start several processes with torchrun; for a single one, unset WORLD_SIZE"


@dataclass(frozen=True)
class Launch:
    """What torchrun states about this process.

    Attributes:
        rank: Rank of this process.
        world_size: Number of processes.
        local_rank: Rank of this process among those of this machine.
        local_world_size: Number of processes on this machine.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1


def read_launch() -> Launch:
    """Read torchrun's variables. Without ``WORLD_SIZE``, or if it is 1, this is a single process.

    Job systems set some of the variables: ``RANK`` alone does not make a process one of several.

    Raises:
        WavezooError: If a variable is missing or is not a valid number.
    """
    world_size = _integer("WORLD_SIZE", 1, minimum=1)
    if world_size == 1:
        return Launch()
    missing = next((name for name in REQUIRED if not os.environ.get(name)), None)
    if missing:
        raise WavezooError(f"WORLD_SIZE is {world_size} in the environment, but {missing} is not set", HINT)
    _integer("MASTER_PORT", 1, minimum=1, maximum=65535)
    return Launch(
        rank=_integer("RANK", 0, maximum=world_size - 1),
        world_size=world_size,
        local_rank=_integer("LOCAL_RANK", 0, maximum=world_size - 1),
        local_world_size=_integer("LOCAL_WORLD_SIZE", world_size, minimum=1, maximum=world_size),
    )


def reporting_rank() -> int:
    """Return the rank of this process for messages; 0 if the variables are invalid, so that the error is printed."""
    try:
        return read_launch().rank
    except WavezooError:
        return 0


def _integer(name: str, default: int, minimum: int = 0, maximum: int = 2**31 - 1) -> int:
    text = os.environ.get(name) or str(default)
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and minimum <= int(text) <= maximum):
        raise WavezooError(f"{name} is '{text}' in the environment, expected {minimum} to {maximum}", HINT)
    return int(text)
