"""Which output of a model stands for which class of a data set."""

from collections.abc import Sequence

from timm.data import ImageNetInfo, infer_imagenet_subset

from wavenet_zoo.data.folders import SYNSET
from wavenet_zoo.errors import WavezooError

__all__ = ["imagenet_classes", "match_classes"]


def imagenet_classes(num_classes: int) -> list[str] | None:
    """Return the synsets of ImageNet-1k, or of another ImageNet set of that many classes; None where there is none."""
    subset = infer_imagenet_subset({"num_classes": num_classes})
    return list(ImageNetInfo(subset).label_names()) if subset else None


def match_classes(data_classes: Sequence[str], model_classes: Sequence[str] | None, num_classes: int) -> list[int]:
    """Return, for each class of the data, the index of the model's output that stands for it.

    Where the model's class names are known, folders are matched by name, also when only some of the classes are there.
    Folders called 0 to N - 1 are taken as indices. Where the names are not known, ImageNet's synsets stand in if the
    folders are synsets; else the folders are taken in order, and there must be as many as outputs.

    Args:
        data_classes: Names of the data's classes, in order.
        model_classes: Names of the model's outputs, if known.
        num_classes: Number of the model's outputs.

    Raises:
        WavezooError: If they do not go together.
    """
    same_number = len(data_classes) == num_classes
    if same_number and list(data_classes) == [str(i) for i in range(num_classes)]:
        return list(range(num_classes))
    names = model_classes
    if names is None and all(SYNSET.fullmatch(name) for name in data_classes):
        names = imagenet_classes(num_classes)
    if names is None and same_number:
        return list(range(num_classes))
    index = {name: i for i, name in enumerate(names or ())}
    missing = [name for name in data_classes if name not in index]
    if names is not None and not missing:
        return [index[name] for name in data_classes]
    if model_classes is None and same_number:  # synsets, but not ImageNet-1k's
        return list(range(num_classes))
    if same_number:
        raise WavezooError(
            f"the data has a class '{missing[0]}' that the weights do not know "
            f"({len(missing)} of {num_classes} names differ)",
            f"the weights' classes are {_some(names or ())}; name the folders so, or evaluate other weights",
        )
    raise WavezooError(
        f"the weights have {num_classes} classes and the data has {len(data_classes)}"
        + (f", '{missing[0]}' among them, which the weights do not know" if names is not None else ""),
        "evaluate weights trained for these classes, or data with the weights' classes",
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
