"""Image folders: one folder for each class, below a split or not; what is wrong with one that is something else."""

import os
import re
from pathlib import Path

from torchvision.datasets.folder import IMG_EXTENSIONS

from wavenet_zoo.data.sources import FolderImages
from wavenet_zoo.errors import WavezooError

__all__ = ["SYNSET", "open_folder"]

SYNSET = re.compile(r"n\d{8}")
SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "val": ("val", "validation", "valid", "eval", "test"),
    "test": ("test", "val", "validation", "eval"),
}
IMAGE_FILES_HINT = f"image files end in {', '.join(IMG_EXTENSIONS)}"
ALL_SPLIT_FOLDERS = {folder for folders in SPLIT_FOLDERS.values() for folder in folders}


def open_folder(root: Path, split: str) -> FolderImages:
    """Open the image folder at ``root``.

    ``root`` holds one folder for each class, or ``train/``, ``val/`` and the like that do; then the one that ``split``
    names is opened. Hidden files and folders are passed over. Classes are in natural order: "2" before "10".

    Raises:
        WavezooError: If there is no such folder, split, class folder or image, or a class folder has no image.
    """
    if not root.exists():
        raise WavezooError(f"{root}: no such data folder")
    if not root.is_dir():
        raise WavezooError(f"{root}: is a file, not a data folder", "pass the folder that holds the class folders")
    folders = _visible_folders(root)
    splits = [folder for folder in folders if folder.name in ALL_SPLIT_FOLDERS]
    # a folder called "train" may also be the class of trains: then it holds no folders, and stands among other classes
    if splits and (len(splits) == len(folders) or any(_visible_folders(folder) for folder in splits)):
        root = _split_folder(root, split, [folder.name for folder in splits])
        folders = _visible_folders(root)
    if not folders:
        raise _explain_no_class_folders(root)

    classes, files, targets, empty = [folder.name for folder in folders], [], [], []
    seen = {os.path.realpath(root): root}
    for target, folder in enumerate(folders):
        found = _image_files(folder, seen)
        files.extend(found)
        targets.extend([target] * len(found))
        if not found:
            empty.append(folder.name)
    if not files:
        raise WavezooError(f"{root}: its {len(folders)} folders hold no image file", IMAGE_FILES_HINT)
    if empty:
        raise WavezooError(
            f"{root / empty[0]}: this class folder holds no image ({len(empty)} of {len(folders)} are empty)",
            "remove the folder, or put its images there",
        )
    return FolderImages(root, split, classes, files, targets)


def _split_folder(root: Path, split: str, present: list[str]) -> Path:
    for name in SPLIT_FOLDERS.get(split, (split,)):
        if name in present:
            return root / name
    raise WavezooError(f"{root}: holds {', '.join(present)}, but no '{split}' folder", f"or pass {root / present[0]}")


def _visible_folders(root: Path) -> list[Path]:
    try:
        children = [child for child in root.iterdir() if not child.name.startswith(".")]
    except OSError as error:
        raise WavezooError(f"{root}: cannot be read: {error.strerror}") from error
    for child in children:
        if child.is_symlink() and not child.exists():  # were it passed over, it might have been a class
            raise WavezooError(f"{child}: is a link to nothing", "remove it, or bring back what it points to")
    return sorted((child for child in children if child.is_dir()), key=lambda child: _natural(child.name))


def _image_files(folder: Path, seen: dict[str, Path]) -> list[Path]:
    """Return the images in a folder and in those below it, links to folders included, in natural order.

    Args:
        folder: Where to look.
        seen: The folders of the data that have been read, by where they really are; this one is added.

    Raises:
        WavezooError: If one cannot be read, or is a link to one that is part of the data already: to itself, even.
    """
    real = os.path.realpath(folder)
    if real in seen:
        raise WavezooError(f"{folder}: leads to {seen[real]}, which is part of the data already", "remove the link")
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
    return sorted(found, key=lambda path: _natural(str(path)))


def _has_image(folder: Path) -> bool:
    try:
        return any(path.name.lower().endswith(IMG_EXTENSIONS) for path in folder.iterdir())
    except OSError:
        return False


def _explain_no_class_folders(root: Path) -> WavezooError:
    if not any(root.iterdir()):
        return WavezooError(f"{root}: this data folder is empty")
    if not _image_files(root, {}):
        return WavezooError(f"{root}: holds neither class folders nor images", IMAGE_FILES_HINT)
    absolute = root.resolve()
    siblings = _visible_folders(absolute.parent)
    among_classes = len(siblings) > 1 and all(_has_image(sibling) for sibling in siblings)
    if SYNSET.fullmatch(absolute.name) or (among_classes and absolute.name not in ALL_SPLIT_FOLDERS):
        return WavezooError(
            f"{root}: is one class folder of a data set", f"pass the folder above it: --data {absolute.parent}"
        )
    return WavezooError(
        f"{root}: holds images but no class folders", "put the images of each class in a folder named after it"
    )


def _natural(text: str) -> list[tuple[int, int | str]]:
    return [(0, int(part)) if part.isdecimal() else (1, part.lower()) for part in re.split(r"(\d+)", text) if part]
