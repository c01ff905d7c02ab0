"""Reproduce the tables of the paper from real models: printed figures, measured figures, and why they differ."""

from collections.abc import Sequence
from pathlib import Path

from wavenet_zoo.errors import WavezooError
from wavenet_zoo.paper.ablation_table import ablation_table
from wavenet_zoo.paper.architecture_table import architecture_table
from wavenet_zoo.paper.depth_table import depth_table
from wavenet_zoo.paper.layer_table import layer_table
from wavenet_zoo.paper.measured import RunGroup, find_runs, group_runs
from wavenet_zoo.paper.measured_table import measured_table
from wavenet_zoo.paper.model_table import model_table
from wavenet_zoo.paper.pairs_table import pairs_table
from wavenet_zoo.paper.system_tables import system_table
from wavenet_zoo.paper.table import NAMED_TABLES, Number, PaperTable

__all__ = ["build_table", "table"]


def table(number: Number, *, runs: Sequence[str | Path] = ()) -> PaperTable:
    """Reproduce a table of the paper.

    Printed and measured figures never share a column. Parameters and MACs are counted from the model that
    ``timm.create_model`` returns; errors are those of finished runs, with data set, recipe, overrides and seeds.

    Args:
        number: 1 to 7, ``measured`` for all finished runs, ``models`` for the main models, ``depth`` for the gain of
            DFWT by depth, or ``pairs`` for networks compared image by image.
        runs: Folders of finished runs, in addition to ``results/``.

    Raises:
        WavezooError: If the table does not exist, or a run cannot be read.
    """
    if number not in (*range(1, 8), *NAMED_TABLES):
        raise WavezooError(f"the paper has no Table {number}", f"use 1 to 7, {', '.join(map(str, NAMED_TABLES))}")
    return build_table(number, group_runs(find_runs(runs)))


def build_table(number: Number, measured: Sequence[RunGroup]) -> PaperTable:
    """Build a table with the errors of these runs.

    Args:
        number: 1 to 7, or one of :data:`~wavenet_zoo.paper.table.NAMED_TABLES`.
        measured: Finished runs.
    """
    if number == "measured":
        return measured_table(measured)
    if number == "models":
        return model_table()
    if number == "depth":
        return depth_table(measured)
    if number == "pairs":
        return pairs_table(measured)
    if number == 1:
        return layer_table()
    if number == 3:
        return ablation_table(measured)
    if number == 4:
        return architecture_table()
    return system_table(number, measured)
