"""Plot a benchmark: time against MACs."""

from pathlib import Path

from wavenet_zoo.deployment.bench import Benchmark
from wavenet_zoo.runtime.figures import new_figure, save_figure

__all__ = ["plot_benchmark"]


def plot_benchmark(path: Path, result: Benchmark) -> None:
    """Plot time per image, from median to p90, against MACs.

    There is one panel per engine, number of threads and batch size. A point is a network or file; the line
    marks the time per MAC of the first of its panel, the baseline if it runs in this engine.

    Raises:
        WavezooError: If the file cannot be written, or its suffix is not supported.
    """
    engines = list(dict.fromkeys(row.engine for row in result.rows))
    groups = list(dict.fromkeys((row.threads, row.batch_size) for row in result.rows))
    models = list(dict.fromkeys((row.model, row.form) for row in result.rows))
    figure = new_figure(3.4 * len(engines) + 1.8, 3.0 * len(groups) + 0.4)
    axes = figure.subplots(len(groups), len(engines), squeeze=False)
    for i, (threads, batch_size) in enumerate(groups):
        for j, engine in enumerate(engines):
            rows = [r for r in result.rows if (r.engine, r.threads, r.batch_size) == (engine, threads, batch_size)]
            panel = axes[i][j]
            if not rows:
                panel.set_axis_off()
                continue
            for row in rows:
                style = models.index((row.model, row.form))
                panel.errorbar(
                    row.macs / 1e6, row.median_ms / batch_size, [[0], [(row.p90_ms - row.median_ms) / batch_size]],
                    fmt="os^Dvphx*"[style % 9], color=f"C{style}", capsize=3,
                )  # fmt: skip
            baseline = rows[0]
            panel.axline(
                (0, 0), (baseline.macs / 1e6, baseline.median_ms / batch_size), color="0.7", linewidth=1, zorder=0
            )
            panel.set_xlim(0, 1.15 * max(row.macs for row in rows) / 1e6)
            panel.set_ylim(0, 1.2 * max(row.p90_ms for row in rows) / batch_size)
            plural = "s" * (threads != 1)
            panel.set_title(f"{engine}, {threads} thread{plural}, batch size {batch_size}", fontsize=9)
            panel.set_xlabel("million MACs")
            panel.set_ylabel("ms per image")
    handles = [
        axes[0][0].plot([], [], "os^Dvphx*"[style % 9], color=f"C{style}", label=f"{model}, {form}")[0]
        for style, (model, form) in enumerate(models)
    ]
    figure.legend(handles=handles, loc="outside right upper", fontsize=8, title=f"{result.task}, median to p90")
    save_figure(figure, path)
