"""Forest plot of a comparison: the difference of every pair of models with its interval."""

from pathlib import Path
from typing import TYPE_CHECKING

from wavenet_zoo.errors import one_line
from wavenet_zoo.evaluation.compare import Comparison, Pair
from wavenet_zoo.evaluation.paired import format_p
from wavenet_zoo.runtime.dot_plot import LINE, DotGroup, DotRow, count_lines, draw_rows
from wavenet_zoo.runtime.figures import (
    BLUE,
    GREY,
    INK,
    VERMILION,
    WIDTH,
    figure_style,
    new_figure,
    save_figure,
    set_heading,
)  # fmt: skip

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["MIN_RANGE", "draw_comparison", "pair_label", "plot_comparison"]

MAX_LABEL = 40  # characters of a model's name
MIN_RANGE = 0.5  # points; a shorter axis would magnify chance


def plot_comparison(path: Path, result: Comparison, max_drop: float | None = None) -> None:
    """Draw the differences in top-1 of all pairs with their 95 % intervals.

    Args:
        path: Figure to write.
        result: The comparison.
        max_drop: Allowed loss of top-1 against the first model, in percentage points, drawn as a line.

    Raises:
        WavezooError: If the file cannot be written, or its suffix is not supported.
    """
    save_figure(draw_comparison(result, max_drop), path)


@figure_style()
def draw_comparison(result: Comparison, max_drop: float | None = None) -> "Figure":
    """Draw the figure of :func:`plot_comparison`."""
    rows = [
        DotRow(pair_label(pair.a, pair.b), pair.difference, _text(pair), pair.interval, color=_color(pair), marker="s")
        for pair in result.pairs
    ]
    figure = new_figure(WIDTH, 1.25 + LINE * count_lines([DotGroup("", rows)]))
    holm = f"; p after Holm's correction for {len(rows)} pairs" if len(rows) > 1 else ""
    set_heading(
        figure,
        f"Difference in top-1 on the same {result.images:,} images",
        f"blue: better; orange-red: worse; grey: no significant difference{holm}",
    )
    axes = figure.subplots()
    draw_rows(axes, [DotGroup("", rows)], zero=0, min_range=MIN_RANGE)
    if max_drop is not None:
        bottom = sum(row.lines for row in rows[: len(result.baseline_pairs)])  # the baseline's pairs are the first
        axes.plot([-max_drop] * 2, [0, bottom], color=INK, linewidth=1.4, linestyle="--")
        axes.set_title(f"dashed: allowed loss, {max_drop:g} points", fontweight="normal")
    axes.set_xlabel(f"difference in top-1, percentage points, with {100 * result.confidence:g} % interval")
    return figure


def pair_label(a: str, b: str) -> str:
    """Return a label of the difference of two models, on two lines."""
    return f"{_short(b)}\nagainst {_short(a)}"


def _color(pair: Pair) -> str:
    if not pair.is_significant:
        return GREY
    return VERMILION if pair.difference < 0 else BLUE


def _text(pair: Pair) -> str:
    low, high = pair.interval
    return f"{pair.difference:+.2f} ({low:+.2f} to {high:+.2f})\n{format_p(pair.p_holm)}"


def _short(name: str) -> str:
    return one_line(name if len(name) <= MAX_LABEL else f"{name[: MAX_LABEL - 1]}…")
