"""Distributed training and evaluation: the processes that torchrun starts, on one machine or on several."""

import contextlib
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from wavenet_zoo.errors import INTERNAL_FAILURE, WavezooError
from wavenet_zoo.runtime.environment import choose_device
from wavenet_zoo.runtime.launch import read_launch

__all__ = ["SINGLE_PROCESS", "Distributed", "init_distributed"]

TIMEOUT = timedelta(minutes=30)  # of a collective: the others wait while rank 0 downloads data
_groups = itertools.count()  # of this process, equal in all: they make the same calls


@dataclass(frozen=True)
class Distributed:
    """This process and its process group. Every collective is a no-op in a single process.

    Attributes:
        device: Device of this process.
        rank: Rank of this process. Rank 0 writes files and messages.
        world_size: Number of processes.
        local_world_size: Number of processes on this machine.
    """

    device: torch.device
    rank: int = 0
    world_size: int = 1
    local_world_size: int = 1

    @property
    def is_rank_zero(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0

    def all_reduce_max(self, value: int) -> int:
        """Return the maximum of ``value`` over the processes."""
        if self.world_size == 1:
            return value
        tensor = torch.tensor(value)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return int(tensor)

    def all_reduce_sum(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum of a CPU tensor over the processes."""
        if self.world_size > 1:
            dist.all_reduce(values)
        return values

    def all_gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, in order of rank."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def broadcast(self, value: Any) -> Any:
        """Return the value of rank 0."""
        if self.world_size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def check_equal(self, **values: str) -> None:
        """Check that every process has the same values, which must be strings.

        Raises:
            WavezooError: In every process, with the value and the ranks that differ from rank 0.
        """
        gathered = self.all_gather(values)
        for name, expected in gathered[0].items():
            others = [rank for rank, own in enumerate(gathered) if own[name] != expected]
            if others:
                ranks = f"rank {others[0]} has" if len(others) == 1 else f"ranks {', '.join(map(str, others))} have"
                raise WavezooError(
                    f"{ranks} other {name.replace('_', ' ')} than rank 0: {gathered[others[0]][name][:40]}, rank 0 has "
                    f"{expected[:40]}",
                    "every process needs the same command, and the same files on every machine",
                )

    def barrier(self) -> None:
        """Wait until every process has called this method."""
        self.all_reduce_max(0)

    @contextlib.contextmanager
    def rank_zero_first(self, enabled: bool) -> Iterator[None]:
        """Run the body in rank 0 first, then in the other processes: for downloads."""
        if enabled and not self.is_rank_zero:
            self.barrier()
        yield
        if enabled and self.is_rank_zero:
            self.barrier()

    def broadcast_buffers(self, module: nn.Module) -> None:
        """Copy the buffers of rank 0, batch norm's running statistics among them, to every process."""
        if self.world_size > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, src=0)


SINGLE_PROCESS = Distributed(torch.device("cpu"))


@contextlib.contextmanager
def init_distributed(device: str = "auto") -> Iterator[Distributed]:
    """Initialize the process group that torchrun describes in the environment; without torchrun, use this process.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Raises:
        WavezooError: If the device is not available, this machine has fewer GPUs than processes, torchrun's variables
            are invalid, or, from the body, another process has ended or does not answer.
    """
    launch = read_launch()
    target = choose_device(device)
    if launch.world_size == 1:
        yield Distributed(target)
        return
    backend = "gloo"
    if target.type == "cuda":
        gpus = torch.cuda.device_count()
        if launch.local_rank >= gpus:
            raise WavezooError(
                f"local rank {launch.local_rank} has no GPU: this machine has {gpus}",
                f"torchrun --nproc-per-node {gpus}",
            )
        target = torch.device("cuda", launch.local_rank)
        torch.cuda.set_device(target)
        backend = "cpu:gloo,cuda:nccl"  # control messages use gloo, so that they never synchronize a GPU
    try:
        with _stdout_to_stderr():
            store, rank, world_size = next(dist.rendezvous("env://", timeout=TIMEOUT))
            # several runs, one after the other: a process must not find the addresses of the previous group
            store = dist.PrefixStore(f"wavenet_zoo/{next(_groups)}", store)
            dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=TIMEOUT)
        yield Distributed(target, launch.rank, launch.world_size, launch.local_world_size)
    except RuntimeError as error:
        if not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        others = " or ".join(str(rank) for rank in range(launch.world_size) if rank != launch.rank)
        raise WavezooError(
            f"rank {launch.rank} lost the connection to another process (rank {others}): {_reason(error)}",
            "the process that ended first printed why, and torchrun's report names it",
            exit_code=INTERNAL_FAILURE,
        ) from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _reason(error: RuntimeError) -> str:
    """Return the message of gloo or NCCL without the place in its source."""
    first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return first.rpartition("] ")[2].strip() if first.startswith("[") else first.strip()


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Redirect stdout to stderr: up to torch 2.9 Gloo prints to stdout when it connects."""
    try:
        duplicate = os.dup(1)
    except OSError:  # stdout is closed
        yield
        return
    with os.fdopen(duplicate, "wb") as stdout:
        os.dup2(2, 1)
        try:
            yield
        finally:
            os.dup2(stdout.fileno(), 1)
