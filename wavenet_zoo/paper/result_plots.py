"""Figures of what was measured: the gain of DFWT by depth, and networks compared image by image."""

from pathlib import Path
from typing import TYPE_CHECKING

from wavenet_zoo.paper.statistics import estimate
from wavenet_zoo.paper.table import PaperTable
from wavenet_zoo.runtime.figures import new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_depth", "plot_pairs"]

MEASURED, PRINTED = "C3", "C0"


def plot_depth(path: Path, table: PaperTable) -> None:
    """Draw the gap between the errors without and with DFWT by depth: every pair, and mean and standard error.

    Args:
        path: Figure to write.
        table: The table ``depth``.
    """
    figure = new_figure(7, 4)
    axes = figure.subplots()
    labelled = False
    for row in table.rows:
        if row.get("gap_values"):
            gap = estimate(row["gap_values"])
            axes.plot([row["depth"]] * len(gap.values), gap.values, ".", color=MEASURED, alpha=0.4)
            label = None if labelled else "measured: mean and standard error"
            axes.errorbar(row["depth"], gap.mean, gap.standard_error, fmt="o", color=MEASURED, capsize=4, label=label)
            labelled = True
            _name(axes, row["depth"], gap.mean, f"{row['pairs']} pair{'s' * (row['pairs'] != 1)}")
        if row.get("gap_paper") is not None:
            axes.plot(row["depth"], row["gap_paper"], "o", mfc="none", mec=PRINTED, label="printed in the paper")
            _name(axes, row["depth"], row["gap_paper"], "164 epochs", left=True)
    depths = [row["depth"] for row in table.rows]
    axes.set_xscale("log", base=2)
    axes.set_xticks(depths, [str(depth) for depth in depths])
    axes.minorticks_off()
    axes.axhline(0, color="0.5", linewidth=1)
    axes.margins(0.15)
    axes.set_xlabel("depth M")
    axes.set_ylabel("error without DFWT minus error with it,\npercentage points")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="upper left")
    axes.set_title("Does the gain of DFWT grow with depth?")
    save_figure(figure, path)


def plot_pairs(path: Path, table: PaperTable) -> None:
    """Draw the differences of top-1 with their 95 % intervals.

    Args:
        path: Figure to write.
        table: The table ``pairs``.
    """
    figure = new_figure(8, 1.4 + 0.5 * len(table.rows))
    axes = figure.subplots()
    for place, row in enumerate(table.rows):
        low, high = row["interval"]
        difference = row["difference_value"]
        ends = [[difference - low], [high - difference]]
        axes.errorbar(difference, place, xerr=ends, fmt="o", color=MEASURED, capsize=4)
    axes.set_yticks(range(len(table.rows)), [f"{row['b']}\nminus {row['a']}" for row in table.rows], fontsize=8)
    axes.axvline(0, color="0.5", linewidth=1)
    axes.invert_yaxis()
    axes.margins(y=0.2)
    axes.set_xlabel("difference of top-1, percentage points, with 95 % interval of paired images")
    axes.grid(alpha=0.3)
    axes.set_title("Networks on the same images")
    save_figure(figure, path)


def _name(axes: "Axes", x: float, y: float, text: str, left: bool = False) -> None:
    place, side = (-7, "right") if left else (7, "left")
    axes.annotate(text, (x, y), (place, -3), textcoords="offset points", fontsize=8, ha=side)
