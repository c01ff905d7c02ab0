"""Tar files of class folders: the images of the unpacked folder, in its order."""

import tarfile

import pytest

from wavenet_zoo.data.open import open_data
from wavenet_zoo.errors import WavezooError


@pytest.mark.reliability(41)
def test_images_and_classes_are_in_natural_order(write_tar):
    names = ["10/1.png", "2/10.PNG", "2/9.png", "2/09.png", "b/1.jfif", "B/1.png", "2/notes.txt"]
    source = open_data(write_tar("x.tar", *((f"./{name}", 0) for name in names)), "val")
    assert source.classes == ["2", "10", "B", "b"]
    assert [source.describe(i).rpartition(": ")[2] for i in range(6)] == [
        "2/09.png", "2/9.png", "2/10.PNG", "10/1.png", "b/1.jfif", "B/1.png",
    ]  # fmt: skip
    assert source.targets == [0, 0, 0, 1, 3, 2] and source.load(0).size == (4, 4)
    assert source.relative_path(2) == "2/10.PNG"


@pytest.mark.parametrize("prefix", ["", "./", "/", "data/", "./a/b/"])
def test_images_in_subfolders_belong_to_the_class(write_tar, prefix):
    names = ["cat/1.png", "cat/sub/cat/2.png", "dog/1.png"]
    source = open_data(write_tar("x.tar", *((prefix + name, 0) for name in names)), "val")
    assert (source.classes, source.targets, source.split) == (["cat", "dog"], [0, 0, 1], "")


@pytest.mark.reliability(38)
def test_last_file_of_a_name_counts_as_in_unpacking(write_tar, png):
    path = write_tar("x.tar", ("cat/1.png", 1), ("dog/1.png", 2))
    write_tar("x.tar", ("./cat/1.png", 3), mode="a")
    source = open_data(path, "val")
    assert len(source.targets) == 2 and source.content(0) == png(3)


def test_tar_files_named_after_classes_are_read_inside_of_a_tar_file(write_tar, png):
    inner = {name: write_tar(f"{name}.tar", ("a.png", k)).read_bytes() for k, name in enumerate(("n2", "n1"))}
    source = open_data(write_tar("x.tar", *((f"{name}.tar", content) for name, content in inner.items())), "val")
    assert source.classes == ["n1", "n2"] and source.content(0) == png(1) and source.content(1) == png(0)
    cut = write_tar("y.tar", ("n1.tar", inner["n1"]), ("n2.tar", inner["n2"][:1024]), ("n3.tar", inner["n1"]))
    with pytest.raises(WavezooError, match=r"y.tar: n2.tar: cannot be read: incomplete"):
        open_data(cut, "val")


@pytest.mark.reliability(17, 40)
def test_split_folders_in_a_tar_file_are_the_splits(write_tar):
    path = write_tar("x.tar", *((f"x/{s}/{c}/1.png", 0) for s in ("train", "test") for c in ("cat", "dog")))
    for split, used in (("train", "train"), ("val", "test"), ("test", "test")):
        source = open_data(path, split)
        assert (source.split, source.classes, len(source.targets)) == (used, ["cat", "dog"], 2)
    with pytest.raises(WavezooError, match=r"x.tar: no split 'dev' .available splits: test, train"):
        open_data(path, "dev")


@pytest.mark.reliability(17, 40)
def test_folder_of_tar_files_lists_its_splits(write_tar, tmp_path):
    write_tar("data/train.tar", ("cat/1.png", 0), ("dog/1.png", 0))
    write_tar("data/test.tar", ("cat/1.png", 0), ("dog/1.png", 0))
    assert open_data(tmp_path / "data", "val").split == "test"
    assert open_data(tmp_path / "data" / "train.tar", "val").split == "train"
    (tmp_path / "data" / "test.tar").unlink()
    with pytest.raises(WavezooError, match=r"data: no split 'val' .available splits: train"):
        open_data(tmp_path / "data", "val")


@pytest.mark.reliability(16, 18)
@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["0.png", "cat/1.png"], "x.tar: 0.png: is outside of the class folders"),
        (["val/0.png", "val/cat/1.png"], "x.tar: val/0.png: is outside of the class folders"),
        (["val/0.png"], "x.tar: val/0.png: is outside of the class folders"),
        (["cat/1.png", "dog/1.heic"], "x.tar: dog: class folder without images (1 are empty)"),
        (["cat/1.txt"], "x.tar: contains no image files"),
        ([], "x.tar: contains no image files"),
    ],
)
def test_images_without_a_class_and_classes_without_images_raise(write_tar, names, message):
    path = write_tar("x.tar", *((name, 0) for name in names))
    with pytest.raises(WavezooError) as error:
        open_data(path, "val")
    assert message in error.value.message


@pytest.mark.reliability(39)
def test_files_that_are_not_images_are_counted_in_a_message(write_tar, caplog):
    caplog.set_level("INFO", logger="wavenet_zoo")
    open_data(write_tar("x.tar", ("cat/1.png", 0), ("cat/2.heic", b""), ("dog/1.png", 0)), "val")
    assert "skipped files that are not supported images: 1 .heic" in caplog.text


def test_unpacked_and_packed_images_are_the_same(digit_folder, tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.add(digit_folder, arcname=".")
    for split in ("train", "val"):
        folder, packed = open_data(digit_folder, split), open_data(tmp_path / "x.tar", split)
        assert (folder.classes, folder.targets, folder.split) == (packed.classes, packed.targets, packed.split)
        assert all(folder.content(i) == packed.content(i) for i in range(len(folder.targets)))


@pytest.mark.reliability(41)
def test_order_does_not_depend_on_the_order_in_the_archive(write_tar):
    names = ["A/1.png", "a/1.png", "a/1.PNG", "1/01.png", "1/1.png", "01/1.png", "001/1.png"]
    one, other = (open_data(write_tar("x.tar", *((n, 0) for n in order)), "val") for order in (names, names[::-1]))
    assert one.classes == other.classes == ["001", "01", "1", "A", "a"]
    assert [one.describe(i) for i in range(7)] == [other.describe(i) for i in range(7)]
