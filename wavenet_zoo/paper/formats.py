"""A table as text: cells for a terminal, Markdown, CSV."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from wavenet_zoo.paper.tables import Column, PaperTable

__all__ = ["cells", "remarks_of", "to_csv", "to_markdown"]


def cells(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return every row as text; a number in brackets in the first cell refers to :func:`remarks_of`."""
    remarks = remarks_of(rows)
    lines = []
    for row in rows:
        line = [_text(row.get(column.key), column) for column in columns]
        if row.get("remark"):
            line[0] = f"{line[0]} [{remarks.index(row['remark']) + 1}]".strip()
        lines.append(line)
    return lines


def remarks_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the remarks of a table, each once, in the order of the rows."""
    return list(dict.fromkeys(row["remark"] for row in rows if row.get("remark")))


def to_markdown(table: PaperTable) -> str:
    """Return the table in GitHub's Markdown, with remarks and notes below it."""
    titles = [column.title for column in table.columns]
    rules = ["---" if column.kind == "text" else "---:" for column in table.columns]
    lines = [f"**{table.title}.** {table.caption}.", ""]
    lines += [f"| {' | '.join(line)} |" for line in (titles, rules, *cells(table.columns, table.rows))]
    footnotes = [f"- [{i}] {remark}." for i, remark in enumerate(remarks_of(table.rows), 1)]
    return "\n".join([*lines, "", *table.notes, *([""] if footnotes else []), *footnotes]) + "\n"


def to_csv(table: PaperTable) -> str:
    """Return one line per row, its numbers in full, with the remark in the last column."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*(column.key for column in table.columns), "remark"])
    for row in table.rows:
        writer.writerow([row.get(column.key) for column in table.columns] + [row.get("remark")])
    return text.getvalue()


def _text(value: Any, column: Column) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if column.kind == "count":
        return f"{value:,}"
    if column.kind == "percent":
        return f"{round(value, 1) + 0:+.1f} %"  # + 0: no -0.0
    if column.kind == "shape":
        return "x".join(map(str, value))
    if column.kind == "error":
        return f"{value:.{column.decimals}f}"
    return str(value)
