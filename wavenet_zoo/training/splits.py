"""The images of a run: training and validation split, their classes, and the name of the data set."""

import contextlib
import logging
import os
from pathlib import Path

from wavenet_zoo.data.classes import match_classes
from wavenet_zoo.data.held_out import hold_out
from wavenet_zoo.data.open import is_named, open_data
from wavenet_zoo.data.sources import FolderImages, ImageSource
from wavenet_zoo.data.splits import SplitError
from wavenet_zoo.data.subsets import SubsetImages
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.recipes import Recipe
from wavenet_zoo.runtime.distributed import Distributed

__all__ = ["check_outside", "data_name", "match_validation_classes", "open_splits"]

logger = logging.getLogger(__name__)

HOLD_OUT_HINT = "--set data.validation=0.1 to hold out 10 % of train"


def open_splits(recipe: Recipe, data: str | Path | None, distributed: Distributed) -> tuple[ImageSource, ImageSource]:
    """Open the training and the validation images of a recipe.

    Args:
        recipe: The recipe.
        data: Data set; overrides the recipe's.
        distributed: Process group.

    Raises:
        WavezooError: If the data is missing or cannot be read, or has no two splits and no fraction is held out.
    """
    if data is None and not is_named(recipe.data.name):
        raise WavezooError(f"the recipe's data set {recipe.data.name} must be passed as a folder", "pass --data DIR")
    location = data if data is not None else recipe.data.name
    validation = recipe.data.validation
    with distributed.rank_zero_first(is_named(str(location))):
        train_images = open_data(location, recipe.data.train)
        if isinstance(validation, float):
            _warn_of_validation_split(location, train_images)
            return hold_out(train_images, validation)
        val_images = _open_validation(location, validation)
    if (train_images.name, train_images.split) == (val_images.name, val_images.split):
        raise WavezooError(
            f"{train_images.name}: training requires two splits, and it has no split '{validation}'",
            f"pass data with {recipe.data.train} and val or test, or {HOLD_OUT_HINT}",
        )
    return train_images, val_images


def _warn_of_validation_split(location: str | Path, train_images: ImageSource) -> None:
    """Warn if a folder has a validation split although a part of the training split is held out."""
    if is_named(str(location)):
        return
    with contextlib.suppress(WavezooError):  # what is not used need not be readable
        unused = open_data(location, "val")
        if (unused.name, unused.split) != (train_images.name, train_images.split):
            logger.warning(
                "%s: the split '%s' is not used, as data.validation is a fraction: --set data.validation=val uses it",
                unused.name, unused.split,
            )  # fmt: skip


def match_validation_classes(val_images: ImageSource, classes: list[str]) -> list[int]:
    """Return the output of every class of the validation images.

    Raises:
        WavezooError: If the training images do not have one of them.
    """
    try:
        return match_classes(val_images.classes, classes, len(classes))
    except WavezooError as error:
        missing = [name for name in val_images.classes if name not in classes]
        if not missing:
            raise
        raise WavezooError(
            f"{val_images.name}: class '{missing[0]}' of the validation images has no training images",
            "rename or remove the class",
        ) from error


def _open_validation(location: str | Path, split: str) -> ImageSource:
    try:
        return open_data(location, split)
    except SplitError as error:
        missing = error
    if split == "test":
        with contextlib.suppress(SplitError):
            return open_data(location, "val")  # the recipe is for data without a validation split
    raise SplitError(missing.message, f"{HOLD_OUT_HINT}; {missing.hint}") from missing


def check_outside(images: ImageSource, run_dir: Path) -> None:
    """Check that a run does not write into a folder of images, where its curve would be one of them.

    Raises:
        WavezooError: If it does.
    """
    folder = images.source if isinstance(images, SubsetImages) else images
    target = run_dir.resolve()
    if isinstance(folder, FolderImages) and folder.root.resolve() in (target, *target.parents):
        raise WavezooError(f"{run_dir}: is inside the images of {images.name}", "pass another folder with --out")


def data_name(recipe: Recipe, data: str | Path | None, train_images: ImageSource) -> str:
    """Return the name of the data set for the metadata: never a path of this machine."""
    if data is None or not is_named(recipe.data.name):
        name = recipe.data.name if is_named(recipe.data.name) else Path(recipe.data.name).name
    else:
        name = train_images.name if is_named(str(data)) else Path(data).resolve().name
    return os.fsencode(name).decode(errors="backslashreplace")  # metadata is UTF-8
