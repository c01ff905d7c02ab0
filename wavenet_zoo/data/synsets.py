"""Readable names of classes that are named after WordNet synsets, as those of ImageNet are."""

import functools
from importlib import resources

from wavenet_zoo.data.folders import SYNSET

__all__ = ["readable_name"]


def readable_name(class_name: str) -> str:
    """Return the lemmas of a synset, for example ``goldfish, Carassius auratus``, from the list that timm ships.

    Args:
        class_name: Name of a class.

    Returns:
        The lemmas, separated by commas; empty if ``class_name`` is not a synset of the list.
    """
    return _lemmas().get(class_name, "") if SYNSET.fullmatch(class_name) else ""


@functools.cache
def _lemmas() -> dict[str, str]:
    # not timm's ImageNetInfo, which also reads the definitions: four times as long
    text = (resources.files("timm.data") / "_info" / "imagenet_synset_to_lemma.txt").read_text(encoding="utf-8")
    return dict(line.split("\t") for line in text.splitlines())
