import shutil
import tarfile
from collections import Counter

import numpy as np
import pytest

from wavenet_zoo.data.held_out import hold_out
from wavenet_zoo.data.open import open_data
from wavenet_zoo.data.sources import ArrayImages, ImageSource
from wavenet_zoo.errors import WavezooError


def source_of(counts):
    """Images of classes with the given numbers of images, mixed."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts)).tolist()
    images = np.arange(len(labels), dtype=np.uint8).repeat(4).reshape(-1, 2, 2)
    return ArrayImages("x", "train", [f"class {i}" for i in range(len(counts))], images, labels)


def paths_of(source: ImageSource) -> list[str]:
    return [source.relative_path(index) for index in range(len(source.targets))]


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [(0.1, [1, 1, 1, 2, 10]), (0.5, [1, 2, 4, 10, 50]), (0.999, [1, 2, 7, 19, 99]), (1e-6, [1, 1, 1, 1, 1])],
)
def test_every_class_holds_out_its_fraction_and_keeps_an_image(fraction, expected):
    counts = [2, 3, 8, 20, 100]
    rest, held_out = hold_out(source_of(counts), fraction)
    chosen = Counter(held_out.targets)
    assert [chosen[label] for label in range(5)] == expected
    assert Counter(rest.targets) == {label: n - chosen[label] for label, n in enumerate(counts)}


def test_parts_are_disjoint_complete_and_in_the_order_of_the_data(small_digits):
    source = open_data(small_digits, "train")
    rest, held_out = hold_out(source, 0.2)
    assert not {*paths_of(rest)} & {*paths_of(held_out)}
    assert sorted([*rest.indices, *held_out.indices]) == list(range(100))
    assert rest.indices == sorted(rest.indices) and held_out.indices == sorted(held_out.indices)
    assert (rest.split, held_out.split) == ("train", "0.2")
    assert rest.classes == held_out.classes == source.classes
    assert rest.fingerprint() != held_out.fingerprint()


def test_held_out_images_are_those_of_the_first_hashes(small_digits):
    held_out = hold_out(open_data(small_digits, "train"), 0.2)[1]
    # sha256sum of 0/0.png, 0/1.png, ...: those that are held out must not change between versions
    assert paths_of(held_out)[:6] == ["0/2.png", "0/6.png", "1/5.png", "1/8.png", "2/2.png", "2/6.png"]


def test_added_image_changes_one_held_out_image_at_most(digit_folder):
    train = digit_folder / "train"
    before = {*paths_of(open_data(digit_folder, "0.3"))}
    for digit in range(10):
        shutil.copy(train / "5" / "0.png", train / f"{digit}" / "new.png")
    after = {*paths_of(open_data(digit_folder, "0.3"))}
    added = {path[0] for path in after - before}
    assert after - before == {f"{digit}/new.png" for digit in added} and 0 < len(added) < 10
    assert sorted(path[0] for path in before - after) == sorted(added)  # replaced


def test_class_with_one_image_is_trained_on_with_a_warning(caplog):
    rest, held_out = hold_out(source_of([1, 5, 1]), 0.5)
    assert Counter(rest.targets) == {0: 1, 1: 3, 2: 1} and Counter(held_out.targets) == {1: 2}
    assert "x: 2 of 3 classes have a single image" in caplog.text and "class 0 for example" in caplog.text


def test_data_with_single_images_only_cannot_be_divided():
    with pytest.raises(WavezooError, match="no class has two images"):
        hold_out(source_of([1, 1]), 0.1)


@pytest.mark.parametrize("layout", ["splits", "train only", "train itself", "flat"])
def test_fraction_opens_the_same_images_in_every_layout(small_digits, tmp_path, layout):
    root = tmp_path / "photos"
    shutil.copytree(small_digits / "train", root if layout == "flat" else root / "train")
    if layout == "splits":
        shutil.copytree(small_digits / "val", root / "val")
    opened = open_data(root / "train" if layout == "train itself" else root, "0.1")
    assert paths_of(opened) == paths_of(hold_out(open_data(small_digits, "train"), 0.1)[1])
    assert len(opened.targets) == 10 and opened.split == "0.1"


def test_fraction_of_a_tar_file_and_of_digits(small_digits, tmp_path):
    with tarfile.open(tmp_path / "train.tar", "w") as tar:
        tar.add(small_digits / "train", arcname=".")
    for data, images in ((tmp_path / "train.tar", 10), (tmp_path, 10), ("digits", 143)):
        held_out = open_data(data, "0.1")
        assert len(held_out.targets) == images and len({*held_out.targets}) == 10


@pytest.mark.parametrize("split", ["0", "1", "1.5", "-0.1", "nan"])
def test_number_that_is_not_a_fraction_is_the_name_of_a_split(small_digits, split):
    with pytest.raises(WavezooError, match=f"no split '{split}'"):
        open_data(small_digits, split)
