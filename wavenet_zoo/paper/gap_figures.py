"""Figures of the gain of DFWT: Table 3, and the gap by depth."""

from typing import TYPE_CHECKING, Any

from wavenet_zoo.paper.error_figure import measured_title
from wavenet_zoo.paper.statistics import estimate
from wavenet_zoo.paper.table import PaperTable
from wavenet_zoo.runtime.dot_plot import LINE, DotGroup, DotRow, count_lines, draw_rows
from wavenet_zoo.runtime.figures import GREY, SMALL, VERMILION, WIDTH, figure_style, new_figure, set_heading

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_depth", "draw_gaps"]

GAP = "error without DFWT minus error with it, percentage points"
NARROW = 2.0  # points; a shorter axis would magnify chance


@figure_style()
def draw_gaps(table: PaperTable) -> "Figure":
    """Draw the gap between the errors without and with DFWT: the printed one, and the pairs of every training.

    Args:
        table: Table 3.
    """
    printed = [_printed_row(row) for row in table.rows if row.get("gap_paper") is not None]
    measured = [row for row in table.rows if row.get("measured")]
    trainings: dict[str, list[DotRow]] = {}
    for row in measured:
        data = row["measured"]["original"]["data"]
        trainings.setdefault(f"{data}, {row['training']}", []).append(_measured_row(row))
    groups = [DotGroup(training, rows) for training, rows in trainings.items()]
    heights = [0.8 + LINE * count_lines([DotGroup("", printed)])]
    if groups:
        heights.append(1.1 + LINE * count_lines(groups))
    figure = new_figure(WIDTH, 0.3 + sum(heights))
    set_heading(figure, "Table 3: does the error rise without DFWT?")
    upper, *lower = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    set_heading(upper, "Printed in the paper, on CIFAR-10")
    axes = upper.subplots()
    draw_rows(axes, [DotGroup("", printed)], zero=0, min_range=NARROW)
    axes.set_xlabel(GAP)
    if groups:
        note = "dots: pairs with equal seeds; bar, ±: standard error of their mean; no bar: a single pair"
        set_heading(lower[0], measured_title({"measured": row["measured"]["original"]} for row in measured), note)
        axes = lower[0].subplots()
        draw_rows(axes, groups, zero=0, min_range=NARROW)
        axes.set_xlabel(GAP)
    return figure


@figure_style()
def draw_depth(table: PaperTable) -> "Figure":
    """Draw the measured gap between the errors without and with DFWT by depth: every pair, mean and standard error.

    Args:
        table: The table ``depth``.
    """
    figure = new_figure(WIDTH, 3.6)
    axes = figure.subplots()
    measured = [row for row in table.rows if row.get("gap_values")]
    for row in measured:
        gap = estimate(row["gap_values"])
        axes.plot([row["depth"]] * len(gap.values), gap.values, ".", color=VERMILION, alpha=0.5)
        axes.errorbar(row["depth"], gap.mean, gap.standard_error, fmt="D", color=VERMILION, capsize=4)
        text = f"{gap}\n{row['pairs']} pair{'s' * (row['pairs'] != 1)}"
        axes.annotate(text, (row["depth"], gap.mean), (9, 0), textcoords="offset points", fontsize=SMALL, va="center")
    depths = [row["depth"] for row in measured]
    axes.set_xticks(depths, [str(depth) for depth in depths])
    axes.set_xlim(0, max(depths, default=1) * 1.15 + 0.5)
    axes.axhline(0, color=GREY, linewidth=1)
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, -0.1), max(high * 1.1, low + NARROW / 2))
    axes.set_xlabel("depth M of waveletnet_cifar_mM")
    axes.set_ylabel("error without DFWT minus\nerror with it, percentage points")
    set_heading(
        figure, "Does the gain of DFWT grow with depth?",
        "dots: pairs with equal seeds; bar, ±: standard error of their mean; no bar: a single pair",
    )  # fmt: skip
    printed = next((row for row in table.rows if row.get("gap_paper") is not None), None)
    notes = [note.partition(":")[0] for note in table.notes if note.startswith("Measured on")]
    if printed:
        notes.append(f"not drawn: {printed['gap_paper']:g} points that the paper prints at M = {printed['depth']}")
    axes.set_title("; ".join(notes), fontweight="normal")
    return figure


def _printed_row(row: dict[str, Any]) -> DotRow:
    text = f"{row['gap_paper']:g}\n{row['original_paper']} to {row['no_dfwt_paper']} %"
    return DotRow(row["model"], row["gap_paper"], text, color=VERMILION, marker="D")


def _measured_row(row: dict[str, Any]) -> DotRow:
    gap = estimate(row["measured"]["gaps"])
    pairs, spread = len(gap.values), gap.standard_error
    with_dfwt, without = (row[key].partition(" ")[0] for key in ("original", "no_dfwt"))
    return DotRow(
        row["model"],
        gap.mean,
        f"{gap}, {pairs} pair{'s' * (pairs != 1)}\n{with_dfwt} to {without} %",
        None if spread is None else (gap.mean - spread, gap.mean + spread),
        points=tuple(gap.values) if pairs > 1 else (),
        color=VERMILION,
        marker="D",
    )
