"""Figures of the tables: cost against channels, error against MACs and parameters, the gap of the ablation."""

from math import log
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from wavenet_zoo.paper.layer_table import LAYERS, SIZE, count_layer
from wavenet_zoo.paper.published import printed_value
from wavenet_zoo.paper.statistics import estimate
from wavenet_zoo.paper.tables import PaperTable
from wavenet_zoo.runtime.figures import new_figure, save_figure

__all__ = ["plot_table"]

CHANNELS = [2**k for k in range(3, 12)]
NARROWEST = 2.0  # points on an axis of measured errors: less would make much of what is chance


def plot_table(path: Path, table: PaperTable) -> None:
    """Draw what people would look for beside a table; the paper's points hollow, this project's own filled.

    Args:
        path: Figure to write.
        table: Any but Table 4.
    """
    if table.number == 1:
        _plot_costs(path)
    elif table.number == 3:
        _plot_gaps(path, table)
    else:
        _plot_errors(path, table)


def _plot_costs(path: Path) -> None:
    figure = new_figure(7, 5)
    axes = figure.subplots()
    for i, layer in enumerate(LAYERS):
        counted = [count_layer(layer, channels)[1] for channels in CHANNELS]
        formula = [layer.params(channels) * SIZE**2 for channels in CHANNELS]
        axes.plot(CHANNELS, counted, marker="o", markersize=4, color=f"C{i}", label=layer.title)
        if layer.remark:
            axes.plot(CHANNELS, formula, linestyle=":", color=f"C{i}", label=f"{layer.title}, the paper's formula")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(CHANNELS, [str(channels) for channels in CHANNELS])
    axes.set_xlabel("channels D = D'")
    axes.set_ylabel(f"MACs at N = {SIZE}")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    axes.set_title("Cost of a layer, counted (Table 1)")
    save_figure(figure, path)


def _plot_errors(path: Path, table: PaperTable) -> None:
    budgets = _budgets(table)
    figure = new_figure(11, 5 if not budgets else 4 * (1 + len(budgets)))
    panels = figure.subplots(1 + len(budgets), 2, squeeze=False, sharex="col")
    for column, (key, title) in enumerate((("macs", "MACs"), ("params", "parameters"))):
        for axes, (budget, rows) in zip(panels[1:, column], budgets.items()):  # other data: axes of their own
            _plot_measured(axes, budget, rows, key)
        _plot_published(panels[0][column], table, key)
        panels[-1][column].set_xlabel(title)
    figure.suptitle(f"Table {table.number}: {table.caption} (hollow: the paper's figures; filled: measured here)")
    save_figure(figure, path)


def _budgets(table: PaperTable) -> dict[str, list[dict[str, Any]]]:
    """Return the measured rows by budget: those that several networks share, or all rows where none is shared."""
    rows = [row for row in table.rows if row.get("measured") and row.get("macs")]
    budgets: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        budgets.setdefault(f"{row['measured']['data']}, {_epochs(row['measured'])}", []).append(row)
    shared = {budget: rows for budget, rows in budgets.items() if len({row["model"] for row in rows}) > 1}
    return shared or ({", ".join(dict.fromkeys(row["measured"]["data"] for row in rows)): rows} if rows else {})


def _epochs(own: dict[str, Any]) -> str:
    return f"{own['epochs']} epoch{'s' if own['epochs'] > 1 else ''}"


def _plot_published(axes: Axes, table: PaperTable, key: str) -> None:
    points: list[tuple[float, float, str]] = []
    for row in table.rows:
        printed = row.get(f"{key}_paper")
        if row.get("error_paper") is not None and (printed or row.get(key)):
            # the paper's error at the paper's cost; where it prints none, at the cost of the model
            x = printed_value(printed) if printed else row[key]
            axes.plot(x, row["error_paper"], "o", mfc="none", mec=_color(row))
            points.append((x, row["error_paper"], row["system"].replace(" (ours)", "")))
    _finish(axes, points, "top-1 error, %, the paper's")


def _plot_measured(axes: Axes, budget: str, rows: list[dict[str, Any]], key: str) -> None:
    points: list[tuple[float, float, str]] = []
    for row in rows:
        error, epochs = row["measured"]["error"], _epochs(row["measured"])
        axes.errorbar(row[key], error["mean"], error["standard_error"], fmt="o", color=_color(row), capsize=3)
        name = row["model"].removeprefix("waveletnet_")
        points.append((row[key], error["mean"], name if budget.endswith(epochs) else f"{name}, {epochs}"))
    _finish(axes, points, f"top-1 error, %, measured\n({budget})")
    low, high = axes.get_ylim()
    if high - low < NARROWEST:
        axes.set_ylim((low + high - NARROWEST) / 2, (low + high + NARROWEST) / 2)


def _finish(axes: Axes, points: list[tuple[float, float, str]], title: str) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(_short))
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(0.15)
    _label(axes, points)
    axes.set_ylabel(title)
    axes.grid(alpha=0.3)


def _color(row: dict[str, Any]) -> str:
    return "C3" if row["model"].startswith("waveletnet") else "C0"


def _plot_gaps(path: Path, table: PaperTable) -> None:
    figure = new_figure(9, 1.6 + 0.6 * (len(table.rows) + 1))
    axes = figure.subplots()
    labels: list[str] = []
    for row in table.rows:
        if row.get("gap_paper") is not None:
            axes.plot(row["gap_paper"], len(labels), "o", mfc="none", color="C0")
            labels.append(f"{row['model']}\nthe paper, CIFAR-10: {row['original_paper']} and {row['no_dfwt_paper']} %")
        if row.get("measured"):
            own = row["measured"]["original"]
            axes.plot(row["measured"]["gaps"], [len(labels)] * len(row["measured"]["gaps"]), ".", color="C3", alpha=0.4)
            gap = estimate(row["measured"]["gaps"])
            axes.errorbar(gap.mean, len(labels), xerr=gap.standard_error, capsize=3, color="C3", fmt="o")
            labels.append(f"{row['model']}\n{own['data']}, {_epochs(own)}: {row['original']} and {row['no_dfwt']} %")
    axes.axvline(0, color="0.5", linewidth=1)
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.margins(y=0.3)
    axes.invert_yaxis()
    axes.set_xlabel("points that DFWT saves: every pair, mean, standard error")
    axes.grid(alpha=0.3)
    axes.set_title("Table 3: error with DFWT and without, and the gap")
    save_figure(figure, path)


def _label(axes: Axes, points: list[tuple[float, float, str]]) -> None:
    """Write names beside points, below a point that has another one close above it."""
    height = max(y for _, y, _ in points) - min(y for _, y, _ in points)
    low, high = axes.get_xlim()
    for x, y, text in points:
        crowded = any(0 < other - y < 0.07 * height and 0.5 < other_x / x < 2 for other_x, other, _ in points)
        left = log(x / low) > 0.8 * log(high / low)
        place, side = (-4 if left else 4, -9 if crowded else 4), "right" if left else "left"
        axes.annotate(text, (x, y), place, textcoords="offset points", fontsize=7, ha=side)


def _short(value: float, position: int | None = None) -> str:
    return f"{value / 1e9:g}G" if value >= 1e9 else f"{value / 1e6:g}M"
