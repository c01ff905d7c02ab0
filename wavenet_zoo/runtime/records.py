"""JSON and CSV files of results."""

import contextlib
import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.files import read_regular_file, write_atomically, write_error

__all__ = [
    "append_csv",
    "check_record",
    "parse_json",
    "read_json",
    "read_record",
    "write_csv",
    "write_json",
    "write_jsonl",
]

MAX_JSON_BYTES = 256 * 2**20
MAX_JSON_DEPTH = 100  # Python's own limit depends on the caller, and is lower for writing than for reading

Record = TypeVar("Record")


def parse_json(content: bytes | str, name: str | Path, hint: str = "") -> Any:
    """Parse JSON of unknown origin.

    Args:
        content: The text, in UTF-8.
        name: Where it is from, for messages.
        hint: What the user can do if it is invalid.

    Raises:
        WavezooError: If it is not JSON, or is nested too deep.
    """
    try:
        value = json.loads(content)
    except RecursionError:
        raise WavezooError(f"{name}: not valid JSON: nested too deep", hint) from None
    except ValueError as error:  # also bytes that are not UTF-8, and numbers with too many digits
        raise WavezooError(f"{name}: not valid JSON: {error}", hint) from error
    if _depth(value) > MAX_JSON_DEPTH:
        raise WavezooError(f"{name}: not valid JSON: nested too deep", hint)
    return value


def read_json(path: Path, hint: str = "") -> dict[str, Any]:
    """Read a JSON object from a file of unknown origin.

    Args:
        path: The file.
        hint: What the user can do if it cannot be read.

    Raises:
        WavezooError: If the file cannot be read, is not JSON, or is not an object.
    """
    try:
        content = read_regular_file(path, MAX_JSON_BYTES)
    except OSError as error:
        raise WavezooError(f"{path}: cannot be read: {error.strerror}", hint) from error
    value = parse_json(content, path, hint)
    if not isinstance(value, dict):
        raise WavezooError(f"{path}: not a JSON object", hint)
    return value


def read_record(path: Path, kind: type[Record], hint: str = "") -> Record:
    """Read a JSON object as a dataclass or a pydantic model.

    Args:
        path: The file.
        kind: Class of the record.
        hint: What the user can do if it cannot be read.

    Raises:
        WavezooError: If the file is not a JSON object, or a key is missing or invalid.
    """
    return check_record(read_json(path, hint), kind, path, hint)


def check_record(values: Mapping[str, Any], kind: type[Record], name: str | Path = "", hint: str = "") -> Record:
    """Return values of unknown origin as a dataclass or a pydantic model.

    Args:
        values: The values.
        kind: Class of the record.
        name: Where they are from, for messages.
        hint: What the user can do if they are invalid.

    Raises:
        WavezooError: If a key is missing or invalid.
    """
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
    key, message = ".".join(str(part)[:100] for part in first["loc"]), first["msg"].removeprefix("Value error, ")
    if key:
        message = f"missing key '{key}'" if first["type"] == "missing" else f"invalid key '{key}': {message}"
    raise WavezooError(f"{name}: {message}" if name else message, hint)


def _depth(value: Any) -> int:
    """Return how deep lists and objects are nested."""
    depth, level = 0, [value]
    while level := [
        item for parent in level if isinstance(parent, dict | list)
        for item in (parent.values() if isinstance(parent, dict) else parent)
    ]:  # fmt: skip
        depth += 1
    return depth


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically."""
    write_atomically(path, (json.dumps(value, indent=2) + "\n").encode())


def write_jsonl(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write one line of JSON per record, atomically."""
    write_atomically(path, "".join(json.dumps(record) + "\n" for record in records).encode())


def write_csv(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Write a header and one row per record, atomically."""
    lines = io.StringIO()
    writer = csv.DictWriter(lines, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(dict(record) for record in records)
    write_atomically(path, lines.getvalue().encode())


def append_csv(path: Path, row: Mapping[str, Any]) -> None:
    """Append one row, with a header if the file is new. Safe for concurrent processes.

    Raises:
        WavezooError: If the file has different columns or cannot be written. It is then unchanged.
    """
    text = ""
    try:
        with path.open("a+", newline="", encoding="utf-8") as file, _locked(file):
            file.seek(0)
            header = next(csv.reader(file), None)
            if header is not None and header != list(row):
                raise WavezooError(f"{path}: its columns differ from those of this result", "append to another file")
            line = io.StringIO()
            writer = csv.DictWriter(line, list(row), lineterminator="\n")
            if header is None:
                writer.writeheader()
            writer.writerow(dict(row))
            text = line.getvalue()
            _append(file.fileno(), text.encode())
    except OSError as error:
        raise write_error(path, error, len(text)) from error


def _append(handle: int, content: bytes) -> None:
    """Append all of ``content`` to a file, or nothing."""
    end = os.lseek(handle, 0, os.SEEK_END)
    try:
        while content:
            content = content[os.write(handle, content) :]
    except OSError:
        os.ftruncate(handle, end)
        raise


@contextlib.contextmanager
def _locked(file: Any) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # Windows: a single line is one write
        yield
        return
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)
