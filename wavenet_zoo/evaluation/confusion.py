"""Which classes a model confuses: a matrix as a figure, and the most confused pairs."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wavenet_zoo.data.synsets import readable_name
from wavenet_zoo.errors import one_line
from wavenet_zoo.evaluation.predictions import Predictions
from wavenet_zoo.evaluation.result import Evaluation
from wavenet_zoo.runtime.figures import figure_style, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["ConfusedPair", "classes_of_data", "confusion_figure", "draw_confusion", "most_confused"]

MAX_NUMBERED = 20  # classes, above which cells are too small for numbers
MAX_TICKS = 40  # class names on an axis
MAX_NAME = 24  # characters of a class name
OTHERS = "others"


@dataclass
class ConfusedPair:
    """Images of one class that are predicted as another.

    Attributes:
        label: Class of the images.
        prediction: Class that is predicted instead.
        images: Number of these images.
        share: Percentage of all images of the label.
    """

    label: str
    prediction: str
    images: int
    share: float


def most_confused(predictions: Predictions, count: int) -> list[ConfusedPair]:
    """Return the pairs of a label and a wrong prediction with the most images, at most ``count``.

    Pairs with equally many images are in the order of their share, then of the outputs.

    Args:
        predictions: Predictions for every image.
        count: Maximum number of pairs.
    """
    wrong = ~predictions.correct
    pairs = np.stack([predictions.labels[wrong], predictions.top[wrong, 0]], axis=1)
    found, images = np.unique(pairs, axis=0, return_counts=True)
    totals = np.bincount(predictions.labels, minlength=len(predictions.class_names))
    share = 100.0 * images / totals[found[:, 0]]
    names = predictions.class_names
    return [
        ConfusedPair(names[found[i, 0]], names[found[i, 1]], int(images[i]), float(share[i]))
        for i in np.lexsort((-share, -images))[:count]
    ]


def classes_of_data(evaluation: Evaluation) -> list[int]:
    """Return the outputs that are labels of the evaluated images, in the order of the data's classes."""
    targets = np.asarray(evaluation.source.targets)[evaluation.predictions.indices]
    _, first = np.unique(targets, return_index=True)
    return list(dict.fromkeys(evaluation.predictions.labels[first].tolist()))


@figure_style()
def draw_confusion(path: Path, evaluation: Evaluation) -> None:
    """Draw the confusion matrix of an evaluation to a png, svg or pdf file.

    Raises:
        WavezooError: If the file cannot be written, or its suffix is not supported.
    """
    figure = confusion_figure(evaluation.predictions, classes_of_data(evaluation))
    title = f"{evaluation.model} on {evaluation.data['name']}: top-1 {evaluation.top1:.2f} %"
    limited = f", {evaluation.limit['images']:,} of {evaluation.limit['of']:,} images" if evaluation.limit else ""
    columns = int(8 * figure.get_figwidth())  # characters of the title that fit
    figure.suptitle(textwrap.fill(one_line(title + limited), columns), parse_math=False)
    save_figure(figure, path)


@figure_style()
def confusion_figure(predictions: Predictions, classes: Sequence[int]) -> "Figure":
    """Draw the confusion matrix: the share of each label's images that gets each prediction.

    Predictions of other classes share one last column. The scale is that of the square root, so that small shares are
    visible. Names are on every axis tick up to 40 classes, on some ticks above; numbers are in cells up to 20 classes.

    Args:
        predictions: Predictions for every image.
        classes: Outputs of the rows and columns, in their order; they include all labels.
    """
    column = np.full(len(predictions.class_names), len(classes))
    column[np.asarray(classes)] = np.arange(len(classes))
    counts = np.zeros((len(classes), len(classes) + 1))
    np.add.at(counts, (column[predictions.labels], column[predictions.top[:, 0]]), 1)
    names = [_tick_label(predictions.class_names[i]) for i in classes]
    columns = [*names, OTHERS]
    if not counts[:, -1].any():
        counts, columns = counts[:, :-1], names
    shares = 100.0 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = float(np.interp(len(classes), [5, 20, 1000], [4, 9, 11]))
    figure = new_figure(side + 1.5, side + 0.3)
    figure.set_layout_engine("compressed")  # for axes with a fixed aspect
    axes = figure.subplots()
    axes.grid(visible=False)
    _draw_matrix(figure, axes, shares)
    for axis, labels in ((axes.xaxis, columns), (axes.yaxis, names)):
        shown = range(0, len(labels), -(-len(labels) // MAX_TICKS))
        axis.set_ticks(list(shown), [labels[i] for i in shown], fontsize=9 if len(labels) <= MAX_NUMBERED else 7)
        for text in axis.get_ticklabels():
            text.set_parse_math(False)
    axes.tick_params(axis="x", rotation=45 if max(map(len, columns)) > 3 else 0)
    for text in axes.get_xticklabels():
        text.set(ha="right" if text.get_rotation() else "center", rotation_mode="anchor")
    axes.set(xlabel="prediction", ylabel="label")
    return figure


def _draw_matrix(figure: "Figure", axes: "Axes", shares: np.ndarray) -> None:
    from matplotlib.colors import PowerNorm

    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 100), aspect="equal")
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.02, ticks=[0, 1, 5, 10, 25, 50, 75, 100])
    bar.set_label("share of the label's images, %")
    bar.outline.set_visible(False)
    if len(shares) > MAX_NUMBERED:
        return
    for (row, column), share in np.ndenumerate(shares):
        if share:
            axes.text(
                column, row, f"{share:.0f}" if share >= 0.95 else f"{share:.1f}", ha="center", va="center", fontsize=9,
                color="white" if share > 40 else "black",
            )  # fmt: skip


def _tick_label(class_name: str) -> str:
    name = one_line(readable_name(class_name).partition(",")[0] or class_name)
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…"
