"""Figures of the tables of the paper."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from wavenet_zoo.errors import WavezooError
from wavenet_zoo.paper.cost_figure import draw_costs
from wavenet_zoo.paper.error_figure import draw_errors
from wavenet_zoo.paper.gap_figures import draw_depth, draw_gaps
from wavenet_zoo.paper.pairs_figure import draw_pairs
from wavenet_zoo.paper.table import Number, PaperTable
from wavenet_zoo.runtime.figures import check_figure_path, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["check_table_plot", "plot_table"]

DRAW: dict[Number, Callable[[PaperTable], "Figure"]] = {
    1: lambda table: draw_costs(),
    3: draw_gaps,
    "depth": draw_depth,
    "pairs": draw_pairs,
    **dict.fromkeys((2, 5, 6, 7), draw_errors),
}


def check_table_plot(path: Path, number: Number) -> None:
    """Check before the work that :func:`plot_table` can draw a table to ``path``.

    Raises:
        WavezooError: If the table has no figure, or the file cannot be written.
    """
    if number not in DRAW:
        raise WavezooError(
            f"table {number} has no figure", "remove --plot, or use --plot with 1, 2, 3, 5, 6, 7, depth or pairs"
        )
    check_figure_path(path)


def plot_table(path: Path, table: PaperTable) -> None:
    """Draw a table: the costs of Table 1, the gaps of Table 3, the errors of the others.

    Args:
        path: Figure to write.
        table: Table 1, 2, 3, 5, 6, 7, ``depth`` or ``pairs``.

    Raises:
        WavezooError: If the table has no figure, or the file cannot be written.
    """
    check_table_plot(path, table.table)
    save_figure(DRAW[table.table](table), path)
