"""The processes of a run: alone, or started together by torchrun on one machine or on several."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.environment import choose_device

__all__ = ["ALONE", "Processes", "join_processes"]


@dataclass(frozen=True)
class Processes:
    """This process among those of the run.

    Attributes:
        device: Where this process computes.
        rank: Its number; 0 is the one that writes files and speaks.
        world_size: How many there are.
        local_world_size: How many of them run on this machine.
    """

    device: torch.device
    rank: int = 0
    world_size: int = 1
    local_world_size: int = 1

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def highest(self, value: int) -> int:
        """Return the highest of the processes' values: what all of them agree on."""
        if self.world_size == 1:
            return value
        tensor = torch.tensor(value)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return int(tensor)

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum over the processes of a tensor on the CPU."""
        if self.world_size > 1:
            dist.all_reduce(values)
        return values

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, in order of their ranks."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def from_main(self, value: Any) -> Any:
        """Return process 0's value."""
        if self.world_size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    @contextlib.contextmanager
    def main_first(self, needed: bool) -> Iterator[None]:
        """Let process 0 do first what is inside, a download perhaps, and then the others."""
        if needed and not self.is_main:
            self.highest(0)
        yield
        if needed and self.is_main:
            self.highest(0)

    def share_buffers(self, module: nn.Module) -> None:
        """Give every process the buffers, batch norm's statistics among them, of process 0."""
        if self.world_size > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, src=0)


ALONE = Processes(torch.device("cpu"))


@contextlib.contextmanager
def join_processes(device: str = "auto") -> Iterator[Processes]:
    """Join the processes that torchrun has started; without torchrun there is this one.

    Raises:
        WavezooError: If the device is not there, or there are more processes on this machine than GPUs.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    target = choose_device(device)
    if world_size == 1:
        yield Processes(target)
        return
    backend = "gloo"
    if target.type == "cuda":
        local_rank, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local_rank >= gpus:
            raise WavezooError(
                f"process {local_rank} of this machine has no GPU: there are {gpus}",
                f"torchrun --nproc-per-node {gpus}",
            )
        target = torch.device("cuda", local_rank)
        torch.cuda.set_device(target)
        backend = "cpu:gloo,cuda:nccl"  # gloo for what is agreed on, so that no GPU has to wait for it
    with _stdout_sent_to_stderr():
        dist.init_process_group(backend)
    try:
        yield Processes(
            target, dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_WORLD_SIZE", world_size))
        )
    finally:
        dist.destroy_process_group()


@contextlib.contextmanager
def _stdout_sent_to_stderr() -> Iterator[None]:
    """Keep stdout for data: up to torch 2.9 Gloo says on it that it is connected."""
    with os.fdopen(os.dup(1), "wb") as stdout:
        os.dup2(2, 1)
        try:
            yield
        finally:
            os.dup2(stdout.fileno(), 1)
