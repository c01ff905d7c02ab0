"""Evaluate a model on labelled images: top-1, top-5 and loss, with everything that they depend on."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import nn

from wavenet_zoo.data.agreement import check_same_images
from wavenet_zoo.data.classes import imagenet_classes, match_classes, output_names, unique_names
from wavenet_zoo.data.image_hashes import hash_images
from wavenet_zoo.data.label_sets import REAL, LabelSet, class_names, real_labels, recognize_label_set
from wavenet_zoo.data.loaders import evaluation_loader
from wavenet_zoo.data.open import NAMED_DATA, is_named, open_data
from wavenet_zoo.data.preprocessing import Preprocessing, evaluation_transform
from wavenet_zoo.data.sources import ImageSource
from wavenet_zoo.data.subsets import SubsetImages, limit_images
from wavenet_zoo.data.workers import default_workers
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.evaluation.metrics import evaluate_loader, score
from wavenet_zoo.evaluation.model import OpenedModel, open_model
from wavenet_zoo.evaluation.predictions import Predictions
from wavenet_zoo.evaluation.result import Evaluation
from wavenet_zoo.runtime.distributed import Distributed, init_distributed
from wavenet_zoo.runtime.environment import describe_environment
from wavenet_zoo.runtime.progress import Progress
from wavenet_zoo.runtime.seeds import preserve_rng_state
from wavenet_zoo.weights.input_check import check_input
from wavenet_zoo.weights.loading import Weights
from wavenet_zoo.weights.manifest import list_entries
from wavenet_zoo.weights.metadata import WeightsMetadata

__all__ = ["Evaluation", "PreparedEvaluation", "evaluate", "prepare_evaluation"]

logger = logging.getLogger(__name__)

Among = Literal["all", "data"]


def evaluate(
    model: str | nn.Module,
    weights: str | Path | None = None,
    data: str | Path | None = None,
    *,
    split: str = "val",
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
    among: Among | None = None,
    labels: Literal["real"] | None = None,
    limit: str | int | float | None = None,
    per_class: bool = False,
    skip_bad_images: bool = False,
    progress: bool = False,
) -> Evaluation:
    """Evaluate a timm model, an exported file or a module.

    Args:
        model: Name, with or without a tag; weights alone, see :func:`wavenet_zoo.weights.locations.resolve_model`; a
            file of :func:`wavenet_zoo.export`; or a module with timm's ``pretrained_cfg``, which is moved to the
            device and set to evaluation mode.
        weights: A tag, a file, or ``none`` for random weights. Default: the model's pretrained weights.
        data: Folder or name, see :func:`wavenet_zoo.data.open.open_data`. Default: the data set of the weights.
        split: ``train``, ``val`` or ``test``. ``val`` is the test split of data without a validation split.
        batch_size: Images per batch. The result does not depend on it, except for rounding.
        size: Input size in pixels. Default: that of the weights.
        crop_pct: Fraction of the resized image that is cropped. Default: that of the weights.
        interpolation: Interpolation of the resize. Default: that of the weights.
        precision: ``fp32``, or ``bf16`` for autocast.
        form: How WaveletNet's units compute DFWT and WConv: ``factored``, ``dense``, ``split``, ``split2``,
            ``halves``, ``auto`` or a file of forms. Default: ``dense``, or ``factored`` without folding. All forms
            are equal up to rounding.
        fold: Fold batch norms into convolutions. False evaluates the network as it was trained.
        workers: Loader workers. Default: one per available CPU, at most 8; 0 for images in memory.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        model_kwargs: Model arguments.
        among: Which outputs are scored, for data that has some of the model's classes only: ``all``, or those of the
            ``data``. Default: ``all``, except for ImageNet-A and ImageNet-R.
        labels: ``real`` for the labels of ImageNet-ReaL, on the validation images of ImageNet.
        limit: Number of images to evaluate, or a fraction of them: every k-th image of every class.
        per_class: Count images per class too.
        skip_bad_images: Skip and list images that cannot be decoded, instead of raising.
        progress: Show progress on stderr.

    Raises:
        WavezooError: If the model, the weights or the data are missing or damaged, or do not match.
    """
    with preserve_rng_state(), init_distributed(device) as distributed:
        return prepare_evaluation(
            model,
            weights,
            data,
            distributed=distributed,
            split=split,
            batch_size=batch_size,
            size=size,
            crop_pct=crop_pct,
            interpolation=interpolation,
            precision=precision,
            form=form,
            fold=fold,
            workers=workers,
            model_kwargs=model_kwargs,
            among=among,
            labels=labels,
            limit=limit,
            per_class=per_class,
            skip_bad_images=skip_bad_images,
            progress=progress,
        ).run()


@dataclass
class PreparedEvaluation:
    """A model and its data, checked and ready to be evaluated. Its attributes are those of :class:`Evaluation`.

    Attributes:
        opened: The model with its weights.
        source: The images.
        whole_fingerprint: Fingerprint of the data that they were selected from.
        class_indices: Output of each class of the data.
        complete: Whether all outputs are classes of the data, so that there is one way of scoring.
        valid_labels: Valid outputs of each image; None if its label is the only one.
        transform: How images become tensors.
        distributed: Process group.
        form: Form of WaveletNet's units.
    """

    opened: OpenedModel
    source: ImageSource
    whole_fingerprint: str
    class_indices: list[int]
    complete: bool
    valid_labels: Sequence[tuple[int, ...]] | None
    transform: Preprocessing
    distributed: Distributed
    label_set: dict[str, str] | None
    among: Among
    limit: dict[str, int] | None
    precision: str
    batch_size: int
    workers: int
    form: str | None
    per_class: bool
    skip_bad_images: bool
    progress: bool

    def __post_init__(self) -> None:
        known, source = self.opened.weights, self.source
        self.model = self.opened.name
        self.weights = {**known.to_dict(), "description": known.describe()}
        self.data: dict[str, Any] = {
            "name": source.name,
            "split": source.split,
            "images": len(source.targets),
            "classes": len(source.classes),
            "fingerprint": source.fingerprint(),
        }
        self.preprocessing = {**self.transform.to_dict(), "description": str(self.transform)}

    def class_names(self) -> list[str]:
        """Return the unique name of every output."""
        classes, num_classes = self.opened.weights.metadata.classes, self.opened.network.num_classes
        return output_names(classes, num_classes, self.source.classes, self.class_indices)

    def image_labels(self) -> dict[str, str]:
        """Return the name of the label of every image, by its path relative to the data."""
        names, source = self.class_names(), self.source
        return {source.relative_path(i): names[self.class_indices[t]] for i, t in enumerate(source.targets)}

    def run(self) -> Evaluation:
        """Evaluate the model.

        Raises:
            WavezooError: If an image cannot be decoded, or the outputs are not finite.
        """
        opened, source, distributed = self.opened, self.source, self.distributed
        param_count = sum(parameter.numel() for parameter in opened.network.parameters()) or None
        loader = evaluation_loader(
            source,
            evaluation_transform(self.transform, normalized=False),
            self.class_indices,
            self.batch_size,
            self.workers,
            distributed.device.type == "cuda",
            distributed.rank,
            distributed.world_size,
        )
        network = opened.prepare(self.form, self.transform.input_size, distributed.device, self.progress)
        overlap, known = None, opened.weights
        if known.images is not None:
            threads = max(1, self.workers)
            hashes = hash_images(source, threads=threads, distributed=distributed, progress=self.progress)
            overlap = known.images.count(hashes)
        share = len(range(distributed.rank, len(source.targets), distributed.world_size))
        with Progress("evaluating", share, enabled=self.progress and distributed.is_rank_zero) as bar:
            metrics = evaluate_loader(
                network,
                loader,
                source,
                self.transform,
                distributed.device,
                precision=self.precision,
                skip_bad_images=self.skip_bad_images,
                valid_labels=self.valid_labels,
                outputs=None if self.complete else self.class_indices,
                progress=bar,
                distributed=distributed,
            )
        scored = metrics.predictions
        scores = {among: score(predictions) for among, predictions in scored.items()}
        if not all(math.isfinite(s.loss) for s in scores.values()):
            raise WavezooError("the model's outputs are not finite", "check the weights, or use --precision fp32")
        predictions = replace(
            scored[self.among],
            paths=[source.relative_path(int(index)) for index in scored[self.among].indices],
            class_names=self.class_names(),
            scoring=self.among if self.valid_labels is None else "real",
        )
        return Evaluation(
            model=self.model,
            weights=self.weights,
            data={
                **self.data,
                "overlap": overlap,
                "seen": _seen(overlap, len(source.targets), self.whole_fingerprint, known.metadata),
            },
            preprocessing=self.preprocessing,
            **vars(scores[self.among]),
            among=self.among,
            scores=scores,
            label_set=self.label_set,
            limit=self.limit,
            param_count=param_count,
            skipped=metrics.skipped,
            per_class=_per_class(predictions, source.classes, self.class_indices) if self.per_class else None,
            seconds=metrics.seconds,
            images_per_second=len(predictions.labels) / metrics.seconds,
            form=str(opened.form),
            folded=opened.folded,
            time={
                "waiting": metrics.waiting_seconds,
                "model": metrics.model_seconds,
                "decoding": metrics.decoding_seconds,
            },
            precision=self.opened.precision or self.precision,
            batch_size=self.batch_size,
            workers=self.workers,
            processes=distributed.world_size,
            environment=describe_environment(distributed.device),
            predictions=predictions,
            source=source,
            date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )


def prepare_evaluation(
    model: str | nn.Module,
    weights: str | Path | None,
    data: str | Path | None,
    *,
    distributed: Distributed,
    split: str = "val",
    batch_size: int = 64,
    size: int | None = None,
    crop_pct: float | None = None,
    interpolation: str | None = None,
    precision: str = "fp32",
    form: str | None = None,
    fold: bool = True,
    workers: int | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    among: Among | None = None,
    labels: Literal["real"] | None = None,
    limit: str | int | float | None = None,
    per_class: bool = False,
    skip_bad_images: bool = False,
    progress: bool = False,
) -> PreparedEvaluation:
    """Open a model and its data, and check that they match. The arguments are those of :func:`evaluate`.

    Raises:
        WavezooError: If the model, the weights or the data are missing or damaged, or do not match.
    """
    for name, value, accepted in (("among", among, ("all", "data")), ("labels", labels, ("real",))):
        if value not in (None, *accepted):
            raise WavezooError(f"{name}: '{value}' is not one of {', '.join(accepted)}")
    if batch_size < 1:
        raise WavezooError(f"batch_size {batch_size}: must be at least 1")
    opened = open_model(model, weights, model_kwargs, form, fold, distributed.device)
    network, known = opened.network, opened.weights
    if known.kind == "random":
        logger.info("weights: %s", known.describe())
    location = data if data is not None else _default_data(opened.name, known)
    overrides = [size, crop_pct, interpolation, precision, among, labels, limit]
    options = [opened.name, split, *overrides, is_named(str(location))]
    distributed.check_equal(weights=str(known.sha256), options=" ".join(str(option) for option in options))
    with distributed.rank_zero_first(is_named(str(location))):
        source = open_data(location, split)
    whole, label_set = source, recognize_label_set(source)
    valid: Sequence[tuple[int, ...]] | None = None
    if labels == "real":
        if among == "data":
            raise WavezooError("--labels real: is scored among all classes", "remove --among data")
        label_set, (source, real) = REAL, real_labels(source)
        valid = _outputs_of_labels(real, opened)
    available = len(source.targets)
    if limit is not None:
        limited = limit_images(source, str(limit))
        if limited is not source and valid is not None and isinstance(limited, SubsetImages):
            valid = [valid[index] for index in limited.indices]
        source = limited
    check_same_images(distributed, evaluated=source)
    try:
        names = class_names(source, label_set, known.metadata.classes)
        class_indices = match_classes(names, known.metadata.classes, network.num_classes)
    except WavezooError as error:
        raise WavezooError(error.message, _available_weights(opened.name) + error.hint) from error
    complete = len(source.classes) == network.num_classes or valid is not None
    if not complete:
        classes, every = len(source.classes), network.num_classes
        logger.info("classes: %s of the model's %s, matched by name", f"{classes:,}", f"{every:,}")
    transform = opened.preprocessing(size, crop_pct, interpolation)
    check_input(network, transform.input_size)
    used: Among = "all" if complete else among or (label_set.among if label_set else "all")
    return PreparedEvaluation(
        opened=opened,
        source=source,
        whole_fingerprint=whole.fingerprint(),
        class_indices=class_indices,
        complete=complete,
        valid_labels=valid,
        transform=transform,
        distributed=distributed,
        label_set=_describe_label_set(label_set, used) if label_set else None,
        among=used,
        limit={"images": count, "of": available} if (count := len(source.targets)) < available else None,
        precision=precision,
        batch_size=batch_size,
        workers=default_workers(source.in_memory, distributed.local_world_size) if workers is None else workers,
        form=form,
        per_class=per_class,
        skip_bad_images=skip_bad_images,
        progress=progress,
    )


def _describe_label_set(label_set: LabelSet, among: Among) -> dict[str, str]:
    names = {"all": "all classes of the model", "data": "the classes of the data"}
    overridden = f" by default; overridden: among {names[among]}" if among != label_set.among else ""
    return {"name": label_set.name, "description": label_set.description + overridden}


def _outputs_of_labels(labels: Sequence[tuple[int, ...]], opened: OpenedModel) -> list[tuple[int, ...]]:
    """Return the outputs of a model for numbers of ImageNet's classes."""
    try:
        synsets = imagenet_classes(1000) or []
        outputs = match_classes(synsets, opened.weights.metadata.classes, opened.network.num_classes)
    except WavezooError as error:
        message = f"{opened.name}: --labels real requires the 1,000 classes of ImageNet"
        raise WavezooError(f"{message}, and the model has {opened.network.num_classes:,} others") from error
    return [tuple(outputs[label] for label in own) for own in labels]


def _seen(overlap: Mapping[str, int] | None, images: int, fingerprint: str, metadata: WeightsMetadata) -> str | None:
    if overlap is None:  # the fingerprint of a folder depends on names and sizes of files only
        known = {metadata.data_fingerprint: "training", metadata.validation_fingerprint: "validation"}
        return known.get(fingerprint)
    for split in ("training", "validation"):
        if overlap[split] == images:
            return split
    return "partly" if any(overlap.values()) else "neither"


def _available_weights(model: str) -> str:
    architecture = model.partition(".")[0]
    entries = [entry for entry in list_entries().values() if entry.name.partition(".")[0] == architecture]
    return "".join(f"{e.name} is for the {len(e.classes or [])} classes of {e.data}; " for e in entries)


def _default_data(model: str, weights: Weights) -> str:
    data = weights.metadata.data
    if data in NAMED_DATA:
        return data
    trained = f": its weights were trained on {data}, which is not included" if data else ""
    raise WavezooError(f"{model} requires data to be evaluated on{trained}", "pass --data DIR or NAME")


def _per_class(predictions: Predictions, classes: Sequence[str], class_indices: list[int]) -> dict[str, dict[str, int]]:
    least = max(class_indices) + 1
    images = np.bincount(predictions.labels, minlength=least)
    correct = np.bincount(predictions.labels[predictions.correct], minlength=least)
    names = unique_names(classes, class_indices)
    return {
        name: {"images": int(images[index]), "correct": int(correct[index])}
        for name, index in zip(names, class_indices)
    }
