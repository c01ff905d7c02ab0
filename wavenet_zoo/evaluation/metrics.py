"""Metrics of a model over a data set: sums over images, so that no result depends on the batch size."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain

import torch
import torch.nn.functional as F
from torch import nn

from wavenet_zoo.data.loaders import UNREADABLE, Loader, batches, decoding_seconds
from wavenet_zoo.data.sources import ImageSource
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.distributed import SINGLE_PROCESS, Distributed
from wavenet_zoo.runtime.environment import synchronize
from wavenet_zoo.runtime.progress import Progress

__all__ = ["Metrics", "evaluate_loader"]

MAX_PIXELS_ON_CPU = 4 * 224 * 224  # per forward pass: more than fits the caches takes twice the time
SKIP_HINT = "replace or remove the image, or skip such images with --skip-bad-images"


@dataclass
class Metrics:
    """Sums over the images of a data set.

    Attributes:
        class_images: Number of images per class, (num_classes,).
        class_correct: Number of images per class whose label scored highest, (num_classes,).
        correct_top5: Number of images whose label is among the five highest scores.
        loss_sum: Sum of the cross entropies.
        skipped: Names of images that could not be decoded.
        seconds: Wall-clock time, decoding included.
        waiting_seconds: Part of ``seconds`` spent waiting for the loader.
        model_seconds: Part of ``seconds`` spent in the model.
        decoding_seconds: Time spent decoding, summed over the loader's workers. Workers decode while the model runs.
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

    def update(self, logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Add a batch: logits (B, num_classes), labels (B,)."""
        logits = logits.to(torch.float32 if logits.device.type == "mps" else torch.float64)
        hits = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
        self.class_images += labels.bincount(minlength=logits.shape[1]).cpu()
        self.class_correct += labels[hits[:, 0]].bincount(minlength=logits.shape[1]).cpu()
        self.correct_top5 += int(hits.sum())
        self.loss_sum += float(F.cross_entropy(logits, labels, reduction="sum"))

    def all_reduce(self, distributed: Distributed) -> None:
        """Add the sums of the other processes."""
        sums = torch.stack([self.class_images, self.class_correct])
        self.class_images, self.class_correct = distributed.all_reduce_sum(sums)
        self.correct_top5 = int(distributed.all_reduce_sum(torch.tensor(self.correct_top5)))
        self.loss_sum = float(distributed.all_reduce_sum(torch.tensor(self.loss_sum, dtype=torch.float64)))
        self.skipped = list(chain.from_iterable(distributed.all_gather(self.skipped)))

    @property
    def images(self) -> int:
        """Number of images."""
        return int(self.class_images.sum())

    @property
    def correct_top1(self) -> int:
        """Number of images whose label scored highest."""
        return int(self.class_correct.sum())

    @property
    def top1(self) -> float:
        """Top-1 accuracy in percent."""
        return 100.0 * self.correct_top1 / self.images

    @property
    def top5(self) -> float:
        """Top-5 accuracy in percent."""
        return 100.0 * self.correct_top5 / self.images

    @property
    def loss(self) -> float:
        """Mean cross entropy."""
        return self.loss_sum / self.images


@torch.inference_mode()
def evaluate_loader(
    model: nn.Module,
    loader: Loader,
    source: ImageSource,
    num_classes: int,
    device: torch.device,
    *,
    precision: str = "fp32",
    skip_bad_images: bool = False,
    progress: Progress | None = None,
    distributed: Distributed = SINGLE_PROCESS,
    after_batch: Callable[[], None] = lambda: None,
) -> Metrics:
    """Evaluate ``model`` on every image of ``source``. Each process evaluates its share and gets the sums of all.

    Args:
        model: The network, on ``device``.
        loader: Loader of :func:`wavenet_zoo.data.loaders.evaluation_loader`.
        source: Images that the loader reads.
        num_classes: Number of outputs.
        device: Device of the batches.
        precision: ``fp32``, or ``bf16`` or ``fp16`` for autocast.
        skip_bad_images: Skip and list images that cannot be decoded, instead of raising.
        progress: Progress bar to update after every batch.
        distributed: Process group.
        after_batch: Called after every batch, equally often in every process.

    Raises:
        WavezooError: If an image cannot be decoded and ``skip_bad_images`` is False, or no image is left.
    """
    model.eval()
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    metrics = Metrics(torch.zeros(num_classes, dtype=torch.long), torch.zeros(num_classes, dtype=torch.long))
    synchronize(device)
    started = requested = time.perf_counter()
    with batches(loader) as iterator:
        for images, labels, indices in iterator:
            metrics.waiting_seconds += time.perf_counter() - requested
            readable = labels != UNREADABLE
            if not readable.all():
                bad = indices[~readable].tolist()
                if not skip_bad_images:
                    raise iterator.decode_error(bad[0], SKIP_HINT)
                metrics.skipped += [source.describe(i) for i in bad]
                images, labels = images[readable], labels[readable]
            if len(labels):
                received = time.perf_counter()
                images = images.to(device, memory_format=torch.channels_last, non_blocking=True)
                with torch.autocast(device.type, dtype, enabled=precision != "fp32"):
                    logits = torch.cat([model(chunk) for chunk in images.split(_chunk_size(images))])
                metrics.update(logits, labels.to(device))
                metrics.model_seconds += time.perf_counter() - received
            if progress is not None:
                progress.advance(len(indices), f"top-1 {metrics.top1:.2f} %" if metrics.images else "")
            after_batch()
            requested = time.perf_counter()
    # after_batch may contain a collective, so it is called as often as in rank 0, which has the largest share
    share_of_rank_zero = math.ceil(len(source.targets) / distributed.world_size)
    for _ in range(math.ceil(share_of_rank_zero / (loader.batch_size or 1)) - len(loader)):
        after_batch()
    metrics.all_reduce(distributed)
    synchronize(device)
    metrics.seconds = time.perf_counter() - started
    metrics.decoding_seconds = decoding_seconds(loader)
    if metrics.images + len(metrics.skipped) != len(source.targets):
        raise RuntimeError(f"{metrics.images} images were counted, expected {len(source.targets)}")
    if not metrics.images:
        raise WavezooError(f"{source.name}: no image can be decoded, for example {metrics.skipped[0]}")
    return metrics


def _chunk_size(images: torch.Tensor) -> int:
    if images.device.type != "cpu":
        return len(images)
    return max(1, MAX_PIXELS_ON_CPU // (images.shape[-2] * images.shape[-1]))
