import csv
import json
import os
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wavenet_zoo import WavezooError
from wavenet_zoo.evaluation.predictions import Predictions
from wavenet_zoo.evaluation.saved_predictions import (
    read_predictions,
    write_predictions,
)
from wavenet_zoo.evaluation.tables import TABLE_SUFFIXES, check_table_path

try:
    import pyarrow
except ImportError:
    pyarrow = None

STRANGE = ["=1+1", "-x", "'=a", "''@b", "+", "-1", "'-1", "it's", "a,b", 'a"b', "two\nlines", "\ttab", "\r", " ", "é"]
HEADER = (
    "path,label,prediction,correct,probability_of_label,loss,class_1,probability_1,class_2,probability_2,class_3,"
    "probability_3,class_4,probability_4,class_5,probability_5,correct_top5"
)

NEEDS_PYARROW = pytest.mark.skipif(pyarrow is None, reason="needs the extra hf")
SUFFIXES = [".csv", ".jsonl", pytest.param(".parquet", marks=NEEDS_PYARROW)]


def make_predictions(paths, names, images_seed=0):
    """Predictions of random logits."""
    random = np.random.default_rng(images_seed)
    logits = random.normal(size=(len(paths), len(names)))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = random.integers(0, len(names), len(paths))
    top = np.argsort(-logits, axis=1)[:, :5]
    of_label = probabilities[np.arange(len(paths)), labels]
    return Predictions(
        paths=paths,
        class_names=names,
        indices=np.arange(len(paths)),
        labels=labels,
        top=top,
        probabilities=np.take_along_axis(probabilities, top, 1),
        label_probability=of_label,
        loss=-np.log(of_label),
        correct=top[:, 0] == labels,
        correct_top5=(top == labels[:, None]).any(1),
        scoring="data",
    )


def names_of(predictions):
    names = np.array(predictions.class_names, object)
    return names[predictions.labels].tolist(), names[predictions.top].tolist()


def assert_equal(read, written):
    assert list(read.paths) == list(written.paths) and names_of(read) == names_of(written)
    assert read.scoring == written.scoring
    for field in ("probabilities", "label_probability", "loss"):
        assert getattr(read, field) == pytest.approx(getattr(written, field), rel=1e-5), field
    for field in ("indices", "correct", "correct_top5"):
        assert np.array_equal(getattr(read, field), getattr(written, field)), field
        assert getattr(read, field).dtype == getattr(written, field).dtype


@pytest.fixture
def predictions():
    return make_predictions([f"{i}/{i}.png" for i in range(40)], list("abcdefgh"))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_predictions_are_read_as_they_were_written(predictions, tmp_path, suffix):
    write_predictions(tmp_path / f"p{suffix}", predictions)
    assert_equal(read_predictions(tmp_path / f"p{suffix}"), predictions)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_strange_paths_and_names_are_restored(tmp_path, suffix):
    strange = make_predictions(STRANGE, STRANGE)
    write_predictions(tmp_path / f"p{suffix}", strange)
    assert_equal(read_predictions(tmp_path / f"p{suffix}"), strange)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1), unique=True))
def test_any_path_is_restored_from_csv(tmp_path_factory, paths):
    file = tmp_path_factory.mktemp("any") / "p.csv"
    write_predictions(file, make_predictions(["first", *(f"{path}." for path in paths)], ["a", "b"]))
    assert list(read_predictions(file).paths) == ["first", *(f"{path}." for path in paths)]


def test_csv_has_no_cell_that_a_spreadsheet_takes_for_a_formula(tmp_path):
    write_predictions(tmp_path / "p.csv", make_predictions(STRANGE, STRANGE))
    with (tmp_path / "p.csv").open(newline="", encoding="utf-8") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    formulas = {cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))}
    assert formulas <= {"-1"}  # a number
    assert "'=1+1" in cells and "''=a" in cells


def test_all_formats_have_the_same_columns_and_values(predictions, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra hf")
    for suffix in TABLE_SUFFIXES:
        write_predictions(tmp_path / f"p{suffix}", predictions)
    with (tmp_path / "p.csv").open(newline="", encoding="utf-8") as file:
        from_csv = list(csv.DictReader(file))
    from_json = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text(encoding="utf-8").splitlines()]
    assert from_json == parquet.read_table(tmp_path / "p.parquet").to_pylist()
    assert [{key: str(value) for key, value in row.items()} for row in from_json] == from_csv
    assert list(from_json[0]) == [*HEADER.split(","), "scoring"]
    assert all(row["prediction"] == row["class_1"] and row["correct"] in (0, 1) for row in from_json)


def test_values_have_6_significant_digits(tmp_path):
    one = make_predictions(["a.png"], ["a", "b"])
    one.loss[:], one.label_probability[:] = 0.000123456789, 0.98765432109
    write_predictions(tmp_path / "p.jsonl", one)
    row = json.loads((tmp_path / "p.jsonl").read_text(encoding="utf-8"))
    assert (row["loss"], row["probability_of_label"]) == (0.000123457, 0.987654)


def test_model_with_two_outputs_has_two_classes_per_image(tmp_path):
    write_predictions(tmp_path / "p.csv", make_predictions(["a", "b"], ["cat", "dog"]))
    assert read_predictions(tmp_path / "p.csv").top.shape == (2, 2)
    assert "class_2,probability_2,correct_top5,scoring\n" in (tmp_path / "p.csv").read_text(encoding="utf-8")


def test_file_that_a_spreadsheet_saved_is_read(predictions, tmp_path):
    write_predictions(tmp_path / "p.csv", predictions)
    lines = (tmp_path / "p.csv").read_text(encoding="utf-8").splitlines()
    edited = [f"{line},{'checked' if i else 'note'}" for i, line in enumerate(lines)]  # a new column
    (tmp_path / "p.csv").write_bytes("\r\n".join(edited).encode("utf-8-sig"))  # a byte order mark, CRLF
    assert_equal(read_predictions(tmp_path / "p.csv"), predictions)


ROW = {"path": "a", "label": "x", "prediction": "y", "correct": 0, "probability_of_label": 0.2, "loss": 1.6}
ROW |= {"class_1": "y", "probability_1": 0.7, "class_2": "x", "probability_2": 0.2, "correct_top5": 1}
BAD_ROWS = {  # second row, after a good one: where the error is, and what it says
    "text": ({"loss": "much"}, "column 'loss': expected a number of at least 0, got 'much'"),
    "nan": ({"loss": "nan"}, "column 'loss'"),
    "infinity": ({"loss": "inf"}, "column 'loss'"),
    "above 1": ({"probability_1": 1.5}, "column 'probability_1': expected a number from 0 to 1"),
    "negative": ({"probability_of_label": -0.1}, "column 'probability_of_label'"),
    "flag": ({"correct": 2}, "column 'correct': expected 0 or 1"),
    "no name": ({"label": ""}, "column 'label': expected text"),
    "repeated": ({"path": "a"}, "column 'path': repeats the path 'a'"),
    "inconsistent": ({"class_1": "z"}, "column 'class_1': 'z' is not the prediction, 'y'"),
    "long": ({"correct": "9" * 5000}, "column 'correct': expected 0 or 1"),
}


def write_rows(path, rows):
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerows([list(rows[0]), *(list(row.values()) for row in rows)])
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        pyarrow = pytest.importorskip("pyarrow", reason="needs the extra hf")
        from pyarrow import parquet

        parquet.write_table(pyarrow.table({key: [row[key] for row in rows] for key in rows[0]}), path)
    return path


@pytest.mark.parametrize("case", BAD_ROWS)
@pytest.mark.parametrize(("suffix", "place"), [(".csv", "line 3, "), (".jsonl", "line 2, ")])
def test_error_names_line_and_column_of_a_bad_value(tmp_path, suffix, place, case):
    change, expected = BAD_ROWS[case]
    path = write_rows(tmp_path / f"p{suffix}", [ROW, {**ROW, "path": "b", **change}])
    with pytest.raises(WavezooError) as error:
        read_predictions(path)
    assert error.value.message.startswith(f"{path}: {place}") and expected in error.value.message
    assert len(error.value.message) < 300


@pytest.mark.parametrize("value", [None, True, [], {}, "x", float("nan"), 10**400])
@pytest.mark.parametrize("column", ["correct", "loss", "probability_1"])
def test_wrong_types_in_json_are_refused(tmp_path, column, value):
    path = write_rows(tmp_path / "p.jsonl", [{**ROW, column: value}])
    with pytest.raises(WavezooError, match=f"line 1, column '{column}': expected"):
        read_predictions(path)


@pytest.mark.parametrize("values", [["a", None], [1, 2], [[1], [2]], [True, False]])
@pytest.mark.parametrize("column", ["path", "loss", "correct"])
def test_wrong_types_in_parquet_are_refused(tmp_path, column, values):
    rows = [{**ROW, "path": f"{i}", column: value} for i, value in enumerate(values)]
    if (column, values) == ("loss", [1, 2]):
        rows[1]["loss"] = -1
    with pytest.raises(WavezooError, match=f"(row [12], |: )column '{column}': expected"):
        read_predictions(write_rows(tmp_path / "p.parquet", rows))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("p.csv", b"", "missing column 'path'"),
        ("p.csv", b"path,label\na,b\n", "missing column 'prediction'"),
        ("p.csv", HEADER.encode(), "contains no images"),
        ("p.csv", HEADER.replace("class_2", "class_1").encode(), "repeated column 'class_1'"),
        ("p.csv", HEADER.encode() + b"\na,b\n", "line 2: has 2 values for 17 columns"),
        ("p.csv", b'"path', "not a CSV file"),
        ("p.csv", b"\xff\xfe", "not a CSV file in UTF-8"),
        ("p.csv", b"\x1f\x8b\x08\x00", "not a CSV file in UTF-8"),
        ("p.jsonl", b"", "missing column 'path'"),
        ("p.jsonl", b"[]\n", "line 1: not a JSON object"),
        ("p.jsonl", b"{", "line 1: not valid JSON"),
        ("p.jsonl", b"[" * 100_000, "line 1: not valid JSON: nested too deep"),
        ("p.jsonl", json.dumps(ROW).encode() + b"\n{}\n", "line 2: missing key 'path'"),
        pytest.param("p.parquet", b"", "not a valid parquet file", marks=NEEDS_PYARROW),
        pytest.param("p.parquet", b"PAR1" + bytes(100) + b"PAR1", "not a valid parquet file", marks=NEEDS_PYARROW),
        ("p.txt", b"", "must be one of .csv, .jsonl, .parquet"),
    ],
)
def test_files_that_are_not_predictions_are_refused(tmp_path, name, content, expected):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WavezooError, match=rf"{name}: .*{expected}"):
        read_predictions(tmp_path / name)


def test_damaged_parquet_files_never_raise_anything_else(predictions, tmp_path):
    pytest.importorskip("pyarrow", reason="needs the extra hf")
    path = tmp_path / "p.parquet"
    write_predictions(path, predictions)
    content, random = path.read_bytes(), np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(content[: random.integers(len(content)) if random.random() < 0.2 else None])
        for position in random.integers(0, max(1, len(damaged)), 3 if damaged else 0):
            damaged[position] = random.integers(256)
        path.write_bytes(damaged)
        try:
            read_predictions(path)
        except WavezooError as error:
            assert "\n" not in error.message


def test_long_text_that_is_repeated_in_parquet_takes_no_memory(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="needs the extra hf")
    from pyarrow import parquet

    rows, long = 2_000, "x" * 500_000  # 1 GB as text
    values = {key: [value] * rows for key, value in ROW.items()} | {"path": [str(i) for i in range(rows)]}
    values["label"] = pyarrow.DictionaryArray.from_arrays(np.zeros(rows, np.int32), [long])
    parquet.write_table(pyarrow.table(values), tmp_path / "p.parquet", store_schema=False)
    assert (tmp_path / "p.parquet").stat().st_size < 10_000_000
    assert read_predictions(tmp_path / "p.parquet").class_names == ["x", long, "y"]
    assert pyarrow.default_memory_pool().max_memory() < 2**28


@NEEDS_PYARROW
def test_size_of_a_file_is_limited(predictions, tmp_path, monkeypatch):
    for suffix in TABLE_SUFFIXES:
        write_predictions(tmp_path / f"p{suffix}", predictions)
    monkeypatch.setattr("wavenet_zoo.evaluation.saved_predictions.MAX_IMAGES", 39)
    with pytest.raises(WavezooError, match=r"has 40 rows and .* the limits are 39 and"):
        read_predictions(tmp_path / "p.parquet")
    monkeypatch.setattr("wavenet_zoo.evaluation.saved_predictions.MAX_BYTES", 1000)
    for suffix in TABLE_SUFFIXES:
        with pytest.raises(WavezooError, match=r"bytes, the limit is 1,000"):
            read_predictions(tmp_path / f"p{suffix}")


def test_missing_and_special_files_are_named(tmp_path):
    with pytest.raises(WavezooError, match=r"gone.csv: file not found"):
        read_predictions(tmp_path / "gone.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(WavezooError, match=r"pipe.csv: cannot be read: is a named pipe"):
        read_predictions(tmp_path / "pipe.csv")


def test_path_is_checked_before_the_work(tmp_path, monkeypatch):
    with pytest.raises(WavezooError, match=r"p.xlsx: .* must be one of .csv, .jsonl, .parquet"):
        check_table_path(tmp_path / "p.xlsx")
    with pytest.raises(WavezooError, match="its folder does not exist"):
        check_table_path(tmp_path / "gone" / "p.csv")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    check_table_path(tmp_path / "p.csv")
    with pytest.raises(WavezooError, match=r"pyarrow is not installed .pip install datasets"):
        check_table_path(tmp_path / "p.parquet")
    (tmp_path / "p.parquet").write_bytes(b"PAR1")
    with pytest.raises(WavezooError, match=r"pyarrow is not installed .pip install datasets"):
        read_predictions(tmp_path / "p.parquet")
    assert not list(tmp_path.glob("*.csv"))


def test_names_that_are_not_unicode_are_written_escaped(tmp_path):
    odd = replace(make_predictions(["a"], ["x", "y"]), class_names=["x\ud800", "y\udfff"])
    for suffix in TABLE_SUFFIXES if pyarrow else TABLE_SUFFIXES[:2]:
        write_predictions(tmp_path / f"p{suffix}", odd)
        assert set(read_predictions(tmp_path / f"p{suffix}").class_names) <= {"x\\ud800", "y\\udfff"}


def test_rows_that_are_scored_differently_are_refused(predictions, tmp_path):
    write_predictions(tmp_path / "p.csv", predictions)
    text = (tmp_path / "p.csv").read_text(encoding="utf-8")
    (tmp_path / "p.csv").write_text(text.replace(",data\n", ",all\n", 1), encoding="utf-8")
    with pytest.raises(WavezooError, match=r"p.csv: column 'scoring' has several values: all, data"):
        read_predictions(tmp_path / "p.csv")
