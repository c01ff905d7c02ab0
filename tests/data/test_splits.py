"""Which split is read, and that the source is named after it."""

from pathlib import Path

import pytest
from PIL import Image

from wavenet_zoo import evaluate
from wavenet_zoo.data.open import open_data
from wavenet_zoo.data.splits import natural_key
from wavenet_zoo.errors import WavezooError


def make(root: Path, *folders: str) -> Path:
    for folder in folders:
        for name in ("cat", "dog"):
            (root / folder / name).mkdir(parents=True)
            Image.new("RGB", (4, 4)).save(root / folder / name / "1.png")
    return root


@pytest.mark.reliability(17, 40)
@pytest.mark.parametrize("split", ["test", "dev"])
def test_missing_split_is_never_replaced_by_another(tmp_path, split):
    with pytest.raises(WavezooError, match=f"no split '{split}' .available splits: "):
        open_data(make(tmp_path, "train", "val"), split)


@pytest.mark.reliability(40)
@pytest.mark.parametrize(
    ("folder", "asked", "used"),
    [
        (".", "val", "val"),
        (".", "train", "train"),
        (".", "test", "test"),
        ("train", "val", "train"),
        ("train", "test", "train"),
        ("test", "val", "test"),
        ("other", "val", ""),
        ("onlytest", "val", "test"),
        ("long", "val", "validation"),
    ],
)
def test_source_is_named_after_the_split_that_is_read(tmp_path, folder, asked, used):
    make(tmp_path / "data", "train", "val", "test")
    for name in ("other", "onlytest/train", "onlytest/test", "long/train", "long/validation"):
        make(tmp_path / "data" / ".." / name, ".")
    parent = "data" if folder in (".", "train", "test") else "."
    assert open_data(tmp_path / parent / folder, asked).split == used


@pytest.mark.reliability(40)
def test_folder_in_the_working_directory_is_named_after_itself(tmp_path, monkeypatch):
    monkeypatch.chdir(make(tmp_path, "train") / "train")
    assert open_data(".", "val").split == "train"


@pytest.mark.reliability(40)
def test_evaluation_records_the_split_that_was_read(digit_folder, wavezoo):
    (digit_folder / "val").rename(digit_folder / "test")
    assert evaluate("waveletnet_cifar_m1", None, digit_folder, workers=0).data["split"] == "test"
    assert evaluate("waveletnet_cifar_m1", None, digit_folder / "train", workers=0).data["split"] == "train"
    (digit_folder / "test").rename(digit_folder / "images")
    result = wavezoo("eval", "waveletnet_cifar_m1", "--data", digit_folder / "images", "--append-csv", "x.csv")
    assert "images: 30 images of 10 classes" in result.out and result.code == 0


@pytest.mark.reliability(41)
def test_names_are_in_one_order_whatever_order_they_come_in():
    names = ["001", "01", "1", "2", "10", "1" * 5000, "A", "a", "a01", "a1"]
    for order in (names, names[::-1]):
        assert sorted(order, key=natural_key) == names
    assert sorted(["10", "2", "1"], key=natural_key) == ["1", "2", "10"]
