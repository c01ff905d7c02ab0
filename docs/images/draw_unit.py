"""Draw ``unit.svg``: the WaveletNet unit, and which channels its last two layers connect.

Run ``python docs/images/draw_unit.py``; one version of matplotlib always writes the same bytes. The figures and the
lower half are computed from the layers: pieces from the weights of ``WConv2d``, matrices from
``wavenet_zoo.layers.connectivity``, signs from ``DFWT.matrix``.
"""

from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, PathPatch, Rectangle
from matplotlib.path import Path as Outline

from wavenet_zoo.layers import DFWT, WConv2d, connectivity
from wavenet_zoo.runtime.figures import new_figure, save_figure

CHANNELS, OUT_CHANNELS, KAPPA = 16, 8, 3  # of the lower half: few enough to show every channel
WIDTH, HEIGHT = 11.0, 5.9  # inches, which are the unit of all coordinates
PIECES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")  # Okabe and Ito, distinct for color-blind readers
INK, MUTED, GRID, CARD, EMPTY = "#1f2328", "#59636e", "#d8dee4", "#ffffff", "#f6f8fa"
WAVELET, PLAIN = ("#dbeafe", "#0072B2"), ("#f0f2f4", "#8c959f")  # fill and edge of a box
BOX_WIDTH, BOX_HEIGHT, GAP, LEFT = 1.66, 0.98, 0.58, 1.04
CELL, LINE = 0.15, 1.4


def main() -> None:
    figure = new_figure(WIDTH, HEIGHT)
    figure.set_layout_engine("none")
    figure.patch.set_alpha(0)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(0, HEIGHT))
    axes.axis("off")
    # an opaque card, to look the same on light and dark pages
    axes.add_patch(_box(0.03, 0.03, WIDTH - 0.06, HEIGHT - 0.06, CARD, GRID, 0.12))
    draw_unit(axes, middle=4.52)
    draw_connections(axes, top=2.62)
    save_figure(figure, Path(__file__).with_name("unit.svg"))


def draw_unit(axes: Axes, middle: float) -> None:
    """Draw the layers of the unit from left to right, with the channels between them (paper, Figure 5)."""
    connected = connectivity(WConv2d(CHANNELS, OUT_CHANNELS, kappa=KAPPA))
    share = Fraction(int(connected.sum()), connected.numel())
    layers = [
        ("1×1 WConv", "κ₁ = 0: dense", "BN, ReLU6", WAVELET),
        ("3×3 depthwise", "stride 1 or 2", "BN, ReLU6", PLAIN),
        ("DFWT", f"κ₂ = {KAPPA}", "no parameters", WAVELET),
        ("1×1 WConv", f"κ₃ = {KAPPA}: {share} of", "the weights; BN", WAVELET),
    ]
    lefts = [LEFT + i * (BOX_WIDTH + GAP) for i in range(len(layers) + 1)]
    plus = lefts.pop()
    for x, (name, first, second, (fill, edge)) in zip(lefts, layers, strict=True):
        axes.add_patch(_box(x, middle - BOX_HEIGHT / 2, BOX_WIDTH, BOX_HEIGHT, fill, edge, 0.08))
        center = x + BOX_WIDTH / 2
        _text(axes, center, middle + 0.24, name, size=12.5, weight="bold")
        _text(axes, center, middle - 0.06, first)
        _text(axes, center, middle - 0.29, second)
        _arrow(axes, (x - GAP, middle), (x, middle))
    axes.add_patch(Circle((plus, middle), 0.17, facecolor=CARD, edgecolor=INK, linewidth=LINE))
    _text(axes, plus, middle, "+", size=15)
    _arrow(axes, (plus - GAP, middle), (plus - 0.17, middle))
    _arrow(axes, (plus + 0.17, middle), (plus + 0.6, middle))
    for x, channels in zip([*lefts, plus - 0.07], ("D", "tD", "tD", "tD", "D′"), strict=True):
        _text(axes, x - 0.27, middle + 0.17, channels, size=11, style="italic")
    _text(axes, LEFT - GAP - 0.16, middle, "x", size=13, style="italic")
    _text(axes, plus + 0.74, middle, "y", size=13, style="italic")

    start, top, radius = LEFT - GAP + 0.09, middle + 0.86, 0.12
    corners = [(start, middle), (start, top - radius), (start, top), (start + radius, top)]
    corners += [(plus - radius, top), (plus, top), (plus, top - radius), (plus, middle + 0.4)]
    codes = [Outline.MOVETO, Outline.LINETO, Outline.CURVE3, Outline.CURVE3]
    codes += [Outline.LINETO, Outline.CURVE3, Outline.CURVE3, Outline.LINETO]
    axes.add_patch(PathPatch(Outline(corners, codes), facecolor="none", edgecolor=INK, linewidth=LINE))
    _arrow(axes, (plus, middle + 0.45), (plus, middle + 0.17))
    _text(axes, (start + plus) / 2, top + 0.16, "shortcut, if the stride is 1 and D = D′", color=MUTED)

    left, right, bottom = lefts[2], lefts[3] + BOX_WIDTH, middle - BOX_HEIGHT / 2 - 0.12
    bracket = Outline([(left, bottom), (left, bottom - 0.1), (right, bottom - 0.1), (right, bottom)])
    axes.add_patch(PathPatch(bracket, facecolor="none", edgecolor=MUTED, linewidth=1))
    note = f"connections between channels, tD = {CHANNELS}, D′ = {OUT_CHANNELS}"
    _text(axes, (left + right) / 2, bottom - 0.27, note, color=MUTED)


def draw_connections(axes: Axes, top: float) -> None:
    """Draw which channels DFWT mixes, which ones the last WConv connects, and which ones both together connect."""
    wconv, dfwt = WConv2d(CHANNELS, OUT_CHANNELS, kappa=KAPPA), DFWT(CHANNELS, kappa=KAPPA)
    mixed, seen, signs = connectivity(dfwt), connectivity(wconv), dfwt.matrix().sign()
    both = (seen @ mixed).ne(0).long()
    read, written = ([piece.shape[axis] for piece in wconv.weight] for axis in (1, 0))
    sizes, reversed_sizes = (" + ".join(map(str, pieces)) for pieces in (read, written))
    panels = [
        ("DFWT", "sums and differences of halves", signs, read),
        (f"WConv: {_percent(seen)}", "one block for each piece", seen, written),
        (f"WConv after DFWT: {_percent(both)}", "every output sees every input", both, written),
    ]
    lefts = [LEFT + i * 3.3 for i in range(len(panels))]
    for x, (title, note, matrix, bands) in zip(lefts, panels, strict=True):
        _text(axes, x, top + 0.38, title, size=12.5, weight="bold", ha="left")
        _text(axes, x, top + 0.14, note, color=MUTED, ha="left")
        draw_matrix(axes, x, top, matrix, bands)
    for x, word in zip(lefts[1:], ("then", "="), strict=True):
        _text(axes, x - 0.45, top - OUT_CHANNELS * CELL / 2, word, size=13 if word == "then" else 20)

    below = top - OUT_CHANNELS * CELL - 0.28
    lines = [
        f"Pieces of the input: {sizes}. Of the output: {reversed_sizes}.",
        "Rows: outputs. Columns: inputs. Light squares: subtracted.",
        "Percent: connected pairs of input and output.",
    ]
    for i, line in enumerate(lines):
        _text(axes, lefts[1], below - 0.27 * i, line, color=MUTED, ha="left")


def draw_matrix(axes: Axes, x: float, top: float, matrix: torch.Tensor, bands: list[int]) -> None:
    """Draw a (rows, columns) matrix of -1, 0 and 1, the rows of each band in one color."""
    rows, columns = matrix.shape
    size = (columns * CELL, rows * CELL)
    axes.add_patch(Rectangle((x, top - size[1]), *size, facecolor=EMPTY, edgecolor=GRID))
    for color, end, count in zip(PIECES, accumulate(bands), bands, strict=True):
        for sign, opacity in ((1, 1.0), (-1, 0.35)):
            band = matrix[end - count : end]
            cells = [_cell(x + j * CELL, top - (end - count + i) * CELL) for i, j in band.eq(sign).nonzero().tolist()]
            if cells:
                outline = Outline.make_compound_path(*cells)
                axes.add_patch(PathPatch(outline, facecolor=color, alpha=opacity, linewidth=0))


def _cell(x: float, top: float, margin: float = 0.012) -> Outline:
    left, right, lower, upper = x + margin, x + CELL - margin, top - CELL + margin, top - margin
    return Outline([(left, lower), (right, lower), (right, upper), (left, upper), (left, lower)], closed=True)


def _box(x: float, y: float, width: float, height: float, fill: str, edge: str, radius: float) -> FancyBboxPatch:
    style = f"round,pad=0,rounding_size={radius}"
    return FancyBboxPatch((x, y), width, height, boxstyle=style, facecolor=fill, edgecolor=edge, linewidth=LINE)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    arrow = FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=13, shrinkA=0, shrinkB=0, color=INK, lw=LINE)
    axes.add_patch(arrow)


def _text(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    size: float = 10.5,
    color: str = INK,
    ha: str = "center",
    weight: str = "normal",
    style: str = "normal",
) -> None:
    axes.text(x, y, text, size=size, color=color, ha=ha, va="center", weight=weight, style=style)


def _percent(matrix: torch.Tensor) -> str:
    return f"{100 * matrix.double().mean():.4g} %"


if __name__ == "__main__":
    main()
