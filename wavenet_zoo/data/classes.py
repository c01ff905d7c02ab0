"""The mapping from the classes of a data set to the outputs of a model."""

import logging
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

from timm.data import ImageNetInfo, infer_imagenet_subset

from wavenet_zoo.data.folders import SYNSET
from wavenet_zoo.errors import WavezooError

__all__ = ["imagenet_classes", "match_classes", "output_names", "unique_names"]

logger = logging.getLogger(__name__)


def imagenet_classes(num_classes: int) -> list[str] | None:
    """Return the synsets of ImageNet-1k, or of timm's ImageNet subset with ``num_classes`` classes, in output order.

    Returns:
        The synsets; None if timm has no ImageNet subset of that size.
    """
    subset = infer_imagenet_subset({"num_classes": num_classes})
    return list(ImageNetInfo(subset).label_names()) if subset else None


def match_classes(data_classes: Sequence[str], model_classes: Sequence[str] | None, num_classes: int) -> list[int]:
    """Return the index of the model's output for every class of the data.

    Classes are matched by name; the data may have a part of the model's classes. Three rules apply where names do not
    decide: classes named 0 to ``num_classes - 1`` are indices, synsets match ImageNet's output order if
    ``model_classes`` is None, and other unknown names match in order if there are ``num_classes`` of them. Names that
    differ in their Unicode normal form only, as file names of macOS and Linux do, match if that is unambiguous.

    Args:
        data_classes: Class names of the data, in order.
        model_classes: Class names of the model's outputs, in order; None if they are not known.
        num_classes: Number of the model's outputs.

    Raises:
        WavezooError: If a class of the data cannot be matched to an output, or ``model_classes`` does not name every
            output once.
    """
    if model_classes is not None and len(model_classes) != num_classes:
        raise WavezooError(
            f"the metadata of the weights names {len(model_classes)} classes, but the model has {num_classes} outputs",
            "correct the metadata, or the number of classes of the model",
        )
    if num_classes == 1:
        logger.warning("classes: only one class: the loss is 0 and top-1 is 100 % for any weights")
    same_number = len(data_classes) == num_classes
    if model_classes is not None and list(data_classes) == list(model_classes):
        return list(range(num_classes))
    if same_number and list(data_classes) == [str(i) for i in range(num_classes)]:
        return list(range(num_classes))
    names = model_classes
    if names is None and all(SYNSET.fullmatch(name) for name in data_classes):
        names = imagenet_classes(num_classes)
    if names is None and same_number:
        return list(range(num_classes))
    index = {name: i for i, name in enumerate(names or ())}
    repeated = _first_repeated(names or ()) or _first_repeated(data_classes)
    if names is not None and repeated is not None:
        raise WavezooError(f"two classes are named '{repeated}', so classes cannot be matched", "rename one of them")
    index |= _by_normal_form(data_classes, index)
    missing = [name for name in data_classes if name not in index]
    if names is not None and not missing:
        return [index[name] for name in data_classes]
    if model_classes is None and same_number:  # synsets that are not in ImageNet-1k
        return list(range(num_classes))
    if same_number:
        raise WavezooError(
            f"class '{missing[0]}' of the data is not a class of the weights "
            f"({len(missing)} of {num_classes} names differ)",
            f"the classes of the weights are {_first_names(names or ())}: rename the folders, or use other weights",
        )
    raise WavezooError(
        f"the weights have {num_classes} classes and the data has {len(data_classes)}"
        + (f"; '{missing[0]}' is not a class of the weights" if names is not None else ""),
        "use weights trained on these classes, or data with the classes of the weights",
    )


def output_names(
    model_classes: Sequence[str] | None,
    num_classes: int,
    data_classes: Sequence[str] = (),
    class_indices: Sequence[int] = (),
) -> list[str]:
    """Return a unique name for every output of a model.

    Args:
        model_classes: Class names in the metadata of the weights; None if they are not known.
        num_classes: Number of the model's outputs.
        data_classes: Class names of the data. Without ``model_classes`` they name the outputs they are matched to.
        class_indices: Output of each class of the data, see :func:`match_classes`.

    Returns:
        Names in output order. Outputs without a known name are numbered.
    """
    if model_classes is not None:
        return unique_names(model_classes)
    synsets = imagenet_classes(num_classes)
    if synsets is not None and all(SYNSET.fullmatch(name) for name in data_classes):
        return synsets
    names = [str(number) for number in range(num_classes)]
    for name, index in zip(data_classes, class_indices):
        names[index] = name
    return unique_names(names)


def unique_names(names: Sequence[str], numbers: Sequence[int] | None = None) -> list[str]:
    """Return names in which those that occur several times are followed by their number.

    Args:
        names: The names.
        numbers: Number of each. Default: its position.
    """
    repeated = {name for name, count in Counter(names).items() if count > 1}
    numbered = zip(names, range(len(names)) if numbers is None else numbers)
    return [f"{name} ({number})" if name in repeated else name for name, number in numbered]


def _first_repeated(names: Sequence[str]) -> str | None:
    return next((name for name, count in Counter(names).items() if count > 1), None)


def _by_normal_form(data_classes: Sequence[str], index: Mapping[str, int]) -> dict[str, int]:
    """Return the outputs of unknown names that are known in another Unicode normal form.

    Raises:
        WavezooError: If several names differ in their normal form only.
    """
    outputs: dict[str, list[int]] = {}
    for name, output in index.items():
        outputs.setdefault(unicodedata.normalize("NFC", name), []).append(output)
    forms = {name: unicodedata.normalize("NFC", name) for name in data_classes}
    counts = Counter(forms.values())
    found: dict[str, int] = {}
    for name in data_classes:
        same = outputs.get(forms[name], [])
        if name in index or not same:
            continue
        if len(same) > 1 or counts[forms[name]] > 1:
            raise WavezooError(
                f"class '{name}' of the data and other classes differ in their Unicode normal form only",
                "rename them: NFC is the usual form",
            )
        found[name] = same[0]
    if found:
        logger.info("classes: matched in Unicode normal form NFC: %s", ", ".join(found))
    return found


def _first_names(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
