"""Figures without a window system or global state, written whole or not at all."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.files import check_writable, write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["check_figure_path", "new_figure", "save_figure"]

SUFFIXES = (".png", ".svg", ".pdf")


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure, its size in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no pyplot: no window system, no global state
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure in the format that the suffix of ``path`` says; the same figure gives the same bytes.

    Raises:
        WavezooError: If the suffix is none of png, svg and pdf, or the file cannot be written.
    """
    import matplotlib

    check_figure_path(path)
    buffer = io.BytesIO()
    kind = path.suffix[1:]
    dateless = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": None}[kind]
    with matplotlib.rc_context({"svg.hashsalt": "wavenet_zoo"}):
        figure.savefig(buffer, format=kind, dpi=110, metadata=dateless)
    write_atomically(path, buffer.getvalue())


def check_figure_path(path: Path) -> None:
    """Find out before the work that a figure could not be written.

    Raises:
        WavezooError: If the suffix is none of png, svg and pdf, or the folder is not there or read-only.
    """
    if path.suffix not in SUFFIXES:
        raise WavezooError(f"{path}: a figure ends in {', '.join(SUFFIXES)}")
    check_writable(path)
