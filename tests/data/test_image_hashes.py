import os
import sqlite3
import tarfile
from pathlib import Path

import numpy as np
import pytest

from wavenet_zoo.data import image_hashes
from wavenet_zoo.data.image_hashes import ImageHashes, hash_images, read_image_hashes
from wavenet_zoo.data.open import open_data
from wavenet_zoo.errors import WavezooError


@pytest.fixture
def hashed(monkeypatch):
    """Count the images whose content is hashed, not taken from the cache."""
    counted = []
    original = image_hashes._hash_image
    monkeypatch.setattr(image_hashes, "_hash_image", lambda source, i: counted.append(i) or original(source, i))
    return counted


def make_old(folder):
    for file in folder.rglob("*.png"):
        os.utime(file, (1_600_000_000, 1_600_000_000))


@pytest.mark.reliability(35)
def test_hashes_are_cached_until_a_file_changes(digit_folder, hashed):
    make_old(digit_folder)
    source = open_data(digit_folder, "val")
    first = hash_images(source)
    assert len(hashed) == 30
    assert (hash_images(source, threads=2) == first).all() and len(hashed) == 30
    changed = source.files[3]
    changed.write_bytes(changed.read_bytes()[:-1] + b"x")  # same size
    os.utime(changed, (1_600_000_001, 1_600_000_001))
    assert (hash_images(source) != first).nonzero()[0].tolist() == [3] and len(hashed) == 31


@pytest.mark.reliability(35)
def test_files_that_just_changed_are_not_cached(digit_folder, hashed):
    source = open_data(digit_folder, "val")
    hash_images(source)
    hash_images(source)
    assert len(hashed) == 60


@pytest.mark.parametrize("broken", ["a folder", "no database", "no home"])
def test_hashes_without_a_usable_cache(digit_folder, monkeypatch, tmp_path, broken):
    make_old(digit_folder)
    source = open_data(digit_folder, "val")
    expected = hash_images(source)
    cache = tmp_path / "cache"
    cache.mkdir()
    monkeypatch.setenv("WAVEZOO_CACHE", str(cache))
    if broken == "a folder":
        (cache / "image-hashes.sqlite").mkdir()
    elif broken == "no database":
        (cache / "image-hashes.sqlite").write_bytes(b"not a database" * 100)
    else:
        monkeypatch.delenv("WAVEZOO_CACHE")
        monkeypatch.setenv("XDG_CACHE_HOME", "~nobody-of-this-name")
    assert (hash_images(source) == expected).all()


def test_cache_holds_no_paths(digit_folder):
    make_old(digit_folder)
    hash_images(open_data(digit_folder, "val"))
    with sqlite3.connect(Path(os.environ["WAVEZOO_CACHE"]) / "image-hashes.sqlite") as database:
        rows = database.execute("SELECT * FROM hashes").fetchall()
    assert len(rows) >= 30 and all(isinstance(value, int) for row in rows for value in row)


def test_images_in_a_folder_and_a_tar_have_equal_hashes(digit_folder, tmp_path):
    with tarfile.open(tmp_path / "val.tar", "w") as tar:
        tar.add(digit_folder / "val", ".")
    in_tar = hash_images(open_data(tmp_path / "val.tar", "val"))
    assert sorted(in_tar) == sorted(hash_images(open_data(digit_folder, "val")))


def test_unreadable_image_has_the_hash_zero(digit_folder):
    source = open_data(digit_folder, "val")
    source.files[2].unlink()
    assert (hash_images(source) == 0).nonzero()[0].tolist() == [2]


def test_file_of_image_hashes_is_read_as_written(tmp_path):
    hashes = ImageHashes(np.array([1, 5], np.uint64), np.array([7], np.uint64), {"training": "a", "validation": "b"})
    hashes.write(tmp_path / "images.safetensors")
    read = read_image_hashes(tmp_path / "images.safetensors")
    assert read.fingerprints == hashes.fingerprints and read.to_bytes() == hashes.to_bytes()
    assert read.count(np.array([5, 7, 7, 9], np.uint64)) == {"training": 1, "validation": 2}


@pytest.mark.parametrize("content", [b"", b"x" * 100, b"\xff" * 8, b"\x02\0\0\0\0\0\0\0{}"])
def test_damaged_file_of_image_hashes_is_named(tmp_path, content):
    (tmp_path / "images.safetensors").write_bytes(content)
    with pytest.raises(WavezooError, match=r"images\.safetensors: is not a file of image hashes"):
        read_image_hashes(tmp_path / "images.safetensors")
