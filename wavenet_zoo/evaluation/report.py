"""The report of an evaluation: a self-contained HTML file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from wavenet_zoo.data.splits import describe_split
from wavenet_zoo.evaluation.confusion import ConfusedPair, classes_of_data, most_confused
from wavenet_zoo.evaluation.overlap import describe_overlap
from wavenet_zoo.evaluation.page import check_report_path, render_page
from wavenet_zoo.evaluation.report_plots import calibration_svg
from wavenet_zoo.evaluation.result import Evaluation
from wavenet_zoo.evaluation.statistics import calibrate, wilson_interval
from wavenet_zoo.evaluation.thumbnails import MAX_THUMBNAILS, make_thumbnails, most_confident_mistakes
from wavenet_zoo.runtime.files import write_atomically

__all__ = ["check_report_path", "environment_facts", "evaluation_notices", "write_report"]

MAX_PAIRS = 20


@dataclass
class ClassRow:
    """One class in the table of a report; ``interval`` is the 95 % interval of ``accuracy``, in percent."""

    name: str
    images: int
    correct: int
    accuracy: float
    interval: tuple[float, float]
    mistake: ConfusedPair | None


def write_report(path: Path, evaluation: Evaluation, *, command: str = "", images: bool = True) -> None:
    """Write a report of an evaluation: one HTML file that needs no other file and no network.

    Args:
        path: The file.
        evaluation: Result of :func:`wavenet_zoo.evaluate`.
        command: Command that repeats the evaluation.
        images: Embed the most confident mistakes as thumbnails.

    Raises:
        WavezooError: If the file cannot be written.
    """
    predictions = evaluation.predictions
    mistakes = most_confident_mistakes(predictions, MAX_THUMBNAILS if images else 0)
    thumbnails, missing = make_thumbnails(evaluation.source, predictions, mistakes)
    calibration = calibrate(predictions)
    content = render_page(
        "evaluation.html",
        evaluation=evaluation,
        predictions=predictions,
        scorings=[(describe_scoring(evaluation, among), scores) for among, scores in evaluation.scores.items()],
        scores=evaluation.scores[evaluation.among],
        notices=evaluation_notices(evaluation),
        summary=_summary(evaluation),
        calibration=calibration,
        calibration_plot=Markup(calibration_svg(calibration)),
        classes=class_rows(evaluation),
        pairs=most_confused(predictions, MAX_PAIRS),
        images=images,
        thumbnails=thumbnails,
        missing=missing,
        environment=environment_facts(evaluation),
        command=command,
    )
    write_atomically(path, content)


def class_rows(evaluation: Evaluation) -> list[ClassRow]:
    """Return the accuracy of every class, in the order of the data's classes."""
    predictions = evaluation.predictions
    images = np.bincount(predictions.labels)
    correct = np.bincount(predictions.labels, weights=predictions.correct)
    mistakes: dict[str, ConfusedPair] = {}
    for pair in most_confused(predictions, len(predictions.labels)):
        mistakes.setdefault(pair.label, pair)
    rows = []
    for output in classes_of_data(evaluation):
        name, n, right = predictions.class_names[output], int(images[output]), int(correct[output])
        rows.append(ClassRow(name, n, right, 100 * right / n, wilson_interval(right, n), mistakes.get(name)))
    return rows


def describe_scoring(evaluation: Evaluation, among: str) -> str:
    """Name one of ``evaluation.scores``."""
    if among == "data":
        return f"among the {evaluation.data['classes']:,} classes of the data"
    return f"among all {len(evaluation.predictions.class_names):,} classes of the model"


def environment_facts(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Return names and values of what the evaluation ran on."""
    environment = evaluation.environment
    git = environment["git"]
    machine = f"{environment['system']} {environment['machine']}, {environment['available_cpus']} CPUs available"
    return [
        ("versions", ", ".join(f"{name} {version}" for name, version in environment["versions"].items())),
        ("commit", "not a git checkout" if git is None else git["commit"] + (", modified" if git["dirty"] else "")),
        ("device", environment["accelerator"] or environment["device"]),
        ("machine", machine),
        ("precision", evaluation.precision),
        ("batch size", f"{evaluation.batch_size}, {evaluation.workers} workers, world size {evaluation.processes}"),
        ("time", f"{evaluation.seconds:,.1f} s, {evaluation.images_per_second:,.1f} images/s with decoding"),
        ("date", evaluation.date),
    ]


def evaluation_notices(evaluation: Evaluation) -> list[str]:
    """Return what a reader must know before the figures."""
    notices = []
    if evaluation.limit:
        notices.append(
            f"Limited evaluation: {evaluation.limit['images']:,} of {evaluation.limit['of']:,} images. The figures are "
            "estimates, not results on the whole data."
        )
    overlap = evaluation.data["overlap"]
    if evaluation.data["seen"] == "training" or (overlap and overlap["training"]):
        notices.append(f"The weights have seen images of this data: {describe_overlap(evaluation.data)}.")
    if evaluation.weights["kind"] == "random":
        notices.append("The weights are random.")
    if skipped := evaluation.skipped:
        notices.append(f"{len(skipped):,} images cannot be decoded and were skipped: {_first(skipped)}.")
    return notices


def _summary(evaluation: Evaluation) -> list[tuple[str, str]]:
    data, weights, label_set = evaluation.data, evaluation.weights, evaluation.label_set
    split = f", split {describe_split(data['split'])}" if data["split"] else ""
    network = f"form {evaluation.form}, " + ("batch norms folded" if evaluation.folded else "batch norms not folded")
    rows = [
        ("model", evaluation.model + (f", {evaluation.param_count:,} parameters" if evaluation.param_count else "")),
        ("network", network),
        *([("model arguments", str(weights["model_kwargs"]))] if weights["model_kwargs"] else []),
        ("weights", weights["description"]),
        ("sha256 of the weights", weights["sha256"] or "none: not from a file"),
        ("data", f"{data['name']}{split}: {data['images']:,} images of {data['classes']:,} classes"),
        ("fingerprint of the data", data["fingerprint"]),
        ("images evaluated", f"{evaluation.images:,}"),
        ("scoring", describe_scoring(evaluation, evaluation.among)),
    ]
    if label_set:
        rows.append(("label set", label_set["description"]))
    if weights["kind"] != "random":
        rows.append(("seen by the weights", describe_overlap(data)))
    rows.append(("preprocessing", evaluation.preprocessing["description"]))
    return rows


def _first(names: Sequence[Any], count: int = 10) -> str:
    more = f" and {len(names) - count:,} more" if len(names) > count else ""
    return ", ".join(map(str, names[:count])) + more
