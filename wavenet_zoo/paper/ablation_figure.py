"""Figure of an ablation: validation error and training loss of all arms by epoch."""

from pathlib import Path
from typing import TYPE_CHECKING

from wavenet_zoo.paper.ablation import Ablation
from wavenet_zoo.paper.measured import count_epochs, read_history
from wavenet_zoo.recipes import load_recipe
from wavenet_zoo.runtime.figures import WIDTH, figure_style, new_figure, save_figure, set_heading
from wavenet_zoo.training.curves import draw_arms, rate_drops

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_ablation", "plot_ablation"]


def plot_ablation(path: Path, ablation: Ablation) -> None:
    """Draw validation error and training loss of all arms by epoch: the mean over the seeds, and their range.

    Args:
        path: Figure to write.
        ablation: Result whose run folders exist, as their logs are read.
    """
    save_figure(draw_ablation(ablation), path)


@figure_style()
def draw_ablation(ablation: Ablation) -> "Figure":
    """Draw the figure of :func:`plot_ablation`."""
    drops = rate_drops(load_recipe(Path(ablation.arms[0].runs[0]["out"]) / "recipe.yaml"))
    histories = {
        arm.title: [read_history(Path(run["out"]), ablation.epochs) for run in arm.runs] for arm in ablation.arms
    }
    seeds = len(ablation.seeds)
    note = f"recipe {ablation.recipe}, {count_epochs(ablation.epochs)}, seed{'s' * (seeds > 1)} "
    note += ", ".join(map(str, ablation.seeds))
    if seeds > 1:
        note += "; line: mean of the seeds, ± its standard error after the last epoch; band or dots: the seeds"
    figure = new_figure(WIDTH, 3.7)
    set_heading(figure, f"{ablation.model} on {ablation.data}: {' or '.join(histories)}?", note)
    error, loss = figure.subplots(1, 2)
    errors = {
        f"{arm.title}: {arm.error} %": [[100 - record["top1"] for record in run] for run in histories[arm.title]]
        for arm in ablation.arms
    }
    losses = {title: [[record["train_loss"] for record in run] for run in runs] for title, runs in histories.items()}
    draw_arms(error, errors, drops, logarithmic=True)
    draw_arms(loss, losses, drops, logarithmic=True)
    error.set_ylabel("top-1 error on validation, %")
    loss.set_ylabel("training loss, augmented")
    error.legend()
    return figure
