"""Some images of a source, and the choice of a given number of them."""

import contextlib
import hashlib
import json
import re
from collections.abc import Sequence

from PIL import Image

from wavenet_zoo.data.sources import ImageSource
from wavenet_zoo.errors import WavezooError

__all__ = ["SubsetImages", "limit_images"]


class SubsetImages:
    """Some images of another source, with its classes.

    Args:
        source: The source.
        indices: Indices of the images in the source, in the order of the subset.
    """

    def __init__(self, source: ImageSource, indices: Sequence[int]):
        self.source = source
        self.indices = [int(index) for index in indices]
        self.name = source.name
        self.split = source.split
        self.classes = source.classes
        self.targets: Sequence[int] = [source.targets[index] for index in self.indices]
        self.in_memory = source.in_memory

    def load(self, index: int) -> Image.Image:
        return self.source.load(self.indices[index])

    def content(self, index: int) -> bytes:
        return self.source.content(self.indices[index])

    def stamp(self, index: int) -> bytes | None:
        return self.source.stamp(self.indices[index])

    def describe(self, index: int) -> str:
        return self.source.describe(self.indices[index])

    def relative_path(self, index: int) -> str:
        return self.source.relative_path(self.indices[index])

    def fingerprint(self) -> str:
        """Return a hash of the fingerprint of the source, which covers all of its images, and of the indices."""
        return hashlib.sha256(json.dumps([self.source.fingerprint(), self.indices]).encode()).hexdigest()


def limit_images(source: ImageSource, limit: str) -> ImageSource:
    """Return every k-th image of every class, in the order of the data.

    Of M images in the order of their classes, and of the data in a class, those at the positions floor(i M / N) are
    taken, for i from 0 to N - 1. So the number of images of a class differs from N / M of its images by less than 1;
    if N is smaller than the number of classes, some classes have no image.

    Args:
        source: The images.
        limit: The number N of images in all, ``5000`` for example; or their share, above 0 and below 1: ``0.1``.
            ``1.0`` is an error, since it may mean one image or all of them.

    Returns:
        The subset; ``source`` itself if it has no more than N images.

    Raises:
        WavezooError: If ``limit`` is neither a number of images nor a share.
    """
    count = len(source.targets)
    number = _number_of_images(limit, count)
    if number >= count:
        return source
    by_class = sorted(range(count), key=lambda index: source.targets[index])  # stable: in a class, as in the data
    return SubsetImages(source, sorted(by_class[i * count // number] for i in range(number)))


def _number_of_images(limit: str, count: int) -> int:
    if re.fullmatch(r"0*[1-9][0-9]{0,17}", limit):
        return int(limit)
    with contextlib.suppress(ValueError):
        if 0 < float(limit) < 1:
            return max(1, round(float(limit) * count))
    raise WavezooError(
        f"--limit {limit[:50]}: is neither a number of images nor a share of them",
        "pass a whole number from 1, --limit 5000 for example, or a share between 0 and 1: --limit 0.1",
    )
