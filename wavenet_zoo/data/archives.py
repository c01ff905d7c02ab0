"""Tar files, read by position.

Python's tarfile takes a damaged header for the end of the archive, so the end is checked here: an archive is read
completely or rejected.
"""

import errno
import functools
import io
import os
import posixpath
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from PIL import Image

from wavenet_zoo.data.decoding import decode_image
from wavenet_zoo.data.sources import MAX_FILE_BYTES, bad_file_is_image_error, file_stamp, portable_path
from wavenet_zoo.errors import WavezooError

__all__ = ["ARCHIVE_SUFFIXES", "ArchiveImages", "ArchivedImage", "Member", "read_members"]

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")  # compressed ones are reported
COMPRESSIONS = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"PK": "zip"}
MAX_HEADER_BYTES = 2**20
MAX_PADDING_BYTES = 2**20  # more zeros are the end of a download that was interrupted
DAMAGED_HINT = "copy or download the file again"


class Member(NamedTuple):
    """A regular file in an archive.

    Attributes:
        name: Its name in the archive.
        path: The same, normalized: relative, without ``.`` and ``..``.
        offset: Position of its content in the archive file.
        size: Size of its content in bytes.
    """

    name: str
    path: str
    offset: int
    size: int


class ArchivedImage(NamedTuple):
    """An image in one of several archives.

    Attributes:
        archive: Number of its archive.
        key: Its name, for messages and fingerprints.
        offset: Position of its content.
        size: Size of its content in bytes.
        label: Its label.
    """

    archive: int
    key: str
    offset: int
    size: int
    label: int


class ArchiveImages:
    """Images in tar files."""

    in_memory = False

    def __init__(
        self, name: str, split: str, classes: Sequence[str], archives: Sequence[Path], images: Sequence[ArchivedImage]
    ):
        self.name = name
        self.split = split
        self.classes = classes
        self.archives = archives
        self.images = images
        self.targets: Sequence[int] = [image.label for image in images]

    def load(self, index: int) -> Image.Image:
        with bad_file_is_image_error():
            content = self.content(index)
        return decode_image(content)

    def content(self, index: int) -> bytes:
        image = self.images[index]
        if image.size > MAX_FILE_BYTES:
            raise OSError(errno.EFBIG, f"has {image.size:,} bytes, the limit is {MAX_FILE_BYTES:,}")
        with self.archives[image.archive].open("rb") as file:
            file.seek(image.offset)
            return file.read(image.size)

    def stamp(self, index: int) -> bytes | None:
        image = self.images[index]
        return file_stamp(self.archives[image.archive], image.offset)

    def describe(self, index: int) -> str:
        image = self.images[index]
        return f"{self.archives[image.archive]}: {image.key}"

    def relative_path(self, index: int) -> str:
        image = self.images[index]
        path = posixpath.normpath(image.key).lstrip("/")
        return portable_path(f"{self._archive_paths[image.archive]}/{path}" if len(self.archives) > 1 else path)

    @functools.cached_property
    def _archive_paths(self) -> list[str]:
        """Paths of the archives below their common folder: in different folders, they can have the same name."""
        folder = os.path.commonpath([archive.parent for archive in self.archives])
        return [archive.relative_to(folder).as_posix() for archive in self.archives]


def read_members(archive: Path, nested: bool = False) -> list[Member]:
    """Read the index of a tar file: its regular files and hard links, in the order of the archive.

    Hidden files, those that macOS adds (``._*``, ``__MACOSX``) and folders are ignored.

    Args:
        archive: The tar file, not compressed.
        nested: Read tar files inside of the archive as if they were folders.

    Raises:
        WavezooError: If the file cannot be read, is compressed, damaged or incomplete, or has symbolic links, sparse or
            special files, or a name that leads out of the archive.
    """
    try:
        if not archive.is_file():
            raise WavezooError(f"{archive}: is missing, or is not a regular file")
        with archive.open("rb") as file:
            return list(_read_members(file, f"{archive}", 0, archive.stat().st_size, nested))
    except OSError as error:
        raise WavezooError(f"{archive}: cannot be read: {error.strerror or error}") from error


def _read_members(file: BinaryIO, archive: str, start: int, size: int, nested: bool) -> Iterator[Member]:
    files: dict[str, tuple[int, int]] = {}
    for info in _read_headers(_Headers(file, start, size), archive):
        where = f"{archive}: {info.name}"
        path = posixpath.normpath(info.name).lstrip("/")  # as unpacking does
        if path.split("/")[0] == "..":
            raise WavezooError(f"{where}: leads out of the archive")
        if info.islnk():
            files[path] = files.get(posixpath.normpath(info.linkname).lstrip("/"), (0, -1))
        elif info.isreg():
            files[path] = start + info.offset_data, info.size
        if info.isdir() or any(part.startswith(".") or part == "__MACOSX" for part in path.split("/")):
            continue
        if info.issym():
            raise WavezooError(f"{where}: is a symbolic link", "pack files instead of links: tar --dereference")
        if info.issparse():
            raise WavezooError(f"{where}: is a sparse file", "pack it without --sparse")
        if path not in files:
            raise WavezooError(f"{where}: is neither a file nor a folder", "remove it from the archive")
        offset, length = files[path]
        if length < 0:
            raise WavezooError(f"{where}: is a link to {info.linkname}, which does not precede it in the archive")
        if nested and path.lower().endswith(".tar"):
            for member in _read_members(file, where, offset, length, nested=False):
                yield Member(member.name, f"{path[:-4]}/{member.path}", member.offset, member.size)
        else:
            yield Member(info.name, path, offset, length)


def _read_headers(headers: "_Headers", archive: str) -> Iterator[tarfile.TarInfo]:
    try:
        tar = tarfile.open(fileobj=headers, mode="r:")  # noqa: SIM115  nothing to close
        end = 0
        while (info := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # it would keep all of them
            if info.size < 0 or tar.offset <= end:
                raise tarfile.ReadError(f"invalid size in the header of {info.name}")
            end = tar.offset
            yield info
        headers.check_end(tar.offset)
    except (WavezooError, OSError, GeneratorExit):
        raise
    except Exception as error:  # tarfile raises almost anything for a damaged header
        compression = headers.compression()
        if compression and not headers.is_tar():
            raise WavezooError(
                f"{archive}: is compressed with {compression}",
                "unpack it to a plain tar file, which is read by position",
            ) from error
        reason = str(error) or type(error).__name__
        raise WavezooError(f"{archive}: cannot be read: {reason}", DAMAGED_HINT) from error


class _Headers(io.RawIOBase):
    """The headers of an archive, which may be inside of another one."""

    def __init__(self, file: BinaryIO, start: int, size: int):
        self.file = file
        self.start = start
        self.size = size
        self.position = 0

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        self.position = position
        return position

    def tell(self) -> int:
        return self.position

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        size = min(size, self.size - self.position)
        if size <= 0:
            return b""
        self.file.seek(self.start + self.position)
        content = self.file.read(size)
        self.position += len(content)
        return content

    def compression(self) -> str | None:
        """Return the compression that the file begins like, if any."""
        self.seek(0)
        beginning = self.read(8)
        return next((name for magic, name in COMPRESSIONS.items() if beginning.startswith(magic)), None)

    def is_tar(self) -> bool:
        """Return whether the file begins with a tar header."""
        self.seek(257)
        return self.read(5) == b"ustar"

    def check_end(self, position: int) -> None:
        """Check that the archive ends at ``position``: at least two blocks of zeros, and nothing else.

        Raises:
            tarfile.ReadError: If it does not.
        """
        self.seek(position)
        marker = self.read(2 * tarfile.BLOCKSIZE)
        if marker.count(0) < len(marker):
            raise tarfile.ReadError(f"damaged header at byte {position:,}")
        if len(marker) < 2 * tarfile.BLOCKSIZE:
            raise tarfile.ReadError(f"incomplete, it ends at byte {self.size:,} without an end-of-archive marker")
        if self.size % tarfile.BLOCKSIZE:
            raise tarfile.ReadError(f"incomplete, its size is not a multiple of {tarfile.BLOCKSIZE} bytes")
        if self.size - self.position > MAX_PADDING_BYTES:
            raise tarfile.ReadError(f"{self.size - self.position:,} bytes after its end-of-archive marker")
        rest = self.read(self.size - self.position)
        if rest.count(0) < len(rest):
            raise tarfile.ReadError(f"data after its end-of-archive marker at byte {position:,}")
