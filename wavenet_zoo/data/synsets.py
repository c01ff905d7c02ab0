"""Readable names of WordNet synsets, the class folders of ImageNet."""

import functools

from timm.data import ImageNetInfo

from wavenet_zoo.data.folders import SYNSET

__all__ = ["readable_name"]


def readable_name(class_name: str) -> str:
    """Return the lemmas of a synset, for example ``goldfish, Carassius auratus``, from the list that timm ships.

    Args:
        class_name: Name of a class.

    Returns:
        The lemmas, separated by commas; empty if ``class_name`` is not a synset of the list.
    """
    if not SYNSET.fullmatch(class_name):
        return ""
    try:
        lemmas: str = _imagenet_info().label_name_to_description(class_name)
    except KeyError:
        return ""
    return lemmas


@functools.cache
def _imagenet_info() -> ImageNetInfo:
    return ImageNetInfo()
