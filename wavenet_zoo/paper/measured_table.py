"""Everything that this project, or a reader, has measured: one row for each recipe and budget."""

from collections.abc import Sequence

from wavenet_zoo.paper.measured import Measured
from wavenet_zoo.paper.tables import Column, PaperTable

__all__ = ["measured_table"]


def measured_table(measured: Sequence[Measured]) -> PaperTable:
    """Make the table of all finished runs, by data set and from the smallest error to the largest."""
    columns = [
        Column("data", "data"),
        Column("model", "model"),
        Column("recipe", "recipe"),
        Column("epochs", "epochs", "count"),
        Column("beginning", "begins with"),
        Column("seeds", "seeds"),
        Column("error", "error %"),
    ]
    rows = [
        {
            "data": own.data,
            "model": own.title(),
            "recipe": ", ".join([own.recipe, *own.changes()]),
            "epochs": own.epochs,
            "beginning": own.plan.model.pretrained or "random weights",
            "seeds": ", ".join(map(str, own.seeds)),
            "error": str(own.error),
            "measured": own.to_dict(),
            "remark": None,
        }
        for own in sorted(measured, key=lambda own: (own.data, own.error.mean))
    ]
    notes = ["Top-1 error on the validation images after the last epoch: mean over the seeds ± its standard error."]
    return PaperTable("measured", "Every finished run", columns, rows, notes)
