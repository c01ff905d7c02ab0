"""The training curves of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wavenet_zoo.runtime.figures import new_figure, save_figure

__all__ = ["plot_curves"]


def plot_curves(path: Path, history: Sequence[dict[str, Any]], title: str) -> None:
    """Plot loss and accuracy against epochs.

    Args:
        path: PNG to write.
        history: One record per epoch, as in ``log.jsonl``.
        title: Title of the figure.
    """
    figure = new_figure(10, 4)
    from matplotlib.ticker import MaxNLocator

    epochs = [record["epoch"] for record in history]
    loss, accuracy = figure.subplots(1, 2)
    marker = "o" if len(epochs) < 10 else None
    loss.plot(epochs, [record["train_loss"] for record in history], label="training, augmented", marker=marker)
    loss.plot(epochs, [record["loss"] for record in history], label="validation", marker=marker)
    loss.set_ylabel("cross entropy")
    losses = [record[key] for record in history for key in ("train_loss", "loss")]
    if max(losses) > 10 * min(losses) > 0:  # a log axis needs a decade to have tick labels
        loss.set_yscale("log")
    loss.legend()
    accuracy.plot(epochs, [record["top1"] for record in history], color="C1", marker=marker)
    last = history[-1]
    accuracy.annotate(
        f"{last['top1']:.2f} %", (last["epoch"], last["top1"]), (-6, -14), textcoords="offset points", ha="right"
    )
    accuracy.set_ylabel("top-1 on validation, %")
    for axes in (loss, accuracy):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    figure.suptitle(title)
    save_figure(figure, path)
