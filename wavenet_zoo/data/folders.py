"""Image folders with one folder per class, with or without split folders above them."""

import os
import re
from pathlib import Path

from torchvision.datasets.folder import IMG_EXTENSIONS

from wavenet_zoo.data.sources import FolderImages
from wavenet_zoo.data.splits import ALL_SPLIT_NAMES, SplitError, find_split, split_named
from wavenet_zoo.errors import WavezooError

__all__ = ["SYNSET", "open_folder"]

SYNSET = re.compile(r"n\d{8}")
IMAGE_FILES_HINT = f"image files end in {', '.join(IMG_EXTENSIONS)}"


def open_folder(root: Path, split: str) -> FolderImages:
    """Open the image folder ``root``.

    Hidden files and folders are ignored. Symbolic links are followed. Classes and images are in natural order: "2"
    before "10".

    Args:
        root: Folder of class folders, or of split folders (``train/``, ``val/``, ...) that contain class folders.
        split: ``train``, ``val``, ``test`` or the name of a split folder. Without split folders it is ignored.

    Raises:
        WavezooError: If the folder, the split or an image is missing, a class folder is empty, a folder cannot be
            read, or a symbolic link is broken or would add images twice.
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

    classes, files, targets, empty = [folder.name for folder in folders], [], [], []
    seen = {os.path.realpath(root): root}
    for target, folder in enumerate(folders):
        found = _image_files(folder, seen)
        files.extend(found)
        targets.extend([target] * len(found))
        if not found:
            empty.append(folder.name)
    if not files:
        raise WavezooError(f"{root}: no image files in its class folders ({len(folders)} found)", IMAGE_FILES_HINT)
    if empty:
        raise WavezooError(
            f"{root / empty[0]}: class folder without images ({len(empty)} of {len(folders)} are empty)",
            "remove the folder, or add its images",
        )
    return FolderImages(root, split_named(root.absolute().name), classes, files, targets)


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
        if child.is_symlink() and not child.exists():  # it may have been a class: ignoring it would shift the labels
            raise WavezooError(f"{child}: broken symbolic link", "remove it, or restore its target")
    return sorted((child for child in children if child.is_dir()), key=lambda child: _natural_key(child.name))


def _image_files(folder: Path, seen: dict[str, Path]) -> list[Path]:
    """Return the images in a folder and its subfolders, linked folders included, in natural order.

    Args:
        folder: Folder to search.
        seen: Folders of the data searched so far, by real path; ``folder`` and its subfolders are added.

    Raises:
        WavezooError: If a folder cannot be read, or links to a folder in ``seen``, one of its parents for example.
    """
    real = os.path.realpath(folder)
    if real in seen:
        raise WavezooError(f"{folder}: links to {seen[real]}, which is already part of the data", "remove the link")
    seen[real] = folder
    found: list[Path] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    found += _image_files(Path(entry.path), seen)
                elif entry.name.lower().endswith(IMG_EXTENSIONS):
                    found.append(Path(entry.path))
    except OSError as error:
        raise WavezooError(f"{folder}: cannot be read: {error.strerror}") from error
    return sorted(found, key=lambda path: _natural_key(str(path)))


def _has_image(folder: Path) -> bool:
    try:
        return any(path.name.lower().endswith(IMG_EXTENSIONS) for path in folder.iterdir())
    except OSError:
        return False


def _no_class_folders_error(root: Path) -> WavezooError:
    if not any(root.iterdir()):
        return WavezooError(f"{root}: this data folder is empty")
    if not _image_files(root, {}):
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


def _natural_key(text: str) -> list[tuple[int, int | str]]:
    return [(0, int(part)) if part.isdecimal() else (1, part.lower()) for part in re.split(r"(\d+)", text) if part]
