import os

import pytest
from PIL import Image

from wavenet_zoo import WavezooError
from wavenet_zoo.data.decoding import ImageError
from wavenet_zoo.data.synsets import readable_name
from wavenet_zoo.data.unlabelled import find_images


@pytest.fixture
def photos(tmp_path, monkeypatch, png):
    """A folder of images with a subfolder, hidden files and other files, and a file without extension beside it."""
    monkeypatch.chdir(tmp_path)
    names = ["photos/10.png", "photos/2.PNG", "photos/deep/er/3.jpg", "photos/.hidden.png", "photos/.trash/4.png", "5"]
    for number, name in enumerate(names):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(number))
    (tmp_path / "photos" / "notes.txt").write_text("notes")
    (tmp_path / "photos" / "deep" / "raw.heic").write_text("raw")
    return tmp_path / "photos"


def paths(*arguments):
    source = find_images(arguments)
    assert len(source.targets) == len(source.items)
    return [source.relative_path(i) for i in range(len(source.items))]


EVERY = ["photos/2.PNG", "photos/10.png", "photos/deep/er/3.jpg"]


def test_folder_is_searched_in_natural_order_and_others_counted(photos, caplog):
    caplog.set_level("INFO", "wavenet_zoo")
    assert paths("photos") == EVERY
    assert caplog.messages == ["images: skipped 2 files that are not supported images: 1 .heic, 1 .txt"]


def test_file_named_by_the_user_may_have_any_name(photos):
    assert paths("5", "./photos/.hidden.png") == ["5", "./photos/.hidden.png"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("photos/*", EVERY),
        ("photos/**", EVERY),
        ("photos/**/*", EVERY),
        ("**/*.png", ["photos/10.png"]),
        ("photos/**/*.[jp][pn]g", ["photos/10.png", "photos/deep/er/3.jpg"]),
        ("p*/?.PNG", ["photos/2.PNG"]),
        ("photos/*/er", ["photos/deep/er/3.jpg"]),
        ("photos/.h*", ["photos/.hidden.png"]),
    ],
)
def test_wildcard_finds_images_and_folders_that_match(photos, pattern, expected):
    assert sorted(paths(pattern)) == sorted(expected)
    absolute = [str(photos.parent / path) for path in expected]
    assert sorted(paths(str(photos.parent / pattern))) == sorted(absolute)


def test_existing_file_has_priority_over_its_name_as_wildcard(photos, png):
    (photos / "a[1].png").write_bytes(png(0))
    (photos / "a1.png").write_bytes(png(1))
    assert paths("photos/a[1].png") == ["photos/a[1].png"]


def test_file_named_again_is_used_once(photos, caplog):
    caplog.set_level("INFO", "wavenet_zoo")
    (photos.parent / "link").symlink_to("photos")
    assert paths("photos/10.png", "photos", str(photos / "10.png"), "link/10.png") == [
        "photos/10.png", "photos/2.PNG", "photos/deep/er/3.jpg",
    ]  # fmt: skip
    assert "images: 3 named again, used once" in caplog.messages


def test_link_to_another_of_the_images_is_an_image(photos):
    (photos / "latest.png").symlink_to("10.png")
    assert paths("photos") == ["photos/2.PNG", "photos/10.png", "photos/deep/er/3.jpg", "photos/latest.png"]


@pytest.mark.parametrize("argument", ["photos", "photos/*", "photos/**/*"])
def test_links_to_folders_in_a_circle_are_an_error(photos, argument):
    (photos / "deep" / "circle").symlink_to(photos)
    with pytest.raises(WavezooError, match=r"circle: links to .*photos.*, which is already part of the data"):
        find_images(["photos", argument])


def test_wildcard_for_any_number_of_folders_follows_no_links(photos, png):
    (photos.parent / "elsewhere").mkdir()
    (photos.parent / "elsewhere" / "6.png").write_bytes(png(6))
    (photos / "deep" / "circle").symlink_to(photos)
    (photos / "link").symlink_to(photos.parent / "elsewhere")
    assert paths("photos/**/*.png") == ["photos/10.png"]
    assert paths("photos/link/**/*.png") == ["photos/link/6.png"]


def test_other_files_in_folders_that_match_are_counted_once(photos, caplog):
    caplog.set_level("INFO", "wavenet_zoo")
    paths("photos/**/*")
    assert caplog.messages == ["images: skipped 2 files that are not supported images: 1 .heic, 1 .txt"]


@pytest.mark.parametrize("argument", ["photos/gone", "photos", "photos/*", "photos/g*"])
def test_broken_link_is_an_error_that_names_it(photos, argument):
    (photos / "gone").symlink_to("nowhere")
    with pytest.raises(WavezooError, match=r"photos/gone: broken symbolic link"):
        find_images([argument])


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("absent.png", "absent.png: no such file or folder"),
        ("5/x", "5/x: no such file or folder"),
        ("*.webp", r"\*.webp: no file matches this wildcard"),
        ("5/*", r"5/\*: no file matches this wildcard"),
        ("photos/*.txt", r"photos/\*.txt: no images, but 1 files that are not supported images: 1 .txt"),
        ("empty", "empty: no images in this folder"),
        ("a\0b", "NUL byte"),
        ("a" * 300, "File name too long"),
        ("loop", "loop: broken symbolic link"),
    ],
)
def test_argument_without_images_is_named(photos, argument, message):
    (photos.parent / "empty").mkdir()
    (photos.parent / "loop").symlink_to("loop")
    with pytest.raises(WavezooError, match=message):
        find_images(["photos", argument])


def test_no_arguments_are_an_error():
    with pytest.raises(WavezooError, match="no images given"):
        find_images([])


def test_names_that_are_not_utf8_are_escaped(photos, png):
    name = os.fsdecode(b"\xff\xfe.png")
    (photos / "deep" / name).write_bytes(png(0))
    source = find_images([f"photos/deep/{name}"])
    assert source.relative_path(0) == source.describe(0) == r"photos/deep/\xff\xfe.png"
    assert source.load(0).size == (4, 4)


def test_pil_images_are_converted_and_numbered(photos):
    images = [Image.new("L", (3, 2), 7), photos / "10.png", Image.new("F", (3, 2)), Image.new("L", (3, 2), 7)]
    source = find_images(images)
    assert source.load(0).mode == "RGB" and source.load(0).getpixel((0, 0)) == (7, 7, 7)
    assert [source.relative_path(i) for i in range(4)] == ["0", str(photos / "10.png"), "2", "3"]
    assert source.in_memory and source.describe(2) == "image 2"
    with pytest.raises(ImageError, match="32 bits"):
        source.load(2)
    with pytest.raises(WavezooError, match="image 1: expected a path or a PIL image, got int"):
        find_images([images[0], 5])


def test_other_content_gives_another_fingerprint(photos, png):
    before = find_images(["photos"])
    fingerprint, stamp = before.fingerprint(), before.content(0)
    (photos / "2.PNG").write_bytes(png(77))
    assert find_images(["photos"]).fingerprint() != fingerprint and before.content(0) != stamp


def test_synsets_have_readable_names():
    assert readable_name("n01443537") == "goldfish, Carassius auratus"
    assert readable_name("n99999999") == readable_name("goldfish") == ""
