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


def test_a_folder_of_class_folders_is_read_in_natural_order(tmp_path):
    make(tmp_path, "10/a.png", "2/b.png", "2/a10.png", "2/a9.png", "1/deeper/c.jpeg")
    source = open_data(tmp_path, "val")
    assert source.classes == ["1", "2", "10"]
    assert [Path(source.label(i)).name for i in range(5)] == ["c.jpeg", "a9.png", "a10.png", "b.png", "a.png"]
    assert source.targets == [0, 1, 1, 1, 2]


@pytest.mark.parametrize("name", ["val", "validation", "test"])
def test_a_root_with_splits_is_descended_into(tmp_path, name):
    make(tmp_path, "train/cat/1.png", "train/dog/1.png", f"{name}/cat/2.png", f"{name}/dog/2.png")
    assert Path(open_data(tmp_path, "val").name) == tmp_path / name
    assert Path(open_data(tmp_path, "train").name) == tmp_path / "train"
    assert open_data(tmp_path, "val").classes == ["cat", "dog"]


def test_any_name_will_do_for_a_file(tmp_path):
    names = ["½.png", "x².png", "٣.png", "a b.png", "é.png"]
    make(tmp_path, *(f"cat/{name}" for name in names))
    assert len(open_data(tmp_path, "val").targets) == len(names)


def test_a_class_of_trains_is_a_class(tmp_path):
    make(tmp_path, "bus/1.png", "train/1.png", "car/1.png")
    assert open_data(tmp_path, "val").classes == ["bus", "car", "train"]


def test_splits_without_class_folders_are_not_taken_for_classes(tmp_path):
    make(tmp_path, "train/1.png", "val/1.png")
    with pytest.raises(WavezooError, match="val: holds images but no class folders"):
        open_data(tmp_path, "val")
    make(tmp_path, "train/cat/1.png", "train/dog/1.png")
    with pytest.raises(WavezooError, match="val: holds images but no class folders"):
        open_data(tmp_path, "val")


@pytest.mark.reliability(19)
def test_hidden_folders_and_files_that_are_no_images_are_passed_over(tmp_path):
    make(tmp_path, "cat/1.png", ".ipynb_checkpoints/1.png", "cat/._1.png", "cat/.hidden/1.png")
    (tmp_path / "cat" / "Thumbs.db").write_text("x")
    source = open_data(tmp_path, "val")
    assert source.classes == ["cat"] and len(source.targets) == 1


@pytest.mark.reliability(20)
@pytest.mark.parametrize(
    ("link", "target", "told"),
    [
        ("cat/loop", "cat", "cat/loop: leads to"),
        ("cat/up", ".", "cat/up: leads to"),
        ("cat/far", "..", "cat/far/data: leads to"),
        ("loop", ".", "loop: leads to"),
        ("puma", "cat", "puma: leads to"),
        ("dog/more", "cat", "dog/more: leads to"),
        ("self", "self", "self: is a link to nothing"),
        ("gone", "nowhere", "gone: is a link to nothing"),
    ],
)
def test_a_link_that_would_show_images_twice_or_hide_a_class_is_reported(tmp_path, link, target, told):
    root = tmp_path / "data"
    make(root, "cat/1.png", "dog/1.png")
    (root / link).symlink_to(root / target)
    with pytest.raises(WavezooError) as error:
        open_data(root, "val")
    assert told in error.value.message


@pytest.mark.reliability(20)
def test_links_to_folders_and_images_elsewhere_are_followed_and_every_image_is_there_once(tmp_path):
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


def test_one_class_folder_is_recognised_and_explained(tmp_path):
    make(tmp_path, "n01440764/1.png", "n01443537/1.png")
    with pytest.raises(WavezooError, match=r"n01440764: is one class folder .*--data .*" + tmp_path.name):
        open_data(tmp_path / "n01440764", "val")
    make(tmp_path / "pets", "cat/1.png", "dog/1.png")
    with pytest.raises(WavezooError, match="cat: is one class folder"):
        open_data(tmp_path / "pets" / "cat", "val")


@pytest.mark.reliability(18)
def test_images_without_class_folders_are_explained(tmp_path):
    make(tmp_path / "flat", "1.png", "2.png")
    with pytest.raises(WavezooError, match=r"flat: holds images but no class folders"):
        open_data(tmp_path / "flat", "val")


@pytest.mark.reliability(16, 17, 18)
@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda root: None, "missing: no such data folder"),
        (lambda root: root.mkdir(), "missing: this data folder is empty"),
        (lambda root: root.write_text("x"), "missing: is a file, not a data folder"),
        (lambda root: (root / "cat").mkdir(parents=True), "missing: its 1 folders hold no image file"),
        (
            lambda root: make(root, "cat/1.png") / "dog" and (root / "dog").mkdir(),
            "dog: this class folder holds no image",
        ),
        (lambda root: make(root, "train/cat/1.png"), "missing: holds train, but no 'val' folder"),
    ],
)
def test_a_folder_that_is_no_data_set_is_one_line(tmp_path, prepare, message):
    prepare(tmp_path / "missing")
    with pytest.raises(WavezooError) as error:
        open_data(tmp_path / "missing", "val")
    assert message in str(error.value)


def test_a_mistyped_name_gets_the_nearest():
    with pytest.raises(WavezooError, match="did you mean 'cifar10'"):
        open_data("cifar-10", "val")


def test_the_fingerprint_changes_with_the_images(tmp_path):
    make(tmp_path, "cat/1.png")
    before = open_data(tmp_path, "val").fingerprint()
    assert open_data(tmp_path, "val").fingerprint() == before
    make(tmp_path, "cat/2.png")
    assert open_data(tmp_path, "val").fingerprint() != before
