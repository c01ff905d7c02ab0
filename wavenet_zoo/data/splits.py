"""The names of splits, and the order of names."""

import re
from collections.abc import Collection

from wavenet_zoo.errors import WavezooError

__all__ = [
    "ALL_SPLIT_NAMES",
    "SPLIT_NAMES",
    "SplitError",
    "describe_split",
    "find_split",
    "fraction_of",
    "natural_key",
    "split_named",
]

# `val` may be the test split, because many data sets have no other; `test` is never the validation split
SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "validation", "valid", "eval", "test"),
    "test": ("test",),
}
ALL_SPLIT_NAMES = frozenset(name for names in SPLIT_NAMES.values() for name in names)


class SplitError(WavezooError):
    """A split that the data does not have."""


def find_split(split: str, available: Collection[str]) -> str | None:
    """Return which of the available splits ``split`` means; None if it is not available."""
    return next((name for name in SPLIT_NAMES.get(split, (split,)) if name in available), None)


def split_named(name: str) -> str:
    """Return ``name`` if it is the name of a split, else an empty string."""
    return name if name in ALL_SPLIT_NAMES else ""


def natural_key(name: str) -> tuple[list[tuple[int, int | str]], str]:
    """Return a sort key: numbers by value, text without case, and the name itself where these are equal."""
    return [_part_key(part) for part in re.split(r"(\d+)", name) if part], name


def _part_key(part: str) -> tuple[int, int | str]:
    is_number = part.isdecimal() and len(part) < 4000  # Python converts up to 4300 digits
    return (0, int(part)) if is_number else (1, part.lower())


def fraction_of(split: str) -> float | None:
    """Return the fraction that a split names, 0.1 for ``0.1``; None for the name of a split."""
    try:
        fraction = float(split)
    except ValueError:
        return None
    return fraction if 0 < fraction < 1 else None


def describe_split(split: str) -> str:
    """Return a split in words: ``val``, or ``10 % of train`` for ``0.1``."""
    fraction = fraction_of(split)
    return split if fraction is None else f"{100 * fraction:g} % of train"
