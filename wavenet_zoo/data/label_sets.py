"""The conventions of ImageNet's standard evaluation sets: their classes, and how their images are scored."""

import json
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

from wavenet_zoo.data.classes import imagenet_classes
from wavenet_zoo.data.sources import ImageSource
from wavenet_zoo.data.splits import split_named
from wavenet_zoo.data.subsets import SubsetImages
from wavenet_zoo.errors import WavezooError

__all__ = ["REAL", "LabelSet", "class_names", "real_labels", "recognize_label_set"]

# of ImageNet's own images, also with the synset that the files on the Hub have; shards have no extension in the key
VALIDATION_IMAGE = re.compile(r"ILSVRC2012_val_([0-9]{8})(_n[0-9]{8})?(\.[A-Za-z]+)?")
TRAINING_IMAGE = re.compile(r"n[0-9]{8}_[0-9]+(\.[A-Za-z]+)?")
SKETCH_IMAGE = re.compile(r"sketch_[0-9]+(\.[A-Za-z]+)?", re.IGNORECASE)
V2_NAME = re.compile(r"imagenet[-_ ]?v2", re.IGNORECASE)
SKETCH_NAME = re.compile(r"(imagenet[-_ ]?)?sketch(\.tar)?", re.IGNORECASE)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelSet:
    """A standard evaluation set.

    Attributes:
        name: ``imagenet-a``, ``imagenet-r``, ``imagenet-v2``, ``imagenet-sketch`` or ``imagenet-real``.
        description: The set and the convention by which it is scored, in one line.
        among: Outputs whose scores are compared: those of the ``data``'s classes, or ``all``.
        numbered: Whether the classes are named by their number among ImageNet's.
    """

    name: str
    description: str
    among: Literal["data", "all"]
    numbered: bool = False


# https://arxiv.org/abs/1907.07174 and https://arxiv.org/abs/2006.16241
A = LabelSet("imagenet-a", "ImageNet-A: scored among its 200 classes", "data")
R = LabelSet("imagenet-r", "ImageNet-R: scored among its 200 classes", "data")
# https://arxiv.org/abs/1902.10811
V2 = LabelSet("imagenet-v2", "ImageNet-V2: folders are numbers of ImageNet's classes, among all outputs", "all", True)
# https://arxiv.org/abs/1905.13549
SKETCH = LabelSet("imagenet-sketch", "ImageNet-Sketch: scored among all outputs", "all")
# https://arxiv.org/abs/2006.07159
REAL = LabelSet(
    "imagenet-real", "ImageNet-ReaL: any of an image's labels counts, images without one are ignored", "all"
)


def recognize_label_set(source: ImageSource) -> LabelSet | None:
    """Return the standard evaluation set that a source contains, by its class folders; None if it is another one.

    ImageNet-A and -R have exactly timm's lists of 200 synsets, and images that are not named as ImageNet's own: those
    of the same 200 classes are another set. ImageNet-Sketch has ImageNet's 1,000 synsets and images named
    ``sketch_0.JPEG``, or it is in a folder named ``sketch``. ImageNet-V2 has folders named 0 to 999. They are the
    numbers of ImageNet's outputs, which their order as text (0, 1, 10, as in torchvision's ``ImageFolder``) is not.
    Any data set can have such folders, so its name must contain ``imagenetv2`` too.

    Args:
        source: The images, all of them or a subset.
    """
    classes = set(source.classes)
    if len(classes) == 200:
        known = next((known for known in (A, R) if classes == set(_listed(f"{known.name}_synsets"))), None)
        return None if known is None or _has_imagenet_image(source) else known
    if len(classes) != 1000:
        return None
    if classes == {str(number) for number in range(1000)}:
        return V2 if V2_NAME.search(_folder_name(source)) else None
    if classes != set(imagenet_classes(1000) or ()):
        return None
    is_sketch = SKETCH_NAME.fullmatch(_folder_name(source)) or all(map(SKETCH_IMAGE.fullmatch, _file_names(source)))
    return SKETCH if is_sketch else None


def class_names(source: ImageSource, label_set: LabelSet | None, model_classes: Sequence[str] | None) -> Sequence[str]:
    """Return the names of a source's classes for a match with the names of a model's classes.

    They are those of the folders, except where these are numbers of ImageNet's classes and the model's classes are
    synsets: these may be in another order, or more than 1,000.

    Args:
        source: The images.
        label_set: What :func:`recognize_label_set` returns for them.
        model_classes: Class names of the model's outputs, in order; None if they are not known.
    """
    synsets = imagenet_classes(1000)
    if label_set is None or not label_set.numbered or not synsets or not set(synsets) <= set(model_classes or ()):
        return source.classes
    return [synsets[int(name)] for name in source.classes]


def real_labels(source: ImageSource) -> tuple[SubsetImages, list[tuple[int, ...]]]:
    """Return the images of ImageNet's validation set that have labels in ImageNet-ReaL, and these labels.

    The labels are those that timm includes. They belong to the number in the name of the file, and images without a
    label are ignored.

    Args:
        source: Images of ImageNet's validation set, all or some, named ``ILSVRC2012_val_00000001.JPEG``.

    Returns:
        The images in the order of the source, and for each of them the numbers of its classes in ImageNet-1k, sorted.

    Raises:
        WavezooError: If an image has another name or an invalid number, two have the same number, or none has a label.
    """
    known: list[list[int]] = json.loads(_packaged("imagenet_real_labels.json"))
    first: dict[int, int] = {}
    for index, name in enumerate(_file_names(source)):
        found = VALIDATION_IMAGE.fullmatch(name)
        number = int(found[1]) if found else 0
        where = source.describe(index)
        if not found:
            raise WavezooError(
                f"{where}: --labels real needs ImageNet's validation set, whose images have other names",
                "they are named ILSVRC2012_val_00000001.JPEG, ...; for other data remove --labels",
            )
        if not 1 <= number <= len(known):
            raise WavezooError(
                f"{where}: --labels real has no image {number:,}, the validation set has 1 to {len(known):,}",
                "pass ImageNet's validation set, or remove --labels",
            )
        if number in first:
            raise WavezooError(
                f"{where}: has the number of {source.describe(first[number])}",
                "--labels real needs an image of the validation set once: remove one of them",
            )
        first[number] = index
    labels = {index: tuple(sorted(known[number - 1])) for number, index in first.items() if known[number - 1]}
    ignored = len(first) - len(labels)
    if not labels:
        raise WavezooError(f"{source.name}: none of {ignored:,} images has a label in ImageNet-ReaL", "use more images")
    if ignored:
        logger.info(f"labels: ignored {ignored:,} of {len(first):,} images, which have no label in ImageNet-ReaL")
    return SubsetImages(source, list(labels)), list(labels.values())


def _has_imagenet_image(source: ImageSource) -> bool:
    return any(VALIDATION_IMAGE.fullmatch(name) or TRAINING_IMAGE.fullmatch(name) for name in _file_names(source))


def _file_names(source: ImageSource) -> Iterator[str]:
    return (source.relative_path(index).rpartition("/")[2] for index in range(len(source.targets)))


def _folder_name(source: ImageSource) -> str:
    """Return the name of the folder or archive of a source, or of the folder above that of a split."""
    path = Path(source.name).absolute()
    return path.parent.name if split_named(path.name) else path.name


def _listed(name: str) -> list[str]:
    return _packaged(f"{name.replace('-', '_')}.txt").split()


def _packaged(name: str) -> str:
    return (resources.files("timm.data") / "_info" / name).read_text(encoding="utf-8")
