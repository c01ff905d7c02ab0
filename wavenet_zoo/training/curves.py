"""Figures of training curves: one run, or several runs in one figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from wavenet_zoo.recipes import Recipe, list_recipes, load_recipe
from wavenet_zoo.runtime.figures import (
    GREY,
    PALETTE,
    SMALL,
    WIDTH,
    figure_style,
    new_figure,
    save_figure,
    set_heading,
)  # fmt: skip

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["describe_run", "draw_arms", "draw_curves", "plot_curves", "rate_drops"]

SHORT = 3  # epochs up to which points show a run better than a line
MARKED = 10  # epochs up to which a line has markers
STYLES = ("-", "--", ":", "-.")
MARKERS = "osD^vP"
DECADE = 10  # a log axis needs a decade to have tick labels
NOT_IN_TITLE = ("model.", "data.", "seed", "schedule.epochs", "schedule.milestones")  # stated elsewhere in the figure


def describe_run(recipe: Recipe, name: str, data: str) -> tuple[str, str]:
    """Return a title of a run, and a note on it: the recipe, and overrides of its values.

    Args:
        recipe: The recipe of the run.
        name: Name of the recipe; the folder and suffix of a file are removed.
        data: Name of the data set; the folder is removed.
    """
    shipped = name in list_recipes()
    kwargs = dict(recipe.model.kwargs)
    model = recipe.model.name if kwargs.pop("use_dfwt", True) else f"{recipe.model.name} without DFWT"
    arguments = ", ".join(f"{key}={value}" for key, value in kwargs.items())
    model = f"{model}, {arguments}," if arguments else model
    epochs = recipe.schedule.epochs
    parts = [f"recipe {name if shipped else Path(name).stem}"]
    if shipped:
        differing = recipe.differing(load_recipe(name))
        parts += [f"{key}={value}" for key, (value, _) in differing.items() if not key.startswith(NOT_IN_TITLE)]
    title = f"{model} on {Path(data).name}, {epochs} epoch{'s' * (epochs != 1)}, seed {recipe.seed}"
    return title, ", ".join(parts)


def rate_drops(recipe: Recipe) -> list[int]:
    """Return the epochs after which the learning rate drops within a run."""
    return [milestone for milestone in recipe.schedule.milestones if milestone < recipe.schedule.epochs]


def plot_curves(path: Path, history: Sequence[Mapping[str, Any]], recipe: Recipe, name: str, data: str) -> None:
    """Plot loss and accuracy of a run against epochs.

    Args:
        path: Figure to write.
        history: One record per epoch, as in ``log.jsonl``.
        recipe: The recipe of the run.
        name: Name of the recipe.
        data: Name of the data set.
    """
    save_figure(draw_curves(history, recipe, name, data), path)


@figure_style()
def draw_curves(history: Sequence[Mapping[str, Any]], recipe: Recipe, name: str, data: str) -> "Figure":
    """Draw the figure of :func:`plot_curves`."""
    figure = new_figure(WIDTH, 3.5)
    set_heading(figure, *describe_run(recipe, name, data))
    loss, accuracy = figure.subplots(1, 2)
    epochs = [record["epoch"] for record in history]
    for place, (key, label) in enumerate((("train_loss", "training, augmented"), ("loss", "validation"))):
        loss.plot(epochs, [record[key] for record in history], label=label, **_line(place, len(epochs)))
    loss.legend()
    loss.set_ylabel("cross entropy")
    top1 = [record["top1"] for record in history]
    accuracy.plot(epochs, top1, **_line(1, len(epochs)))
    accuracy.set_title(f"after the last epoch: {top1[-1]:.2f} %", fontweight="normal")
    accuracy.set_ylabel("top-1 on validation, %")
    _finish(loss, epochs[-1], rate_drops(recipe), logarithmic=True)
    _finish(accuracy, epochs[-1], rate_drops(recipe))
    return figure


def draw_arms(
    axes: "Axes", arms: Mapping[str, Sequence[Sequence[float]]], drops: Sequence[int], logarithmic: bool = False
) -> None:
    """Draw the mean over the seeds of each arm by epoch, and between its lowest and highest seed a band, or points.

    Args:
        axes: Axes to draw on.
        arms: For each label the values by seed and epoch.
        drops: Epochs after which the learning rate drops.
        logarithmic: Use a logarithmic vertical axis if the values span a decade.
    """
    count = 1
    for place, (label, seeds) in enumerate(arms.items()):
        count = len(seeds[0])
        epochs, style = range(1, count + 1), _line(place, count)
        if len(seeds) > 1 and count > SHORT:
            lowest, highest = ([choose(values) for values in zip(*seeds)] for choose in (min, max))
            axes.fill_between(epochs, lowest, highest, color=style["color"], alpha=0.25, linewidth=0)
        elif len(seeds) > 1:
            for values in seeds:
                axes.plot(epochs, values, alpha=0.4, markersize=3, **style)
        axes.plot(epochs, [fmean(values) for values in zip(*seeds)], label=label, **style)
    _finish(axes, count, drops, logarithmic)


def _line(place: int, epochs: int) -> dict[str, Any]:
    """Return the style of a curve: points for a short run, a line with markers for a longer one, or only a line."""
    return {
        "color": PALETTE[place % len(PALETTE)],
        "linestyle": "none" if epochs <= SHORT else STYLES[place % len(STYLES)],
        "marker": MARKERS[place % len(MARKERS)] if epochs <= MARKED else "none",
    }


def _finish(axes: "Axes", epochs: int, drops: Sequence[int], logarithmic: bool = False) -> None:
    """Label the horizontal axis, choose the scale of the vertical one, and mark the drops of the learning rate."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    values = [float(value) for line in axes.get_lines() for value in np.asarray(line.get_ydata())]
    if logarithmic and max(values) > DECADE * min(values) > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("epoch")
    axes.set_xlim(0.5 if epochs <= MARKED else 0, epochs + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    for milestone in drops:
        axes.axvline(milestone + 0.5, color=GREY, linewidth=1, linestyle=(0, (4, 2)), zorder=1)
    if drops and not axes.get_title(loc="left"):
        axes.annotate(
            "learning rate drops", (fmean(drops) + 0.5, 1), (0, 2), xycoords=("data", "axes fraction"),
            textcoords="offset points", fontsize=SMALL, ha="center",
        )  # fmt: skip
