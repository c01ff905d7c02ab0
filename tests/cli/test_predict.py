"""``wavezoo predict``: tables, files and arguments."""

import csv
import io
import json
import shutil
import sys

import numpy as np
import pytest

from wavenet_zoo import predict

MODEL = "waveletnet_cifar_m1"

try:
    import pyarrow
except ImportError:
    pyarrow = None

needs_pyarrow = pytest.mark.skipif(pyarrow is None, reason="needs the extra hf")
SUFFIXES = ["csv", "jsonl", pytest.param("parquet", marks=needs_pyarrow)]


@pytest.fixture
def stdin(monkeypatch):
    """Replace stdin by bytes."""

    def replace(content: bytes):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return replace


def test_table_has_the_path_once_and_a_row_per_class(wavezoo, small_digits):
    run = wavezoo("predict", MODEL, small_digits / "val" / "7" / "0.png", small_digits / "val" / "2" / "0.png")
    lines = run.out.splitlines()
    assert run.code == 0 and lines[0].split() == ["image", "class", "probability,", "%"]
    assert [len(line.split()) for line in lines[2:12]] == [3, 2, 2, 2, 2] * 2
    first, second = lines[2].split(), lines[7].split()
    assert first[0] == str(small_digits / "val" / "7" / "0.png") and first[1] == "7" and float(first[2]) > 50
    assert second[1] == "2"
    assert lines[12].split() == ["model", MODEL]


@pytest.mark.parametrize(("options", "rows"), [([], 1), (["--top", 3], 3)])
def test_table_of_many_images_has_the_best_class(wavezoo, small_digits, options, rows):
    run = wavezoo("predict", MODEL, small_digits / "val", *options)
    table = run.out[: run.out.index("\nmodel ")].splitlines()[2:]
    assert len(table) == 30 * rows


def test_table_shows_synsets_with_their_first_name(wavezoo, small_digits, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    file = small_digits / "val" / "7" / "0.png"
    run = wavezoo("predict", "mobilenetv2_100", file, "--weights", "none", "--size", 32, "--top", 1000)
    row = next(line for line in run.out.splitlines() if "n01440764" in line)
    assert row.split()[:2] == ["n01440764", "tench"] and len(row.split()) == 3
    assert "weights: none: random weights" in run.err
    monkeypatch.setenv("COLUMNS", "60")
    out = wavezoo("predict", "mobilenetv2_100", file, "--weights", "none", "--size", 32).out
    assert "hidden columns: class" in out and max(map(len, out.splitlines())) <= 60


def test_json_lists_every_image_with_its_classes(wavezoo, small_digits):
    result = wavezoo("predict", MODEL, small_digits / "val", "--top", 2, "--json").json
    assert result["images"] == 30 and result["top"] == 2 and result["feature_dim"] is None
    assert result["predictions"][0]["path"] == str(small_digits / "val" / "0" / "0.png")
    assert [list(best) for best in result["predictions"][0]["top"]] == [["class", "name", "probability"]] * 2


def read(path):
    if path.suffix == ".parquet":
        return pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()
    text = path.read_text()
    return (
        list(csv.DictReader(io.StringIO(text))) if path.suffix == ".csv" else list(map(json.loads, text.splitlines()))
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_saved_file_has_a_row_per_image(wavezoo, digit_folder, tmp_path, suffix):
    shutil.copy(digit_folder / "val" / "4" / "0.png", tmp_path / "=4\n'.png")
    (tmp_path / "bad.png").write_bytes(b"")
    run = wavezoo(
        "predict", MODEL, "*.png", digit_folder / "val", "--top", 2, "--skip-bad-images", "--save", f"out.{suffix}"
    )
    assert run.code == 0 and "2 classes of 31 images in out" in run.out and "probability" not in run.out
    assert "1 images that cannot be decoded: bad.png" in run.out
    rows = read(tmp_path / f"out.{suffix}")
    expected = predict(MODEL, [tmp_path / "=4\n'.png", digit_folder / "val"], top=2)
    assert list(rows[0]) == ["path", *(f"{key}_{k}" for k in (1, 2) for key in ("class", "name", "probability"))]
    assert rows[0]["path"] == ("'" if suffix == "csv" else "") + "=4\n'.png"
    assert [row["path"] for row in rows[1:]] == expected.paths[1:]
    assert [row["class_2"] for row in rows] == [p["top"][1]["class"] for p in expected.predictions]
    found = [float(row["probability_1"]) for row in rows]
    np.testing.assert_allclose(found, expected.probabilities[:, 0], rtol=1e-5)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_saved_features_are_exact(wavezoo, small_digits, tmp_path, suffix):
    path = tmp_path / f"features.{suffix}"
    run = wavezoo("predict", MODEL, small_digits / "val" / "6", "--features", "--save", path, "--json")
    expected = predict(MODEL, small_digits / "val" / "6", features=True)
    assert run.json["feature_dim"] == 64 and run.json["predictions"] == []
    rows = read(path)
    assert [row["path"] for row in rows] == expected.paths
    found = [[row[f"feature_{i}"] for i in range(64)] if suffix == "csv" else row["features"] for row in rows]
    np.testing.assert_array_equal(np.array(found, np.float32), expected.features)


def test_paths_are_read_from_stdin(wavezoo, small_digits, stdin):
    stdin(b"%s\n\n./val/3\r\n" % str(small_digits / "val" / "8" / "0.png").encode())
    shutil.copytree(small_digits / "val" / "3", "val/3")
    shutil.copy(small_digits / "val" / "6" / "0.png", "six")
    result = wavezoo("predict", MODEL, "six", "-", "--json").json
    assert [p["path"].split("/")[-1] for p in result["predictions"]] == ["six", "0.png", "0.png", "1.png", "2.png"]
    assert [p["top"][0]["class"] for p in result["predictions"]] == ["6", "8", "3", "3", "3"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", MODEL, "-"], "no images given"),
        (["predict", MODEL, "absent.png"], "absent.png: no such file or folder"),
        (["predict", "a.png", MODEL], "a.png: is an image, not a model (pass the model first"),
        (["predict", MODEL, "a.png"], "a.png: not an image file, or of an unsupported format"),
        (["predict", MODEL, "a.png", "--features"], "--features requires a file"),
        (["predict", MODEL, "a.png", "--features", "--save", "f.csv", "--top", 2], "--top cannot be combined"),
        (["predict", MODEL, "a.png", "--save", "f.txt"], "f.txt: the format of this file must be one of .csv, .jsonl"),
        (["predict", MODEL, "a.png", "--save", "absent/f.csv"], "absent/f.csv: its folder does not exist"),
        (["predict", "x.onnx", "a.png", "--features", "--save", "f.csv"], "exported files have no features"),
        (["predict", MODEL], "IMAGE|DIR|GLOB..."),
        (["infer", MODEL, "a.png"], "use predict"),
    ],
)
def test_mistake_is_one_line_that_names_the_argument(wavezoo, stdin, tmp_path, arguments, message):
    stdin(b"\n")
    (tmp_path / "a.png").write_bytes(b"text")
    run = wavezoo(*arguments)
    assert (run.code, run.out, len(run.err.splitlines())) == (2, "", 1) and message in run.err
    assert not list(tmp_path.glob("f.*"))
