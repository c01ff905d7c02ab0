"""Tables in files: CSV, JSON lines or parquet, by the suffix."""

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wavenet_zoo.deployment.optional import missing_extra
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.files import check_writable, write_atomically
from wavenet_zoo.runtime.records import FORMULA, NUMBER

__all__ = ["TABLE_SUFFIXES", "check_table_path", "import_parquet", "unguard", "write_table"]

TABLE_SUFFIXES = (".csv", ".jsonl", ".parquet")
GUARDED = re.compile(f"'*{FORMULA.pattern}")  # also with guards in front, so that one can be removed
ONCE_GUARDED = re.compile(f"'{GUARDED.pattern}")


def check_table_path(path: Path) -> None:
    """Check before the work that :func:`write_table` can write a file after it.

    Raises:
        WavezooError: If the suffix is not csv, jsonl or parquet, the file cannot be written, or parquet files require
            an extra that is not installed.
    """
    if path.suffix not in TABLE_SUFFIXES:
        raise WavezooError(f"{path}: the format of this file must be one of {', '.join(TABLE_SUFFIXES)}")
    check_writable(path)
    if path.suffix == ".parquet":
        import_parquet()


def write_table(path: Path, columns: Mapping[str, Iterable[Any]]) -> None:
    """Write a table in the format of the suffix of ``path``, atomically.

    In CSV, text that a spreadsheet would take for a formula gets a ``'`` in front.

    Args:
        path: A csv, jsonl or parquet file.
        columns: Values of each column, of the same number. A value of a jsonl or parquet file may be an array.

    Raises:
        WavezooError: If the suffix is not csv, jsonl or parquet, or the file cannot be written.
    """
    check_table_path(path)
    if path.suffix == ".parquet":
        pyarrow, parquet = import_parquet()
        buffer = io.BytesIO()
        parquet.write_table(
            pyarrow.table({name: list(values) for name, values in columns.items()}), buffer, compression="zstd"
        )
        write_atomically(path, buffer.getvalue())
        return
    lines, rows = io.StringIO(), list(zip(*columns.values()))
    if path.suffix == ".csv":
        # not records.to_csv, which writes text in one line and hides secrets: different paths must remain different
        returns = any("\r" in value for row in rows for value in row if isinstance(value, str))
        quoting: Any = csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL  # which does not quote them
        writer = csv.writer(lines, lineterminator="\n", quoting=quoting)
        writer.writerow(columns)
        writer.writerows(list(map(_guard, row)) for row in rows)
    else:
        lines.writelines(json.dumps(dict(zip(columns, row)), default=_numbers) + "\n" for row in rows)
    write_atomically(path, lines.getvalue().encode())


def unguard(text: str) -> str:
    """Return text of a CSV file of :func:`write_table` as it was written."""
    return text[1:] if ONCE_GUARDED.match(text) else text


def _guard(value: Any) -> Any:
    is_formula = isinstance(value, str) and GUARDED.match(value) and not NUMBER.fullmatch(value)
    return f"'{value}" if is_formula else value


def _numbers(values: np.ndarray) -> list[float]:
    return [float(str(value)) for value in values]  # with as few digits as float32 needs


def import_parquet() -> tuple[Any, Any]:
    """Import and return ``pyarrow`` and ``pyarrow.parquet``.

    Raises:
        WavezooError: If they are not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise missing_extra("hf", error) from error
    return pyarrow, parquet
