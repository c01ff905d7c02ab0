"""Data loaders for training and evaluation, whose order and randomness do not depend on the number of workers."""

import contextlib
import random
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from wavenet_zoo.data.decoding import DECODE_ERRORS
from wavenet_zoo.data.preprocessing import Transform
from wavenet_zoo.data.sources import ImageSource
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.seeds import mix_seed

__all__ = [
    "UNREADABLE",
    "EpochSampler",
    "batches",
    "decode_error",
    "decoding_seconds",
    "evaluation_loader",
    "persistent_workers",
    "training_loader",
]

UNREADABLE = -1  # label of an image that cannot be decoded
SECONDS_AFTER_SIGTERM = 30  # torchrun's own timeout


def evaluation_loader(
    source: ImageSource,
    transform: Transform,
    class_indices: Sequence[int],
    batch_size: int,
    workers: int,
    pin_memory: bool = False,
    rank: int = 0,
    world_size: int = 1,
) -> DataLoader:
    """Create the loader of one process's share of an evaluation: batches (images, labels, indices), in order.

    Rank r gets images r, r + world_size, ... without padding, so that all processes together get every image once. An
    image that cannot be decoded becomes zeros with the label ``UNREADABLE``; the caller raises or skips it.

    Args:
        source: Source of the images.
        transform: Transform from a PIL image to a tensor (C, H, W).
        class_indices: Label for each class of the source, see :func:`~.classes.match_classes`.
        batch_size: Images per batch. The last batch may be smaller.
        workers: Number of worker processes; 0 decodes in this process.
        pin_memory: Copy batches into pinned memory, for faster transfers to a GPU.
        rank: Rank of this process.
        world_size: Number of processes.

    Returns:
        A loader of batches with images (B, C, H, W), labels (B,) and indices (B,).
    """
    dataset = _EvaluationImages(source, transform, class_indices, workers)
    return DataLoader(
        dataset,
        batch_size,
        sampler=range(rank, len(dataset), world_size),
        num_workers=workers,
        pin_memory=pin_memory,
        worker_init_fn=_ignore_signals,
        generator=torch.Generator(),  # draws the seeds of the workers; the default advances the global generator
    )


def training_loader(
    source: ImageSource,
    transform: Transform,
    batch_size: int,
    seed: int,
    workers: int,
    pin_memory: bool = False,
    *,
    accumulation: int = 1,
    rank: int = 0,
    world_size: int = 1,
) -> DataLoader:
    """Create the loader of one process's share of training: shuffled batches (images, labels, indices).

    The order is a function of (seed, epoch) and the augmentation of (seed, epoch, index), for any number of workers and
    processes. ``loader.batch_sampler.start(epoch, step)`` sets where the next iteration starts. Images that do not fill
    the last step of an epoch are dropped. An image that cannot be decoded gets the label ``UNREADABLE``.

    Args:
        source: Source of the images.
        transform: Transform from a PIL image to a tensor (C, H, W), augmentation included.
        batch_size: Images per optimizer step, over all processes.
        seed: Seed of order and augmentation.
        workers: Number of worker processes; 0 decodes in this process.
        pin_memory: Copy batches into pinned memory, for faster transfers to a GPU.
        accumulation: Number of batches per optimizer step and process.
        rank: Rank of this process.
        world_size: Number of processes.

    Returns:
        A loader of batches with images (B, C, H, W), labels (B,) and indices (B,), where
        B = batch_size / (accumulation * world_size).
    """
    dataset = _TrainingImages(source, transform, seed)
    return DataLoader(
        dataset,
        batch_sampler=EpochSampler(len(dataset), batch_size, seed, accumulation, rank, world_size),
        num_workers=workers,
        pin_memory=pin_memory,
        worker_init_fn=_ignore_signals,
        generator=torch.Generator(),  # draws the seeds of the workers; the default advances the global generator
        persistent_workers=workers > 0,
    )


@contextlib.contextmanager
def batches(loader: DataLoader) -> Iterator[Iterable[Any]]:
    """Iterate over the batches of an evaluation loader, and shut down its workers on exit."""
    iterator = iter(loader)
    try:
        yield iterator
    finally:
        _shut_down_workers(iterator)


def decoding_seconds(loader: DataLoader) -> float:
    """Return the seconds that an evaluation loader has spent decoding and transforming, summed over its workers."""
    return float(loader.dataset.seconds.sum())  # type: ignore[attr-defined]


@contextlib.contextmanager
def persistent_workers(loader: DataLoader) -> Iterator[None]:
    """Keep the workers of a training loader between epochs, and shut them down on exit."""
    try:
        yield
    finally:
        _shut_down_workers(loader._iterator)


def decode_error(source: ImageSource, index: int, hint: str) -> WavezooError:
    """Return the error for an image that cannot be decoded: its path or number, and the reason.

    Args:
        source: Source of the image.
        index: Index of the image.
        hint: What to do about it.
    """
    reason = "cannot be decoded"
    try:
        source.load(index)
    except DECODE_ERRORS as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if "cannot identify image file" in reason:
            reason = "not an image file"
    return WavezooError(f"{source.describe(index)}: {reason}", hint)


def _shut_down_workers(iterator: Any) -> None:
    # torch shuts workers down on garbage collection, which may be too late: at exit Python joins every process
    if hasattr(iterator, "_shutdown_workers"):
        iterator._shutdown_workers()


class EpochSampler(Sampler):
    """Batch sampler over one epoch: yields lists of (epoch, index) from a permutation drawn from (seed, epoch).

    Consecutive ``batch_size`` images of the permutation are one optimizer step. A step is split into ``parts`` and a
    part between the processes, so that a step has the same images for any number of parts and processes.

    Args:
        length: Number of images.
        batch_size: Images per optimizer step, over all processes; ``parts * world_size`` divides it.
        seed: Seed of the permutations.
        parts: Number of batches per optimizer step and process.
        rank: Rank of this process.
        world_size: Number of processes.
    """

    def __init__(self, length: int, batch_size: int, seed: int, parts: int = 1, rank: int = 0, world_size: int = 1):
        self.length = length
        self.batch_size = batch_size
        self.seed = seed
        self.parts = parts
        self.rank = rank
        self.world_size = world_size
        self.steps = length // batch_size
        self.start(epoch=0)

    def start(self, epoch: int, step: int = 0) -> None:
        """Set the epoch of the next iteration, and the number of its steps to skip."""
        self.epoch = epoch
        self.first_step = step

    def __len__(self) -> int:
        return (self.steps - self.first_step) * self.parts

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        generator = torch.Generator().manual_seed(mix_seed(self.seed, self.epoch))
        order = torch.randperm(self.length, generator=generator).tolist()
        size = self.batch_size // (self.parts * self.world_size)
        for step in range(self.first_step, self.steps):
            for part in range(self.parts):
                first = step * self.batch_size + (part * self.world_size + self.rank) * size
                yield [(self.epoch, index) for index in order[first : first + size]]


class _TrainingImages(Dataset):
    def __init__(self, source: ImageSource, transform: Transform, seed: int):
        self.source = source
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.source.targets)

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, int, int]:
        epoch, index = key
        with _fork_rng(mix_seed(self.seed, epoch, index)):
            return _load(self.source, index, self.transform, self.source.targets[index])


class _EvaluationImages(Dataset):
    def __init__(self, source: ImageSource, transform: Transform, class_indices: Sequence[int], workers: int):
        self.source = source
        self.transform = transform
        self.class_indices = class_indices
        self.seconds = torch.zeros(max(1, workers), dtype=torch.float64).share_memory_()  # one element per worker

    def __len__(self) -> int:
        return len(self.source.targets)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int, int]:
        started = time.perf_counter()
        loaded = _load(self.source, index, self.transform, self.class_indices[self.source.targets[index]])
        worker = get_worker_info()
        self.seconds[worker.id if worker else 0] += time.perf_counter() - started
        return loaded


def _load(source: ImageSource, index: int, transform: Transform, label: int) -> tuple[torch.Tensor, int, int]:
    try:
        image = source.load(index)
    except DECODE_ERRORS:
        return torch.zeros_like(transform(Image.new("RGB", (64, 64)))), UNREADABLE, index
    return transform(image), label, index


@contextlib.contextmanager
def _fork_rng(seed: int) -> Iterator[None]:
    """Seed the generators of Python, NumPy and torch's CPU inside, and restore their states on exit."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def _ignore_signals(worker: int) -> None:
    """Ignore signals to the process group in a worker, so that the main process can save and shut down in order.

    SIGTERM sets an alarm instead: the main process also sends it to end a worker on exit.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(SECONDS_AFTER_SIGTERM))
