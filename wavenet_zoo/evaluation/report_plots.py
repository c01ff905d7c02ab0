"""Plots of a report, as SVG elements that take the text color of the page."""

import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from wavenet_zoo.evaluation.comparison_plot import MIN_RANGE, pair_label
from wavenet_zoo.evaluation.statistics import Calibration
from wavenet_zoo.runtime.dot_plot import LINE, DotGroup, DotRow, count_lines, draw_rows
from wavenet_zoo.runtime.figures import figure_style, import_matplotlib, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["calibration_svg", "forest_svg"]

TEXT_COLOR = "#010203"  # replaced by currentColor
BAR_COLOR = "#3b82c4"  # legible on white and on black


def calibration_svg(calibration: Calibration) -> str:
    """Plot the accuracy of each bin of confidence, and the number of its images."""
    used = calibration.images > 0
    edges = np.linspace(0, 100, len(used) + 1)
    left, width = edges[:-1][used] + 0.4, np.diff(edges)[used] - 0.8
    accuracy, confidence = 100 * calibration.accuracy[used], 100 * calibration.confidence[used]
    with _page_style():
        figure = new_figure(5.6, 5.0)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        upper.bar(left, accuracy, width, align="edge", color=BAR_COLOR)
        upper.plot([0, 100], [0, 100], "--", color=TEXT_COLOR, linewidth=1, label="perfect calibration")
        upper.plot(
            confidence, accuracy, "o", color=TEXT_COLOR, markersize=3, clip_on=False, label="mean confidence of the bin"
        )
        upper.legend(loc="upper left")
        upper.set(xlim=(0, 100), ylim=(0, 100), ylabel="accuracy, %")
        lower.bar(left, calibration.images[used], width, align="edge", color=BAR_COLOR)
        lower.set(xlabel="confidence: probability of the prediction, %", ylabel="images")
        lower.locator_params(axis="y", nbins=3, integer=True)
        return _to_svg(figure)


def forest_svg(rows: Sequence[tuple[str, str, float, tuple[float, float]]]) -> str:
    """Plot differences with their intervals, one row each, around a line at 0.

    Args:
        rows: Names of both models, difference, and the ends of its interval, in percentage points.
    """
    dots = [
        DotRow(pair_label(a, b), difference, interval=interval, color=BAR_COLOR, marker="s")
        for a, b, difference, interval in rows
    ]
    groups = [DotGroup("", dots)]
    with _page_style():
        figure = new_figure(6.8, 0.9 + LINE * count_lines(groups))
        axes = figure.subplots()
        draw_rows(axes, groups, zero=0, min_range=MIN_RANGE)
        axes.set_xlabel("difference in top-1, percentage points")
        return _to_svg(figure)


@contextlib.contextmanager
def _page_style() -> Iterator[None]:
    """Draw in the text color, without a background, and with text as text."""
    colored = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color")
    style = {
        **dict.fromkeys(colored, TEXT_COLOR),
        "axes.facecolor": "none",
        "figure.facecolor": "none",
        "grid.alpha": 0.15,
        "svg.fonttype": "none",
    }
    with figure_style(), import_matplotlib().rc_context(style):
        yield


def _to_svg(figure: "Figure") -> str:
    """Return the element ``<svg>`` of a figure."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = buffer.getvalue()
    return text[text.index("<svg") :].replace(TEXT_COLOR, "currentColor")
