"""One optimizer step, shared by the training loop and the dry run."""

import contextlib
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from timm.utils import dispatch_clip_grad

from wavenet_zoo.data.loaders import UNREADABLE, BatchIterator, BatchLoader
from wavenet_zoo.training.build import Training
from wavenet_zoo.training.optim import seed_step

__all__ = ["MicroBatches", "train_step"]

Batch = tuple[torch.Tensor, torch.Tensor]


class MicroBatches:
    """Iterates over (images (B, C, H, W), labels (B,)) of a training loader and measures the time spent waiting.

    Args:
        loader: Training loader, or an iterator over it.

    Attributes:
        waiting_seconds: Time spent waiting for the loader.
        last_shape: Shape of the last images, (B, C, H, W).
    """

    def __init__(self, loader: BatchLoader | BatchIterator):
        self._iterator = iter(loader)
        self.waiting_seconds = 0.0
        self.last_shape: list[int] = []

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        requested = time.perf_counter()
        images, labels, indices = next(self._iterator)
        self.waiting_seconds += time.perf_counter() - requested
        self.last_shape = list(images.shape)
        if (labels == UNREADABLE).any():
            bad = int(indices[labels == UNREADABLE][0])
            raise self._iterator.decode_error(bad, "replace or remove the image")
        return images, labels


def train_step(training: Training, micro_batches: Iterable[Batch], step: int) -> torch.Tensor:
    """Take one optimizer step: forward and backward of every micro-batch, clipping, optimizer, schedule and EMA.

    Random numbers of the step are a function of (seed, step, rank) alone.

    Args:
        training: Model, optimizer and everything else that the step updates.
        micro_batches: ``accumulation`` pairs of images (B, C, H, W) and labels (B,).
        step: Number of steps taken before.

    Returns:
        Loss of the step on the device, averaged over its micro-batches.
    """
    recipe, device, mixup = training.recipe, training.distributed.device, training.mixup
    label_smoothing = 0.0 if mixup else recipe.regularization.label_smoothing  # mixup smooths its own targets
    seed_step(recipe.seed, step, training.distributed.rank)
    loss = torch.zeros((), device=device)
    for number, (images, labels) in enumerate(micro_batches, start=1):
        images = training.prepare(images)
        targets = labels.to(device, non_blocking=True)
        if mixup is not None:
            images, targets = mixup(images, targets)
        with _gradient_sync(training, enabled=number == recipe.accumulation):
            with training.autocast():
                logits = training.forward(images)
            part = F.cross_entropy(logits.float(), targets, label_smoothing=label_smoothing) / recipe.accumulation
            training.scaler.scale(part).backward()
        loss += part.detach()

    if recipe.optimizer.clip_grad is not None:
        training.scaler.unscale_(training.optimizer)
        dispatch_clip_grad(list(training.model.parameters()), value=recipe.optimizer.clip_grad)
    training.scaler.step(training.optimizer)
    training.scaler.update()
    training.optimizer.zero_grad()
    training.scheduler.step_update(step + 1)
    if training.ema is not None:
        training.ema.update(training.model, step=step + 1)
    return loss


def _gradient_sync(training: Training, enabled: bool) -> AbstractContextManager[None]:
    """Return a context in which DistributedDataParallel reduces gradients only if ``enabled``."""
    if enabled or training.distributed.world_size == 1:
        return contextlib.nullcontext()
    context: AbstractContextManager[None] = training.forward.no_sync()
    return context
