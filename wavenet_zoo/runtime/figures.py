"""Figures without a window system or global state, written atomically."""

import contextlib
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.files import check_writable, write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["check_figure_path", "import_matplotlib", "new_figure", "save_figure"]

SUFFIXES = (".png", ".svg", ".pdf")
DPI = 110


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


def new_figure(width: float, height: float) -> "Figure":
    """Create an empty figure of ``width`` x ``height`` inches."""
    import_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # not pyplot: no window system, no global state
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure in the format of the suffix of ``path``. Equal figures give equal bytes.

    Raises:
        WavezooError: If the suffix is not png, svg or pdf, or the file cannot be written.
    """
    matplotlib = import_matplotlib()
    check_figure_path(path)
    buffer = io.BytesIO()
    kind = path.suffix[1:]
    dateless = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": None}[kind]
    with matplotlib.rc_context({"svg.hashsalt": "wavenet_zoo"}):
        figure.savefig(buffer, format=kind, dpi=DPI, metadata=dateless)
    write_atomically(path, buffer.getvalue())


def check_figure_path(path: Path) -> None:
    """Check before the work that a figure can be written after it.

    Raises:
        WavezooError: If the suffix is not png, svg or pdf, or the folder does not exist or is not writable.
    """
    if path.suffix not in SUFFIXES:
        raise WavezooError(f"{path}: the format of a figure must be one of {', '.join(SUFFIXES)}")
    check_writable(path)
