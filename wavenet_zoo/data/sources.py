"""The interface of a source of labelled images, and its implementations for files and arrays."""

import contextlib
import errno
import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from wavenet_zoo.data.decoding import ImageError, decode_image, open_image
from wavenet_zoo.errors import INTERNAL_FAILURE, WavezooError
from wavenet_zoo.runtime.files import open_regular_file, read_regular_file

__all__ = [
    "MAX_FILE_BYTES",
    "ArrayImages",
    "FolderImages",
    "ImageSource",
    "bad_file_is_image_error",
    "file_stamp",
    "portable_path",
    "printable_path",
    "read_error",
]

MAX_FILE_BYTES = 2**28  # of an image file: an uncompressed image of Pillow's MAX_IMAGE_PIXELS
RECENT_NS = 2 * 10**9  # more than the resolution of any file system's time
# what the system says of a file that will be as bad at the next attempt; what it lacks itself has other numbers
BAD_FILE = {
    getattr(errno, name)
    for name in ("ENOENT", "EACCES", "EPERM", "ELOOP", "ENAMETOOLONG", "ENOTDIR", "EISDIR", "EINVAL", "EFBIG", "ENXIO")
}


def read_error(source: "ImageSource", index: int, error: OSError | MemoryError) -> WavezooError:
    """Return the error for an image that the machine failed to read: it may be good, so it is never skipped.

    Args:
        source: Source of the image.
        index: Index of the image.
        error: The error of the system.
    """
    reason = "not enough memory" if isinstance(error, MemoryError) else error.strerror or str(error)
    return WavezooError(f"{source.describe(index)}: cannot be read: {reason}", exit_code=INTERNAL_FAILURE)


class ImageSource(Protocol):
    """Labelled images in a fixed order.

    Attributes:
        name: Name of the data set in results.
        split: Name of the split that is read; empty if it is not known.
        classes: Class names, in the order of the labels.
        targets: Label of every image, an index into ``classes``.
        in_memory: Whether the images are decoded and in memory, so that loader workers would not help.
    """

    name: str
    split: str
    classes: Sequence[str]
    targets: Sequence[int]
    in_memory: bool

    def load(self, index: int) -> Image.Image:
        """Decode one image to RGB.

        Raises:
            ImageError: If the image is missing or cannot be decoded.
            OSError, MemoryError: If the machine lacks file descriptors, memory, ...: the image may be good.
        """

    def content(self, index: int) -> bytes:
        """Return the bytes of one image: of its file, or of its pixels if it has no file.

        Raises:
            OSError: If they cannot be read.
        """

    def stamp(self, index: int) -> bytes | None:
        """Return bytes that change when the file of one image changes, see :func:`file_stamp`; None without a file."""

    def describe(self, index: int) -> str:
        """Return the path or the number of one image, for messages."""

    def relative_path(self, index: int) -> str:
        """Return the path of one image relative to the data, or its number if it has no path, as text.

        It is unique in the source. Folders are separated by ``/``, see :func:`portable_path`. In archives it is the
        key, after the path of the archive if there are several.
        """

    def fingerprint(self) -> str:
        """Return a hash that changes when images are added, removed, or replaced by images of another size."""


def file_stamp(path: Path, offset: int = 0) -> bytes | None:
    """Return path, size and modification time of a file, and the position of an image in it.

    Returns:
        Bytes for a comparison; None if the file was modified so recently that the time may not change again, or if it
        does not exist.
    """
    try:
        status = path.stat()
    except OSError:
        return None
    if status.st_mtime_ns > time.time_ns() - RECENT_NS:
        return None
    return b"\0".join([os.fsencode(path.absolute()), b"%d %d %d" % (status.st_size, status.st_mtime_ns, offset)])


def portable_path(path: str) -> str:
    r"""Return a path as text that can be encoded as UTF-8.

    Bytes that are not UTF-8 become ``\xdf``, and a backslash becomes two: so different paths remain different.

    Args:
        path: The path, with ``/`` between folders, and surrogates for bytes that are not UTF-8.
    """
    return path.replace("\\", "\\\\").encode(errors="surrogateescape").decode(errors="backslashreplace")


class FolderImages:
    """Images in files, one folder per class."""

    in_memory = False

    def __init__(self, root: Path, split: str, classes: Sequence[str], files: Sequence[Path], targets: Sequence[int]):
        self.name = printable_path(root)
        self.root = root
        self.split = split
        self.classes = classes
        self.files = files
        self.targets = targets

    def load(self, index: int) -> Image.Image:
        with bad_file_is_image_error():
            content = self.content(index)
        return decode_image(content)

    def content(self, index: int) -> bytes:
        return read_regular_file(self.files[index], MAX_FILE_BYTES)

    def stamp(self, index: int) -> bytes | None:
        return file_stamp(self.files[index])

    def check(self, index: int) -> None:
        """Open one image, which reads its header.

        Raises:
            ImageError: If it cannot be opened.
            OSError, MemoryError: If the machine lacks file descriptors, memory, ...: the image may be good.
        """
        with bad_file_is_image_error(), open_regular_file(self.files[index], MAX_FILE_BYTES) as file, open_image(file):
            pass

    def describe(self, index: int) -> str:
        return printable_path(self.files[index])

    def relative_path(self, index: int) -> str:
        return portable_path(self.files[index].relative_to(self.root).as_posix())

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for file in self.files:
            line = f"{file.relative_to(self.root).as_posix()}\0{_size(file)}\n"
            digest.update(line.encode(errors="surrogateescape"))
        return digest.hexdigest()


def printable_path(path: Path) -> str:
    """Return a path as text in which bytes that are not UTF-8 are escaped."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # a broken link, or removed since
        return -1


@contextlib.contextmanager
def bad_file_is_image_error() -> Iterator[None]:
    """Raise :class:`~.decoding.ImageError` for a file that cannot be read, unless the machine lacks something."""
    try:
        yield
    except OSError as error:
        if error.errno not in BAD_FILE:
            raise
        raise ImageError(error.strerror) from error


class ArrayImages:
    """Images in memory: an array (N, H, W) or (N, H, W, 3) of 8 bits per channel."""

    in_memory = True

    def __init__(self, name: str, split: str, classes: Sequence[str], images: Any, targets: Sequence[int]):
        self.name = name
        self.split = split
        self.classes = classes
        self.images = images
        self.targets = targets

    def load(self, index: int) -> Image.Image:
        return Image.fromarray(self.images[index]).convert("RGB")

    def content(self, index: int) -> bytes:
        pixels: bytes = self.images[index].tobytes()
        return pixels

    def stamp(self, index: int) -> None:
        return None

    def describe(self, index: int) -> str:
        return f"{self.name} {self.split} image {index}"

    def relative_path(self, index: int) -> str:
        return f"{index}"

    def fingerprint(self) -> str:
        return hashlib.sha256(self.images.tobytes() + bytes(self.targets)).hexdigest()
