"""Tar files that are damaged, incomplete or hostile: they are read completely or rejected."""

import gzip
import random
import tarfile

import pytest

from wavenet_zoo.data.archives import MAX_PADDING_BYTES, read_members
from wavenet_zoo.errors import WavezooError

BLOCK = tarfile.BLOCKSIZE


@pytest.fixture
def archive(write_tar):
    return write_tar("x.tar", *((f"{number}.png", bytes([number]) * 700) for number in range(8)))


def headers(path):
    with tarfile.open(path) as tar:
        return [info.offset for info in tar]


@pytest.mark.reliability(18, 38)
@pytest.mark.parametrize("where", ["in a header", "in an image", "between two images", "in the end marker"])
def test_archive_cut_off_anywhere_is_rejected(archive, where):
    content, offsets = archive.read_bytes(), headers(archive)
    end = {
        "in a header": offsets[4] + 100,
        "in an image": offsets[4] + BLOCK + 100,
        "between two images": offsets[4],
        "in the end marker": offsets[-1] + 3 * BLOCK + BLOCK,
    }[where]
    archive.write_bytes(content[:end])
    with pytest.raises(WavezooError, match=r"x.tar: cannot be read") as error:
        read_members(archive)
    assert "\n" not in str(error.value)


@pytest.mark.reliability(18, 38)
def test_damaged_header_in_the_middle_is_not_the_end(archive):
    content, offsets = bytearray(archive.read_bytes()), headers(archive)
    content[offsets[4] + 150] ^= 0xFF
    archive.write_bytes(content)
    with pytest.raises(WavezooError, match=f"damaged header at byte {offsets[4]:,}"):
        read_members(archive)


@pytest.mark.reliability(18, 38)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content + b"x" * BLOCK, "data after its end-of-archive marker"),
        (lambda content: content + content, "data after its end-of-archive marker"),
        (lambda content: content + bytes(MAX_PADDING_BYTES), "bytes after its end-of-archive marker"),
        (gzip.compress, "is compressed with gzip"),
        (lambda content: b"", "cannot be read: empty file"),
        (lambda content: b"x" * 2000, "cannot be read: invalid header"),
    ],
)
def test_what_is_not_one_plain_archive_is_rejected(archive, change, message):
    archive.write_bytes(change(archive.read_bytes()))
    with pytest.raises(WavezooError, match=message):
        read_members(archive)


@pytest.mark.reliability(19, 38)
def test_hidden_files_and_those_of_macos_are_ignored(write_tar):
    names = ["._a.png", "a/._b.png", ".hidden/c.png", "__MACOSX/a/d.png", "./a/./e.png"]
    members = read_members(write_tar("x.tar", *((name, b"1") for name in names)))
    assert [(member.name, member.path) for member in members] == [("./a/./e.png", "a/e.png")]


@pytest.mark.reliability(20, 23, 38)
@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("../../a.png", {}, "a.png: leads out of the archive"),
        ("a/../../b.png", {}, "b.png: leads out of the archive"),
        ("a.png", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "a.png: is a symbolic link"),
        ("a.png", {"type": tarfile.FIFOTYPE}, "a.png: is neither a file nor a folder"),
        ("a.png", {"type": b"Z"}, "a.png: is neither a file nor a folder"),
        ("a.png", {"type": tarfile.GNUTYPE_SPARSE}, "a.png: is a sparse file"),
        ("a.png", {"type": tarfile.LNKTYPE, "linkname": "../b.png"}, "is a link to ../b.png, which does not precede"),
        ("a.png", {"size": -(2**40)}, "cannot be read"),
        ("a.png", {"size": 2**40}, "cannot be read"),
        ("a.png", {"type": tarfile.XHDTYPE, "size": 2**40}, "cannot be read: a header of"),
        ("a.png", {"type": tarfile.GNUTYPE_LONGNAME, "size": -(2**40)}, "cannot be read: a header of"),
    ],
)
def test_hostile_member_is_rejected(tmp_path, name, fields, message):
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    path = tmp_path / "x.tar"
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(2 * BLOCK))
    with pytest.raises(WavezooError) as error:
        read_members(path)
    assert message in error.value.message and "x.tar" in error.value.message


@pytest.mark.reliability(38)
def test_hard_link_is_the_file_that_it_links_to(write_tar):
    link = {"type": tarfile.LNKTYPE, "linkname": "./a/1.png"}
    first, second = read_members(write_tar("x.tar", ("a/1.png", b"12345"), ("b/2.png", link)))
    assert (second.path, second.offset, second.size) == ("b/2.png", first.offset, 5)


@pytest.mark.reliability(49)
@pytest.mark.parametrize("kind", ["missing", "folder", "pipe"])
def test_path_that_is_no_file_is_rejected_without_waiting(tmp_path, kind):
    import os

    path = tmp_path / "x.tar"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(WavezooError, match=r"x.tar: is missing, or is not a regular file"):
        read_members(path)


@pytest.mark.reliability(18, 38)
def test_archive_with_random_damage_is_complete_or_rejected(archive):
    generator = random.Random(0)
    content = archive.read_bytes()
    complete, rejected = [member.path for member in read_members(archive)], 0
    for _ in range(1500):
        damaged = bytearray(content)
        kind = generator.randrange(4)
        start = generator.randrange(len(content))
        if kind == 0:
            damaged[start] ^= 1 << generator.randrange(8)
        elif kind == 1:
            damaged = damaged[:start]
        elif kind == 2:
            length = generator.randrange(1, 600)  # a last member of zeros only would be a valid end
            damaged[start : start + length] = generator.choice([b"\0", b"\xff", b"7"]) * length
        else:
            del damaged[start : start + generator.randrange(1, 1500)]
        archive.write_bytes(damaged)
        try:
            found = [member.path for member in read_members(archive)]
        except WavezooError as error:
            rejected += 1
            assert "\n" not in str(error)
        else:
            assert found == complete
    assert rejected > 500
