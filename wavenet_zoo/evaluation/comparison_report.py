"""The report of a comparison: a self-contained HTML file."""

from pathlib import Path

import numpy as np
from markupsafe import Markup

from wavenet_zoo.evaluation.compare import ClassCounts, ComparedModel, Comparison
from wavenet_zoo.evaluation.page import check_report_path, render_page
from wavenet_zoo.evaluation.paired import format_p
from wavenet_zoo.evaluation.report import environment_facts, evaluation_notices
from wavenet_zoo.evaluation.report_plots import forest_svg
from wavenet_zoo.evaluation.thumbnails import MAX_THUMBNAILS, Thumbnail, make_thumbnails
from wavenet_zoo.runtime.files import write_atomically

__all__ = ["check_report_path", "write_comparison_report"]


def write_comparison_report(path: Path, comparison: Comparison, *, command: str = "", images: bool = True) -> None:
    """Write a report of a comparison: one HTML file that needs no other file and no network.

    Args:
        path: The file.
        comparison: Result of :func:`wavenet_zoo.compare`.
        command: Command that repeats the comparison.
        images: Embed images that only one model of the first pair gets right as thumbnails.

    Raises:
        WavezooError: If the file cannot be written.
    """
    evaluations = [model.evaluation for model in comparison.models if model.evaluation is not None]
    first, second = comparison.models[:2]
    evaluated = first.evaluation or second.evaluation
    images = images and evaluated is not None  # saved predictions have no images
    thumbnails: list[Thumbnail] = []
    missing: list[str] = []
    if images and evaluated is not None:
        indices = (first if first.evaluation else second).predictions
        thumbnails, missing = make_thumbnails(evaluated.source, indices, _disagreements(first, second))
    forest = [(pair.a, pair.b, pair.difference, pair.interval) for pair in comparison.pairs]
    content = render_page(
        "comparison.html",
        comparison=comparison,
        first=first,
        second=second,
        notices=list(dict.fromkeys(notice for each in evaluations for notice in evaluation_notices(each))),
        data=evaluations[0].data["name"] if evaluations else "",
        forest_plot=Markup(forest_svg(forest)),
        p_values=[(format_p(pair.p), format_p(pair.p_holm)) for pair in comparison.pairs],
        classes=sorted(comparison.per_class, key=_largest_difference, reverse=True),
        images=images,
        thumbnails=thumbnails,
        missing=missing,
        environment=environment_facts(evaluations[0]) if evaluations else [],
        command=command,
    )
    write_atomically(path, content)


def _disagreements(first: ComparedModel, second: ComparedModel) -> list[int]:
    """Return positions of images that only one of two models gets right, at most as many as thumbnails.

    Both directions get half of the places if they have enough images. Those come first for which the probabilities of
    the label differ most.
    """
    a, b = first.predictions, second.predictions
    gap = a.label_probability - b.label_probability
    only_a, only_b = (
        mask.nonzero()[0][np.argsort(-abs(gap[mask]), kind="stable")]
        for mask in (a.correct & ~b.correct, b.correct & ~a.correct)
    )
    half = MAX_THUMBNAILS // 2
    from_a = min(len(only_a), max(half, MAX_THUMBNAILS - len(only_b)))
    return [*only_a[:from_a].tolist(), *only_b[: MAX_THUMBNAILS - from_a].tolist()]


def _largest_difference(counts: ClassCounts) -> int:
    """Return the largest difference to the baseline, in images."""
    return max(abs(correct - counts.correct[0]) for correct in counts.correct)
