"""Forest plot of a comparison: the difference of every pair of models with its interval."""

from pathlib import Path

from wavenet_zoo.errors import one_line
from wavenet_zoo.evaluation.compare import Comparison
from wavenet_zoo.evaluation.paired import format_p
from wavenet_zoo.runtime.figures import new_figure, save_figure

__all__ = ["plot_comparison"]

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
    pairs = result.pairs
    figure = new_figure(8.5, 1.5 + 0.55 * len(pairs))
    axes = figure.subplots()
    for row, pair in enumerate(pairs):
        low, high = pair.interval
        color = "C3" if pair.is_significant and pair.difference < 0 else "C0" if pair.is_significant else "0.35"
        axes.plot([low, high], [row, row], color=color, linewidth=1.6, solid_capstyle="butt")
        axes.plot([low, high], [row, row], "|", color=color, markersize=8)
        axes.plot(pair.difference, row, "s", color=color, markersize=6)
    axes.axvline(0, color="0.2", linewidth=1)
    if max_drop is not None:
        rows = [-0.6, len(result.baseline_pairs) - 0.5]  # the baseline's pairs are the first
        label = f"allowed loss, {max_drop:g} points"
        axes.plot([-max_drop] * 2, rows, color="C1", linewidth=1.4, linestyle="--", label=label)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=8, frameon=False)
    axes.set_yticks(range(len(pairs)), [f"{_short(pair.b)}\nagainst {_short(pair.a)}" for pair in pairs], fontsize=8)
    axes.set_ylim(len(pairs) - 0.4, -0.6)
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(len(pairs)), [_text(pair.difference, pair.interval, pair.p_holm) for pair in pairs])
    right.tick_params(length=0, labelsize=8)
    axes.margins(x=0.08)
    left, end = axes.get_xlim()
    if end - left < MIN_RANGE:
        axes.set_xlim((left + end - MIN_RANGE) / 2, (left + end + MIN_RANGE) / 2)
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel(f"difference in top-1, percentage points, with {100 * result.confidence:g} % interval")
    holm = f", p after Holm's correction for {len(pairs)} pairs" if len(pairs) > 1 else ""
    figure.suptitle(f"{result.images:,} images{holm}; grey: no significant difference", fontsize=9)
    save_figure(figure, path)


def _text(difference: float, interval: tuple[float, float], p: float) -> str:
    return f"{difference:+.2f} ({interval[0]:+.2f} to {interval[1]:+.2f})\n{format_p(p)}"


def _short(name: str) -> str:
    text = one_line(name if len(name) <= MAX_LABEL else f"{name[: MAX_LABEL - 1]}…")
    return text.replace("$", r"\$")  # no formula of matplotlib
