"""Plot a benchmark: the time of every network relative to the baseline's."""

from pathlib import Path
from typing import TYPE_CHECKING

from wavenet_zoo.deployment.bench import Benchmark, Measurement
from wavenet_zoo.errors import one_line
from wavenet_zoo.runtime.figures import (
    GREY,
    INK,
    PALETTE,
    SMALL,
    WIDTH,
    figure_style,
    new_figure,
    save_figure,
    set_heading,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_benchmark", "plot_benchmark"]

LINE = 0.19  # inches, height of a row
MAX_LABEL = 34  # characters of a model's name and form
MAX_COLUMNS = 2  # panels beside one another
BAR, BASELINE = 0.72, "#c3cad1"  # height of a bar in rows, and its color for the baseline


def plot_benchmark(path: Path, result: Benchmark) -> None:
    """Plot the ratio of the time to the baseline's, with its quartiles, and the throughput.

    There is one panel per number of threads and batch size. The bars are grouped by engine and have one color per form.

    Raises:
        WavezooError: If the file cannot be written, or its suffix is not supported.
    """
    save_figure(draw_benchmark(result), path)


@figure_style()
def draw_benchmark(result: Benchmark) -> "Figure":
    """Draw the figure of :func:`plot_benchmark`."""
    panels: dict[tuple[int, int], dict[str, list[Measurement]]] = {}
    for row in result.rows:
        panels.setdefault((row.threads, row.batch_size), {}).setdefault(row.engine, []).append(row)
    forms = list(dict.fromkeys(row.form for row in result.rows))
    lines = max(sum(len(rows) + 1 for rows in engines.values()) for engines in panels.values())
    columns = min(len(panels), MAX_COLUMNS)
    rows_of_panels = -(-len(panels) // columns)
    figure = new_figure(WIDTH, 0.75 + rows_of_panels * (0.85 + LINE * lines))
    task = "inference" if result.task == "inference" else "a training step"
    set_heading(
        figure,
        f"Time of {task} relative to {one_line(result.against)}",
        "bar: median of the ratios of the rounds; line across its end: their quartiles; text: ratio, images per second",
    )
    axes = iter(figure.subplots(rows_of_panels, columns, squeeze=False, sharex=True).flat)
    labels: list[str] = []
    for place, ((threads, batch_size), engines) in enumerate(panels.items()):
        panel = next(axes)
        beside, labels = labels, _draw_panel(panel, engines, forms)
        if place % columns and labels == beside:
            panel.tick_params(labelleft=False)
        panel.set_title(f"{threads} thread{'s' * (threads != 1)}, batch size {batch_size}", fontweight="normal")
        panel.set_xlabel("time / time of the baseline (shorter is faster)")
        panel.tick_params(labelbottom=True)
    for panel in axes:  # the remaining ones
        panel.set_axis_off()
    widest = max(row.ratio_high for row in result.rows)
    figure.axes[0].set_xlim(0, 1.05 * max(widest, 1.0))
    return figure


def _draw_panel(axes: "Axes", engines: dict[str, list[Measurement]], forms: list[str]) -> list[str]:
    """Draw the bars, and return the labels of all rows, engines included."""
    labels: list[tuple[float, str]] = []
    place = 0.0
    for engine, rows in engines.items():
        axes.text(0, place, engine, fontweight="bold", va="center_baseline", fontsize=SMALL)
        place += 1
        for row in rows:
            is_baseline = row.ratio == row.ratio_low == row.ratio_high == 1
            color = BASELINE if is_baseline else PALETTE[forms.index(row.form) % len(PALETTE)]
            axes.barh(place, row.ratio, BAR, color=color)
            if not is_baseline:
                ends = [[row.ratio - row.ratio_low], [row.ratio_high - row.ratio]]
                axes.errorbar(row.ratio, place, xerr=ends, color=INK, linewidth=1.2, capsize=2.5)
            axes.text(
                1.02, place, f"{row.ratio:.2f}  {row.images_per_second:,.0f}/s", va="center_baseline", fontsize=SMALL,
                transform=axes.get_yaxis_transform(),
            )  # fmt: skip
            labels.append((place, _short(f"{row.model}, {row.form}")))
            place += 1
    axes.axvline(1, color=GREY, linewidth=1)
    axes.set_yticks([position for position, _ in labels], [label for _, label in labels], parse_math=False)
    axes.tick_params(axis="y", length=0, labelsize=SMALL)
    axes.set_ylim(place - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    return [*engines, *(label for _, label in labels)]


def _short(name: str) -> str:
    return one_line(name if len(name) <= MAX_LABEL else f"…{name[-MAX_LABEL:]}")
