"""Figure of the connectivity of a network's units: equations (8) and (9), and the matrices of every kind of unit."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from wavenet_zoo.layers import DFWT, WConv2d
from wavenet_zoo.layers import connectivity as layer_connectivity
from wavenet_zoo.paper.connectivity import Adjacency, Connectivity, UnitConnectivity
from wavenet_zoo.runtime.figures import BLUE, ORANGE, SMALL, WIDTH, figure_style, new_figure, save_figure, set_heading

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

__all__ = ["draw_connectivity", "name_units", "plot_connectivity"]

EXAMPLE_CHANNELS = 8  # of equations (8) and (9)
MAX_COLUMNS = 160  # of a drawn matrix; single entries of a larger one would fall between pixels
EMPTY = "#f0f2f4"
EXAMPLE_HEIGHT, UNIT_HEIGHT = 2.35, 1.75  # inches, of a row of matrices with its headings


def plot_connectivity(path: Path, result: Connectivity) -> None:
    """Draw the matrices of equations (8) and (9) at D = 8, and those of one unit of each kind.

    Args:
        path: Figure to write.
        result: Result of :func:`~wavenet_zoo.paper.connectivity.connectivity`.

    Source: paper, equations (8) and (9).
    """
    save_figure(draw_connectivity(result), path)


@figure_style()
def draw_connectivity(result: Connectivity) -> "Figure":
    """Draw the figure of :func:`plot_connectivity`. A network without DFWT has no matrices with DFWT."""
    uses_dfwt = bool(result.model_kwargs.get("use_dfwt", True))
    kinds = _kinds(result.units)
    figure = new_figure(WIDTH, 0.6 + EXAMPLE_HEIGHT + UNIT_HEIGHT * len(kinds))
    arguments = ", ".join(f"{key}={value}" for key, value in result.model_kwargs.items() if key != "use_dfwt")
    name = f"{result.model}{'' if uses_dfwt else ' without DFWT'}{f', {arguments}' if arguments else ''}"
    set_heading(
        figure,
        f"{name}: which channels are connected?",
        f"rows: outputs; columns: inputs; blue: connected{'; orange: subtracted' if uses_dfwt else ''}",
    )
    heights = [EXAMPLE_HEIGHT, *[UNIT_HEIGHT] * len(kinds)]
    parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    _draw_example(parts[0], uses_dfwt)
    for part, units in zip(parts[1:], kinds):
        _draw_unit(part, units[0], name_units(units, result.units), uses_dfwt)
    return figure


def name_units(units: Sequence[UnitConnectivity], all_units: Sequence[UnitConnectivity]) -> str:
    """Return ``unit 0.0``, or ``units 1.0 to 2.1, 3.0``, where units between are consecutive in the network.

    Args:
        units: Some of the units, in their order.
        all_units: All units of the network, in their order.
    """
    names = [unit.unit.removeprefix("blocks.") for unit in all_units]
    places = [names.index(unit.unit.removeprefix("blocks.")) for unit in units]
    starts = [place for place in places if place - 1 not in places]
    ends = [place for place in places if place + 1 not in places]
    ranges = [names[i] if i == j else f"{names[i]} to {names[j]}" for i, j in zip(starts, ends, strict=True)]
    return f"unit{'s' * (len(units) > 1)} {', '.join(ranges)}"


def _kinds(units: Sequence[UnitConnectivity]) -> list[list[UnitConnectivity]]:
    """Group units that look alike: of equal depths, with equal shares of connected pairs.

    The share of DFWT is not compared. It is a function of depth and channels.
    """
    kinds: dict[tuple, list[UnitConnectivity]] = {}
    for unit in units:
        shares = tuple(round(adjacency.share, 6) for adjacency in (unit.wconv, unit.projection, unit.whole))
        kinds.setdefault((unit.depths, shares), []).append(unit)
    return list(kinds.values())


def _draw_example(figure: "SubFigure", uses_dfwt: bool) -> None:
    dfwt = DFWT(EXAMPLE_CHANNELS)
    of_wconv = layer_connectivity(WConv2d(EXAMPLE_CHANNELS, EXAMPLE_CHANNELS, device="meta"))
    of_dfwt = layer_connectivity(dfwt)
    matrices = {"A(WConv)": of_wconv}
    if uses_dfwt:
        matrices = {
            "H of Algorithm 2": dfwt.matrix(),
            "A(DFWT) = |H|": of_dfwt,
            "A(WConv)": of_wconv,
            "A(WConv) A(DFWT)": of_wconv @ of_dfwt,
        }
    equations = "equations (8) and (9)" if uses_dfwt else "equation (8)"
    set_heading(figure, f"Example with {EXAMPLE_CHANNELS} channels: {equations} of the paper")
    panels = figure.subplots(1, 4 if uses_dfwt else 2)
    for axes, (title, matrix) in zip(panels, matrices.items()):
        _draw(axes, matrix.sign(), title)
        axes.set_aspect("equal", anchor="W")
        for row, column in matrix.nonzero().tolist():
            value = f"{matrix[row, column]:.0f}".replace("-", "−")
            axes.text(column, row, value, ha="center", va="center", fontsize=7, color="white")
    for axes in panels[len(matrices) :]:
        axes.set_axis_off()


def _draw_unit(figure: "SubFigure", unit: UnitConnectivity, units: str, uses_dfwt: bool) -> None:
    depths = ", ".join("-" if depth is None else str(depth) for depth in unit.depths)
    drawn = f"; drawn: {unit.unit.removeprefix('blocks.')}" if units.startswith("units") else ""
    set_heading(figure, f"{units[0].upper()}{units[1:]}, κ = {depths}{drawn}")
    adjacencies = {"WConv": unit.wconv, "unit, input to output": unit.whole}
    if uses_dfwt:
        adjacencies = {
            "DFWT": unit.dfwt,
            "WConv": unit.wconv,
            "WConv after DFWT": unit.projection,
            "unit, input to output": unit.whole,
        }
    for axes, (title, adjacency) in zip(figure.subplots(1, len(adjacencies)), adjacencies.items()):
        _draw(axes, adjacency.matrix, f"{title}\n{_share(adjacency)}")


def _draw(axes: "Axes", matrix: torch.Tensor, title: str) -> None:
    from matplotlib.colors import ListedColormap

    if matrix.shape[1] > MAX_COLUMNS:
        matrix = F.adaptive_max_pool2d(matrix[None].float(), (min(len(matrix), MAX_COLUMNS), MAX_COLUMNS))[0]
    colors = ListedColormap([ORANGE, EMPTY, BLUE])
    axes.imshow(matrix.float().numpy(), cmap=colors, vmin=-1, vmax=1, interpolation="nearest", aspect="auto")
    axes.set_title(title, fontsize=SMALL, fontweight="normal")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[["left", "bottom"]].set_visible(False)


def _share(adjacency: Adjacency) -> str:
    state = "full" if adjacency.full else f"{adjacency.share:.2%} of the pairs"
    return f"{adjacency.outputs} x {adjacency.inputs}: {state}"
