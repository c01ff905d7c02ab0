"""Predict the classes of unlabelled images, or compute their features."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from wavenet_zoo.data.classes import output_names
from wavenet_zoo.data.loaders import evaluation_loader
from wavenet_zoo.data.preprocessing import evaluation_transform
from wavenet_zoo.data.synsets import readable_name
from wavenet_zoo.data.unlabelled import UnlabelledImages, find_images
from wavenet_zoo.data.workers import default_workers
from wavenet_zoo.deployment.exported import is_exported_file
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.evaluation.forward import ForwardLog, Outputs, forward_batches
from wavenet_zoo.evaluation.metrics import top_outputs
from wavenet_zoo.evaluation.model import open_model
from wavenet_zoo.runtime.distributed import Distributed, init_distributed
from wavenet_zoo.runtime.environment import describe_environment
from wavenet_zoo.runtime.progress import Progress
from wavenet_zoo.runtime.results import NOT_IN_JSON, Result
from wavenet_zoo.runtime.seeds import preserve_rng_state
from wavenet_zoo.weights.input_check import check_input

__all__ = ["PredictionResult", "predict"]

logger = logging.getLogger(__name__)

IMAGES_PER_WORKER = 64  # fewer are decoded before a worker has started
DIGITS = 6  # significant ones of probabilities in JSON and files: more than float32 networks are exact to

Images = str | Path | Image.Image


@dataclass
class PredictionResult(Result):
    """Result of :func:`wavenet_zoo.predict`. Images that could not be decoded have no row in it.

    Attributes:
        model: Name of the model.
        weights: Description and metadata of the weights.
        preprocessing: How images became tensors, with a description in words.
        images: Number of images, N.
        top: Number of classes per image, K; None with features.
        feature_dim: Number of features per image, D; None without features.
        skipped: Images that could not be decoded, with ``skip_bad_images``.
        seconds: Wall-clock time from the first batch to the last, decoding included.
        images_per_second: Throughput, decoding included.
        form: Form of WaveletNet's units; ``mixed`` if they differ.
        folded: Whether batch norms were folded into convolutions.
        precision: ``fp32`` or ``bf16``; of an exported file ``fp32`` or ``int8``.
        batch_size: Images per batch.
        workers: Loader workers of each process.
        processes: World size.
        environment: Versions, commit and machine.
        date: Date and time in UTC.
        paths: Path of each image, as it was given or found; its number for a PIL image.
        class_names: Name of every output of the model.
        outputs: Outputs with the highest scores, best first, int64 of shape (N, K); None with features.
        probabilities: Their probabilities, float64 of shape (N, K); None with features.
        features: Pooled features, float32 of shape (N, D); None without features.
    """

    model: str
    weights: dict[str, Any]
    preprocessing: dict[str, Any]
    images: int
    top: int | None
    feature_dim: int | None
    skipped: list[str]
    seconds: float
    images_per_second: float
    form: str
    folded: bool
    precision: str
    batch_size: int
    workers: int
    processes: int
    environment: dict[str, Any]
    date: str
    paths: list[str] = field(repr=False, metadata=NOT_IN_JSON)
    class_names: list[str] = field(repr=False, metadata=NOT_IN_JSON)
    outputs: np.ndarray | None = field(repr=False, metadata=NOT_IN_JSON)
    probabilities: np.ndarray | None = field(repr=False, metadata=NOT_IN_JSON)
    features: np.ndarray | None = field(repr=False, metadata=NOT_IN_JSON)

    @property
    def predictions(self) -> list[dict[str, Any]]:
        """The ``path`` of every image and its ``top`` classes, each with ``class``, ``name`` and ``probability``.

        The name of a synset is its lemmas, ``goldfish, Carassius auratus`` for example; of other classes it is the
        class. Probabilities have 6 significant digits. With features the list is empty.
        """
        if self.outputs is None or self.probabilities is None:
            return []
        classes = [{"class": name, "name": readable_name(name) or name} for name in map(_encodable, self.class_names)]
        return [
            {"path": path, "top": [{**classes[i], "probability": _rounded(p)} for i, p in zip(outputs, probabilities)]}
            for path, outputs, probabilities in zip(self.paths, self.outputs, self.probabilities.tolist())
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values, ready for JSON: without features."""
        return {**super().to_dict(), "predictions": self.predictions}

    def to_columns(self, flat_features: bool) -> dict[str, Sequence[Any]]:
        """Return the columns of a file, one row per image.

        They are ``path``, and ``class_1``, ``name_1``, ``probability_1`` and so on, as in :attr:`predictions`; or the
        features.

        Args:
            flat_features: Whether features are in columns ``feature_0``, ``feature_1``, ... instead of one column
                ``features`` of arrays.
        """
        columns: dict[str, Sequence[Any]] = {"path": self.paths}
        if self.features is not None:
            flat = {f"feature_{i}": column for i, column in enumerate(self.features.T)}
            return {**columns, **(flat if flat_features else {"features": self.features})}
        predictions = self.predictions
        for k in range(self.top or 0):
            for key in ("class", "name", "probability"):
                columns[f"{key}_{k + 1}"] = [prediction["top"][k][key] for prediction in predictions]
        return columns


def predict(
    model: str | nn.Module,
    images: Images | Sequence[Images],
    *,
    weights: str | Path | None = None,
    top: int = 5,
    features: bool = False,
    batch_size: int = 64,
    size: int | None = None,
    crop_pct: float | None = None,
    interpolation: str | None = None,
    precision: str = "fp32",
    form: str | None = None,
    fold: bool = True,
    workers: int | None = None,
    device: str = "auto",
    model_kwargs: Mapping[str, Any] | None = None,
    skip_bad_images: bool = False,
    progress: bool = False,
) -> PredictionResult:
    """Predict the classes of images, or compute their features. Preprocessing is that of :func:`wavenet_zoo.evaluate`.

    Under torchrun each process predicts a share of the images of rank 0, and gets the results of all.

    Args:
        model: Name, with or without a tag; weights alone, see :func:`wavenet_zoo.weights.locations.resolve_model`; a
            file of :func:`wavenet_zoo.export`; or a module with timm's ``pretrained_cfg``, which is moved to the
            device and set to evaluation mode.
        images: A file, a folder, a wildcard, or a PIL image, or a sequence of these, see
            :func:`wavenet_zoo.data.unlabelled.find_images`.
        weights: A tag, a file, or ``none`` for random weights. Default: the model's pretrained weights.
        top: Number of classes per image, at most the number of outputs.
        features: Compute pooled features, the input of the classifier, instead of classes.
        batch_size: Images per batch. The result does not depend on it, except for rounding.
        size: Input size in pixels. Default: that of the weights.
        crop_pct: Fraction of the resized image that is cropped. Default: that of the weights.
        interpolation: Interpolation of the resize. Default: that of the weights.
        precision: ``fp32``, or ``bf16`` for autocast.
        form: How WaveletNet's units compute DFWT and WConv: ``factored``, ``dense``, ``split``, ``split2``,
            ``halves``, ``auto`` or a file of forms. Default: ``dense``, or ``factored`` without folding. All forms
            are equal up to rounding.
        fold: Fold batch norms into convolutions. False runs the network as it was trained.
        workers: Loader workers, 0 for PIL images. Default: one per available CPU, at most 8 and one per 64 images.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        model_kwargs: Model arguments.
        skip_bad_images: Skip and list images that cannot be decoded, instead of raising.
        progress: Show progress on stderr.

    Returns:
        Predictions, as arrays ``outputs`` and ``probabilities`` or as dicts in ``predictions``, or ``features``.

    Raises:
        WavezooError: If the model, the weights or the images are missing or damaged, or do not match.
    """
    if top < 1:
        raise WavezooError(f"top {top}: must be at least 1")
    if features and isinstance(model, str) and is_exported_file(model):
        raise WavezooError(f"{model}: exported files have no features, only outputs", "use the weights file")
    with preserve_rng_state(), init_distributed(device) as distributed:
        source = _find(images, distributed)
        opened = open_model(model, weights, model_kwargs, form, fold, distributed.device)
        known, num_classes = opened.weights, opened.network.num_classes
        if known.kind == "random":
            logger.info("weights: %s", known.describe())
        options = [opened.name, top, features, size, crop_pct, interpolation, precision]
        distributed.check_equal(weights=str(known.sha256), options=" ".join(map(str, options)))
        preprocessing = opened.preprocessing(size, crop_pct, interpolation)
        check_input(opened.network, preprocessing.input_size)
        share = len(range(distributed.rank, len(source.targets), distributed.world_size))
        if workers is None:
            workers = default_workers(source.in_memory, distributed.local_world_size)
            workers = min(workers, share // IMAGES_PER_WORKER)
        elif workers and source.in_memory:
            raise WavezooError(f"workers {workers}: PIL images are in this process", "pass workers=0")
        loader = evaluation_loader(
            source,
            evaluation_transform(preprocessing, normalized=False),
            [0],
            batch_size,
            workers,
            distributed.device.type == "cuda",
            distributed.rank,
            distributed.world_size,
        )
        network = opened.prepare(form, preprocessing.input_size, distributed.device, progress)
        batches = forward_batches(
            _Features(network) if features else network,
            loader,
            source,
            preprocessing,
            distributed.device,
            log := ForwardLog(),
            precision=precision,
            skip_bad_images=skip_bad_images,
        )
        show = progress and distributed.is_rank_zero and share > batch_size
        with Progress("predicting", share, enabled=show) as bar:
            parts = list(_parts(batches, source, None if features else top, bar))
        parts = list(chain.from_iterable(distributed.all_gather(parts)))
        if not parts:
            raise WavezooError(f"no image can be decoded, for example {source.describe(0)}")
        indices, *arrays = (np.concatenate(every) for every in zip(*parts))
        order = np.argsort(indices)
        indices, arrays = indices[order], [array[order] for array in arrays]
        skipped = np.setdiff1d(np.arange(len(source.targets)), indices)
        return PredictionResult(
            model=opened.name,
            weights={**known.to_dict(), "description": known.describe()},
            preprocessing={**preprocessing.to_dict(), "description": str(preprocessing)},
            images=len(indices),
            top=None if features else arrays[0].shape[1],
            feature_dim=arrays[0].shape[1] if features else None,
            skipped=[source.describe(int(index)) for index in skipped],
            seconds=log.seconds,
            images_per_second=len(indices) / log.seconds,
            form=str(opened.form),
            folded=opened.folded,
            precision=opened.precision or precision,
            batch_size=batch_size,
            workers=workers,
            processes=distributed.world_size,
            environment=describe_environment(distributed.device),
            date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            paths=[source.relative_path(int(index)) for index in indices],
            class_names=output_names(known.metadata.classes, num_classes),
            outputs=None if features else arrays[0],
            probabilities=None if features else arrays[1],
            features=arrays[0] if features else None,
        )


def _find(images: Images | Sequence[Images], distributed: Distributed) -> UnlabelledImages:
    """Return the images of rank 0."""
    arguments = [images] if isinstance(images, str | Path | Image.Image) else list(images)
    found: UnlabelledImages | WavezooError | None = None
    if distributed.is_rank_zero:
        try:
            found = find_images(arguments)
        except WavezooError as error:
            found = error
    found = distributed.broadcast(found)
    if isinstance(found, UnlabelledImages):
        return found
    raise found


class _Features(nn.Module):
    """Pooled features (B, D) of a timm model."""

    def __init__(self, network: Any):
        super().__init__()
        if not hasattr(network, "forward_head"):
            raise WavezooError(f"{type(network).__name__} has no features", "use a timm model")
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.network.forward_head(self.network.forward_features(x), pre_logits=True)
        return features.flatten(1)


def _parts(
    batches: Iterator[Outputs], source: UnlabelledImages, top: int | None, bar: Progress
) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield of every batch the indices, the best outputs and their probabilities; or indices and features.

    Args:
        batches: Outputs of the model.
        source: The images.
        top: Number of outputs per image; None for features.
        bar: Progress bar.
    """
    for batch in batches:
        bar.advance(batch.images)
        if batch.logits is None:
            continue
        finite = batch.logits.isfinite().all(1).cpu()
        if not finite.all():
            image = source.describe(int(batch.indices[~finite][0]))
            hint = "check the weights, or use --precision fp32"
            raise WavezooError(f"{image}: the outputs of the model are not finite", hint)
        values = _best(batch.logits, top) if top else (batch.logits.float(),)
        yield (batch.indices.numpy(), *(value.cpu().numpy() for value in values))


def _best(logits: torch.Tensor, top: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the outputs with the highest scores, (B, K), and their probabilities, computed as in evaluation."""
    logits = logits.to(torch.float32 if logits.device.type == "mps" else torch.float64)
    outputs = top_outputs(logits, min(top, logits.shape[1]))
    return outputs, logits.softmax(1).gather(1, outputs)


def _rounded(probability: float) -> float:
    return float(f"{probability:.{DIGITS}g}")


def _encodable(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()  # lone surrogates cannot be written as UTF-8
