"""The table of all measured errors: one row per recipe and budget."""

from collections.abc import Sequence

from wavenet_zoo.paper.measured import RunGroup
from wavenet_zoo.paper.table import Column, PaperTable

__all__ = ["measured_table"]

COLUMNS = (
    Column("data", "data"),
    Column("model", "model"),
    Column("recipe", "recipe"),
    Column("epochs", "epochs", "count"),
    Column("beginning", "initial weights"),
    Column("seeds", "seeds"),
    Column("error", "error %"),
)


def measured_table(measured: Sequence[RunGroup]) -> PaperTable:
    """Build the table of all finished runs, sorted by data set and error."""
    rows = [
        {
            "data": group.data,
            "model": group.title(),
            "recipe": ", ".join([group.recipe, *group.overrides()]),
            "epochs": group.epochs,
            "beginning": group.recipe_values.model.pretrained or "random weights",
            "seeds": ", ".join(map(str, group.seeds)),
            "error": str(group.error),
            "measured": group.to_dict(),
            "remark": None,
        }
        for group in sorted(measured, key=lambda group: (group.data, group.error.mean))
    ]
    notes = ["Top-1 error on the validation images after the last epoch: mean over the seeds ± its standard error."]
    return PaperTable("measured", "All finished runs", list(COLUMNS), rows, notes)
