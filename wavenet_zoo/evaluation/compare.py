"""Compare models on the same images: is the difference of their accuracies more than chance?"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np

from wavenet_zoo.deployment.exported import is_exported_file
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.evaluation.evaluate import PreparedEvaluation, prepare_evaluation
from wavenet_zoo.evaluation.paired import difference_interval, holm, mcnemar
from wavenet_zoo.evaluation.predictions import Predictions
from wavenet_zoo.evaluation.result import Evaluation
from wavenet_zoo.evaluation.saved_predictions import is_predictions_file, read_predictions
from wavenet_zoo.evaluation.statistics import CONFIDENCE, wilson_interval
from wavenet_zoo.runtime.distributed import init_distributed
from wavenet_zoo.runtime.files import expand
from wavenet_zoo.runtime.results import NOT_IN_JSON, Result
from wavenet_zoo.runtime.seeds import preserve_rng_state
from wavenet_zoo.weights.loading import check_model_name
from wavenet_zoo.weights.locations import is_location, resolve_model

__all__ = ["SIGNIFICANT", "ClassCounts", "ComparedModel", "Comparison", "Pair", "compare"]

logger = logging.getLogger(__name__)

SIGNIFICANT = 0.05  # p-value, after Holm's correction, below which a difference is called one


@dataclass
class ComparedModel:
    """A model of a comparison.

    Attributes:
        name: Unique name in this comparison.
        weights: Description of its weights, or the file of its predictions.
        top1: Percentage of images whose label scored highest.
        interval: Wilson's 95 % interval of ``top1`` alone. That those of two models overlap says nothing about their
            difference.
        correct: Number of images behind ``top1``.
        evaluation: Its evaluation; None for saved predictions.
        predictions: Its predictions, for the images in the order of the first model.
    """

    name: str
    weights: str
    top1: float
    interval: tuple[float, float]
    correct: int
    evaluation: Evaluation | None
    predictions: Predictions = field(repr=False, metadata=NOT_IN_JSON)


@dataclass
class Pair:
    """Two models of a comparison, A and B.

    Attributes:
        a: Name of the first.
        b: Name of the second.
        difference: Top-1 of B minus top-1 of A, in percentage points.
        interval: 95 % interval of ``difference``, of paired proportions.
        p: Exact two-sided p-value of McNemar's test.
        p_holm: The same after Holm's correction for the number of pairs.
        agreement: Percentage of images for which both predict the same class.
        only_a: Number of images that only A gets right.
        only_b: Number of images that only B gets right.
        only_a_paths: Their paths.
        only_b_paths: Their paths.
    """

    a: str
    b: str
    difference: float
    interval: tuple[float, float]
    p: float
    p_holm: float
    agreement: float
    only_a: int
    only_b: int
    only_a_paths: list[str] = field(repr=False)
    only_b_paths: list[str] = field(repr=False)

    @property
    def is_significant(self) -> bool:
        """Whether chance is an unlikely explanation of the difference: ``p_holm`` is below 0.05."""
        return self.p_holm < SIGNIFICANT

    @property
    def possible_drop(self) -> float:
        """Points of top-1 that B may have lost against A: the upper end of the interval of the loss."""
        return -self.interval[0]


@dataclass
class ClassCounts:
    """The images of one class.

    Attributes:
        name: Name of the class.
        images: Number of its images.
        correct: Number of those that each model gets right.
    """

    name: str
    images: int
    correct: list[int]


@dataclass
class Comparison(Result):
    """Result of :func:`compare`.

    Attributes:
        images: Number of images, the same for all models.
        confidence: Confidence of every interval.
        models: The models; the first is the baseline.
        pairs: Every pair of models, those with the baseline first.
        per_class: Counts of every class of the images, by name.
    """

    images: int
    confidence: float
    models: list[ComparedModel]
    pairs: list[Pair]
    per_class: list[ClassCounts]

    @property
    def baseline_pairs(self) -> list[Pair]:
        """The pairs of the baseline and each other model."""
        return self.pairs[: len(self.models) - 1]  # combinations() starts with those of the first

    def most_different_classes(self, model: int, count: int) -> list[ClassCounts]:
        """Return the classes in which a model and the baseline differ most in the number of correct images.

        They are picked from all classes, so some differ by chance alone.

        Args:
            model: Index of the model.
            count: Largest number of classes. Classes without a difference are not among them.
        """
        different = [c for c in self.per_class if c.correct[model] != c.correct[0]]
        return sorted(different, key=lambda c: -abs(c.correct[model] - c.correct[0]))[:count]


def compare(
    models: Sequence[str | Path],
    data: str | Path | None = None,
    *,
    weights: str | Path | None = None,
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
    among: Literal["all", "data"] | None = None,
    labels: Literal["real"] | None = None,
    limit: str | int | float | None = None,
    skip_bad_images: bool = False,
    progress: bool = False,
) -> Comparison:
    """Compare the top-1 accuracy of models on the same images.

    Whether two models differ depends on the images that only one of them gets right. For each pair of models there is
    a 95 % interval of the difference and the exact p-value of McNemar's test, see
    :mod:`wavenet_zoo.evaluation.paired`.

    Args:
        models: At least two of: what :func:`wavenet_zoo.evaluate` accepts as a model, by name or path, and files of
            saved predictions (csv, jsonl or parquet). The first is the baseline.
        data: Folder or name, see :func:`wavenet_zoo.data.open.open_data`. Default: the data set of the weights. Not
            used for saved predictions.
        weights: Weights of the models that are given by name: a tag, a file, or ``none``. Default: the pretrained
            weights of each.
        split: ``train``, ``val`` or ``test``.
        batch_size: Images per batch.
        size: Input size in pixels. Default: that of the weights of each model.
        crop_pct: Fraction of the resized image that is cropped. Default: that of the weights of each model.
        interpolation: Interpolation of the resize. Default: that of the weights of each model.
        precision: ``fp32``, or ``bf16`` for autocast.
        form: How WaveletNet's units compute DFWT and WConv, except in exported files, see
            :func:`wavenet_zoo.evaluate`.
        fold: Fold batch norms into convolutions.
        workers: Loader workers. Default: one per available CPU, at most 8; 0 for images in memory.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        model_kwargs: Model arguments, except of exported files.
        among: ``data`` or ``all``: the outputs among which the highest is the prediction.
        labels: ``real`` for the labels of ImageNet-ReaL.
        limit: Number or fraction of the images to evaluate.
        skip_bad_images: Skip images that cannot be decoded, instead of raising. All models skip the same.
        progress: Show progress on stderr.

    Raises:
        WavezooError: If there are fewer than two models, a model, weights, data or predictions are missing or
            damaged, or images or labels differ.
    """
    if isinstance(models, str | Path) or not all(isinstance(model, str | Path) for model in models):
        raise WavezooError("models: expected a sequence of names and paths")
    given = [str(model) for model in models]
    if len(given) < 2:
        raise WavezooError(f"a comparison requires at least two models, got {len(given)}", "pass a baseline and others")
    options: dict[str, Any] = dict(
        split=split, batch_size=batch_size, size=size, crop_pct=crop_pct, interpolation=interpolation,
        precision=precision, workers=workers, among=among, labels=labels, limit=limit,
        skip_bad_images=skip_bad_images, progress=progress,
    )  # fmt: skip
    of_the_network: dict[str, Any] = dict(form=form, fold=fold, model_kwargs=model_kwargs)
    saved = {i: read_predictions(model) for i, model in enumerate(given) if is_predictions_file(model)}
    for model in (model for i, model in enumerate(given) if i not in saved):
        _check_model(model)
    reference = _Reference()
    for i, predictions in saved.items():
        saved[i] = reference.align(predictions, given[i])
    evaluations: dict[int, Evaluation] = {}
    with preserve_rng_state(), init_distributed(device) as distributed:
        prepared: dict[int, PreparedEvaluation] = {}
        for i, model in enumerate(given):  # all of them before the first runs: a mistake is found at once
            if i in saved:
                continue
            specific = {} if is_exported_file(model) else of_the_network
            named = not is_exported_file(model) and not is_location(model)
            prepared[i] = prepare_evaluation(
                model, weights if named else None, data, distributed=distributed, **specific, **options
            )
            if not skip_bad_images:
                reference.check(prepared[i].image_labels(), model)
        for i, evaluation in prepared.items():
            logger.info("model %d of %d: %s", i + 1, len(given), given[i])
            evaluations[i] = evaluation.run()
            saved[i] = reference.align(evaluations[i].predictions, given[i])
    return _summarize(given, [saved[i] for i in range(len(given))], evaluations)


def _check_model(model: str) -> None:
    """Check before the first evaluation that a model exists.

    Raises:
        WavezooError: If it does not.
    """
    if is_exported_file(model):
        if not expand(model).exists():
            raise WavezooError(f"{model}: file not found", "'wavezoo export' writes such files")
    elif is_location(model):
        resolve_model(model)
    else:
        check_model_name(model)


class _Reference:
    """The images and labels that all models must have: those of the first predictions."""

    def __init__(self) -> None:
        self.name = ""
        self.labels: dict[str, str] = {}
        self.scoring = ""

    def align(self, predictions: Predictions, name: str) -> Predictions:
        """Return predictions in the order of the first ones.

        Raises:
            WavezooError: If images, labels or the way of scoring differ, with the first difference.
        """
        labels = {path: predictions.class_names[i] for path, i in zip(predictions.paths, predictions.labels)}
        if not self.labels:
            self.name, self.labels, self.scoring = name, labels, predictions.scoring
            return predictions
        if predictions.scoring and self.scoring not in ("", predictions.scoring):
            raise WavezooError(
                f"{self.name} and {name}: are scored differently: '{self.scoring}' and '{predictions.scoring}'",
                "evaluate both with the same --among and --labels",
            )
        self.check(labels, name)
        rows = {path: row for row, path in enumerate(predictions.paths)}
        order = np.array([rows[path] for path in self.labels])
        ordered = {name: value[order] for name, value in vars(predictions).items() if isinstance(value, np.ndarray)}
        return replace(predictions, paths=list(self.labels), **ordered)

    def check(self, labels: Mapping[str, str], name: str) -> None:
        """Check images and their labels, by path, against the first ones, if there are any.

        Raises:
            WavezooError: If they differ, with the first difference.
        """
        if not self.labels:
            return
        hint = "compare predictions on the same data, split and limit"
        for one, other, owner in ((self.labels, labels, self.name), (labels, self.labels, name)):
            missing = next((path for path in one if path not in other), None)
            if missing is not None:
                numbers = f"{len(self.labels):,} and {len(labels):,}"
                message = f"their images differ ({numbers}): '{missing}' is only in {owner}"
                raise WavezooError(f"{self.name} and {name}: {message}", hint)
        for path, label in self.labels.items():
            if labels[path] != label:
                message = f"their labels differ: '{path}' is '{label}' in the first and '{labels[path]}' in the second"
                raise WavezooError(f"{self.name} and {name}: {message}", hint)


def _summarize(
    given: Sequence[str], predictions: Sequence[Predictions], evaluations: Mapping[int, Evaluation]
) -> Comparison:
    names = _unique_names(given, evaluations)
    images = len(predictions[0].paths)
    models = []
    for i, (name, of_model) in enumerate(zip(names, predictions)):
        correct = int(of_model.correct.sum())
        evaluation = evaluations.get(i)
        models.append(
            ComparedModel(
                name=name,
                weights=evaluation.weights["description"] if evaluation else given[i],
                top1=100 * correct / images,
                interval=wilson_interval(correct, images),
                correct=correct,
                evaluation=evaluation,
                predictions=of_model,
            )
        )
    pairs = [_compare_pair(a, b) for a, b in combinations(models, 2)]
    for pair, p_holm in zip(pairs, holm([pair.p for pair in pairs])):
        pair.p_holm = p_holm
    return Comparison(images, CONFIDENCE, models, pairs, _count_per_class(predictions))


def _compare_pair(a: ComparedModel, b: ComparedModel) -> Pair:
    first, second = a.predictions, b.predictions
    only_a, only_b = first.correct & ~second.correct, second.correct & ~first.correct
    counts = int(only_a.sum()), int(only_b.sum())
    images = len(first.paths)
    p = mcnemar(*counts)
    same = _predicted(first) == _predicted(second)
    return Pair(
        a=a.name,
        b=b.name,
        difference=100 * (counts[1] - counts[0]) / images,
        interval=difference_interval(*counts, images),
        p=p,
        p_holm=p,
        agreement=100 * float(same.mean()),
        only_a=counts[0],
        only_b=counts[1],
        only_a_paths=[first.paths[i] for i in only_a.nonzero()[0]],
        only_b_paths=[first.paths[i] for i in only_b.nonzero()[0]],
    )


def _predicted(predictions: Predictions) -> np.ndarray:
    """Return the name of the prediction of every image."""
    return np.array(predictions.class_names, object)[predictions.top[:, 0]]


def _count_per_class(predictions: Sequence[Predictions]) -> list[ClassCounts]:
    first = predictions[0]
    counts = []
    for label in np.unique(first.labels):
        of_class = first.labels == label
        correct = [int(model.correct[of_class].sum()) for model in predictions]
        counts.append(ClassCounts(first.class_names[label], int(of_class.sum()), correct))
    return sorted(counts, key=lambda c: c.name)


def _unique_names(given: Sequence[str], evaluations: Mapping[int, Evaluation]) -> list[str]:
    """Return the name of every model; if several have the same, what distinguishes them in what the user gave."""
    names = [evaluations[i].model if i in evaluations else Path(model).stem for i, model in enumerate(given)]
    for others in (
        [Path(model).name for model in given],
        given,
        [f"{model} ({i})" for i, model in enumerate(given, 1)],
    ):
        counts = Counter(names)
        names = [other if counts[name] > 1 else name for name, other in zip(names, others)]
    return names
