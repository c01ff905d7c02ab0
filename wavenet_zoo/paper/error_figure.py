"""Figure of Tables 2, 5, 6 and 7: errors by cost, printed and measured ones apart."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from wavenet_zoo.evaluation.statistics import wilson_interval
from wavenet_zoo.paper.published import printed_value
from wavenet_zoo.paper.table import PaperTable
from wavenet_zoo.runtime.dot_plot import LINE, DotGroup, DotRow, count_lines, draw_rows
from wavenet_zoo.runtime.figures import BLUE, GREY, VERMILION, WIDTH, figure_style, new_figure, set_heading

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_errors", "measured_title"]

TITLES = {
    2: "Table 2: does WaveletNet have the lowest error for its size on CIFAR-10?",
    5: "Table 5: does WaveletNet have the lowest error for its cost on ImageNet?",
    6: "Table 6: how does the error of WaveletNet depend on its width?",
    7: "Table 7: how does the error of WaveletNet depend on its depth κ?",
}
MEASURED = "Measured by this project{}: other data, not to be compared with the printed errors"
COSTS = {"macs": "MACs", "params": "parameters"}
FEW = 3  # networks that share one panel for both costs
MIN_RANGE = 2.0  # points of an axis of errors; a shorter axis would magnify chance
HEAD = 0.3  # inches, height of a heading or a line of notes
AXIS = 0.5  # inches, height of an axis with its label


@figure_style()
def draw_errors(table: PaperTable) -> "Figure":
    """Draw the errors of a table: those that the paper prints by cost, and below those that are measured by training.

    Args:
        table: Table 2, 5, 6 or 7.
    """
    printed = [row for row in table.rows if row.get("error_paper") is not None]
    measured = [row for row in table.rows if row.get("measured") and row.get("macs")]
    costs: list[tuple[str, ...]] = [("macs", "params")] if len(printed) <= FEW else [("params",), ("macs",)]
    if table.table != 2:  # where the paper prints MACs, they are the first cost
        costs.reverse()
    groups, notes = _measured_groups(measured), _measured_notes(measured)
    heights = [2 * HEAD + AXIS + LINE * count_lines([DotGroup("", _printed_rows(printed, ("params",)))])]
    if groups:
        heights.append(HEAD * 1.5 + AXIS + LINE * (len(notes) + count_lines(groups)))
    figure = new_figure(WIDTH, HEAD + sum(heights))
    set_heading(figure, TITLES[int(table.table)])
    upper, *lower = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    data = "CIFAR-10" if table.table == 2 else "ImageNet"
    set_heading(upper, f"Printed in the paper, on {data}", _printed_note(printed, costs))
    for axes, keys in zip(upper.subplots(1, len(costs), squeeze=False)[0], costs, strict=True):
        _draw_printed(axes, printed, keys)
    if groups:
        set_heading(lower[0], measured_title(measured), "\n".join(notes))
        axes = lower[0].subplots()
        draw_rows(axes, groups, min_range=MIN_RANGE)
        axes.set_xlabel("top-1 error after the last epoch, %")
    return figure


def measured_title(rows: Iterable[dict[str, Any]]) -> str:
    """Return the title of a panel with the measured ones of ``rows``, which names their data set if they share one."""
    names = {row["measured"]["data"] for row in rows}
    return MEASURED.format(f" on {names.pop()}" if len(names) == 1 else "")


def _draw_printed(axes: "Axes", printed: Sequence[dict[str, Any]], keys: tuple[str, ...]) -> None:
    rows = _printed_rows(printed, keys)
    places = draw_rows(axes, [DotGroup("", rows)], min_range=0.0 if len(rows) > FEW else MIN_RANGE)
    axes.set_xlabel("top-1 error, %")
    axes.locator_params(axis="x", nbins=5)
    if len(keys) == 1:
        lowest = [min(row.value or 0.0 for row in rows[: i + 1]) for i in range(len(rows))]
        half = rows[0].lines / 2
        xs = [x for x in lowest for _ in range(2)]
        ys = [place + side * half for place in places for side in (-1, 1)]
        axes.plot(xs, ys, color=GREY, linewidth=1, zorder=1.2)
        axes.set_title(f"by {COSTS[keys[0]]}", fontweight="normal")


def _printed_note(printed: Iterable[dict[str, Any]], costs: Sequence[tuple[str, ...]]) -> str:
    counted = any(not row[f"{key}_paper"] for row in printed for keys in costs for key in keys)
    notes = ["line: lowest error of the networks up to this cost"] if len(costs) > 1 else ["labels: MACs, parameters"]
    return "; ".join([*notes, *(["* counted by this project, not printed"] if counted else [])])


def _printed_rows(printed: Iterable[dict[str, Any]], keys: tuple[str, ...]) -> list[DotRow]:
    """Return rows by increasing cost: the printed one, or the counted one with a star."""
    return [
        DotRow(
            f"{row['system'].replace(' (ours)', '')}  {', '.join(_cost_text(row, key) for key in keys)}",
            row["error_paper"],
            f"{row['error_paper']}",
            color=_color(row),
            marker=_marker(row),
        )
        for row in sorted(printed, key=lambda row: (_cost(row, keys[0]), row["error_paper"]))
    ]


def _cost(row: dict[str, Any], key: str) -> float:
    printed = row[f"{key}_paper"]
    return printed_value(printed) if printed else row[key] or 0.0


def _cost_text(row: dict[str, Any], key: str) -> str:
    return row[f"{key}_paper"] or (f"{_short(row[key])}*" if row[key] else "-")


def _measured_groups(measured: Iterable[dict[str, Any]]) -> list[DotGroup]:
    """Return rows by training, the shortest first, and within it by MACs."""
    trainings: dict[tuple[int, str, str], list[dict[str, Any]]] = {}
    for row in measured:
        key = (row["measured"]["epochs"], row["measured"]["data"], row["training"])
        trainings.setdefault(key, []).append(row)
    several = len({data for _, data, _ in trainings}) > 1
    return [
        DotGroup(
            f"{data}, {training}" if several else training,
            [_measured_row(row) for row in sorted(rows, key=_macs_and_error)],
        )
        for (_, data, training), rows in sorted(trainings.items())
    ]


def _macs_and_error(row: dict[str, Any]) -> tuple[int, float]:
    return row["macs"], row["measured"]["error"]["mean"]


def _measured_row(row: dict[str, Any]) -> DotRow:
    measured, error = row["measured"], row["measured"]["error"]
    mean, count, images = error["mean"], len(error["values"]), measured["validation_images"]
    interval, text = None, f"{mean:.2f}"
    if error["standard_error"] is not None:
        interval = (mean - error["standard_error"], mean + error["standard_error"])
        text += f" ± {error['standard_error']:.2f}, n = {count}"
    elif images:
        low, high = wilson_interval(round(images * (1 - mean / 100)), images)
        interval = (100 - high, 100 - low)
        text += f" ({interval[0]:.2f} to {interval[1]:.2f})"
    name = row["model"].replace("use_dfwt=False", "without DFWT")
    return DotRow(
        f"{name}  {_short(row['macs'])}", mean, text, interval, caps=count > 1,
        points=tuple(error["values"]) if count > 1 else (), color=_color(row), marker=_marker(row),
    )  # fmt: skip


def _measured_notes(measured: Sequence[dict[str, Any]]) -> list[str]:
    """Explain the bars that occur."""
    notes = ["labels: MACs, counted"]
    if any(len(row["measured"]["error"]["values"]) > 1 for row in measured):
        notes.append("bar with caps, ±: standard error over n seeds (dots)")
    single = [row["measured"] for row in measured if len(row["measured"]["error"]["values"]) == 1]
    images = sorted({run["validation_images"] for run in single if run["validation_images"]})
    if images:
        notes.append(f"bar without caps: one seed, 95 % interval of {' or '.join(f'{n:,}' for n in images)} images")
    if any(run["validation_images"] is None for run in single):
        notes.append("no bar: one seed, number of images not recorded")
    return ["; ".join(notes[i : i + 2]) for i in range(0, len(notes), 2)]


def _color(row: dict[str, Any]) -> str:
    return VERMILION if row["model"].startswith("waveletnet") else BLUE


def _marker(row: dict[str, Any]) -> str:
    return "D" if row["model"].startswith("waveletnet") else "o"


def _short(value: float) -> str:
    return f"{value / 1e9:.3g}G" if value >= 1e9 else f"{value / 1e6:.3g}M"
