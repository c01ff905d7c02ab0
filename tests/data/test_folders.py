from pathlib import Path

import pytest
from PIL import Image

from wavenet_zoo.data.open import open_data
from wavenet_zoo.errors import WavezooError


def make(root: Path, *files: str) -> Path:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path)
    return root


def test_class_folders_are_read_in_natural_order(tmp_path):
    make(tmp_path, "10/a.png", "2/b.png", "2/a10.png", "2/a9.png", "1/deeper/c.jpeg")
    source = open_data(tmp_path, "val")
    assert source.classes == ["1", "2", "10"]
    assert [Path(source.describe(i)).name for i in range(5)] == ["c.jpeg", "a9.png", "a10.png", "b.png", "a.png"]
    assert source.targets == [0, 1, 1, 1, 2]


@pytest.mark.parametrize("name", ["val", "validation", "test"])
def test_split_folders_are_found_by_common_names(tmp_path, name):
    make(tmp_path, "train/cat/1.png", "train/dog/1.png", f"{name}/cat/2.png", f"{name}/dog/2.png")
    assert Path(open_data(tmp_path, "val").name) == tmp_path / name
    assert Path(open_data(tmp_path, "train").name) == tmp_path / "train"
    assert open_data(tmp_path, "val").classes == ["cat", "dog"]


def test_file_names_may_contain_any_characters(tmp_path):
    names = ["½.png", "x².png", "٣.png", "a b.png", "é.png"]
    make(tmp_path, *(f"cat/{name}" for name in names))
    assert len(open_data(tmp_path, "val").targets) == len(names)


def test_class_named_train_is_a_class(tmp_path):
    make(tmp_path, "bus/1.png", "train/1.png", "car/1.png")
    assert open_data(tmp_path, "val").classes == ["bus", "car", "train"]


def test_split_folders_without_class_folders_are_not_classes(tmp_path):
    make(tmp_path, "train/1.png", "val/1.png")
    with pytest.raises(WavezooError, match="val: contains images but no class folders"):
        open_data(tmp_path, "val")
    make(tmp_path, "train/cat/1.png", "train/dog/1.png")
    with pytest.raises(WavezooError, match="val: contains images but no class folders"):
        open_data(tmp_path, "val")


@pytest.mark.reliability(19)
def test_hidden_entries_and_other_files_are_ignored(tmp_path):
    make(tmp_path, "cat/1.png", ".ipynb_checkpoints/1.png", "cat/._1.png", "cat/.hidden/1.png")
    (tmp_path / "cat" / "Thumbs.db").write_text("x")
    source = open_data(tmp_path, "val")
    assert source.classes == ["cat"] and len(source.targets) == 1


@pytest.mark.reliability(20)
@pytest.mark.parametrize(
    ("link", "target", "message"),
    [
        ("cat/loop", "cat", "cat/loop: links to"),
        ("cat/up", ".", "cat/up: links to"),
        ("cat/far", "..", "cat/far/data: links to"),
        ("loop", ".", "loop: links to"),
        ("puma", "cat", "puma: links to"),
        ("dog/more", "cat", "dog/more: links to"),
        ("self", "self", "self: broken symbolic link"),
        ("gone", "nowhere", "gone: broken symbolic link"),
    ],
)
def test_links_that_duplicate_images_or_are_broken_are_reported(tmp_path, link, target, message):
    root = tmp_path / "data"
    make(root, "cat/1.png", "dog/1.png")
    (root / link).symlink_to(root / target)
    with pytest.raises(WavezooError) as error:
        open_data(root, "val")
    assert message in error.value.message


@pytest.mark.reliability(20)
def test_links_to_other_folders_and_images_are_followed(tmp_path):
    make(tmp_path / "elsewhere", "lynxes/1.png", "lynxes/2.png", "more/3.png", "single.png")
    root = tmp_path / "data"
    make(root, "cat/1.png", "dog/1.png")
    (root / "lynx").symlink_to(tmp_path / "elsewhere" / "lynxes")
    (root / "cat" / "more").symlink_to(tmp_path / "elsewhere" / "more")
    (root / "dog" / "2.png").symlink_to(tmp_path / "elsewhere" / "single.png")
    source = open_data(root, "val")
    assert source.classes == ["cat", "dog", "lynx"]
    assert [path.relative_to(root).as_posix() for path in source.files] == [
        "cat/1.png", "cat/more/3.png", "dog/1.png", "dog/2.png", "lynx/1.png", "lynx/2.png",
    ]  # fmt: skip


def test_single_class_folder_is_reported(tmp_path):
    make(tmp_path, "n01440764/1.png", "n01443537/1.png")
    with pytest.raises(WavezooError, match=r"n01440764: is one class folder .*--data .*" + tmp_path.name):
        open_data(tmp_path / "n01440764", "val")
    make(tmp_path / "pets", "cat/1.png", "dog/1.png")
    with pytest.raises(WavezooError, match="cat: is one class folder"):
        open_data(tmp_path / "pets" / "cat", "val")


@pytest.mark.reliability(18)
def test_images_without_class_folders_are_reported(tmp_path):
    make(tmp_path / "flat", "1.png", "2.png")
    with pytest.raises(WavezooError, match=r"flat: contains images but no class folders"):
        open_data(tmp_path / "flat", "val")


@pytest.mark.reliability(16, 17, 18)
@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda root: None, "missing: no such data folder"),
        (lambda root: root.mkdir(), "missing: this data folder is empty"),
        (lambda root: root.write_text("x"), "missing: is a file, not a data folder"),
        (lambda root: (root / "cat").mkdir(parents=True), "missing: no image files in its class folders (1 found)"),
        (
            lambda root: make(root, "cat/1.png") / "dog" and (root / "dog").mkdir(),
            "dog: class folder without images (1 of 2 are empty)",
        ),
        (lambda root: make(root, "train/cat/1.png"), "missing: no split 'val' (available splits: train;"),
    ],
)
def test_invalid_data_folder_raises_one_line(tmp_path, prepare, message):
    prepare(tmp_path / "missing")
    with pytest.raises(WavezooError) as error:
        open_data(tmp_path / "missing", "val")
    assert message in str(error.value)


def test_misspelled_data_set_gets_a_suggestion():
    with pytest.raises(WavezooError, match="did you mean 'cifar10'"):
        open_data("cifar-10", "val")


def test_fingerprint_changes_with_the_images(tmp_path):
    make(tmp_path, "cat/1.png")
    before = open_data(tmp_path, "val").fingerprint()
    assert open_data(tmp_path, "val").fingerprint() == before
    make(tmp_path, "cat/2.png")
    assert open_data(tmp_path, "val").fingerprint() != before
