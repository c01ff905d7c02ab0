import errno
import os
import random
import resource
import socket
from pathlib import Path

import pytest
from PIL import Image

from wavenet_zoo.data.classes import match_classes
from wavenet_zoo.data.decoding import IMAGE_EXTENSIONS, ImageError
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
        ("dog/2.png", "cat/1.png", "dog/2.png: links to"),
        ("cat/2.png", "cat/1.png", "cat/2.png: links to"),
        ("cat/more", "nowhere", "cat/more: broken symbolic link"),
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


@pytest.mark.reliability(20)
def test_links_to_one_file_elsewhere_are_as_many_images(tmp_path):
    make(tmp_path, "store/1.png", "data/cat/1.png", "data/dog/1.png")
    for name in ("cat/2.png", "dog/2.png"):  # git-annex and the Hub's cache keep equal files once
        (tmp_path / "data" / name).symlink_to(tmp_path / "store" / "1.png")
    assert len(open_data(tmp_path / "data", "val").targets) == 4


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


@pytest.mark.reliability(39)
def test_every_image_extension_is_read_in_any_case(tmp_path):
    assert {".jpg", ".jpeg", ".jfif", ".png", ".tif", ".webp", ".gif", ".avif", ".jp2"} <= set(IMAGE_EXTENSIONS)
    for number, extension in enumerate(IMAGE_EXTENSIONS):
        make(tmp_path, f"cat/{number}.png")
        (tmp_path / "cat" / f"{number}.png").rename(tmp_path / "cat" / f"{number}{extension.upper()}")
    assert len(open_data(tmp_path, "val").targets) == len(IMAGE_EXTENSIONS)


@pytest.mark.reliability(19, 39)
def test_files_that_are_not_images_are_counted_in_a_message(tmp_path, caplog):
    make(tmp_path, "cat/1.png", "dog/1.png", "dog/.hidden.png")
    for name in ("cat/2.heic", "cat/3.HEIC", "cat/readme", "dog/4.svg", "dog/.DS_Store"):
        (tmp_path / name).touch()
    caplog.set_level("INFO", "wavenet_zoo")
    open_data(tmp_path, "val")
    assert caplog.messages == [
        f"data: {tmp_path}: skipped 4 files that are not supported images: 2 .heic, 1 without extension, 1 .svg"
    ]


@pytest.mark.reliability(16, 39)
def test_class_with_unsupported_images_only_names_the_extension(tmp_path):
    make(tmp_path, "cat/1.png")
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "1.heic").touch()
    with pytest.raises(WavezooError, match=r"dog: class folder without images .*: 1 \.heic \(image files end in"):
        open_data(tmp_path, "val")


@pytest.mark.reliability(41)
def test_order_does_not_depend_on_the_file_system(tmp_path, monkeypatch):
    classes = ["01", "1", "2", "10", "Cat", "cat"]
    images = ["A.png", "a.png", "img01.png", "img1.png"]
    make(tmp_path, *(f"{folder}/{image}" for folder in classes for image in images))
    listed, scanned, rng = Path.iterdir, os.scandir, random.Random(0)

    class Shuffled:
        def __init__(self, folder):
            with scanned(folder) as entries:
                self.entries = sorted(entries, key=lambda entry: rng.random())

        def __enter__(self):
            return self.entries

        def __exit__(self, *error):
            pass

    for _ in range(5):
        monkeypatch.setattr(Path, "iterdir", lambda self: sorted(listed(self), key=lambda path: rng.random()))
        monkeypatch.setattr(os, "scandir", Shuffled)
        source = open_data(tmp_path, "val")
        assert source.classes == classes
        assert [file.name for file in source.files] == images * 6


@pytest.mark.reliability(16)
def test_numbered_class_folders_are_output_indices(tmp_path):
    names = [str(number) for number in range(1000)]
    for name in random.Random(0).sample(names, 1000):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").touch()
    classes = open_data(tmp_path, "val").classes
    assert match_classes(classes, None, 1000) == list(range(1000)) and list(classes) == names


BAD_FILES = {
    "is a named pipe, not a regular file": lambda path: os.mkfifo(path),
    "is a device, not a regular file": lambda path: path.symlink_to("/dev/zero"),
    "No such device or address": lambda path: socket.socket(socket.AF_UNIX).bind(str(path)),
    "has 20,000,000,000 bytes, the limit is 268,435,456": lambda path: os.truncate(path.open("w").name, 20_000_000_000),
    "No such file or directory": lambda path: path.symlink_to("nowhere.png"),
    "Too many levels of symbolic links": lambda path: path.symlink_to(path),
    "not an image file": lambda path: path.touch(),
}


@pytest.mark.reliability(12, 49)
@pytest.mark.parametrize("reason", BAD_FILES)
def test_file_that_is_not_a_readable_image_is_one(tmp_path, monkeypatch, reason):
    make(tmp_path, "cat/1.png", "cat/3.png")
    monkeypatch.chdir(tmp_path / "cat")  # the name of a socket must be short
    BAD_FILES[reason](Path("2.png"))
    source = open_data(tmp_path, "val")
    for read in (source.load, source.check):
        with pytest.raises(ImageError, match=reason):
            read(1)
    assert source.load(2).size == (4, 4) and source.check(2) is None
    assert len(source.fingerprint()) == 64


@pytest.mark.reliability(54)
def test_lack_of_file_descriptors_is_not_an_error_of_the_image(tmp_path):
    source = open_data(make(tmp_path, "cat/1.png"), "val")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Path(os.devnull).open() as file:
        free = file.fileno()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
        for read in (source.load, source.check):
            with pytest.raises(OSError) as error:
                read(0)
            assert error.value.errno == errno.EMFILE
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.reliability(41)
def test_file_name_that_is_not_utf8_is_read_and_escaped(tmp_path):
    make(tmp_path, "cat/1.png", "cat/2.png")
    before = open_data(tmp_path, "val").fingerprint()
    (tmp_path / "cat" / "2.png").rename(tmp_path / os.fsdecode(b"cat/Stra\xdfe.png"))
    source = open_data(tmp_path, "val")
    assert source.load(1).size == (4, 4) and source.fingerprint() != before
    assert source.describe(1) == f"{tmp_path}/cat/Stra\\xdfe.png"


@pytest.mark.reliability(41)
def test_relative_paths_are_unique_text_below_the_data(tmp_path):
    make(tmp_path, "val/cat/sub/1.png", "val/cat/a b\\c.png", "val/cat/Stra\\xdfe.png", "val/dog/1.png")
    (tmp_path / "val" / "dog" / "1.png").rename(tmp_path / "val" / os.fsdecode(b"cat/Stra\xdfe.png"))
    make(tmp_path, "val/dog/\N{LATIN SMALL LETTER E WITH ACUTE}.png")
    source = open_data(tmp_path, "val")
    paths = [source.relative_path(i) for i in range(len(source.targets))]
    assert sorted(paths) == [
        r"cat/Stra\\xdfe.png", r"cat/Stra\xdfe.png", r"cat/a b\\c.png", "cat/sub/1.png", "dog/\xe9.png",
    ]  # fmt: skip


@pytest.mark.reliability(41)
def test_class_name_that_is_not_utf8_is_reported(tmp_path):
    make(tmp_path, "cat/1.png", "dog/1.png")
    (tmp_path / "dog").rename(tmp_path / os.fsdecode(b"caf\xe9"))
    with pytest.raises(WavezooError, match=r"caf.*: the name of this class folder is not UTF-8 \(rename it\)"):
        open_data(tmp_path, "val")


@pytest.fixture
def tiny_imagenet(tmp_path):
    """Two classes in the layout in which Tiny-ImageNet is distributed."""
    root = make(
        tmp_path,
        *(f"train/{synset}/images/{synset}_{number}.JPEG" for synset in ("n02", "n10") for number in range(2)),
        *(f"val/images/val_{number}.JPEG" for number in range(11)),
        "test/images/test_0.JPEG",
    )
    for synset in ("n02", "n10"):
        (root / "train" / synset / f"{synset}_boxes.txt").write_text("")
    labels = [f"val_{number}.JPEG\tn{'02' if number % 3 else '10'}\t0\t32\t44\t62\n" for number in range(11)]
    (root / "val" / "val_annotations.txt").write_text("".join(labels))
    return root


def test_tiny_imagenet_gets_its_labels_from_the_annotations(tiny_imagenet):
    for data in (tiny_imagenet, tiny_imagenet / "val"):
        source = open_data(data, "val")
        assert source.classes == ["n02", "n10"]
        numbers = [int(file.stem.removeprefix("val_")) for file in source.files]
        assert numbers == [1, 2, 4, 5, 7, 8, 10, 0, 3, 6, 9]
        assert source.targets == [0] * 7 + [1] * 4
    train = open_data(tiny_imagenet, "train")
    assert train.classes == ["n02", "n10"] and train.targets == [0, 0, 1, 1]


@pytest.mark.reliability(16)
@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda text: text.replace("val_3.JPEG\tn10\t0\t32\t44\t62\n", ""), "no line for val_3.JPEG"),
        (lambda text: text + "val_99.JPEG\tn10\t0\t0\t0\t0\n", "val_99.JPEG is not in"),
        (lambda text: text + "val_1.JPEG\tn10\t0\t0\t0\t0\n", "line 12: val_1.JPEG has a line already"),
        (
            lambda text: text.replace("val_2.JPEG\tn02\t0\t32\t44\t62", "val_2.JPEG n02"),
            "line 3: no image and class separated by a tab",
        ),
    ],
)
def test_wrong_annotations_of_tiny_imagenet_are_reported(tiny_imagenet, edit, message):
    annotations = tiny_imagenet / "val" / "val_annotations.txt"
    annotations.write_text(edit(annotations.read_text()))
    with pytest.raises(WavezooError) as error:
        open_data(tiny_imagenet, "val")
    assert str(annotations) in str(error.value) and message in str(error.value)


@pytest.mark.reliability(49)
def test_annotations_that_are_a_pipe_are_refused_without_waiting(tiny_imagenet):
    annotations = tiny_imagenet / "val" / "val_annotations.txt"
    annotations.unlink()
    os.mkfifo(annotations)
    with pytest.raises(WavezooError, match=r"val_annotations\.txt: cannot be read: is a named pipe"):
        open_data(tiny_imagenet, "val")


@pytest.mark.reliability(17)
def test_split_of_tiny_imagenet_without_labels_is_reported(tiny_imagenet):
    with pytest.raises(WavezooError, match=r"test: has no labels"):
        open_data(tiny_imagenet, "test")
