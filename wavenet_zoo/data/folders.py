"""Image folders with one folder per class, with or without split folders above them."""

import logging
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wavenet_zoo.data.decoding import IMAGE_EXTENSIONS
from wavenet_zoo.data.sources import FolderImages
from wavenet_zoo.data.splits import ALL_SPLIT_NAMES, SplitError, find_split, natural_key, split_named
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.files import read_regular_file

__all__ = [
    "IMAGE_FILES_HINT",
    "SYNSET",
    "Listing",
    "broken_link_error",
    "describe_skipped",
    "find_image_files",
    "open_folder",
]

SYNSET = re.compile(r"n\d{8}")
IMAGE_FILES_HINT = f"image files end in {', '.join(IMAGE_EXTENSIONS)}"
UNSORTED_FOLDER = "images"  # of the parts of Tiny-ImageNet that have no class folders
ANNOTATIONS = "val_annotations.txt"
MAX_ANNOTATION_BYTES = 256 * 2**20

logger = logging.getLogger(__name__)


@dataclass
class Listing:
    """What a search has met so far.

    Attributes:
        folders: Folders of the data, by real path.
        links: Images that are symbolic links.
        skipped: Number of files that are not images, by extension.
    """

    folders: dict[str, Path] = field(default_factory=dict)
    links: list[Path] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


def open_folder(root: Path, split: str) -> FolderImages:
    """Open the image folder ``root``.

    Hidden files and folders are ignored, other files that are not images are counted in a message. Symbolic links are
    followed. A link to an image of this data would count it twice and is an error; links to one file elsewhere are as
    many images, since stores with one file per content have such links for equal images. Classes and images are in
    natural order: "2" before "10". Tiny-ImageNet's ``val/images`` gets its classes from ``val_annotations.txt``.

    Args:
        root: Folder of class folders, or of split folders (``train/``, ``val/``, ...) that contain class folders.
        split: ``train``, ``val``, ``test`` or the name of a split folder. Without split folders it is ignored.

    Raises:
        WavezooError: If the folder, the split or an image is missing, a class folder is empty or its name is not UTF-8,
            a folder cannot be read, or a symbolic link is broken or would add images twice.
    """
    if not root.exists():
        raise WavezooError(f"{root}: no such data folder")
    if not root.is_dir():
        raise WavezooError(f"{root}: is a file, not a data folder", "pass the folder that contains the class folders")
    folders = _visible_folders(root)
    splits = [folder for folder in folders if folder.name in ALL_SPLIT_NAMES]
    # "train" can also be a class: then it contains no folders, and its siblings are not all splits
    if splits and (len(splits) == len(folders) or any(_visible_folders(folder) for folder in splits)):
        root = _split_folder(root, split, [folder.name for folder in splits])
        folders = _visible_folders(root)
    if not folders:
        raise _no_class_folders_error(root)

    listing = Listing({os.path.realpath(root): root})
    unsorted = [folder.name for folder in folders] == [UNSORTED_FOLDER]
    if unsorted:
        classes, files, targets = _read_annotations(root, find_image_files(folders[0], listing))
    else:
        classes, files, targets = _read_class_folders(root, folders, listing)
    _check_links(listing)
    if listing.skipped:
        logger.info("data: %s: skipped %s", root, describe_skipped(listing.skipped))
    return FolderImages(root, split_named(root.absolute().name), classes, files, targets)


def _read_class_folders(
    root: Path, folders: Sequence[Path], listing: Listing
) -> tuple[list[str], list[Path], list[int]]:
    """Return classes, images and labels of class folders."""
    files: list[Path] = []
    targets: list[int] = []
    empty = []
    for target, folder in enumerate(folders):
        before = listing.skipped.copy()
        found = find_image_files(folder, listing)
        files.extend(found)
        targets.extend([target] * len(found))
        if not found:
            empty.append((folder, listing.skipped - before))
        if not _is_utf8(folder.name):
            raise WavezooError(f"{folder}: the name of this class folder is not UTF-8", "rename it")
    if not files and not listing.skipped:
        raise WavezooError(f"{root}: no image files in its class folders ({len(folders)} found)", IMAGE_FILES_HINT)
    if empty:
        folder, skipped = empty[0]
        others = f"; it contains {describe_skipped(skipped)}" if skipped else ""
        raise WavezooError(
            f"{folder}: class folder without images ({len(empty)} of {len(folders)} are empty){others}",
            IMAGE_FILES_HINT if skipped else "remove the folder, or add its images",
        )
    return [folder.name for folder in folders], files, targets


def _read_annotations(root: Path, files: Sequence[Path]) -> tuple[list[str], list[Path], list[int]]:
    """Return classes, images and labels of a part of Tiny-ImageNet, ordered by class.

    Each line of the annotations is the name of an image, its class and its bounding box, separated by tabs.
    """
    annotations = root / ANNOTATIONS
    if not annotations.exists():
        raise WavezooError(
            f"{root}: has no labels: it contains {UNSORTED_FOLDER}/ and no class folders",
            f"use another split, or pass {root / UNSORTED_FOLDER} if it contains the class folders",
        )
    try:
        lines = read_regular_file(annotations, MAX_ANNOTATION_BYTES).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise WavezooError(f"{annotations}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    class_of: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        name, _, rest = line.partition("\t")
        label = rest.partition("\t")[0].strip()
        if not name or not label:
            raise WavezooError(f"{annotations}, line {number}: no image and class separated by a tab: '{line[:80]}'")
        if name in class_of:
            raise WavezooError(f"{annotations}, line {number}: {name} has a line already")
        class_of[name] = label
    paths = {path.relative_to(root / UNSORTED_FOLDER).as_posix(): path for path in files}
    for name in paths:
        if name not in class_of:
            raise WavezooError(f"{annotations}: no line for {name}", "restore the file, or remove the image")
    for name in class_of:
        if name not in paths:
            raise WavezooError(f"{annotations}: {name} is not in {root / UNSORTED_FOLDER}", "restore the image")
    classes = sorted(set(class_of.values()), key=natural_key)
    index = {name: target for target, name in enumerate(classes)}
    labelled = sorted((index[class_of[name]], natural_key(name), path) for name, path in paths.items())
    return classes, [path for _, _, path in labelled], [target for target, _, _ in labelled]


def _split_folder(root: Path, split: str, present: list[str]) -> Path:
    chosen = find_split(split, present)
    if chosen is not None:
        return root / chosen
    raise SplitError(
        f"{root}: no split '{split}'", f"available splits: {', '.join(present)}; or pass {root / present[0]}"
    )


def _visible_folders(root: Path) -> list[Path]:
    try:
        children = [child for child in root.iterdir() if not child.name.startswith(".")]
    except OSError as error:
        raise WavezooError(f"{root}: cannot be read: {error.strerror}") from error
    for child in children:
        if child.is_symlink() and not _exists(child):  # it may have been a class: ignoring it would shift the labels
            raise broken_link_error(child)
    return sorted((child for child in children if child.is_dir()), key=lambda child: natural_key(child.name))


def find_image_files(folder: Path, listing: Listing) -> list[Path]:
    """Return the images in a folder and its subfolders, linked folders included, in natural order.

    Args:
        folder: Folder to search.
        listing: What was met so far. This folder and what it contains are added.

    Raises:
        WavezooError: If a folder cannot be read, or links to a folder in ``listing``, one of its parents for example,
            or a link without an image's name is broken.
    """
    real = os.path.realpath(folder)
    if real in listing.folders:
        raise WavezooError(
            f"{folder}: links to {listing.folders[real]}, which is already part of the data", "remove the link"
        )
    listing.folders[real] = folder
    found: list[Path] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                path = Path(entry.path)
                exists = not entry.is_symlink() or _exists(path)
                if exists and entry.is_dir():
                    found += find_image_files(path, listing)
                elif _is_image(entry.name):
                    found.append(path)
                    if entry.is_symlink():
                        listing.links.append(path)
                elif not exists:  # it may have been a folder of images
                    raise broken_link_error(path)
                else:
                    listing.skipped[path.suffix.lower()] += 1
    except OSError as error:
        raise WavezooError(f"{folder}: cannot be read: {error.strerror}") from error
    return sorted(found, key=lambda path: natural_key(str(path)))


def _check_links(listing: Listing) -> None:
    """Check that no image is a link to another image of the data.

    Raises:
        WavezooError: If one is.
    """
    for link in listing.links:
        folder, name = os.path.split(os.path.realpath(link))
        if folder in listing.folders and _is_image(name) and _exists(link):
            original = listing.folders[folder] / name
            raise WavezooError(f"{link}: links to {original}, which is already part of the data", "remove the link")


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_EXTENSIONS) and not name.startswith(".")


def describe_skipped(skipped: Counter[str]) -> str:
    """Return ``6 files that are not supported images: 4 .heic, 2 .svg``."""
    ordered = sorted(skipped.items(), key=lambda item: (-item[1], item[0]))
    counts = ", ".join(f"{count:,} {extension or 'without extension'}" for extension, count in ordered[:8])
    more = ", ..." if len(ordered) > 8 else ""
    return f"{skipped.total():,} files that are not supported images: {counts}{more}"


def _has_image(folder: Path) -> bool:
    try:
        return any(_is_image(path.name) for path in folder.iterdir())
    except OSError:
        return False


def broken_link_error(link: Path) -> WavezooError:
    """Return the error for a symbolic link without a target."""
    return WavezooError(f"{link}: broken symbolic link", "remove it, or restore its target")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # links in a circle, no permission
        return False


def _is_utf8(name: str) -> bool:
    return os.fsencode(name).decode(errors="replace") == name


def _no_class_folders_error(root: Path) -> WavezooError:
    if not any(root.iterdir()):
        return WavezooError(f"{root}: this data folder is empty")
    if not find_image_files(root, Listing()):
        return WavezooError(f"{root}: contains neither class folders nor images", IMAGE_FILES_HINT)
    absolute = root.resolve()
    siblings = _visible_folders(absolute.parent)
    among_classes = len(siblings) > 1 and all(_has_image(sibling) for sibling in siblings)
    if SYNSET.fullmatch(absolute.name) or (among_classes and absolute.name not in ALL_SPLIT_NAMES):
        return WavezooError(
            f"{root}: is one class folder of a data set", f"pass its parent folder: --data {absolute.parent}"
        )
    return WavezooError(
        f"{root}: contains images but no class folders", "move the images of each class into a folder named after it"
    )
