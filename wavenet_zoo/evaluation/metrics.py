"""Metrics of a model over a data set, from one record per image, so that no result depends on the batch size."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import torch
from torch import nn

from wavenet_zoo.data.loaders import BatchLoader
from wavenet_zoo.data.preprocessing import Preprocessing
from wavenet_zoo.data.sources import ImageSource
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.evaluation.forward import ForwardLog, forward_batches
from wavenet_zoo.evaluation.predictions import TOP, Predictions
from wavenet_zoo.evaluation.statistics import calibrate, macro_top1, standard_error, wilson_interval
from wavenet_zoo.runtime.distributed import SINGLE_PROCESS, Distributed
from wavenet_zoo.runtime.progress import Progress
from wavenet_zoo.runtime.results import Result

__all__ = ["Metrics", "Scores", "evaluate_loader", "score", "top_outputs"]


@dataclass
class Scores(Result):
    """Metrics of one way of scoring.

    Attributes:
        images: Number of images.
        top1: Percentage of images whose label scored highest.
        top1_interval: 95 % Wilson interval of ``top1``, in percent.
        correct_top1: Number of images behind ``top1``.
        top5: Percentage of images whose label is among the five highest scores.
        top5_interval: 95 % Wilson interval of ``top5``, in percent.
        correct_top5: Number of images behind ``top5``.
        loss: Mean cross entropy.
        loss_standard_error: Standard error of ``loss`` over the images; None for a single image.
        ece: Expected calibration error in 15 bins, on a scale of 0 to 1.
        macro_top1: Mean of the top-1 accuracy of the classes, in percent.
    """

    images: int
    top1: float
    top1_interval: tuple[float, float]
    correct_top1: int
    top5: float
    top5_interval: tuple[float, float]
    correct_top5: int
    loss: float
    loss_standard_error: float | None
    ece: float
    macro_top1: float


def score(predictions: Predictions) -> Scores:
    """Compute the metrics of predictions. They do not depend on the order of the images."""
    images = len(predictions.labels)
    correct_top1, correct_top5 = int(predictions.correct.sum()), int(predictions.correct_top5.sum())
    return Scores(
        images=images,
        top1=100.0 * correct_top1 / images,
        top1_interval=wilson_interval(correct_top1, images),
        correct_top1=correct_top1,
        top5=100.0 * correct_top5 / images,
        top5_interval=wilson_interval(correct_top5, images),
        correct_top5=correct_top5,
        loss=math.fsum(predictions.loss) / images,
        loss_standard_error=standard_error(predictions.loss),
        ece=calibrate(predictions).ece,
        macro_top1=macro_top1(predictions),
    )


_FIELDS = ("indices", "labels", "top", "probabilities", "label_probability", "loss", "correct", "correct_top5")


@dataclass
class Metrics(ForwardLog):
    """Predictions of a model for a data set, and what they took.

    Attributes:
        predictions: Predictions among ``all`` outputs and, if requested, among those of the classes of the ``data``.
            They have no paths and no class names.
    """

    predictions: dict[str, Predictions] = field(default_factory=dict)


@torch.inference_mode()
def evaluate_loader(
    model: nn.Module,
    loader: BatchLoader,
    source: ImageSource,
    preprocessing: Preprocessing,
    device: torch.device,
    *,
    precision: str = "fp32",
    skip_bad_images: bool = False,
    valid_labels: Sequence[tuple[int, ...]] | None = None,
    outputs: Sequence[int] | None = None,
    progress: Progress | None = None,
    distributed: Distributed = SINGLE_PROCESS,
    after_batch: Callable[[], None] = lambda: None,
) -> Metrics:
    """Evaluate ``model`` on every image of ``source``. Each process evaluates its share and gets the results of all.

    Args:
        model: The network, on ``device``.
        loader: Loader of :func:`wavenet_zoo.data.loaders.evaluation_loader`, whose images are not normalized yet.
        source: Images that the loader reads.
        preprocessing: Preprocessing of the model, for the normalization.
        device: Device of the batches.
        precision: ``fp32``, or ``bf16`` or ``fp16`` for autocast.
        skip_bad_images: Skip and list images that cannot be decoded, instead of raising.
        valid_labels: Outputs that are correct for each image of the source. Default: the label alone.
        outputs: Outputs of the data's classes, to score among these too.
        progress: Progress bar to update after every batch.
        distributed: Process group.
        after_batch: Called after every batch, equally often in every process.

    Raises:
        WavezooError: If an image cannot be decoded and ``skip_bad_images`` is False, or no image is left.
    """
    log = Metrics()
    valid = None if valid_labels is None else _padded(valid_labels)
    chosen = {"all": None} if outputs is None else {"all": None, "data": outputs}
    parts: dict[str, list[tuple[np.ndarray, ...]]] = {among: [] for among in chosen}
    images = correct = 0
    for batch in forward_batches(
        model, loader, source, preprocessing, device, log, precision=precision, skip_bad_images=skip_bad_images
    ):
        if batch.logits is not None:
            labels = batch.labels[:, None] if valid is None else valid[batch.indices]
            for among, kept in chosen.items():
                fields = _predict(batch.logits, labels, kept)
                parts[among].append((batch.indices.numpy(), batch.labels.numpy(), *fields))
            images, correct = images + len(batch.labels), correct + int(parts["all"][-1][-2].sum())
        if progress is not None:
            progress.advance(batch.images, f"top-1 {100 * correct / images:.2f} %" if images else "")
        after_batch()
    # after_batch may contain a collective, so it is called as often as in rank 0, which has the largest share
    share_of_rank_zero = math.ceil(len(source.targets) / distributed.world_size)
    for _ in range(math.ceil(share_of_rank_zero / (loader.batch_size or 1)) - len(loader)):
        after_batch()
    log.skipped = list(chain.from_iterable(distributed.all_gather(log.skipped)))
    gathered = {among: chain.from_iterable(distributed.all_gather(part)) for among, part in parts.items()}
    log.predictions = {among: _merge(every) for among, part in gathered.items() if (every := list(part))}
    scored = len(log.predictions["all"].labels) if log.predictions else 0
    if scored + len(log.skipped) != len(source.targets):
        raise RuntimeError(f"{scored} images were counted, expected {len(source.targets)}")
    if not scored:
        raise WavezooError(f"{source.name}: no image can be decoded, for example {log.skipped[0]}")
    return log


def _padded(labels: Sequence[tuple[int, ...]]) -> torch.Tensor:
    """Return tuples of different lengths as a tensor (N, L), filled up with their first element."""
    length = max(map(len, labels))
    return torch.tensor([(*label, *[label[0]] * (length - len(label))) for label in labels])


def _predict(logits: torch.Tensor, valid: torch.Tensor, outputs: Sequence[int] | None) -> tuple[np.ndarray, ...]:
    """Return the fields of :class:`Predictions` from ``top`` on.

    Args:
        logits: Outputs of the model, (B, num_classes).
        valid: Valid labels of every image, (B, L); one may be repeated.
        outputs: Outputs to score among; None for all.
    """
    valid = valid.to(logits.device)
    logits = logits.to(torch.float32 if logits.device.type == "mps" else torch.float64)
    if outputs is not None:
        kept = torch.full_like(logits, -math.inf)
        kept[:, list(outputs)] = logits[:, list(outputs)]
        logits = kept
    log_probabilities = logits.log_softmax(1)
    top = top_outputs(logits, min(TOP, logits.shape[1] if outputs is None else len(outputs)))
    hits = (top[:, :, None] == valid[:, None, :]).any(2)
    repeated = (valid[:, :, None] == valid[:, None, :]).tril(-1).any(2)
    of_labels = log_probabilities.gather(1, valid).masked_fill(repeated, -math.inf).logsumexp(1)
    fields = (top, log_probabilities.gather(1, top).exp(), of_labels.exp(), -of_labels, hits[:, 0], hits.any(1))
    return tuple(field.cpu().numpy() for field in fields)


def top_outputs(logits: torch.Tensor, count: int) -> torch.Tensor:
    """Return the ``count`` highest outputs (B, count), best first; of equal ones the first, as argmax does.

    The outputs of int8 models are often equal, and topk alone returns any of them.
    """
    values, top = logits.topk(min(count + 1, logits.shape[1]))
    tied = (values[:, 1:] == values[:, :-1]).any(1)
    top = top[:, :count]
    top[tied] = logits[tied].sort(dim=1, descending=True, stable=True).indices[:, :count]
    return top


def _merge(parts: Sequence[tuple[np.ndarray, ...]]) -> Predictions:
    """Return the predictions of all batches, in the order of the images."""
    indices, *others = (np.concatenate(arrays) for arrays in zip(*parts))
    order = np.argsort(indices)
    ordered = dict(zip(_FIELDS, (values[order] for values in (indices, *others))))
    return Predictions(paths=(), class_names=(), **ordered)  # type: ignore[arg-type]
