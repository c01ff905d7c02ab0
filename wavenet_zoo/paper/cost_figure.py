"""Figure of Table 1: the cost of a layer by its channels."""

from typing import TYPE_CHECKING

from wavenet_zoo.paper.layer_table import LAYERS, SIZE, count_layer
from wavenet_zoo.runtime.figures import PALETTE, WIDTH, figure_style, new_figure, set_heading

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_costs"]

CHANNELS = [2**k for k in range(3, 12)]
MARKERS = "osD^v"
TEXT_FACTOR = 1.8  # ratio of values at which texts on the axis do not overlap


@figure_style()
def draw_costs() -> "Figure":
    """Draw the MACs of every layer by its channels: counted, and by the paper's formula where it differs."""
    figure = new_figure(WIDTH, 4.4)
    axes = figure.subplots()
    ends: dict[str, float] = {}
    for layer, color, marker in zip(LAYERS, PALETTE, MARKERS, strict=False):
        counted = [count_layer(layer, channels)[1] for channels in CHANNELS]
        axes.plot(CHANNELS, counted, marker=marker, color=color)
        ends[layer.title] = counted[-1]
        if layer.remark:
            formula = [layer.params(channels) * SIZE**2 for channels in CHANNELS]
            axes.plot(CHANNELS, formula, linestyle=":", color=color)
            ends[f"{layer.title}, formula"] = formula[-1]
    for text, height in _spread(ends).items():
        axes.annotate(
            text, (CHANNELS[-1], height), (8, 0), textcoords="offset points", va="center", annotation_clip=False
        )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(CHANNELS, [str(channels) for channels in CHANNELS])
    axes.minorticks_off()
    axes.set_xlabel("channels D = D'")
    axes.set_ylabel(f"MACs at N = {SIZE}")
    set_heading(figure, "Table 1: how does the cost of a layer grow with its channels?")
    axes.set_title("counted from the layer; dotted: by the paper's formula, where it differs", fontweight="normal")
    return figure


def _spread(values: dict[str, float]) -> dict[str, float]:
    """Raise values on a logarithmic axis until texts at them do not overlap."""
    places: dict[str, float] = {}
    lowest = 0.0
    for text, value in sorted(values.items(), key=lambda item: item[1]):
        places[text] = max(value, lowest)
        lowest = places[text] * TEXT_FACTOR
    return places
