"""Files of predictions, one row per image: CSV, JSON lines or parquet, with the same columns."""

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wavenet_zoo.errors import WavezooError
from wavenet_zoo.evaluation.predictions import TOP, Predictions
from wavenet_zoo.evaluation.tables import TABLE_SUFFIXES, import_parquet, unguard, write_table
from wavenet_zoo.runtime.files import expand, read_regular_file
from wavenet_zoo.runtime.records import parse_json

__all__ = [
    "is_predictions_file",
    "read_predictions",
    "write_predictions",
]

MAX_BYTES = 2**30
MAX_IMAGES = 5_000_000
DIGITS = 6  # significant ones of probabilities and losses
TEXT = ("path", "label", "prediction")
FLAGS = ("correct", "correct_top5")
NUMBERS = ("probability_of_label", "loss")
SCORING = "scoring"  # the same in all rows; optional
HINT = "use a file of 'wavezoo eval --save-predictions'"

Columns = dict[str, list[Any]]


def is_predictions_file(model: str) -> bool:
    """Return whether a model's name is the path of saved predictions, by its suffix."""
    return model.endswith(TABLE_SUFFIXES)


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write predictions in the format of the suffix of ``path``, atomically.

    The columns are ``path``, ``label``, ``prediction``, ``correct`` (0 or 1), ``probability_of_label``, ``loss``,
    ``class_1`` and ``probability_1`` to ``class_5`` and ``probability_5`` (fewer if the model has fewer outputs), and
    ``correct_top5`` and ``scoring``. Classes are names. Probabilities and losses are rounded to 6 significant digits.

    In CSV, text that a spreadsheet would take for a formula gets a ``'`` in front, which
    :func:`read_predictions` removes.

    Args:
        path: A csv, jsonl or parquet file.
        predictions: The predictions.

    Raises:
        WavezooError: If the suffix is not csv, jsonl or parquet, or the file cannot be written.
    """
    write_table(path, _to_columns(predictions))


def read_predictions(path: str | Path) -> Predictions:
    """Read a file of :func:`write_predictions`, of any origin.

    ``indices`` are the numbers of the rows, and ``class_names`` are the names in the file: classes that are nowhere
    among the best five are unknown.

    Args:
        path: A csv, jsonl or parquet file.

    Raises:
        WavezooError: If the file is missing, damaged or too large, or is not of this kind. The message names line and
            column.
    """
    path = expand(path)
    if path.suffix not in TABLE_SUFFIXES:
        suffixes = ", ".join(TABLE_SUFFIXES)
        raise WavezooError(f"{path}: the format of saved predictions must be one of {suffixes}", HINT)
    try:
        content = read_regular_file(path, MAX_BYTES)
    except FileNotFoundError:
        raise WavezooError(f"{path}: file not found", HINT) from None
    except OSError as error:
        raise WavezooError(f"{path}: cannot be read: {error.strerror}", HINT) from error
    read = {".csv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}[path.suffix]
    columns, place = read(path, content)
    return _from_columns(columns, lambda row, column: f"{path}: {place(row)}, column '{column}'", path)


def _to_columns(predictions: Predictions) -> Columns:
    names = [_encodable(name) for name in predictions.class_names]
    columns: Columns = {
        "path": [_encodable(path) for path in predictions.paths],
        "label": [names[i] for i in predictions.labels],
        "prediction": [names[i] for i in predictions.top[:, 0]],
        "correct": predictions.correct.astype(int).tolist(),
        "probability_of_label": _rounded(predictions.label_probability),
        "loss": _rounded(predictions.loss),
    }
    for k in range(predictions.top.shape[1]):
        columns[f"class_{k + 1}"] = [names[i] for i in predictions.top[:, k]]
        columns[f"probability_{k + 1}"] = _rounded(predictions.probabilities[:, k])
    last = {"correct_top5": predictions.correct_top5.astype(int).tolist()}
    return {**columns, **last, SCORING: [predictions.scoring] * len(predictions.paths)}


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f"{value:.{DIGITS}g}") for value in values.tolist()]


def _encodable(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()  # lone surrogates cannot be written as UTF-8


def _is_text(column: str) -> bool:
    return column in (*TEXT, SCORING) or column.startswith("class_")


def _read_csv(path: Path, content: bytes) -> tuple[Columns, Callable[[int], str]]:
    try:
        reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        header = next(reader, [])
        columns = _empty_columns(path, header)
        lines = []
        for row in reader:
            if len(row) != len(header):
                message = f"{path}: line {reader.line_num}: has {len(row)} values for {len(header)} columns"
                raise WavezooError(message, HINT)
            lines.append(reader.line_num)
            for column, value in zip(header, row):
                if column in columns:
                    columns[column].append(unguard(value) if _is_text(column) else value)
    except (UnicodeDecodeError, csv.Error) as error:
        raise WavezooError(f"{path}: not a CSV file in UTF-8: {error}", HINT) from error
    return columns, lambda row: f"line {lines[row]}"


def _read_jsonl(path: Path, content: bytes) -> tuple[Columns, Callable[[int], str]]:
    columns: Columns = {}
    for number, line in enumerate(content.splitlines(), 1):
        values = parse_json(line, f"{path}: line {number}", HINT)
        if not isinstance(values, dict):
            raise WavezooError(f"{path}: line {number}: not a JSON object", HINT)
        columns = columns or _empty_columns(path, list(values))
        for column, cells in columns.items():
            if column not in values:
                raise WavezooError(f"{path}: line {number}: missing key '{column}'", HINT)
            cells.append(values[column])
    return columns or _empty_columns(path, []), lambda row: f"line {row + 1}"


def _read_parquet(path: Path, content: bytes) -> tuple[Columns, Callable[[int], str]]:
    pyarrow, parquet = import_parquet()
    try:
        metadata = parquet.read_metadata(io.BytesIO(content))
        schema = metadata.schema.to_arrow_schema()
        columns = _empty_columns(path, schema.names)
        text = [column for column in columns if _is_text(column)]
        for column in text:
            kind = schema.field(column).type
            kind = kind.value_type if pyarrow.types.is_dictionary(kind) else kind
            if not pyarrow.types.is_string(kind) and not pyarrow.types.is_large_string(kind):
                raise WavezooError(f"{path}: column '{column}': expected text, got {kind}", HINT)
        size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
        if metadata.num_rows > MAX_IMAGES or size > MAX_BYTES:
            has = f"has {metadata.num_rows:,} rows and {size:,} bytes before compression"
            raise WavezooError(f"{path}: {has}, the limits are {MAX_IMAGES:,} and {MAX_BYTES:,}", HINT)
        # repeated text remains a dictionary: a small file may repeat a long text very often
        file = parquet.ParquetFile(io.BytesIO(content), read_dictionary=text)
        for batch in file.iter_batches(columns=list(columns)):
            for column, values in zip(batch.schema.names, batch.columns):
                if isinstance(values, pyarrow.DictionaryArray):
                    names = values.dictionary.to_pylist()
                    columns[column] += [None if i is None else names[i] for i in values.indices.to_pylist()]
                else:
                    columns[column] += values.to_pylist()
    except WavezooError:
        raise
    except Exception as error:  # pyarrow raises many types
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WavezooError(f"{path}: not a valid parquet file: {reason}", HINT) from error
    return columns, lambda row: f"row {row + 1}"


def _empty_columns(path: Path, header: Sequence[str]) -> Columns:
    """Return the columns of a file that are read, empty. Others, which the user may have added, are ignored."""
    if repeated := next((column for i, column in enumerate(header) if column in header[:i]), None):
        raise WavezooError(f"{path}: repeated column '{repeated}'", HINT)
    last = max((k for k in range(1, TOP + 1) if f"class_{k}" in header), default=1)
    top = [f"{name}_{k}" for k in range(1, last + 1) for name in ("class", "probability")]
    required = [*TEXT, *FLAGS, *NUMBERS, *top]
    if missing := [column for column in required if column not in header]:
        raise WavezooError(f"{path}: missing column '{missing[0]}'", HINT)
    return {column: [] for column in [*required, SCORING] if column in header}


def _from_columns(columns: Columns, place: Callable[[int, str], str], path: Path) -> Predictions:
    images = len(columns["path"])
    if not images:
        raise WavezooError(f"{path}: contains no images", HINT)
    for column, values in columns.items():
        for row, value in enumerate(values):
            values[row] = _checked(column, value, place, row)
    _check_rows(columns, place)
    best = [column for column in columns if column.startswith("class_")]
    names = sorted(set(columns["label"]).union(*(columns[column] for column in best)))
    index = {name: i for i, name in enumerate(names)}

    def classes(column: str) -> np.ndarray:
        return np.array([index[name] for name in columns[column]], np.int64)

    return Predictions(
        paths=columns["path"],
        class_names=names,
        indices=np.arange(images),
        labels=classes("label"),
        top=np.stack([classes(column) for column in best], axis=1),
        probabilities=np.array([columns[f"probability_{k + 1}"] for k in range(len(best))]).T,
        label_probability=np.array(columns["probability_of_label"]),
        loss=np.array(columns["loss"]),
        correct=np.array(columns["correct"], bool),
        correct_top5=np.array(columns["correct_top5"], bool),
        scoring=_scoring(columns, path),
    )


def _scoring(columns: Columns, path: Path) -> str:
    found = sorted(set(columns.get(SCORING, [""])))
    if len(found) > 1:
        raise WavezooError(f"{path}: column '{SCORING}' has several values: {', '.join(found[:3])}", HINT)
    return str(found[0])


def _checked(column: str, value: Any, place: Callable[[int, str], str], row: int) -> Any:
    """Return a value of a file as that of its column."""
    if _is_text(column):
        if not isinstance(value, str) or (not value and column != SCORING):
            raise WavezooError(f"{place(row, column)}: expected text, got {_show(value)}", HINT)
        return value
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if column in FLAGS:
        valid, expected = number in (0, 1), "0 or 1"
    elif column == "loss":
        valid, expected = 0 <= number < math.inf, "a number of at least 0"
    else:
        valid, expected = 0 <= number <= 1, "a number from 0 to 1"
    if not valid:
        raise WavezooError(f"{place(row, column)}: expected {expected}, got {_show(value)}", HINT)
    return number


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _check_rows(columns: Mapping[str, list[Any]], place: Callable[[int, str], str]) -> None:
    seen: dict[str, int] = {}
    for row, path in enumerate(columns["path"]):
        if seen.setdefault(path, row) != row:
            raise WavezooError(f"{place(row, 'path')}: repeats the path '{path}'", HINT)
        if columns["prediction"][row] != columns["class_1"][row]:
            message = f"'{columns['class_1'][row]}' is not the prediction, '{columns['prediction'][row]}'"
            raise WavezooError(f"{place(row, 'class_1')}: {message}", HINT)
