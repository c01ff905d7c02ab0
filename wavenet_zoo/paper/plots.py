"""Figures: the tables of the paper, ablations and connectivity. Every function draws a result."""

import textwrap
from math import log
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from wavenet_zoo.errors import WavezooError
from wavenet_zoo.layers import DFWT, WConv2d
from wavenet_zoo.layers import connectivity as layer_connectivity
from wavenet_zoo.paper.ablation import Ablation
from wavenet_zoo.paper.connectivity import Adjacency, Connectivity
from wavenet_zoo.paper.layer_table import LAYERS, SIZE, count_layer
from wavenet_zoo.paper.measured import count_epochs, read_history
from wavenet_zoo.paper.published import printed_value
from wavenet_zoo.paper.result_plots import plot_depth, plot_pairs
from wavenet_zoo.paper.statistics import estimate
from wavenet_zoo.paper.table import Number, PaperTable
from wavenet_zoo.runtime.figures import check_figure_path, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["check_table_plot", "plot_ablation", "plot_connectivity", "plot_table"]

COST_CHANNELS = [2**k for k in range(3, 12)]
LABEL_CHARACTERS = 64  # of a line
MIN_ERROR_RANGE = 2.0  # points of an axis of measured errors; a shorter axis would magnify chance
EXAMPLE_CHANNELS = 8  # of equations (8) and (9)
MAX_COLUMNS = 160  # of a drawn matrix; single entries of a larger one would fall between pixels


def check_table_plot(path: Path, number: Number) -> None:
    """Check before the work that :func:`plot_table` can draw a table to ``path``.

    Raises:
        WavezooError: If the table has no figure, or the file cannot be written.
    """
    if number in (4, "measured", "models"):
        raise WavezooError(
            f"table {number} has no figure", "remove --plot, or use --plot with 1, 2, 3, 5, 6, 7, depth or pairs"
        )
    check_figure_path(path)


def plot_table(path: Path, table: PaperTable) -> None:
    """Draw a table: the costs of Table 1, the gaps of Table 3, the errors of the others.

    Points that the paper prints are hollow, measured ones are filled.

    Args:
        path: Figure to write.
        table: Table 1, 2, 3, 5, 6, 7, ``depth`` or ``pairs``.

    Raises:
        WavezooError: If the table has no figure, or the file cannot be written.
    """
    check_table_plot(path, table.table)
    if table.table == 1:
        _plot_costs(path)
    elif table.table == "depth":
        plot_depth(path, table)
    elif table.table == "pairs":
        plot_pairs(path, table)
    elif table.table == 3:
        _plot_gaps(path, table)
    else:
        _plot_errors(path, table)


def _plot_costs(path: Path) -> None:
    figure = new_figure(7, 5)
    axes = figure.subplots()
    for i, layer in enumerate(LAYERS):
        counted = [count_layer(layer, channels)[1] for channels in COST_CHANNELS]
        formula = [layer.params(channels) * SIZE**2 for channels in COST_CHANNELS]
        axes.plot(COST_CHANNELS, counted, marker="o", markersize=4, color=f"C{i}", label=layer.title)
        if layer.remark:
            axes.plot(COST_CHANNELS, formula, linestyle=":", color=f"C{i}", label=f"{layer.title}, paper's formula")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(COST_CHANNELS, [str(channels) for channels in COST_CHANNELS])
    axes.set_xlabel("channels D = D'")
    axes.set_ylabel(f"MACs at N = {SIZE}")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    axes.set_title("Table 1: MACs of the layers, counted")
    save_figure(figure, path)


def _plot_errors(path: Path, table: PaperTable) -> None:
    budgets = _budgets(table)
    figure = new_figure(11, 5 if not budgets else 4 * (1 + len(budgets)))
    panels = figure.subplots(1 + len(budgets), 2, squeeze=False, sharex="col")
    for column, (key, title) in enumerate((("macs", "MACs"), ("params", "parameters"))):
        for axes, (budget, rows) in zip(panels[1:, column], budgets.items()):  # different data: separate axes
            _plot_measured(axes, budget, rows, key)
        _plot_published(panels[0][column], table, key)
        panels[-1][column].set_xlabel(title)
    figure.suptitle(f"Table {table.table}: {table.caption} (hollow: printed in the paper; filled: measured)")
    save_figure(figure, path)


def _budgets(table: PaperTable) -> dict[str, list[dict[str, Any]]]:
    """Group the measured rows by data and epochs. Budgets of a single network are dropped if others are shared."""
    rows = [row for row in table.rows if row.get("measured") and row.get("macs")]
    budgets: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        budgets.setdefault(f"{row['measured']['data']}, {_epochs(row['measured'])}", []).append(row)
    shared = {budget: rows for budget, rows in budgets.items() if len({row["model"] for row in rows}) > 1}
    return shared or ({", ".join(dict.fromkeys(row["measured"]["data"] for row in rows)): rows} if rows else {})


def _epochs(measured: dict[str, Any]) -> str:
    return count_epochs(measured["epochs"])


def _plot_published(axes: "Axes", table: PaperTable, key: str) -> None:
    points: list[tuple[float, float, str]] = []
    for row in table.rows:
        printed = row.get(f"{key}_paper")
        if row.get("error_paper") is not None and (printed or row.get(key)):
            # printed error at printed cost; without a printed cost, at the counted one
            x = printed_value(printed) if printed else row[key]
            axes.plot(x, row["error_paper"], "o", mfc="none", mec=_color(row))
            points.append((x, row["error_paper"], row["system"].replace(" (ours)", "")))
    _finish(axes, points, "top-1 error %, paper")


def _plot_measured(axes: "Axes", budget: str, rows: list[dict[str, Any]], key: str) -> None:
    points: list[tuple[float, float, str]] = []
    for row in rows:
        error, epochs = row["measured"]["error"], _epochs(row["measured"])
        axes.errorbar(row[key], error["mean"], error["standard_error"], fmt="o", color=_color(row), capsize=3)
        name = row["model"].removeprefix("waveletnet_")
        points.append((row[key], error["mean"], name if budget.endswith(epochs) else f"{name}, {epochs}"))
    _finish(axes, points, f"top-1 error %, measured\n({budget})", MIN_ERROR_RANGE)


def _finish(axes: "Axes", points: list[tuple[float, float, str]], title: str, min_range: float = 0.0) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(_short))
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(0.15)
    low, high = axes.get_ylim()
    if high - low < min_range:
        axes.set_ylim((low + high - min_range) / 2, (low + high + min_range) / 2)
    _label(axes, points)
    axes.set_ylabel(title)
    axes.grid(alpha=0.3)


def _color(row: dict[str, Any]) -> str:
    return "C3" if row["model"].startswith("waveletnet") else "C0"


def _plot_gaps(path: Path, table: PaperTable) -> None:
    figure = new_figure(10, 1.6 + 0.7 * (len(table.rows) + 1))
    axes = figure.subplots()
    labels: list[str] = []
    for row in table.rows:
        if row.get("gap_paper") is not None:
            axes.plot(row["gap_paper"], len(labels), "o", mfc="none", color="C0")
            labels.append(f"{row['model']}\nprinted, CIFAR-10: {row['original_paper']} and {row['no_dfwt_paper']} %")
        if row.get("measured"):
            gaps = row["measured"]["gaps"]
            axes.plot(gaps, [len(labels)] * len(gaps), ".", color="C3", alpha=0.4)
            gap = estimate(gaps)
            axes.errorbar(gap.mean, len(labels), xerr=gap.standard_error, capsize=3, color="C3", fmt="o")
            pairs = f"{len(gaps)} pair{'s' * (len(gaps) != 1)}"
            measured_on = textwrap.fill(row["measured_on"], LABEL_CHARACTERS, break_on_hyphens=False)
            labels.append(f"{row['model']}, {pairs}: {row['original']} and {row['no_dfwt']} %\n{measured_on}")
    axes.axvline(0, color="0.5", linewidth=1)
    axes.set_yticks(range(len(labels)), labels, fontsize=7)
    axes.margins(y=0.06)
    axes.invert_yaxis()
    axes.set_xlabel("gap, points: every pair, mean and standard error")
    axes.grid(alpha=0.3)
    axes.set_title("Table 3: errors with and without DFWT, and their gap")
    save_figure(figure, path)


def _label(axes: "Axes", points: list[tuple[float, float, str]]) -> None:
    """Write names beside points; below a point if another one is close above it."""
    bottom, top = axes.get_ylim()
    low, high = axes.get_xlim()
    for x, y, text in points:
        crowded = any(0 < other - y < 0.06 * (top - bottom) and 0.5 < other_x / x < 2 for other_x, other, _ in points)
        left = log(x / low) > 0.8 * log(high / low)
        place, side = (-4 if left else 4, -9 if crowded else 4), "right" if left else "left"
        axes.annotate(text, (x, y), place, textcoords="offset points", fontsize=7, ha=side)


def _short(value: float, position: int | None = None) -> str:
    return f"{value / 1e9:g}G" if value >= 1e9 else f"{value / 1e6:g}M"


def plot_ablation(path: Path, ablation: Ablation) -> None:
    """Draw validation error and training loss of all arms by epoch: thin lines for seeds, a thick one for the mean.

    Args:
        path: Figure to write.
        ablation: Result whose run folders exist, as their logs are read.
    """
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(11, 4.5)
    error, loss = figure.subplots(1, 2)
    for i, arm in enumerate(ablation.arms):
        histories = [read_history(Path(run["out"]), ablation.epochs) for run in arm.runs]
        label = f"{arm.title}: {arm.error} %"
        _curves(error, [[100 - record["top1"] for record in h] for h in histories], f"C{i}", label)
        _curves(loss, [[record["train_loss"] for record in h] for h in histories], f"C{i}", arm.title)
    error.set_ylabel("top-1 error % on validation")
    loss.set_ylabel("training loss, augmented")
    for axes in (error, loss):
        values = [value for line in axes.get_lines() for value in line.get_ydata()]
        if max(values) > 10 * min(values) > 0:  # a log axis needs a decade to have tick labels
            axes.set_yscale("log")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize=8)
    seeds = f"{len(ablation.seeds)} seed{'s' if len(ablation.seeds) > 1 else ''}"
    figure.suptitle(f"{ablation.model} on {ablation.data}, recipe {ablation.recipe}, {seeds}")
    save_figure(figure, path)


def _curves(axes: Any, series: list[list[float]], color: str, label: str) -> None:
    epochs = range(1, len(series[0]) + 1)
    marker = "o" if len(epochs) < 10 else None
    if len(series) > 1:
        for values in series:
            axes.plot(epochs, values, color=color, linewidth=0.7, alpha=0.5, marker=marker, markersize=3)
    axes.plot(epochs, [fmean(values) for values in zip(*series)], color=color, linewidth=2, marker=marker, label=label)


def plot_connectivity(path: Path, result: Connectivity) -> None:
    """Draw the matrices of equations (8) and (9) at D = 8, and those of the first unit of every stage.

    Args:
        path: Figure to write.
        result: Result of :func:`~wavenet_zoo.paper.connectivity.connectivity`.

    Source: paper, equations (8) and (9).
    """
    units = [unit for unit in result.units if unit.unit.endswith(".0")]
    figure = new_figure(10, 2.6 * (1 + len(units)))
    rows = figure.subplots(1 + len(units), 4, gridspec_kw={"height_ratios": [1.6] + [1.0] * len(units)})

    dfwt = DFWT(EXAMPLE_CHANNELS)
    of_wconv = layer_connectivity(WConv2d(EXAMPLE_CHANNELS, EXAMPLE_CHANNELS, device="meta"))
    of_dfwt = layer_connectivity(dfwt)
    for axes, title, matrix in zip(
        rows[0],
        ("H of Algorithm 2, equation (9)", "A(WConv), equation (8)", "A(DFWT) = |H|, equation (8)", "A(WConv) A(DFWT)"),
        (dfwt.matrix(), of_wconv, of_dfwt, of_wconv @ of_dfwt),
    ):
        _draw(axes, matrix.sign(), f"D = {EXAMPLE_CHANNELS}: {title}")
        for (i, j), value in _entries(matrix):
            axes.text(j, i, f"{value:.0f}", ha="center", va="center", fontsize=7, color="white" if value else "0.7")

    for row, unit in zip(rows[1:], units):
        depths = ", ".join("-" if depth is None else str(depth) for depth in unit.depths)
        for axes, title, adjacency in zip(
            row,
            (f"{unit.unit}, κ {depths}: WConv", "DFWT", "WConv after DFWT", "the unit, input to output"),
            (unit.wconv, unit.dfwt, unit.projection, unit.whole),
        ):
            _draw(axes, adjacency.matrix, f"{title}\n{_share(adjacency)}")
    arguments = ", ".join(f"{key}={value}" for key, value in result.model_kwargs.items())
    model = f"{result.model} with {arguments}" if arguments else result.model
    figure.suptitle(f"{model}: which outputs (rows) depend on which inputs (columns)")
    save_figure(figure, path)


def _draw(axes: Any, matrix: torch.Tensor, title: str) -> None:
    if matrix.shape[1] > MAX_COLUMNS:
        matrix = F.adaptive_max_pool2d(matrix[None].float(), (min(len(matrix), MAX_COLUMNS), MAX_COLUMNS))[0]
    axes.imshow(matrix.float().numpy(), cmap="RdBu_r", vmin=-1.4, vmax=1.4, interpolation="nearest", aspect="auto")
    axes.set_title(title, fontsize=8)
    axes.set_xticks([])
    axes.set_yticks([])


def _entries(matrix: torch.Tensor) -> list[tuple[tuple[int, int], float]]:
    return [((i, j), float(matrix[i, j])) for i in range(len(matrix)) for j in range(matrix.shape[1])]


def _share(adjacency: Adjacency) -> str:
    state = "full" if adjacency.full else f"{adjacency.share:.2%} of the pairs"
    return f"{adjacency.outputs} x {adjacency.inputs}, {state}"
