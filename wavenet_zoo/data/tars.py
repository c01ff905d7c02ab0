"""Tar files of class folders, read as the folder that they unpack to."""

import functools
import hashlib
import json
import logging
import posixpath
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from wavenet_zoo.data.archive_index import cached_index
from wavenet_zoo.data.archives import ArchivedImage, ArchiveImages, Member, read_members
from wavenet_zoo.data.decoding import IMAGE_EXTENSIONS
from wavenet_zoo.data.splits import ALL_SPLIT_NAMES, SplitError, find_split, natural_key, split_named
from wavenet_zoo.errors import WavezooError

__all__ = ["TarImages", "find_split_tar", "open_tar"]

logger = logging.getLogger(__name__)


class TarImages(ArchiveImages):
    """Images in a tar file of class folders."""

    requested_split = ""

    def fingerprint(self) -> str:
        """Return a hash of name, requested split, classes and labels."""
        what = json.dumps([self.name, self.requested_split, list(self.classes), list(self.targets)])
        return hashlib.sha256(what.encode()).hexdigest()


def find_split_tar(folder: Path, split: str) -> Path | None:
    """Return the tar file of a split in a folder, ``train.tar`` for example.

    Returns:
        The file; None if the folder has subfolders, or no such tar files.

    Raises:
        SplitError: If the folder has tar files of other splits, and no subfolders.
    """
    present = [name for name in sorted({*ALL_SPLIT_NAMES, split}) if (folder / f"{name}.tar").is_file()]
    chosen = find_split(split, present)
    if chosen is not None:
        return folder / f"{chosen}.tar"
    if present and not any(child.is_dir() for child in folder.iterdir()):
        raise SplitError(f"{folder}: no split '{split}'", f"available splits: {', '.join(present)}")
    return None


def open_tar(archive: Path, split: str) -> TarImages:
    """Open a tar file of class folders, or of tar files that are named after the classes.

    Class folders may be in one common folder, or in split folders. Images in subfolders belong to the class. Of files
    with the same name, the last one counts, as in unpacking. Classes and images are in natural order.

    Args:
        archive: The tar file, not compressed.
        split: ``train``, ``val``, ``test`` or the name of a split folder. Without split folders it is ignored.

    Raises:
        WavezooError: If the archive cannot be read or is damaged, see :func:`~.archives.read_members`, has no images,
            images outside of its class folders, or not that split.
    """
    index = cached_index("members", [archive], functools.partial(read_members, nested=True))
    found = [Member(*row) for row in index[0]]
    images = list({m.path: m for m in found if posixpath.splitext(m.path)[1].lower() in IMAGE_EXTENSIONS}.values())
    if not images:
        raise WavezooError(f"{archive}: contains no image files", f"image files end in {', '.join(IMAGE_EXTENSIONS)}")
    root = _common_folder(archive, images)
    own_split = split_named(archive.stem) or split_named(root[-1] if root else "")
    depth = len(root)
    if chosen := _split_folder(archive, images, depth, split):
        images = [image for image in images if image.path.split("/")[depth] == chosen]
        own_split, depth = chosen, depth + 1
    for image in images:
        if image.path.count("/") <= depth:
            raise WavezooError(
                f"{archive}: {image.path}: is outside of the class folders", "put it into a class folder"
            )
    classes = sorted({image.path.split("/")[depth] for image in images}, key=natural_key)
    _check_other_files(archive, [member.path for member in found], images[0].path.split("/")[:depth], classes)
    labels = {name: label for label, name in enumerate(classes)}
    images.sort(key=lambda image: (natural_key(image.name), image.path))
    entries = [ArchivedImage(0, i.path, i.offset, i.size, labels[i.path.split("/")[depth]]) for i in images]
    source = TarImages(archive.name, own_split, classes, [archive], entries)
    source.requested_split = split
    return source


def _common_folder(archive: Path, images: Sequence[Member]) -> list[str]:
    """Return the folders above the class folders."""
    folders = {posixpath.dirname(image.path) for image in images}
    root = posixpath.commonpath(folders)
    if len(folders) == 1 and split_named(posixpath.basename(root)) == "":
        root = posixpath.dirname(root)  # a single class
    return root.split("/") if root else []


def _split_folder(archive: Path, images: Sequence[Member], depth: int, split: str) -> str | None:
    """Return the split folder of a split; None if the archive has no split folders."""
    paths = [image.path.split("/")[depth:] for image in images]
    names = {path[0] for path in paths if len(path) > 1}
    splits = names & ALL_SPLIT_NAMES
    # as in folders: "train" can also be a class, which contains no folders, and its siblings are not all splits
    if not splits or (splits != names and not any(len(path) > 2 and path[0] in splits for path in paths)):
        return None
    chosen = find_split(split, splits)
    if chosen is None:
        raise SplitError(f"{archive}: no split '{split}'", f"available splits: {', '.join(sorted(splits))}")
    return chosen


def _check_other_files(archive: Path, paths: Sequence[str], root: list[str], classes: Sequence[str]) -> None:
    """Report the files of the class folders that are not images.

    Raises:
        WavezooError: If a class folder contains no other files.
    """
    depth = len(root)
    inside = [path.split("/") for path in paths if path.split("/")[:depth] == root and path.count("/") > depth]
    empty = sorted({path[depth] for path in inside} - set(classes), key=natural_key)
    if empty:
        raise WavezooError(
            f"{archive}: {'/'.join([*root, empty[0]])}: class folder without images ({len(empty)} are empty)",
            f"image files end in {', '.join(IMAGE_EXTENSIONS)}",
        )
    suffixes = Counter(posixpath.splitext(path[-1])[1].lower() for path in inside)
    skipped = {suffix or "no extension": n for suffix, n in suffixes.most_common() if suffix not in IMAGE_EXTENSIONS}
    if skipped:
        counts = ", ".join(f"{count:,} {suffix}" for suffix, count in list(skipped.items())[:8])
        logger.info("data: %s: skipped files that are not supported images: %s", archive, counts)
