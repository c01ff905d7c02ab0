"""The adjacency matrices as a picture: the paper's equations (8) and (9) first, then a unit of every stage."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from wavenet_zoo.layers import DFWT, WConv2d
from wavenet_zoo.layers import connectivity as layer_connectivity
from wavenet_zoo.runtime.figures import new_figure, save_figure

if TYPE_CHECKING:
    from wavenet_zoo.paper.connectivity import Adjacency, Connectivity

__all__ = ["plot_connectivity"]

CHANNELS = 8  # of equations (8) and (9)
MOST_COLUMNS = 160


def plot_connectivity(path: Path, result: "Connectivity") -> None:
    """Draw H and the adjacencies at D = 8, and those of the first unit of every stage.

    Args:
        path: Figure to write.
        result: Of :func:`~.connectivity.connectivity`.
    """
    units = [unit for unit in result.units if unit.unit.endswith(".0")]
    figure = new_figure(10, 2.6 * (1 + len(units)))
    rows = figure.subplots(1 + len(units), 4, gridspec_kw={"height_ratios": [1.6] + [1.0] * len(units)})

    wconv, dfwt = WConv2d(CHANNELS, CHANNELS), DFWT(CHANNELS)
    seen, mixed = layer_connectivity(wconv), layer_connectivity(dfwt)
    signed = dfwt.matrix()
    for axes, title, matrix in zip(
        rows[0],
        ("H of Algorithm 2, equation (9)", "A(WConv), equation (8)", "A(DFWT) = |H|, equation (8)", "A(WConv) A(DFWT)"),
        (signed, seen, mixed, seen @ mixed),
    ):
        _draw(axes, matrix.sign(), f"D = {CHANNELS}: {title}")
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
    figure.suptitle(
        f"{result.model}{f' with {arguments}' if arguments else ''}: which outputs (rows) see which inputs (columns)"
    )
    save_figure(figure, path)


def _draw(axes: Any, matrix: torch.Tensor, title: str) -> None:
    if matrix.shape[1] > MOST_COLUMNS:  # or single entries would fall between the pixels
        matrix = F.adaptive_max_pool2d(matrix[None].float(), (min(len(matrix), MOST_COLUMNS), MOST_COLUMNS))[0]
    axes.imshow(matrix.float().numpy(), cmap="RdBu_r", vmin=-1.4, vmax=1.4, interpolation="nearest", aspect="auto")
    axes.set_title(title, fontsize=8)
    axes.set_xticks([])
    axes.set_yticks([])


def _entries(matrix: torch.Tensor) -> list[tuple[tuple[int, int], float]]:
    return [((i, j), float(matrix[i, j])) for i in range(len(matrix)) for j in range(matrix.shape[1])]


def _share(adjacency: "Adjacency") -> str:
    state = "full" if adjacency.full else f"{adjacency.share:.2%} of the pairs"
    return f"{adjacency.outputs} x {adjacency.inputs}, {state}"
