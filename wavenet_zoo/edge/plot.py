"""Plot an edge table: accuracy against latency, with the size as the area of the points."""

from pathlib import Path

from wavenet_zoo.edge.table import EdgeTable
from wavenet_zoo.errors import one_line
from wavenet_zoo.runtime.figures import (
    GREY,
    PALETTE,
    SMALL,
    figure_style,
    import_matplotlib,
    new_figure,
    save_figure,
    set_heading,
)  # fmt: skip

__all__ = ["plot_edge_table"]

MAX_AREA = 900  # square points, of the largest model
LOGARITHMIC = 4  # ratio of times above which their axis is logarithmic
MAX_LABEL = 34  # characters of a model's name
MARKERS = "osD^vPX*"


@figure_style()
def plot_edge_table(path: Path, result: EdgeTable) -> None:
    """Plot top-1, with its interval, against the median latency. The area of a point is its size in bytes.

    There is one panel per number of threads and batch size. The floor, which has no accuracy, is a vertical line.

    Raises:
        WavezooError: If the file cannot be written, or its suffix is not supported.
    """
    import_matplotlib()
    from matplotlib.collections import PathCollection
    from matplotlib.ticker import FuncFormatter, LogLocator

    panels = list(dict.fromkeys((row.threads, row.batch_size) for row in result.rows))
    styles = list(dict.fromkeys((row.model, row.form, row.engine) for row in result.rows if row.bytes is not None))
    largest = max(row.bytes or 0 for row in result.rows)
    figure = new_figure(4.0 * len(panels) + 4.0, 4.2)
    set_heading(figure, "Top-1 by latency and size", "area: size; line to the right: 90th percentile")
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    handles = {}
    for panel, (threads, batch_size) in zip(axes, panels):
        for row in (row for row in result.rows if (row.threads, row.batch_size) == (threads, batch_size)):
            if row.bytes is None or row.top1 is None or row.top1_interval is None:
                label = f"floor: {_short(row.model)} without projections"
                handles[label] = panel.axvline(row.median_ms, color=GREY, linewidth=1, linestyle="--", label=label)
                continue
            style = styles.index((row.model, row.form, row.engine))
            color = PALETTE[style % len(PALETTE)]
            form = "" if row.form == "dense" else f"{row.form}, "
            label = f"{_short(row.model)}, {form}{row.engine}, {row.precision}: {row.bytes / 1e6:.2f} MB"
            low, high = row.top1_interval
            panel.errorbar(
                row.median_ms, row.top1, [[row.top1 - low], [high - row.top1]],
                [[0], [row.p90_ms - row.median_ms]], color=color, linewidth=1, capsize=2,
            )  # fmt: skip
            handles[label] = panel.scatter(
                row.median_ms, row.top1, s=MAX_AREA * row.bytes / largest, facecolor=(color, 0.35), edgecolor=color,
                marker=MARKERS[style % len(MARKERS)], label=label,
            )  # fmt: skip
        panel.margins(0.15)
        times = [row.median_ms for row in result.rows]
        if max(times) > LOGARITHMIC * min(times):
            panel.set_xscale("log")
            panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            panel.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
        else:
            panel.set_xlim(left=0)
        panel.set_xlim(right=1.25 * max(times))  # the 90th percentile of a busy machine may be far outside
        panel.set_title(f"{threads} thread{'s' * (threads != 1)}, batch size {batch_size}", fontweight="normal")
        panel.set_xlabel("ms per run, median to p90")
    axes[0].set_ylabel(f"top-1, %, with 95 % interval, on {result.images:,} images")
    legend = figure.legend(handles=list(handles.values()), loc="outside right upper", fontsize=SMALL)
    for handle in legend.legend_handles:
        if isinstance(handle, PathCollection):
            handle.set_sizes([40])
    save_figure(figure, path)


def _short(name: str) -> str:
    text = one_line(name if len(name) <= MAX_LABEL else f"…{name[-MAX_LABEL:]}")
    return text.replace("$", r"\$")  # no formula of matplotlib
