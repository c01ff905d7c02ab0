"""Counting what a model gets right: sums over images, so that nothing depends on how they were batched."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from wavenet_zoo.data.loaders import UNREADABLE, batches, decoding_seconds, unreadable_image
from wavenet_zoo.data.sources import ImageSource
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.distributed import ALONE, Processes
from wavenet_zoo.runtime.environment import wait_for
from wavenet_zoo.runtime.progress import Progress

__all__ = ["Tally", "count_correct"]

PIXELS_AT_ONCE = 4 * 224 * 224  # on CPUs: more than fits their caches costs twice the time (benchmarks/README.md)
SKIP_HINT = "replace or remove the image, or leave such images out and count them with --skip-bad-images"


@dataclass
class Tally:
    """Sums over the images of a data set.

    Attributes:
        class_images: Images per class, (num_classes,).
        class_correct: Those of them whose class scored highest, (num_classes,).
        correct_top5: Images whose class was among the five that scored highest.
        loss_sum: Sum of the cross entropies.
        skipped: Images that could not be decoded.
        seconds: Time taken, decoding included.
        waiting_seconds: Part of it that passed waiting for images.
        model_seconds: Part of it that the model took.
        decoding_seconds: Time that decoding and transforming took, all loader processes together; what goes on beside
            the model costs no time of its own.
    """

    class_images: torch.Tensor
    class_correct: torch.Tensor
    correct_top5: int = 0
    loss_sum: float = 0.0
    skipped: list[str] = field(default_factory=list)
    seconds: float = 0.0
    waiting_seconds: float = 0.0
    model_seconds: float = 0.0
    decoding_seconds: float = 0.0

    def add(self, logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Add a batch: logits (B, num_classes), labels (B,)."""
        logits = logits.to(torch.float32 if logits.device.type == "mps" else torch.float64)
        hits = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
        self.class_images += labels.bincount(minlength=logits.shape[1]).cpu()
        self.class_correct += labels[hits[:, 0]].bincount(minlength=logits.shape[1]).cpu()
        self.correct_top5 += int(hits.sum())
        self.loss_sum += float(F.cross_entropy(logits, labels, reduction="sum"))

    def add_up(self, processes: Processes) -> None:
        """Add what the other processes have counted."""
        sums = torch.stack([self.class_images, self.class_correct])
        self.class_images, self.class_correct = processes.sum(sums)
        self.correct_top5 = int(processes.sum(torch.tensor(self.correct_top5)))
        self.loss_sum = float(processes.sum(torch.tensor(self.loss_sum, dtype=torch.float64)))
        self.skipped = list(chain.from_iterable(processes.gather(self.skipped)))

    @property
    def images(self) -> int:
        return int(self.class_images.sum())

    @property
    def correct_top1(self) -> int:
        return int(self.class_correct.sum())

    @property
    def top1(self) -> float:
        return 100.0 * self.correct_top1 / self.images

    @property
    def top5(self) -> float:
        return 100.0 * self.correct_top5 / self.images

    @property
    def loss(self) -> float:
        return self.loss_sum / self.images


@torch.inference_mode()
def count_correct(
    model: nn.Module,
    loader: DataLoader,
    source: ImageSource,
    num_classes: int,
    device: torch.device,
    *,
    precision: str = "fp32",
    skip_bad_images: bool = False,
    progress: Progress | None = None,
    processes: Processes = ALONE,
    after_batch: Callable[[], None] = lambda: None,
) -> Tally:
    """Run ``model`` over every image of ``source`` and count; each process has its share of them in ``loader``.

    Args:
        model: The network, on ``device``.
        loader: What :func:`wavenet_zoo.data.loaders.evaluation_loader` returns.
        source: What the loader was made from.
        num_classes: Number of outputs.
        device: Where to compute.
        precision: ``fp32``, or ``bf16`` or ``fp16`` for autocast.
        skip_bad_images: List images that cannot be decoded, instead of failing at the first.
        progress: Told of every batch.
        processes: This process and the others, which all get the same result.
        after_batch: Called after every batch, equally often in every process.

    Raises:
        WavezooError: If an image cannot be decoded and is not to be skipped, or no image is left.
    """
    model.eval()
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    tally = Tally(torch.zeros(num_classes, dtype=torch.long), torch.zeros(num_classes, dtype=torch.long))
    wait_for(device)
    started = asked = time.perf_counter()
    with batches(loader) as iterator:
        for images, labels, indices in iterator:
            tally.waiting_seconds += time.perf_counter() - asked
            readable = labels != UNREADABLE
            if not readable.all():
                bad = indices[~readable].tolist()
                if not skip_bad_images:
                    raise unreadable_image(source, bad[0], SKIP_HINT)
                tally.skipped += [source.label(i) for i in bad]
                images, labels = images[readable], labels[readable]
            if len(labels):
                given = time.perf_counter()
                images = images.to(device, memory_format=torch.channels_last, non_blocking=True)
                with torch.autocast(device.type, dtype, enabled=precision != "fp32"):
                    logits = torch.cat([model(part) for part in images.split(_images_at_once(images))])
                tally.add(logits, labels.to(device))
                tally.model_seconds += time.perf_counter() - given
            if progress is not None:
                progress.advance(len(indices), f"top-1 {tally.top1:.2f} %" if tally.images else "")
            after_batch()
            asked = time.perf_counter()
    for _ in range(processes.highest(len(loader)) - len(loader)):  # a share may be one image, so one batch, shorter
        after_batch()
    tally.add_up(processes)
    wait_for(device)
    tally.seconds = time.perf_counter() - started
    tally.decoding_seconds = decoding_seconds(loader)
    if tally.images + len(tally.skipped) != len(source.targets):
        raise RuntimeError(f"{tally.images} images were counted, of {len(source.targets)}")
    if not tally.images:
        raise WavezooError(f"{source.name}: not one image could be decoded, {tally.skipped[0]} first")
    return tally


def _images_at_once(images: torch.Tensor) -> int:
    if images.device.type != "cpu":
        return len(images)
    return max(1, PIXELS_AT_ONCE // (images.shape[-2] * images.shape[-1]))
