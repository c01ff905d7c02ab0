"""The interface of a source of labelled images, and its implementations for files and arrays."""

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from wavenet_zoo.data.decoding import decode_image
from wavenet_zoo.runtime.files import read_regular_file

__all__ = ["MAX_FILE_BYTES", "ArrayImages", "FolderImages", "ImageSource", "file_stamp"]

MAX_FILE_BYTES = 2**30  # of an image file
RECENT_NS = 2 * 10**9  # more than the resolution of any file system's time


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
            OSError, ValueError, ...: One of :data:`~.decoding.DECODE_ERRORS`, if the image cannot be decoded.
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


class FolderImages:
    """Images in files, one folder per class."""

    in_memory = False

    def __init__(self, root: Path, split: str, classes: Sequence[str], files: Sequence[Path], targets: Sequence[int]):
        self.name = str(root)
        self.root = root
        self.split = split
        self.classes = classes
        self.files = files
        self.targets = targets

    def load(self, index: int) -> Image.Image:
        return decode_image(self.content(index))

    def content(self, index: int) -> bytes:
        return read_regular_file(self.files[index], MAX_FILE_BYTES)

    def stamp(self, index: int) -> bytes | None:
        return file_stamp(self.files[index])

    def describe(self, index: int) -> str:
        return str(self.files[index])

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(f"{file.relative_to(self.root).as_posix()}\0{file.stat().st_size}\n".encode())
        return digest.hexdigest()


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

    def fingerprint(self) -> str:
        return hashlib.sha256(self.images.tobytes() + bytes(self.targets)).hexdigest()
