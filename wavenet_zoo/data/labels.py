"""The checks of labels that every source of images must pass."""

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from wavenet_zoo.data.sources import ImageSource
from wavenet_zoo.errors import WavezooError

__all__ = ["check_labels", "integer_labels", "numbered_classes"]

MAX_NUMBERED_CLASSES = 1_000_000


def check_labels(source: ImageSource, name: str) -> None:
    """Check that every image has a label that is the index of a class.

    Data sets mark images without a label by -1, test splits of competitions for example. As a list index, -1 would be
    the last class.

    Args:
        source: The source.
        name: Name of the data, for messages.

    Raises:
        WavezooError: If the source has no images, or a label is missing, is not an integer, or exceeds the classes.
    """
    where = f"{name}, {source.split}" if source.split else name
    count = len(source.targets)
    if not count:
        raise WavezooError(f"{where}: contains no images")
    labels = np.asarray(integer_labels(source.targets, where))
    unlabeled = int((labels < 0).sum())
    if unlabeled:
        raise WavezooError(
            f"{where}: {unlabeled:,} of {count:,} images have no label ({labels.min()})",
            "use a split whose images have labels, or remove the images without a label",
        )
    if labels.max() >= len(source.classes):
        index = int(labels.argmax())
        raise WavezooError(
            f"{where}: label {labels.max()} of {source.describe(index)} exceeds the {len(source.classes):,} classes",
            "labels are numbered from 0",
        )


def integer_labels(labels: Sequence[Any], name: str) -> list[int]:
    """Return labels as Python's integers.

    Args:
        labels: Integers, or tensors and arrays of one integer.
        name: Name of the data, for messages.

    Raises:
        WavezooError: If a label is not an integer.
    """
    integers = []
    for label in labels:
        try:
            integers.append(operator.index(label))
        except TypeError:
            message = f"{name}: label {str(label)[:50]} is not an integer"
            raise WavezooError(message, "every image must have one label: 0, 1, 2, ...") from None
    return integers


def numbered_classes(labels: Sequence[int], name: str) -> list[str]:
    """Return the class names ``0``, ``1``, ... of labels that have no names.

    Args:
        labels: The labels.
        name: Name of the data, for messages.

    Raises:
        WavezooError: If a label is too large to be the index of a class.
    """
    highest = max(labels, default=-1)
    if highest >= MAX_NUMBERED_CLASSES:
        raise WavezooError(f"{name}: label {highest} is too large for a class index", "labels must be 0, 1, 2, ...")
    return [str(number) for number in range(highest + 1)]
