"""Data sets with timm's names that can be read by index: Hugging Face datasets and torchvision."""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from wavenet_zoo.data.cifar import default_data_folder
from wavenet_zoo.data.decoding import decode_image, to_rgb
from wavenet_zoo.data.labels import integer_labels, numbered_classes
from wavenet_zoo.data.sources import MAX_FILE_BYTES, bad_file_is_image_error
from wavenet_zoo.data.splits import SplitError, find_split, natural_key, split_named
from wavenet_zoo.errors import WavezooError, install_hint
from wavenet_zoo.runtime.files import read_regular_file

__all__ = ["PREFIXES", "STREAMED", "TimmImages", "open_timm_dataset"]

PREFIXES = ("hfds/", "torch/")
STREAMED = ("hfids/", "tfds/")  # cannot be read by index
IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "labels", "fine_label")  # CIFAR-100 also has a coarse_label
TEST_ONLY = ("cifar10", "cifar100", "mnist", "kmnist", "fashion_mnist", "qmnist")  # they have a train and a test split


class TimmImages:
    """Images of a torchvision data set, or of a column of a Hugging Face data set."""

    in_memory = False

    def __init__(
        self,
        name: str,
        split: str,
        classes: Sequence[str],
        items: Any,
        targets: Sequence[int],
        *,
        column: str | None = None,
        requested_split: str | None = None,
    ):
        self.name = name
        self.split = split
        self.classes = classes
        self.items = items
        self.targets = targets
        self.column = column
        self.requested_split = requested_split or split

    def load(self, index: int) -> Image.Image:
        with bad_file_is_image_error():
            return decode_image(self.content(index)) if self.column else to_rgb(self.items[index][0])

    def content(self, index: int) -> bytes:
        if self.column is None:
            pixels: bytes = self.items[index][0].tobytes()
            return pixels
        image = self.items[index][self.column]
        content: bytes | None = image["bytes"]
        return content if content is not None else read_regular_file(image["path"], MAX_FILE_BYTES)

    def stamp(self, index: int) -> None:
        return None

    def describe(self, index: int) -> str:
        return f"{self.name} {self.split} image {index}"

    def relative_path(self, index: int) -> str:
        return f"{index}"

    def fingerprint(self) -> str:
        """Return a hash of name, split, classes and labels; hashing the images would require reading all of them."""
        what = json.dumps([self.name, self.requested_split, list(self.classes), [int(label) for label in self.targets]])
        return hashlib.sha256(what.encode()).hexdigest()


def open_timm_dataset(data: str, split: str) -> TimmImages:
    """Open ``hfds/ORG/NAME`` (Hugging Face datasets) or ``torch/NAME`` (torchvision).

    Args:
        data: timm's name of the data set. ``hfds/`` also accepts a folder of parquet files. torchvision downloads to
            :func:`~.cifar.default_data_folder`.
        split: ``train``, ``val``, ``test``, or another name of a split in the data set. ``val`` is the validation
            split if available, else the test split.

    Raises:
        WavezooError: If the data set or the split does not exist, cannot be read by index, has no column of images or
            labels, or requires an extra that is not installed.
    """
    if data.startswith(STREAMED):
        raise WavezooError(
            f"{data}: {data.partition('/')[0]}/ is not supported, its images cannot be read by index",
            "use hfds/ or wds/ for the same data set",
        )
    return _open_hfds(data, split) if data.startswith("hfds/") else _open_torch(data, split)


def _open_hfds(data: str, split: str) -> TimmImages:
    try:
        import datasets
    except ImportError as error:
        raise WavezooError(f"{data}: requires the package datasets", install_hint("hf")) from error

    name = data.removeprefix("hfds/")
    with _third_party(data), _no_progress_bars(datasets):
        splits = datasets.get_dataset_split_names(name)
    chosen = find_split(split, splits)
    if chosen is None:
        raise SplitError(f"{data}: no split '{split}'", f"available splits: {', '.join(splits)}")
    with _third_party(data), _no_progress_bars(datasets):
        dataset = datasets.load_dataset(name, split=chosen)
    image_column = _column(data, "image", dataset.features, IMAGE_COLUMNS)
    label_column = _column(data, "label", dataset.features, LABEL_COLUMNS)
    missing = dataset.data.column(image_column).null_count
    if missing:
        raise WavezooError(f"{data}: {missing:,} of {len(dataset):,} rows have no image", "remove these rows")
    classes, targets = _labels(data, dataset, label_column)
    with _third_party(data):
        dataset = dataset.cast_column(image_column, datasets.Image(decode=False))
    shown = data if not Path(name).exists() else f"hfds/{Path(name).name}"
    return TimmImages(shown, chosen, classes, dataset, targets, column=image_column)


def _column(data: str, kind: str, features: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """Return the column of images or of labels: the first name if there is one, else the only other one."""
    found = [name for name in names if name in features]
    if found and (found[0] == names[0] or len(found) == 1):
        return found[0]
    problem = f"several columns of {kind}s" if found else f"no column of {kind}s"
    raise WavezooError(
        f"{data}: {problem}, its columns are {', '.join(features)}",
        f"rename one column to '{names[0]}'" + ("" if found else f"; {' and '.join(names[1:])} are also found"),
    )


def _labels(data: str, dataset: Any, column: str) -> tuple[list[str], list[int]]:
    """Return the classes of a data set and the label of every row, of class labels, integers or text."""
    feature = dataset.features[column]
    labels = list(dataset[column])
    missing = labels.count(None)
    if missing:
        raise WavezooError(f"{data}: {missing:,} of {len(labels):,} images have no label", "remove these rows")
    if getattr(feature, "names", None) is not None:
        return list(feature.names), labels
    dtype = str(getattr(feature, "dtype", type(feature).__name__))
    if dtype.startswith(("int", "uint")):
        return numbered_classes(labels, data), labels
    if dtype in ("string", "large_string"):
        names = sorted(set(labels), key=natural_key)
        index = {name: number for number, name in enumerate(names)}
        return names, [index[label] for label in labels]
    raise WavezooError(
        f"{data}: column '{column}' has the type {dtype}", "labels must be class labels, integers or text"
    )


@contextlib.contextmanager
def _third_party(data: str) -> Iterator[None]:
    """Report any error of a library that opens data, in one line."""
    try:
        yield
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:  # datasets wraps the error that says what is wrong
            cause = cause.__cause__
        reason = (str(cause).strip() or type(cause).__name__).splitlines()[0]
        raise WavezooError(f"{data}: cannot be opened: {reason}") from error


@contextlib.contextmanager
def _no_progress_bars(datasets: Any) -> Iterator[None]:
    disabled = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not disabled:
            datasets.enable_progress_bars()


def _open_torch(data: str, split: str) -> TimmImages:
    from timm.data import create_dataset

    name = data.lower()
    if name in ("torch/image_folder", "torch/folder"):
        raise WavezooError(f"{data}: is a folder", "pass the folder itself: --data DIR")
    used = split
    if name.removeprefix("torch/") in TEST_ONLY:
        if not split_named(split):
            raise SplitError(f"{data}: no split '{split}'", "available splits: train, test")
        used = "train" if split in ("train", "training") else "test"
    root = default_data_folder()
    timm_split = {"val": "validation"}.get(split, split)
    with _third_party(data):
        try:
            dataset = create_dataset(name, root=str(root), split=timm_split, download=True)
        except TypeError:  # this data set has no download argument
            dataset = create_dataset(name, root=str(root), split=timm_split)
        labels = next(
            (getattr(dataset, key) for key in ("targets", "_labels", "labels") if hasattr(dataset, key)), None
        )
        labels = list(labels) if labels is not None else [label for _, label in dataset]
        classes = [str(name) for name in getattr(dataset, "classes", None) or ()]
    targets = integer_labels(labels, data)
    classes = classes or numbered_classes(targets, data)
    return TimmImages(data, used, classes, dataset, targets, requested_split=split)
