"""Keeping results: JSON, and one more line in a CSV."""

import contextlib
import csv
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wavenet_zoo.errors import INTERNAL_FAILURE, WavezooError
from wavenet_zoo.files import write_atomically

__all__ = ["append_csv", "append_jsonl", "flatten", "write_json"]


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, whole or not at all."""
    write_atomically(path, (json.dumps(value, indent=2) + "\n").encode())


def append_jsonl(path: Path, value: Mapping[str, Any]) -> None:
    """Append one line of JSON."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(value) + "\n")


def append_csv(path: Path, row: Mapping[str, Any]) -> None:
    """Append one row, writing the header where the file is new; several processes may do so at once.

    Raises:
        WavezooError: If the file has another header, or cannot be written.
    """
    try:
        with path.open("a+", newline="", encoding="utf-8") as file, _locked(file):
            file.seek(0)
            header = next(csv.reader(file), None)
            if header is not None and header != list(row):
                raise WavezooError(f"{path}: has other columns than this result", "append to another file")
            line = io.StringIO()
            writer = csv.DictWriter(line, list(row), lineterminator="\n")
            if header is None:
                writer.writeheader()
            writer.writerow(dict(row))
            file.seek(0, os.SEEK_END)
            file.write(line.getvalue())
    except OSError as error:
        raise WavezooError(f"{path}: cannot be written: {error.strerror}", exit_code=INTERNAL_FAILURE) from error


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn ``{"a": {"b": 1}}`` into ``{"a.b": 1}``; lists become JSON."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = json.dumps(value) if isinstance(value, list) else value
    return flat


@contextlib.contextmanager
def _locked(file: Any):
    try:
        import fcntl
    except ImportError:  # Windows: a single line still goes out in one write
        yield
        return
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
        file.flush()
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)
