"""Keeping results: JSON, and one more line in a CSV."""

import contextlib
import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.files import cannot_be_written, write_atomically

__all__ = ["append_csv", "summary_row", "write_csv", "write_json", "write_jsonl"]


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, whole or not at all."""
    write_atomically(path, (json.dumps(value, indent=2) + "\n").encode())


def write_jsonl(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write one line of JSON for each record, whole or not at all."""
    write_atomically(path, "".join(json.dumps(record) + "\n" for record in records).encode())


def write_csv(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Write one row for each record below a header, whole or not at all."""
    lines = io.StringIO()
    writer = csv.DictWriter(lines, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(dict(record) for record in records)
    write_atomically(path, lines.getvalue().encode())


def append_csv(path: Path, row: Mapping[str, Any]) -> None:
    """Append one row, writing the header where the file is new; several processes may do so at once.

    Raises:
        WavezooError: If the file has another header, or cannot be written; it is then what it was.
    """
    text = ""
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
            text = line.getvalue()
            _append(file.fileno(), text.encode())
    except OSError as error:
        raise cannot_be_written(path, error, len(text)) from error


def summary_row(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a results CSV for one evaluation."""
    weights, data, preprocessing = evaluation["weights"], evaluation["data"], evaluation["preprocessing"]
    versions = evaluation["environment"]["versions"]
    return {
        **{key: evaluation[key] for key in ("date", "model")},
        "weights": weights["name"],
        "weights_sha256": weights["sha256"],
        "data": data["name"],
        "split": data["split"],
        "data_fingerprint": data["fingerprint"],
        **{key: evaluation[key] for key in ("images", "top1", "top5", "loss", "correct_top1", "correct_top5")},
        "skipped": len(evaluation["skipped"]),
        "input_size": "x".join(str(n) for n in preprocessing["input_size"]),
        **{key: preprocessing[key] for key in ("interpolation", "crop_pct", "crop_mode")},
        "mean": " ".join(str(n) for n in preprocessing["mean"]),
        "std": " ".join(str(n) for n in preprocessing["std"]),
        **{key: evaluation[key] for key in ("precision", "batch_size", "images_per_second")},
        "device": evaluation["environment"]["device"],
        **versions,
    }


def _append(handle: int, content: bytes) -> None:
    """Write at the end of a file all of ``content``, or nothing."""
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
    except ImportError:  # Windows: a single line still goes out in one write
        yield
        return
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)
