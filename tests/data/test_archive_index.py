"""Cached indexes of archives: a start with the cache gives what a start without it gives, whatever is in the cache."""

import hashlib
import os
import shutil
import tarfile
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from wavenet_zoo.data import archive_index, shards, tars
from wavenet_zoo.data.archives import read_members
from wavenet_zoo.data.open import open_data
from wavenet_zoo.errors import WavezooError

OLD = 1_700_000_000  # seconds since the epoch: files that were modified just now are not cached


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WAVEZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "archives"


@pytest.fixture
def reads(monkeypatch):
    """Return the names of the archives whose headers are read."""
    names: list[str] = []

    def record(archive, nested=False):
        names.append(archive.name)
        return read_members(archive, nested)

    monkeypatch.setattr(shards, "read_members", record)
    monkeypatch.setattr(tars, "read_members", record)
    return names


@pytest.fixture
def data(write_shard, tmp_path):
    """Return two shards that were written some time ago."""
    for number in range(2):
        age(write_shard(f"data/x-val-{number}.tar", [0, 1, 2], start=3 * number))
    return f"wds/{tmp_path / 'data'}"


def age(path):
    os.utime(path, (OLD, OLD))
    return path


def content(source):
    pictures = [source.content(index) for index in range(len(source.targets))]
    return source.fingerprint(), source.classes, list(source.targets), source.images, pictures


def test_second_start_equals_the_first_and_reads_no_headers(data, reads):
    first = content(open_data(data, "val"))
    assert reads == ["x-val-0.tar", "x-val-1.tar"]
    assert content(open_data(data, "val")) == first
    assert len(reads) == 2


def test_index_of_class_folders_with_tar_files_in_it_is_cached(write_tar, tmp_path, reads):
    inner = write_tar("cat.tar", ("1.png", 1), ("note.txt", b"")).read_bytes()
    name = os.fsdecode(b"caf\xe9/2.png")  # not UTF-8
    archive = age(write_tar("val.tar", ("cat.tar", inner), (name, 2), ("cat.png", {"type": tarfile.DIRTYPE})))
    first = content(open_data(archive, "val"))
    assert content(open_data(archive, "val")) == first
    assert reads == ["val.tar"] and first[1] == [os.fsdecode(b"caf\xe9"), "cat"]


@pytest.mark.parametrize(
    "damage", ["empty", "cut off", "one bit", "foreign", "not compressed", "a list", "folder", "of another data set"]
)
def test_damaged_cache_is_ignored_and_rebuilt(data, write_tar, cache, reads, damage):
    first = content(open_data(data, "val"))
    (file,) = cache.iterdir()
    stored = file.read_bytes()
    if damage == "folder":
        file.unlink()
        file.mkdir()
    elif damage == "of another data set":
        open_data(age(write_tar("val.tar", ("a/1.png", 1), ("b/2.png", 2))), "val")
        shutil.copy(next(other for other in cache.iterdir() if other != file), file)
    else:
        changed = bytes([stored[-9] ^ 1])
        cut, flipped = stored[:-1], stored[:-9] + changed + stored[-8:]
        others = {"empty": b"", "cut off": cut, "one bit": flipped, "foreign": b"{}"}
        for name, packed in (("not compressed", b"{}"), ("a list", zlib.compress(b"[]"))):  # with their checksum
            others[name] = hashlib.sha256(packed).digest() + packed
        file.write_bytes(others[damage])
    del reads[:]
    assert content(open_data(data, "val")) == first
    assert content(open_data(data, "val")) == first
    assert len(reads) == (4 if damage == "folder" else 2)
    assert damage == "folder" or file.read_bytes() == stored


def test_archive_replaced_by_one_of_equal_size_and_time_is_read_again(data, write_shard, reads):
    assert open_data(data, "val").targets == [0, 1, 2, 0, 1, 2]
    age(write_shard("data/x-val-1.tar", [2, 1, 0], start=3))
    assert open_data(data, "val").targets == [0, 1, 2, 2, 1, 0]
    assert reads == ["x-val-0.tar", "x-val-1.tar", "x-val-1.tar"]


def test_archive_that_was_modified_just_now_is_not_cached(data, write_shard, cache, reads):
    write_shard("data/x-val-2.tar", [0], start=6)
    for _ in range(2):
        assert len(open_data(data, "val").targets) == 7
    assert reads == ["x-val-0.tar", "x-val-1.tar", "x-val-2.tar", "x-val-2.tar"]


def test_index_of_another_version_is_not_used(data, monkeypatch, reads):
    open_data(data, "val")
    monkeypatch.setattr(archive_index, "READER", "another")
    open_data(data, "val")
    assert len(reads) == 4


def test_index_of_another_reader_is_not_used(data, cache, tmp_path):
    archives = [tmp_path / "data" / f"x-val-{number}.tar" for number in range(2)]
    archive_index.cached_index("other", archives, lambda archive: [(archive.name,)])
    (file,) = cache.iterdir()
    open_data(data, "val")
    shutil.copy(next(other for other in cache.iterdir() if other != file), file)
    index = archive_index.cached_index("other", archives, lambda archive: [(archive.name,)])
    assert index == [[("x-val-0.tar",)], [("x-val-1.tar",)]]


def test_damaged_archive_is_reported_at_every_start(data, tmp_path):
    archive = tmp_path / "data" / "x-val-1.tar"
    complete = archive.read_bytes()
    archive.write_bytes(complete[:3000])
    age(archive)
    for _ in range(2):
        with pytest.raises(WavezooError, match=r"x-val-1.tar: cannot be read: unexpected end|incomplete"):
            open_data(data, "val")
    archive.write_bytes(complete)
    assert len(open_data(data, "val").targets) == 6


@pytest.mark.parametrize("kind", ["file", "no home folder"])
def test_cache_that_cannot_be_written_changes_nothing(data, cache, monkeypatch, reads, kind):
    if kind == "file":
        cache.parent.write_bytes(b"")
    else:
        monkeypatch.delenv("WAVEZOO_CACHE")
        monkeypatch.setenv("XDG_CACHE_HOME", "~nosuchuser/cache")
    assert content(open_data(data, "val")) == content(open_data(data, "val"))
    assert len(reads) == 4


def test_simultaneous_starts_leave_one_valid_index(data, cache, reads):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: content(open_data(data, "val")), range(16)))
    assert all(one == found[0] for one in found)
    assert len(list(cache.iterdir())) == 1
    del reads[:]
    assert content(open_data(data, "val")) == found[0] and reads == []


def test_oldest_indexes_are_removed(data, cache, monkeypatch):
    monkeypatch.setattr(archive_index, "MAX_FILES", 2)
    cache.mkdir(parents=True)
    for number in range(3):
        (cache / f"{number}").write_bytes(b"")
        os.utime(cache / f"{number}", (number, number))
    open_data(data, "val")
    assert len(list(cache.iterdir())) == 2 and (cache / "2").exists()
