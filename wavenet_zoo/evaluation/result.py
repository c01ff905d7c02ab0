"""The result of an evaluation, with everything that it depends on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from wavenet_zoo.data.sources import ImageSource
from wavenet_zoo.evaluation.metrics import Scores
from wavenet_zoo.evaluation.predictions import Predictions
from wavenet_zoo.runtime.environment import package_versions
from wavenet_zoo.runtime.results import NOT_IN_JSON, Result

__all__ = ["Evaluation", "identity", "row_columns", "same_evaluation"]


@dataclass
class Evaluation(Result):
    """Result of :func:`wavenet_zoo.evaluate`.

    Attributes:
        model: Name of the model.
        weights: Description and metadata of the weights.
        data: Name, the split that was read (empty if it is not known), number of images and classes, fingerprint,
            ``overlap``: how many of the images are ``training`` and ``validation`` images of the weights, by content,
            None if unknown, and ``seen``: ``training`` or ``validation`` if all of them are, ``partly`` if some are,
            ``neither`` if none is, None if unknown. Without ``overlap``, ``seen`` compares names and sizes of files.
        preprocessing: How images became tensors, with a description in words.
        top1: Percentage of images whose label scored highest.
        top1_interval: 95 % Wilson interval of ``top1``, in percent.
        top5: Percentage of images whose label is among the five highest scores.
        top5_interval: 95 % Wilson interval of ``top5``, in percent.
        loss: Mean cross entropy.
        loss_standard_error: Standard error of ``loss`` over the images; None for a single image.
        ece: Expected calibration error in 15 bins, on a scale of 0 to 1.
        macro_top1: Mean of the top-1 accuracy of the classes, in percent.
        correct_top1: Number of images behind ``top1``.
        correct_top5: Number of images behind ``top5``.
        images: Number of images evaluated.
        among: The outputs among which the metrics above were scored: ``all``, or those of the classes of the ``data``.
        scores: The metrics among ``all`` and, if the data has some of the model's classes only, among ``data``.
        label_set: Name and description of the convention, for the evaluation sets of ImageNet that have one.
        limit: How many ``images`` were selected by the limit, ``of`` how many; None without one.
        param_count: Number of parameters of the model, before folding; None for an exported file.
        seconds: Wall-clock time from the first batch to the last, decoding included.
        images_per_second: Throughput, decoding included.
        form: Form of WaveletNet's units; ``mixed`` if they differ.
        time: Seconds spent ``waiting`` for images and in the ``model``, and seconds of ``decoding`` summed over the
            loader's workers, of rank 0.
        precision: ``fp32`` or ``bf16``; of an exported file ``fp32`` or ``int8``.
        batch_size: Images per batch.
        workers: Loader workers of each process.
        processes: World size.
        environment: Versions, commit and machine.
        predictions: Prediction for every image, scored as ``among`` says. Not in JSON.
        source: The images. Not in JSON.
        folded: Whether batch norms were folded into convolutions.
        skipped: Images that could not be decoded, with ``skip_bad_images``.
        per_class: Number of images and of correct ones for every class, if requested.
        date: Date and time in UTC.
    """

    model: str
    weights: dict[str, Any]
    data: dict[str, Any]
    preprocessing: dict[str, Any]
    top1: float
    top1_interval: tuple[float, float]
    top5: float
    top5_interval: tuple[float, float]
    loss: float
    loss_standard_error: float | None
    ece: float
    macro_top1: float
    correct_top1: int
    correct_top5: int
    images: int
    among: Literal["all", "data"]
    scores: dict[str, Scores]
    label_set: dict[str, str] | None
    limit: dict[str, int] | None
    param_count: int | None
    seconds: float
    images_per_second: float
    form: str
    time: dict[str, float]
    precision: str
    batch_size: int
    workers: int
    processes: int
    environment: dict[str, Any]
    predictions: Predictions = field(repr=False, metadata=NOT_IN_JSON)
    source: ImageSource = field(repr=False, metadata=NOT_IN_JSON)
    folded: bool = True
    skipped: list[str] = field(default_factory=list)
    per_class: dict[str, dict[str, int]] | None = None
    date: str = ""

    def to_row(self) -> dict[str, Any]:
        """Return the columns of a results CSV, those of timm's results among them."""
        metrics = {name: value(self) for name, value in _METRICS.items()}
        return {"date": self.date, **identity(self), **metrics, **self.environment["versions"]}


def identity(evaluation: Any) -> dict[str, Any]:
    """Return the columns that identify an evaluation before it is run: all that its metrics depend on.

    Args:
        evaluation: An :class:`Evaluation`, or one that is prepared, which has the attributes that are read here.
    """
    return {name: value(evaluation) for name, value in _IDENTITY.items()}


def same_evaluation(wanted: Mapping[str, str], row: Mapping[str, str]) -> bool:
    """Return whether a row of a results CSV has the result of an evaluation that would be run.

    Names of data and, if they have a hash, of weights are not compared: files may have been moved.

    Args:
        wanted: Columns of :func:`identity`, as text.
        row: The row.
    """
    ignored = {"data", "split"}
    if wanted["weights_sha256"]:
        ignored |= {"weights", "model"}  # a hash belongs to one architecture, with or without a tag
    return all(row.get(column) == value for column, value in wanted.items() if column not in ignored)


def row_columns() -> list[str]:
    """Return the columns of :meth:`Evaluation.to_row`, which are known before the evaluation."""
    return ["date", *_IDENTITY, *_METRICS, *package_versions()]


def _join(values: Any, separator: str) -> str:
    return separator.join(str(value) for value in values)


def _describe_kwargs(model_kwargs: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={value}".replace(" ", "") for key, value in sorted(model_kwargs.items()))


_IDENTITY: dict[str, Callable[[Any], Any]] = {
    "model": lambda e: e.model,
    "model_kwargs": lambda e: _describe_kwargs(e.weights["model_kwargs"]),
    "weights": lambda e: e.weights["name"],
    "weights_sha256": lambda e: e.weights["sha256"],
    "data": lambda e: e.data["name"],
    "split": lambda e: e.data["split"],
    "data_fingerprint": lambda e: e.data["fingerprint"],
    "label_set": lambda e: e.label_set["name"] if e.label_set else "",
    "among": lambda e: e.among,
    "limit": lambda e: f"{e.limit['images']} of {e.limit['of']}" if e.limit else "",
    "img_size": lambda e: e.preprocessing["input_size"][-1],
    "input_size": lambda e: _join(e.preprocessing["input_size"], "x"),
    "interpolation": lambda e: e.preprocessing["interpolation"],
    "crop_pct": lambda e: e.preprocessing["crop_pct"],
    "crop_mode": lambda e: e.preprocessing["crop_mode"],
    "mean": lambda e: _join(e.preprocessing["mean"], " "),
    "std": lambda e: _join(e.preprocessing["std"], " "),
    "precision": lambda e: e.precision,
}

_METRICS: dict[str, Callable[[Evaluation], Any]] = {
    "images": lambda e: e.images,
    "top1": lambda e: e.top1,
    "top1_err": lambda e: 100 - e.top1,
    "top1_low": lambda e: e.top1_interval[0],
    "top1_high": lambda e: e.top1_interval[1],
    "top5": lambda e: e.top5,
    "top5_err": lambda e: 100 - e.top5,
    "top5_low": lambda e: e.top5_interval[0],
    "top5_high": lambda e: e.top5_interval[1],
    "macro_top1": lambda e: e.macro_top1,
    "loss": lambda e: e.loss,
    "loss_standard_error": lambda e: e.loss_standard_error,
    "ece": lambda e: e.ece,
    "correct_top1": lambda e: e.correct_top1,
    "correct_top5": lambda e: e.correct_top5,
    "skipped": lambda e: len(e.skipped),
    "param_count": lambda e: round(e.param_count / 1e6, 2) if e.param_count else None,  # in millions, as timm
    "batch_size": lambda e: e.batch_size,
    "images_per_second": lambda e: e.images_per_second,
    "device": lambda e: e.environment["device"],
}
