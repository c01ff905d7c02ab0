"""The paper's tables, made again from real models: what it prints, what is measured, and why the two differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.figures import check_figure_path

__all__ = ["Column", "Number", "PaperTable", "table"]

Number = int | Literal["measured"]
Kind = Literal["text", "count", "percent", "error", "shape"]


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        key: Its key in the rows.
        title: What stands above it.
        kind: How its values are written: ``text``, ``count`` (1,234), ``percent`` (+1.2 %), ``error`` (30.6),
            ``shape`` (3x32x32).
        decimals: Of an error.
    """

    key: str
    title: str
    kind: Kind = "text"
    decimals: int = 2


@dataclass
class PaperTable:
    """The result of :func:`table`.

    Attributes:
        number: Of the table in the paper; ``measured`` for that of all runs.
        caption: What it shows.
        columns: In order.
        rows: Plain values by the columns' keys, and ``remark``: why paper and model differ, or None.
        notes: What is true of the table as a whole.
    """

    number: Number
    caption: str
    columns: list[Column]
    rows: list[dict[str, Any]]
    notes: list[str]

    @property
    def title(self) -> str:
        """What it is called: ``Table 3``, or ``Measured``."""
        return "Measured" if self.number == "measured" else f"Table {self.number}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {"table": self.number, "caption": self.caption, "rows": self.rows, "notes": self.notes}


def table(number: Number, *, runs: Sequence[str | Path] = (), plot: str | Path | None = None) -> PaperTable:
    """Make one of the paper's tables again.

    The paper's figures and the measured ones never share a column. Parameters and MACs are counted from the model that
    ``timm.create_model`` gives; errors are those of finished runs, with data set, recipe, seeds and weights.

    Args:
        number: 1 to 7, or ``measured`` for all finished runs.
        runs: Folders with finished runs, besides those in ``results/``.
        plot: Figure to write; Table 4 and ``measured`` have none.

    Raises:
        WavezooError: If there is no such table or figure, or a run cannot be read.
    """
    from wavenet_zoo.paper.ablation_table import ablation_table
    from wavenet_zoo.paper.architecture_table import architecture_table
    from wavenet_zoo.paper.layer_table import layer_table
    from wavenet_zoo.paper.measured import find_runs, group_runs
    from wavenet_zoo.paper.measured_table import measured_table
    from wavenet_zoo.paper.system_tables import system_table

    if number != "measured" and number not in range(1, 8):
        raise WavezooError(f"the paper has no Table {number}", "1 to 7, or measured")
    if plot is not None:
        check_figure_path(Path(plot))
        if number == 4:
            raise WavezooError("Table 4 is an architecture: there is nothing to plot", "leave --plot out")
        if number == "measured":
            raise WavezooError(
                "what was measured is plotted beside the paper's figures", "--plot with a table's number"
            )
    measured = group_runs(find_runs(runs))
    if number == "measured":
        result = measured_table(measured)
    elif number == 1:
        result = layer_table()
    elif number == 3:
        result = ablation_table(measured)
    elif number == 4:
        result = architecture_table()
    else:
        result = system_table(number, measured)
    if plot is not None:
        from wavenet_zoo.paper.table_plots import plot_table

        plot_table(Path(plot), result)
    return result
