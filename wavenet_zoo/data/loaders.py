"""Batches for training and for evaluation."""

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

from wavenet_zoo.data.decoding import READ_ERRORS
from wavenet_zoo.data.preprocessing import Transform
from wavenet_zoo.data.sources import ImageSource
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.seeds import mix_seed

__all__ = [
    "UNREADABLE",
    "batches",
    "decoding_seconds",
    "evaluation_loader",
    "lasting_workers",
    "training_loader",
    "unreadable_image",
]

UNREADABLE = -1  # the label of an image that could not be decoded

SECONDS_AFTER_SIGTERM = 30  # as long as torchrun waits


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
    """Return batches of (images (B, C, H, W), labels (B,), indices (B,)), every image once and in order.

    Of several processes each gets every ``world_size``-th image, without padding: together they have every image once.

    An image that cannot be decoded comes as zeros with the label ``UNREADABLE``: what to do about it is decided where
    the results are counted, and its neighbours stay what they are.

    Args:
        source: The images.
        transform: From a PIL image to a tensor.
        class_indices: For each class of the source, the label to give.
        batch_size: Images per batch; the last one has the rest.
        workers: Decoding processes.
        pin_memory: For copies to a GPU.
        rank: Of this process.
        world_size: Number of processes.
    """
    dataset = _EvaluationImages(source, transform, class_indices, workers)
    return DataLoader(
        dataset,
        batch_size,
        sampler=range(rank, len(dataset), world_size),
        num_workers=workers,
        pin_memory=pin_memory,
        worker_init_fn=_leave_signals_to_the_main_process,
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
    """Return shuffled batches of (images, labels, indices): what is left of an epoch in the end is left out.

    Order and augmentation are a function of (seed, epoch, index) alone, whatever the number of workers and processes.
    ``loader.batch_sampler.start(epoch, step)`` chooses where the next iteration begins.

    Args:
        source: The images.
        transform: From a PIL image to a tensor, with augmentation.
        batch_size: Images per step, over all processes.
        seed: Of order and augmentation.
        workers: Decoding processes.
        pin_memory: For copies to a GPU.
        accumulation: Parts that a step's images come in.
        rank: Of this process.
        world_size: Number of processes.
    """
    dataset = _TrainingImages(source, transform, seed)
    return DataLoader(
        dataset,
        batch_sampler=EpochOrder(len(dataset), batch_size, seed, accumulation, rank, world_size),
        num_workers=workers,
        pin_memory=pin_memory,
        worker_init_fn=_leave_signals_to_the_main_process,
        persistent_workers=workers > 0,
    )


@contextlib.contextmanager
def batches(loader: DataLoader) -> Iterator[Iterable[Any]]:
    """Iterate over an evaluation loader; however that ends, its processes are gone afterwards."""
    iterator = iter(loader)
    try:
        yield iterator
    finally:
        _end_workers(iterator)


def decoding_seconds(loader: DataLoader) -> float:
    """Return how long the processes of an evaluation loader have decoded and transformed so far, all together."""
    return float(loader.dataset.seconds.sum())  # type: ignore[attr-defined]


@contextlib.contextmanager
def lasting_workers(loader: DataLoader) -> Iterator[None]:
    """Let the processes of a training loader live from epoch to epoch, and not longer than this."""
    try:
        yield
    finally:
        _end_workers(loader._iterator)


def unreadable_image(source: ImageSource, index: int, hint: str) -> WavezooError:
    """Return the error that names one image that cannot be decoded, and why."""
    reason = "could not be decoded"
    try:
        source.load(index)
    except READ_ERRORS as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if "cannot identify image file" in reason:
            reason = "not an image file"
    return WavezooError(f"{source.label(index)}: {reason}", hint)


def _end_workers(iterator: Any) -> None:
    # torch leaves this to the garbage collector, which may come too late: at exit Python waits for every process
    if hasattr(iterator, "_shutdown_workers"):
        iterator._shutdown_workers()


class EpochOrder(Sampler):
    """Yields lists of (epoch, index) over a permutation that is drawn from (seed, epoch).

    The permutation is cut into steps of ``batch_size`` images, these into ``parts``, and these among the processes, so
    that a step has the same images whatever the number of processes.
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
        """Choose the epoch of the next iteration, and how many of its steps are behind already."""
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
        with _random_state_from(mix_seed(self.seed, epoch, index)):
            return _load(self.source, index, self.transform, self.source.targets[index])


class _EvaluationImages(Dataset):
    def __init__(self, source: ImageSource, transform: Transform, class_indices: Sequence[int], workers: int):
        self.source = source
        self.transform = transform
        self.class_indices = class_indices
        self.seconds = torch.zeros(max(1, workers), dtype=torch.float64).share_memory_()  # each worker counts its own

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
    except READ_ERRORS:
        return torch.zeros_like(transform(Image.new("RGB", (64, 64)))), UNREADABLE, index
    return transform(image), label, index


@contextlib.contextmanager
def _random_state_from(seed: int) -> Iterator[None]:
    """Draw from ``seed`` inside, and go on outside as if nothing had been drawn."""
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


def _leave_signals_to_the_main_process(worker: int) -> None:
    """Go on where a signal went to the whole process group, so that the main process can end the work in good order.

    SIGTERM starts a timer: it is also how a main process that is already leaving gets rid of a worker.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(SECONDS_AFTER_SIGTERM))
