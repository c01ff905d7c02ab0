"""A validation split for data without one: a part of the training images, held out."""

import hashlib
import logging
from collections import defaultdict

from wavenet_zoo.data.sources import ImageSource
from wavenet_zoo.data.subsets import SubsetImages
from wavenet_zoo.errors import WavezooError

__all__ = ["hold_out"]

logger = logging.getLogger(__name__)


def hold_out(source: ImageSource, fraction: float) -> tuple[SubsetImages, SubsetImages]:
    """Divide training images into those to train on, and those that are held out for validation.

    In every class the images are ordered by the SHA-256 of their path relative to the data, and the first
    ``fraction`` of them is held out: at least one, and not all. So the choice depends on the paths alone, and changes
    little when images are added. A class with a single image is trained on and not validated, with a warning.

    Args:
        source: The training images.
        fraction: Fraction of the images of a class that is held out, above 0 and below 1. Their number is rounded.

    Returns:
        The images to train on, and the held-out images, each in the order of ``source``.

    Raises:
        WavezooError: If no class has two images.
    """
    by_class: dict[int, list[int]] = defaultdict(list)
    for index, target in enumerate(source.targets):
        by_class[int(target)].append(index)
    held_out: set[int] = set()
    for indices in by_class.values():
        indices.sort(key=lambda index: hashlib.sha256(source.relative_path(index).encode()).digest())
        count = min(max(round(fraction * len(indices)), 1), len(indices) - 1)
        held_out.update(indices[:count])
    single = [source.classes[target] for target, indices in sorted(by_class.items()) if len(indices) == 1]
    if not held_out:
        raise WavezooError(
            f"{source.name}: no class has two images, so that none can be held out for validation", "add images"
        )
    if single:
        logger.warning(
            "%s: %s of %s classes have a single image, which is trained on and not validated, %s for example",
            source.name, f"{len(single):,}", f"{len(by_class):,}", single[0],
        )  # fmt: skip
    every = range(len(source.targets))
    rest = SubsetImages(source, [index for index in every if index not in held_out])
    chosen = SubsetImages(source, [index for index in every if index in held_out])
    chosen.split = str(fraction)
    return rest, chosen
