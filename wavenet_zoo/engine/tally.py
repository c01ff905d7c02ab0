"""Counting what a model gets right: sums over images, so that nothing depends on how they were batched."""

import math
import time
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from wavenet_zoo.data.loaders import UNREADABLE, batches, unreadable_image
from wavenet_zoo.data.sources import ImageSource
from wavenet_zoo.engine.environment import wait_for
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.progress import Progress

__all__ = ["Tally", "count_correct"]

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
    """

    class_images: torch.Tensor
    class_correct: torch.Tensor
    correct_top5: int = 0
    loss_sum: float = 0.0
    skipped: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Add a batch: logits (B, num_classes), labels (B,)."""
        logits = logits.to(torch.float32 if logits.device.type == "mps" else torch.float64)
        hits = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
        self.class_images += labels.bincount(minlength=logits.shape[1]).cpu()
        self.class_correct += labels[hits[:, 0]].bincount(minlength=logits.shape[1]).cpu()
        self.correct_top5 += int(hits.sum())
        self.loss_sum += float(F.cross_entropy(logits, labels, reduction="sum"))

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
) -> Tally:
    """Run ``model`` over every image of ``loader``, made from ``source``, and count.

    Raises:
        WavezooError: If an image cannot be decoded and is not to be skipped, no image is left, or the model's outputs
            are not finite.
    """
    model.eval()
    tally = Tally(torch.zeros(num_classes, dtype=torch.long), torch.zeros(num_classes, dtype=torch.long))
    wait_for(device)
    started = time.perf_counter()
    with batches(loader) as iterator:
        for images, labels, indices in iterator:
            readable = labels != UNREADABLE
            if not readable.all():
                bad = indices[~readable].tolist()
                if not skip_bad_images:
                    raise unreadable_image(source, bad[0], SKIP_HINT)
                tally.skipped += [source.label(i) for i in bad]
                images, labels = images[readable], labels[readable]
            if len(labels):
                images = images.to(device, memory_format=torch.channels_last, non_blocking=True)
                with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                    logits = model(images)
                tally.add(logits, labels.to(device))
            if progress is not None:
                progress.advance(len(indices), f"top-1 {tally.top1:.2f} %" if tally.images else "")
    wait_for(device)
    tally.seconds = time.perf_counter() - started
    if not tally.images:
        raise WavezooError(f"{source.name}: not one image could be decoded, {tally.skipped[0]} first")
    if not math.isfinite(tally.loss_sum):
        raise WavezooError("the model's outputs are not finite", "the weights or the precision are at fault")
    return tally
