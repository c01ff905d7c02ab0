"""Unlabelled images: files, folders, wildcards and PIL images."""

import fnmatch
import hashlib
import logging
import os
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path

from PIL import Image

from wavenet_zoo.data.decoding import IMAGE_EXTENSIONS, decode_image, to_rgb
from wavenet_zoo.data.folders import (
    IMAGE_FILES_HINT,
    Listing,
    broken_link_error,
    describe_skipped,
    find_image_files,
)
from wavenet_zoo.data.sources import (
    MAX_FILE_BYTES,
    bad_file_is_image_error,
    file_stamp,
    portable_path,
    printable_path,
)
from wavenet_zoo.data.splits import natural_key
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.files import expand, read_regular_file

__all__ = ["UnlabelledImages", "find_images"]

logger = logging.getLogger(__name__)

WILDCARDS = "*?["


class UnlabelledImages:
    """Images without labels, in the order given: every target is 0.

    Args:
        items: Paths, as text, and PIL images.
    """

    name = "images"
    split = ""
    classes: Sequence[str] = ("",)

    def __init__(self, items: Sequence[str | Image.Image]):
        self.items = items
        self.targets: Sequence[int] = [0] * len(items)
        self.in_memory = any(isinstance(item, Image.Image) for item in items)

    def load(self, index: int) -> Image.Image:
        item = self.items[index]
        if isinstance(item, Image.Image):
            return to_rgb(item)
        with bad_file_is_image_error():
            content = read_regular_file(item, MAX_FILE_BYTES)
        return decode_image(content)

    def content(self, index: int) -> bytes:
        item = self.items[index]
        return item.tobytes() if isinstance(item, Image.Image) else read_regular_file(item, MAX_FILE_BYTES)

    def stamp(self, index: int) -> bytes | None:
        item = self.items[index]
        return None if isinstance(item, Image.Image) else file_stamp(Path(item))

    def describe(self, index: int) -> str:
        item = self.items[index]
        return f"image {index}" if isinstance(item, Image.Image) else printable_path(Path(item))

    def relative_path(self, index: int) -> str:
        """Return the path as it was given or found, or the number of a PIL image."""
        item = self.items[index]
        return str(index) if isinstance(item, Image.Image) else portable_path(item)

    def fingerprint(self) -> str:
        digests = (hashlib.sha256(self.content(index)).digest() for index in range(len(self.items)))
        return hashlib.sha256(b"".join(digests)).hexdigest()


def find_images(images: Sequence[str | Path | Image.Image]) -> UnlabelledImages:
    """Find images, in the order of the arguments, and in natural order in a folder: "2" before "10".

    A file may have any name. In folders, which are searched with their subfolders, and among the matches of a wildcard,
    hidden files are ignored, and files without the extension of an image are counted in a message. Symbolic links are
    as in :func:`~.folders.open_folder`, except that a link to another of the images is an image of its own.

    A file that is found again by another argument is used once. Two paths are the same file if they are the same name
    in the same folder, after links to folders.

    Args:
        images: Files, folders, wildcards and PIL images. In a wildcard ``**`` is any number of folders, without links.
            A file or folder whose name is the wildcard has priority.

    Raises:
        WavezooError: If an argument is missing or contains no images, a folder cannot be read, or a symbolic link is
            broken or in a circle.
    """
    items: dict[Hashable, str | Image.Image] = {}
    folders: dict[str, str] = {}  # real paths of the folders, which take long to find
    skipped: Counter[str] = Counter()
    repeated = 0
    for number, image in enumerate(images):
        if isinstance(image, Image.Image):
            items[number] = image
            continue
        if not isinstance(image, str | Path):
            raise WavezooError(f"image {number}: expected a path or a PIL image, got {type(image).__name__}")
        for path in _find(str(image), skipped):
            folder, name = os.path.split(path)
            if folder not in folders:
                folders[folder] = os.path.realpath(folder)
            key = (folders[folder], name)
            repeated += key in items
            items.setdefault(key, path)
    if skipped:
        logger.info("images: skipped %s", describe_skipped(skipped))
    if repeated:
        logger.info("images: %s named again, used once", f"{repeated:,}")
    if not items:
        raise WavezooError("no images given", "name files or folders, or write their paths to stdin, one per line")
    return UnlabelledImages(list(items.values()))


def _find(argument: str, skipped: Counter[str]) -> list[str]:
    """Return the images of an argument, and count its other files."""
    path = expand(argument)
    others: Counter[str] = Counter()
    try:
        if path.exists() and not path.is_dir():
            return [str(path) if argument.startswith("~") else argument]  # the text that the user knows
        if path.exists():
            found = find_image_files(path, Listing(skipped=others))
        elif path.is_symlink():
            raise broken_link_error(path)
        elif any(character in argument for character in WILDCARDS):
            found = _find_matches(path, others)
        else:
            raise WavezooError(f"{argument}: no such file or folder")
    except OSError as error:
        raise WavezooError(f"{error.filename or argument}: cannot be read: {error.strerror}") from error
    if not found:
        reason = "no images in this folder" if path.exists() else "no file matches this wildcard"
        if others:
            reason = f"no images, but {describe_skipped(others)}"
        raise WavezooError(f"{argument}: {reason}", IMAGE_FILES_HINT if others or path.exists() else "")
    skipped.update(others)
    return [str(file) for file in found]


def _find_matches(pattern: Path, skipped: Counter[str]) -> list[Path]:
    """Return the images that match a wildcard, and those in the folders that match it."""
    searched: dict[str, Path] = {}
    found: list[Path] = []
    for match in _match(Path(), pattern.parts):
        if match.is_dir():
            if os.path.realpath(match) not in searched:
                listing = Listing(skipped=skipped)
                found += find_image_files(match, listing)
                searched |= listing.folders
        elif os.path.realpath(match.parent) in searched:  # found there
            continue
        elif match.name.lower().endswith(IMAGE_EXTENSIONS):
            found.append(match)
        elif not match.exists():
            raise broken_link_error(match)
        else:
            skipped[match.suffix.lower()] += 1
    return list(dict.fromkeys(found))


def _match(folder: Path, parts: Sequence[str]) -> Iterator[Path]:
    """Yield what matches the parts of a wildcard in a folder.

    Not with ``glob``, which ignores folders that cannot be read, and follows links in a circle.
    """
    if not parts:
        yield folder
        return
    first, rest = parts[0], parts[1:]
    if first == "**":
        yield from _match(folder, rest)
        for child in _visible(folder):
            if child.is_dir() and not child.is_symlink():
                yield from _match(child, parts)
    elif any(character in first for character in WILDCARDS):
        for child in _children(folder) if first.startswith(".") else _visible(folder):
            if fnmatch.fnmatch(child.name, first):
                yield from _match(child, rest)
    elif os.path.lexists(folder / first):
        yield from _match(folder / first, rest)


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir(), key=lambda child: natural_key(child.name))
    except NotADirectoryError:
        return []


def _visible(folder: Path) -> list[Path]:
    return [child for child in _children(folder) if not child.name.startswith(".")]
