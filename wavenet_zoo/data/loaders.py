"""Data loaders for training and evaluation, whose order and randomness do not depend on the number of workers."""

import contextlib
import copy
import ctypes
import multiprocessing
import random
import signal
import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from timm.data.transforms import ResizeKeepRatio
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate, get_worker_info
from torchvision.transforms import Resize

from wavenet_zoo.data.decoding import ImageError
from wavenet_zoo.data.loader_errors import check_descriptors, check_sockets, machine_errors
from wavenet_zoo.data.preprocessing import Transform
from wavenet_zoo.data.sources import ImageSource, read_error
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.seeds import mix_seed

__all__ = [
    "UNREADABLE",
    "BatchIterator",
    "BatchLoader",
    "EpochSampler",
    "Loader",
    "batches",
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
) -> "Loader":
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

    Raises:
        WavezooError: If the input size is too large, or the workers cannot send batches.
    """
    dataset = _EvaluationImages(source, transform, class_indices, workers)
    return Loader(
        dataset,
        workers,
        batch_size=batch_size,
        sampler=range(rank, len(dataset), world_size),
        pin_memory=pin_memory,
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
) -> "Loader":
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

    Raises:
        WavezooError: If the input size is too large, or the workers cannot send batches.
    """
    dataset = _TrainingImages(source, transform, seed)
    return Loader(
        dataset,
        workers,
        batch_sampler=EpochSampler(len(dataset), batch_size, seed, accumulation, rank, world_size),
        pin_memory=pin_memory,
        generator=torch.Generator(),  # draws the seeds of the workers; the default advances the global generator
        persistent_workers=workers > 0,
    )


class Loader(DataLoader):
    """A DataLoader that iterates with :class:`BatchIterator`."""

    def __init__(self, dataset: "_Images", workers: int, **options: Any):
        if workers:
            check_sockets()
            check_descriptors(workers)
            options["multiprocessing_context"] = copy.copy(multiprocessing.get_context())
            options["multiprocessing_context"].Event = _Flag
        options |= {"collate_fn": _collate, "worker_init_fn": _ignore_signals}
        super().__init__(dataset, num_workers=workers, **options)

    def __iter__(self) -> "BatchIterator":  # type: ignore[override]
        check_descriptors(self.num_workers)
        with machine_errors(OSError, RuntimeError, MemoryError):
            return BatchIterator(super().__iter__(), self.dataset.source)  # type: ignore[attr-defined]


class _Flag:
    """An event without a lock. A worker that is killed may hold a lock, and torch would wait for it forever."""

    def __init__(self) -> None:
        self._value = multiprocessing.RawValue(ctypes.c_bool, False)

    def is_set(self) -> bool:
        return self._value.value

    def set(self) -> None:
        self._value.value = True


class BatchIterator:
    """Iterates over batches (images (B, C, H, W), labels (B,), indices (B,)) and knows why images were unreadable.

    Raises:
        WavezooError: If the machine lacks memory, file descriptors, ..., or a worker ended.
    """

    def __init__(self, iterator: Any, source: ImageSource):
        self._iterator = iterator
        self._source = source
        self._reasons: dict[int, str] = {}

    def __iter__(self) -> "BatchIterator":
        return self

    def __next__(self) -> list[torch.Tensor]:
        with machine_errors(OSError, EOFError, RuntimeError, MemoryError, in_transfer=True):
            batch, self._reasons = next(self._iterator)
        if isinstance(batch, WavezooError):
            raise batch
        return batch

    def decode_error(self, index: int, hint: str) -> WavezooError:
        """Return the error for an unreadable image of the last batch: its path or number, and the reason.

        Args:
            index: Index of the image.
            hint: What to do about it.
        """
        return WavezooError(f"{self._source.describe(index)}: {self._reasons[index]}", hint)

    def shut_down_workers(self) -> None:
        """Shut the workers down."""
        _shut_down_workers(self._iterator)


class BatchLoader(Protocol):
    """What training and evaluation require of a loader: of :class:`Loader`, and of a loader over cached images."""

    @property
    def batch_size(self) -> int | None:
        """Images per batch; None for a loader with a batch sampler."""

    @property
    def sampler(self) -> Any:
        """Indices of the images, for evaluation."""

    @property
    def batch_sampler(self) -> Any:
        """:class:`EpochSampler`, for training."""

    def __len__(self) -> int:
        """Return the number of batches."""

    def __iter__(self) -> BatchIterator:
        """Iterate over the batches."""


@contextlib.contextmanager
def batches(loader: BatchLoader) -> Iterator[BatchIterator]:
    """Iterate over the batches of a loader, and shut down its workers on exit."""
    iterator = iter(loader)
    try:
        with machine_errors(RuntimeError, MemoryError):  # a worker that ends interrupts the body, wherever it is
            yield iterator
    finally:
        iterator.shut_down_workers()


def decoding_seconds(loader: BatchLoader) -> float:
    """Return the seconds that an evaluation loader has spent decoding and transforming, summed over its workers.

    It is 0 for a loader over cached images.
    """
    seconds = getattr(getattr(loader, "dataset", None), "seconds", None)
    return 0.0 if seconds is None else float(seconds.sum())


@contextlib.contextmanager
def persistent_workers(loader: BatchLoader) -> Iterator[None]:
    """Keep the workers of a training loader between epochs, and shut them down on exit."""
    try:
        with machine_errors(RuntimeError, MemoryError):
            yield
    finally:
        _shut_down_workers(getattr(loader, "_iterator", None))


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


class _Images(Dataset):
    """Images of a source as tensors. An item is ((image, label, index), reason why it is unreadable) or an error."""

    def __init__(self, source: ImageSource, transform: Transform):
        self.source = source
        self.transform = transform

    def __len__(self) -> int:
        return len(self.source.targets)

    def load(self, index: int, label: int) -> "_Item":
        """Return an item. Errors of the machine are returned, since torch would not return them to the main process."""
        reason = ""
        try:
            image = self.source.load(index)
            _check_resized(image, self.transform)
            return (self.transform(image), label, index), reason
        except ImageError as error:
            reason = str(error)
        except (OSError, MemoryError) as error:
            return read_error(self.source, index, error)
        blank = Image.new("RGB", getattr(self.transform, "image_size", (64, 64)))
        zeros = torch.zeros_like(self.transform(blank))
        return (zeros, UNREADABLE, index), reason


_Item = tuple[tuple[torch.Tensor, int, int], str] | WavezooError


class _TrainingImages(_Images):
    def __init__(self, source: ImageSource, transform: Transform, seed: int):
        super().__init__(source, transform)
        self.seed = seed

    def __getitem__(self, key: tuple[int, int]) -> _Item:
        epoch, index = key
        with _fork_rng(mix_seed(self.seed, epoch, index)):
            return self.load(index, self.source.targets[index])


class _EvaluationImages(_Images):
    def __init__(self, source: ImageSource, transform: Transform, class_indices: Sequence[int], workers: int):
        super().__init__(source, transform)
        self.class_indices = class_indices
        self.seconds = torch.zeros(max(1, workers), dtype=torch.float64)  # one element per worker
        if workers:
            with machine_errors(RuntimeError):
                self.seconds.share_memory_()

    def __getitem__(self, index: int) -> _Item:
        started = time.perf_counter()
        item = self.load(index, self.class_indices[self.source.targets[index]])
        worker = get_worker_info()
        self.seconds[worker.id if worker else 0] += time.perf_counter() - started
        return item


def _collate(items: list[_Item]) -> tuple[list[torch.Tensor] | WavezooError, dict[int, str]]:
    """Return images, labels and indices of the items, or the error of one, and the reasons of unreadable images."""
    samples, reasons = [], {}
    for item in items:
        if isinstance(item, WavezooError):
            return item, {}
        sample, reason = item
        samples.append(sample)
        if reason:
            reasons[sample[2]] = reason
    return default_collate(samples), reasons


def _check_resized(image: Image.Image, transform: Transform) -> None:
    """Check the size to which a transform resizes an image: one side of a thin one may become huge or nothing.

    Raises:
        ImageError: If it exceeds ``Image.MAX_IMAGE_PIXELS`` or a side is 0.
    """
    for step in getattr(transform, "transforms", ()):
        if isinstance(step, ResizeKeepRatio):
            height, width = step.get_params(image, step.size, step.longest)
        elif isinstance(step, Resize) and isinstance(step.size, int):
            width, height = (side * step.size // min(image.size) for side in image.size)
        else:
            continue
        pixels = width * height
        if not pixels or (Image.MAX_IMAGE_PIXELS and pixels > Image.MAX_IMAGE_PIXELS):
            raise ImageError(
                f"too thin: {image.width} x {image.height} pixels become {width} x {height} in the resize"
                + (f", the limit is {Image.MAX_IMAGE_PIXELS:,} pixels" if pixels else "")
            )


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
