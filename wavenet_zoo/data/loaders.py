"""Batches for training and for evaluation."""

import contextlib
import os
import random
import signal
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Sampler

from wavenet_zoo.data.preprocessing import Transform
from wavenet_zoo.data.sources import ImageSource
from wavenet_zoo.errors import WavezooError

__all__ = [
    "UNREADABLE",
    "batches",
    "default_workers",
    "evaluation_loader",
    "lasting_workers",
    "training_loader",
    "unreadable_image",
]

UNREADABLE = -1  # the label of an image that could not be decoded

SECONDS_AFTER_SIGTERM = 30  # as long as torchrun waits

READ_ERRORS = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError)  # what Pillow raises


def default_workers(source: ImageSource) -> int:
    """Return how many processes should decode: none for images in memory, else one per core, at most 8."""
    return 0 if source.in_memory else min(8, os.cpu_count() or 1)


def evaluation_loader(
    source: ImageSource,
    transform: Transform,
    class_indices: Sequence[int],
    batch_size: int,
    workers: int,
    pin_memory: bool = False,
) -> DataLoader:
    """Return batches of (images (B, C, H, W), labels (B,), indices (B,)), every image once and in order.

    An image that cannot be decoded comes as zeros with the label ``UNREADABLE``: what to do about it is decided where
    the results are counted, and its neighbours stay what they are.

    Args:
        source: The images.
        transform: From a PIL image to a tensor.
        class_indices: For each class of the source, the label to give.
        batch_size: Images per batch; the last one has the rest.
        workers: Decoding processes.
        pin_memory: For copies to a GPU.
    """
    dataset = _EvaluationImages(source, transform, class_indices)
    return DataLoader(
        dataset,
        batch_size,
        num_workers=workers,
        pin_memory=pin_memory,
        worker_init_fn=_leave_signals_to_the_main_process,
    )


def training_loader(
    source: ImageSource, transform: Transform, batch_size: int, seed: int, workers: int, pin_memory: bool = False
) -> DataLoader:
    """Return shuffled batches of (images, labels, indices); the last, incomplete batch of an epoch is left out.

    Order and augmentation are a function of (seed, epoch, index) alone, whatever the number of workers. Choose the
    epoch with ``loader.sampler.epoch = n``.
    """
    dataset = _TrainingImages(source, transform, seed)
    return DataLoader(
        dataset,
        batch_size,
        sampler=EpochOrder(len(dataset), seed),
        num_workers=workers,
        pin_memory=pin_memory,
        drop_last=len(dataset) >= batch_size,
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
    """Yields (epoch, index) over a permutation that is drawn from (seed, epoch)."""

    def __init__(self, length: int, seed: int):
        self.length = length
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        generator = torch.Generator().manual_seed(_mix(self.seed, self.epoch))
        for index in torch.randperm(self.length, generator=generator).tolist():
            yield self.epoch, index


class _TrainingImages(Dataset):
    def __init__(self, source: ImageSource, transform: Transform, seed: int):
        self.source = source
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.source.targets)

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, int, int]:
        epoch, index = key
        with _random_state_from(_mix(self.seed, epoch, index)):
            return _load(self.source, index, self.transform, self.source.targets[index])


class _EvaluationImages(Dataset):
    def __init__(self, source: ImageSource, transform: Transform, class_indices: Sequence[int]):
        self.source = source
        self.transform = transform
        self.class_indices = class_indices

    def __len__(self) -> int:
        return len(self.source.targets)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int, int]:
        return _load(self.source, index, self.transform, self.class_indices[self.source.targets[index]])


def _load(source: ImageSource, index: int, transform: Transform, label: int) -> tuple[torch.Tensor, int, int]:
    try:
        image = source.load(index)
    except READ_ERRORS:
        return torch.zeros_like(transform(Image.new("RGB", (64, 64)))), UNREADABLE, index
    return transform(image), label, index


@contextlib.contextmanager
def _random_state_from(seed: int) -> Iterator[None]:
    """Draw from ``seed`` inside, and go on outside as if nothing had been drawn."""
    python_state, torch_state = random.getstate(), torch.get_rng_state()
    random.seed(seed)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(python_state)
        torch.set_rng_state(torch_state)


def _mix(*parts: int) -> int:
    """Return a seed that differs wherever any of ``parts`` differs (splitmix64)."""
    state = 0
    for part in parts:
        state = (state + part + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state & 0x7FFFFFFFFFFFFFFF


def _leave_signals_to_the_main_process(worker: int) -> None:
    """Go on where a signal went to the whole process group, so that the main process can end the work in good order.

    SIGTERM starts a timer: it is also how a main process that is already leaving gets rid of a worker.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(SECONDS_AFTER_SIGTERM))
