"""Results as JSON, CSV and Markdown, and files of them."""

import contextlib
import csv
import errno
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from wavenet_zoo.errors import WavezooError, one_line
from wavenet_zoo.runtime.files import check_writable, read_regular_file, write_atomically, write_error

__all__ = [
    "append_csv",
    "as_csv_text",
    "check_append_csv",
    "check_record",
    "parse_json",
    "read_csv",
    "read_json",
    "read_record",
    "to_csv",
    "to_markdown",
    "write_csv",
    "write_json",
    "write_jsonl",
]

MAX_JSON_BYTES = 256 * 2**20
MAX_JSON_DEPTH = 100  # Python's own limit depends on the caller, and is lower for writing than for reading
MAX_CSV_BYTES = 256 * 2**20
FORMULA = re.compile(r"[=+\-@\t\r]")
NUMBER = re.compile(r"-|[-+]?([\d.,]+(e[-+]?\d+)?( %)?( ± [\d.]+)?|inf|nan)", re.IGNORECASE)  # also mean ± error
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)

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


def to_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as CSV.

    Text is in one line, without control characters. Text that a spreadsheet would take for a formula gets a ``'`` in
    front, as OWASP recommends; numbers stay numbers.

    Args:
        columns: The header; empty for none.
        rows: Values of every row.
    """
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    if columns:
        writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return lines.getvalue()


def to_markdown(columns: Sequence[str], rows: Iterable[Sequence[str]], text: Sequence[str]) -> str:
    """Return a table in GitHub's Markdown.

    Args:
        columns: Titles.
        rows: Cells of every row, of unknown origin.
        text: Titles of the columns that are text, left-aligned; the others are right-aligned.
    """
    rules = ["---" if column in text else "---:" for column in columns]
    cells = ([one_line(cell).replace("|", "\\|").replace("<", "&lt;") for cell in row] for row in rows)
    return "".join(f"| {' | '.join(line)} |\n" for line in (columns, rules, *cells))


def write_csv(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Write a header and one row per record, atomically."""
    columns = list(records[0])
    write_atomically(path, to_csv(columns, ([record.get(key) for key in columns] for record in records)).encode())


def read_csv(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file by column.

    Raises:
        WavezooError: If the file cannot be read, or is not CSV in UTF-8.
    """
    text = _check_csv(path, None)
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline="")))


def as_csv_text(row: Mapping[str, Any]) -> dict[str, str]:
    """Return the values of a row as :func:`read_csv` returns them."""
    return dict(zip(row, next(csv.reader([to_csv([], [list(row.values())])]))))


def check_append_csv(path: Path, columns: Sequence[str]) -> None:
    """Check before the work that :func:`append_csv` can append a row with these columns.

    Raises:
        WavezooError: If the file cannot be written, is not CSV in UTF-8, or has different columns.
    """
    check_writable(path, append=True)
    if path.exists():
        _check_csv(path, columns)


def append_csv(path: Path, row: Mapping[str, Any]) -> None:
    """Append one row, with a header if the file is new. Safe for concurrent processes.

    Raises:
        WavezooError: If the file is not CSV in UTF-8, has different columns, or cannot be written. It is then
            unchanged.
    """
    check_writable(path, append=True)  # a pipe would not end
    text = ""
    try:
        with path.open("ab", buffering=0) as file, _locked(file):
            old = _check_csv(path, list(row))
            text = to_csv([] if old.strip("\ufeff") else list(row), [list(row.values())])
            if old and not old.endswith(("\n", "\r", "\ufeff")):
                text = "\n" + text
            _append(file.fileno(), text.encode())
    except OSError as error:
        raise write_error(path, error, len(text)) from error


def _check_csv(path: Path, columns: Sequence[str] | None) -> str:
    """Return the content of a CSV file to which a row with ``columns`` can be appended; None accepts any columns."""
    try:
        text = read_regular_file(path, MAX_CSV_BYTES).decode()
        rows = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
        header = next(rows, None)
        for _ in rows:  # a quote that is not closed would include the new row
            pass
    except (UnicodeDecodeError, csv.Error) as error:
        raise WavezooError(f"{path}: not a CSV file in UTF-8: {error}", "append to another file") from error
    except OSError as error:
        raise WavezooError(f"{path}: cannot be read: {error.strerror}", "append to another file") from error
    if None not in (header, columns) and header != list(columns or ()):
        raise WavezooError(f"{path}: its columns differ from those of this result", "append to another file")
    return text


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = one_line(value)
    return f"'{text}" if FORMULA.match(value) and not NUMBER.fullmatch(text) else text


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
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:  # a file system without locks
        if error.errno not in NO_LOCKS:
            raise
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)
