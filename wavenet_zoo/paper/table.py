"""Tables of the paper as plain values, and their text forms: cells for a terminal, Markdown and CSV."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from wavenet_zoo.runtime import records
from wavenet_zoo.runtime.results import NOT_IN_JSON, Result

__all__ = [
    "NAMED_TABLES",
    "Column",
    "Number",
    "PaperTable",
    "cells",
    "parse_number",
    "remarks_of",
    "to_csv",
    "to_markdown",
]

Number = int | Literal["measured", "models", "depth", "pairs"]
NAMED_TABLES: tuple[Number, ...] = ("measured", "models", "depth", "pairs")
Kind = Literal["text", "count", "percent", "decimal", "megabytes", "shape"]


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        key: Key of its values in the rows.
        title: Header.
        kind: Format of the values: ``text``, ``count`` (1,234), ``percent`` (+1.2 %), ``decimal`` (30.6), ``megabytes``
            (10.98, from bytes) or ``shape`` (3x32x32).
        decimals: Digits after the point of ``decimal`` and ``megabytes``.
    """

    key: str
    title: str
    kind: Kind = "text"
    decimals: int = 2


@dataclass
class PaperTable(Result):
    """Result of :func:`~wavenet_zoo.table`.

    Attributes:
        table: Number of the table in the paper, or one of :data:`NAMED_TABLES`.
        caption: Caption.
        columns: Columns, in order.
        rows: Plain values by the columns' keys, and ``remark``: why paper and model differ, or None.
        notes: Notes on the whole table.
    """

    table: Number
    caption: str
    columns: list[Column] = field(metadata=NOT_IN_JSON)
    rows: list[dict[str, Any]]
    notes: list[str]

    @property
    def title(self) -> str:
        """``Table 3``, ``Measured`` or ``Models``."""
        return self.table.capitalize() if isinstance(self.table, str) else f"Table {self.table}"


def parse_number(text: str) -> Number:
    """Return the number of a table as :func:`~wavenet_zoo.table` takes it."""
    return next((name for name in NAMED_TABLES if name == text), None) or int(text)


def cells(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return every row as text. A number in brackets in the first cell refers to :func:`remarks_of`."""
    remarks = remarks_of(rows)
    lines = []
    for row in rows:
        line = [_text(row.get(column.key), column) for column in columns]
        if row.get("remark"):
            line[0] = f"{line[0]} [{remarks.index(row['remark']) + 1}]".strip()
        lines.append(line)
    return lines


def remarks_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the distinct remarks of a table, in the order of the rows."""
    return list(dict.fromkeys(row["remark"] for row in rows if row.get("remark")))


def to_markdown(table: PaperTable) -> str:
    """Return the table in GitHub's Markdown, followed by notes and remarks."""
    titles = [column.title for column in table.columns]
    rules = ["---" if column.kind == "text" else "---:" for column in table.columns]
    lines = [f"**{table.title}.** {table.caption}.", ""]
    lines += [f"| {' | '.join(line)} |" for line in (titles, rules, *cells(table.columns, table.rows))]
    footnotes = [f"- [{i}] {remark}." for i, remark in enumerate(remarks_of(table.rows), 1)]
    return "\n".join([*lines, "", *table.notes, *([""] if footnotes else []), *footnotes]) + "\n"


def to_csv(table: PaperTable) -> str:
    """Return a header and one line per row, with unrounded numbers and the remark in the last column."""
    keys = [*(column.key for column in table.columns), "remark"]
    return records.to_csv(keys, ([row.get(key) for key in keys] for row in table.rows))


def _text(value: Any, column: Column) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if column.kind == "count":
        return f"{value:,}"
    if column.kind == "percent":
        return f"{round(value, 1) + 0:+.1f} %"  # + 0: no -0.0
    if column.kind == "shape":
        return "x".join(map(str, value))
    if column.kind == "decimal":
        return f"{value:.{column.decimals}f}"
    if column.kind == "megabytes":
        return f"{value / 1e6:.{column.decimals}f}"
    return str(value)
