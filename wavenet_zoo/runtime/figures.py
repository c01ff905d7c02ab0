"""Figures of one style, without a window system or global state, written atomically."""

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.files import check_writable, write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure, FigureBase

__all__ = [
    "BLUE",
    "GREY",
    "INK",
    "ORANGE",
    "PALETTE",
    "SMALL",
    "VERMILION",
    "WIDTH",
    "check_figure_path",
    "figure_style",
    "import_matplotlib",
    "new_figure",
    "save_figure",
    "set_heading",
]

SUFFIXES = (".png", ".svg", ".pdf")
DPI = 110
WIDTH = 8.0  # inches of a figure in the docs: text of 9 points is legible at 700 pixels
SMALL = 8.0  # points, of values beside marks and of notes

# Okabe and Ito, distinct for color-blind readers; without their yellow, which is too light for white paper
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
BLUE, VERMILION, ORANGE = PALETTE[0], PALETTE[1], PALETTE[4]
INK, GREY = "#1f2328", "#6e7781"
STYLE: dict[str, Any] = {
    "figure.facecolor": "white",  # opaque, to be legible on dark pages
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.labelsize": 9.0,
    "figure.titlesize": 11.0,
    "figure.titleweight": "bold",
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "legend.edgecolor": "none",
    "legend.framealpha": 0.9,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"), INK),
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#d8dee4",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.0,
    "axes.prop_cycle": f"cycler('color', {list(PALETTE)})",
    "svg.hashsalt": "wavenet_zoo",
}


def import_matplotlib() -> Any:
    """Import matplotlib, also if ``MPLBACKEND`` names the backend of a notebook that is not installed."""
    given = os.environ.get("MPLBACKEND")
    if "matplotlib" in sys.modules or not given:
        import matplotlib

        return matplotlib
    os.environ["MPLBACKEND"] = "agg"
    try:
        import matplotlib
    finally:
        os.environ["MPLBACKEND"] = given
    with contextlib.suppress(ValueError):  # the backend of the caller's own figures, if it is installed
        matplotlib.rcParams["backend"] = given
    return matplotlib


@contextlib.contextmanager
def figure_style() -> Iterator[None]:
    """Draw in the style of the project, whatever ``rcParams`` the caller has, and restore these."""
    import_matplotlib()
    import matplotlib.style

    with matplotlib.style.context(["default", STYLE]):
        yield


def new_figure(width: float, height: float) -> "Figure":
    """Create an empty figure of ``width`` x ``height`` inches. Draw it within :func:`figure_style`."""
    import_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # not pyplot: no window system, no global state
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def set_heading(figure: "FigureBase", text: str, note: str = "") -> None:
    """Write a heading above a figure or a part of it, and a note below, both from its left edge."""
    from matplotlib.figure import Figure

    size = "figure.titlesize" if isinstance(figure, Figure) else "axes.titlesize"
    left = {"x": 0.01, "ha": "left", "parse_math": False}
    figure.suptitle(text, fontsize=import_matplotlib().rcParams[size], **left)
    if note:
        figure.supxlabel(note, fontsize=SMALL, **left)


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure in the format of the suffix of ``path``. Equal figures give equal bytes.

    Raises:
        WavezooError: If the suffix is not png, svg or pdf, or the file cannot be written.
    """
    check_figure_path(path)
    buffer = io.BytesIO()
    kind = path.suffix[1:]
    dateless = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": None}[kind]
    with figure_style():
        figure.savefig(buffer, format=kind, dpi=DPI, metadata=dateless)
    content = buffer.getvalue()
    write_atomically(path, _shorten_svg(content) if kind == "svg" else content)


def _shorten_svg(content: bytes) -> bytes:
    """Remove indentation, and write the glyphs of a text, most of the bytes, with short names and positions."""
    content = re.sub(rb"\s*\n\s*", b"\n", content).replace(b"DejaVuSans-", b"g")
    return re.sub(rb'(<use xlink:href="#g[^"]*") transform="translate\(([\d.]+) 0\)"/>', rb'\1 x="\2"/>', content)


def check_figure_path(path: Path) -> None:
    """Check before the work that a figure can be written after it.

    Raises:
        WavezooError: If the suffix is not png, svg or pdf, or the folder does not exist or is not writable.
    """
    if path.suffix not in SUFFIXES:
        raise WavezooError(f"{path}: the format of a figure must be one of {', '.join(SUFFIXES)}")
    check_writable(path)
