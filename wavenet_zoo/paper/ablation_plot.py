"""The curves of an ablation: error and loss by epoch, a thin line for each seed and a thick one for the mean."""

import json
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from matplotlib.ticker import MaxNLocator

from wavenet_zoo.runtime.figures import new_figure, save_figure

if TYPE_CHECKING:
    from wavenet_zoo.paper.ablation import Ablation

__all__ = ["plot_ablation"]


def plot_ablation(path: Path, ablation: "Ablation") -> None:
    """Plot validation error and training loss of all arms against epochs.

    Args:
        path: Figure to write.
        ablation: With the folders of its runs in place.
    """
    figure = new_figure(11, 4.5)
    error, loss = figure.subplots(1, 2)
    for i, arm in enumerate(ablation.arms):
        histories = [_history(Path(run["out"])) for run in arm.runs]
        label = f"{arm.title}: {arm.error} %"
        _curves(error, [[100 - record["top1"] for record in h] for h in histories], f"C{i}", label)
        _curves(loss, [[record["train_loss"] for record in h] for h in histories], f"C{i}", arm.title)
    error.set_ylabel("top-1 error on validation, %")
    loss.set_ylabel("training loss, augmented")
    for axes in (error, loss):
        values = [value for line in axes.get_lines() for value in line.get_ydata()]
        if max(values) > 10 * min(values) > 0:  # less than a decade has no marks to read on a logarithmic axis
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
            axes.plot(epochs, values, color=color, linewidth=0.7, alpha=0.5)
    axes.plot(epochs, [fmean(values) for values in zip(*series)], color=color, linewidth=2, marker=marker, label=label)


def _history(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
