"""Data sets of timm's ``create_dataset`` that can be read by index, so that order and resume are exact."""

import contextlib
import hashlib
import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from wavenet_zoo.data.cifar import default_data_folder
from wavenet_zoo.data.decoding import decode_image, to_rgb
from wavenet_zoo.data.folders import SPLIT_FOLDERS
from wavenet_zoo.errors import WavezooError, install_hint

__all__ = ["PREFIXES", "STREAMED", "TimmImages", "find_split_tar", "open_timm_dataset"]

PREFIXES = ("hfds/", "torch/", "wds/")
STREAMED = ("hfids/", "tfds/")  # cannot be read by index


class TimmImages:
    """Images of a timm reader or a torchvision data set."""

    in_memory = False

    def __init__(self, name: str, split: str, classes: Sequence[str], items: Any, targets: Sequence[int]):
        self.name = name
        self.split = split
        self.classes = classes
        self.items = items
        self.targets = targets

    def load(self, index: int) -> Image.Image:
        image = self.items[index][0]
        if not isinstance(image, Image.Image):
            with image:
                return decode_image(image.read())
        return to_rgb(image)

    def content(self, index: int) -> bytes:
        image = self.items[index][0]
        if isinstance(image, Image.Image):
            return image.tobytes()
        with image:
            content: bytes = image.read()
            return content

    def describe(self, index: int) -> str:
        return f"{self.name} {self.split} image {index}"

    def fingerprint(self) -> str:
        """Return a hash of name, split, classes and labels; hashing the images would require reading all of them."""
        what = json.dumps([self.name, self.split, list(self.classes), [int(target) for target in self.targets]])
        return hashlib.sha256(what.encode()).hexdigest()


def open_timm_dataset(data: str, split: str) -> TimmImages:
    """Open ``hfds/ORG/NAME`` (Hugging Face datasets), ``torch/NAME`` (torchvision) or a tar file.

    Args:
        data: timm's name of the data set, or the path of the tar file. ``hfds/`` also accepts a folder of parquet
            files. torchvision downloads to :func:`~.cifar.default_data_folder`.
        split: ``train``, ``val``, ``test``, or another name of a split in the data set. ``val`` is the validation
            split if available, else the test split.

    Raises:
        WavezooError: If the data set or the split does not exist, cannot be read by index, or requires an extra that
            is not installed.
    """
    if data.startswith(STREAMED):
        raise WavezooError(
            f"{data}: {data.partition('/')[0]}/ is not supported, its images cannot be read by index",
            "use hfds/ or wds/ for the same data set",
        )
    opener = _open_hfds if data.startswith("hfds/") else _open_torch if data.startswith("torch/") else _open_tar
    try:
        return opener(data, split)
    except (ValueError, RuntimeError, AssertionError, LookupError, OSError, TypeError, tarfile.TarError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WavezooError(f"{data}: cannot be opened: {reason}") from error


def find_split_tar(folder: Path, split: str) -> Path | None:
    """Return the tar file of a split in a folder, ``train.tar`` for example; None if it does not exist."""
    names = SPLIT_FOLDERS.get(split, (split,))
    return next((folder / f"{name}.tar" for name in names if (folder / f"{name}.tar").is_file()), None)


def _open_hfds(data: str, split: str) -> TimmImages:
    try:
        import datasets
    except ImportError as error:
        raise WavezooError(f"{data}: requires the package datasets", install_hint("hf")) from error
    from timm.data import create_dataset

    name = data.removeprefix("hfds/")
    with _no_progress_bars(datasets):
        splits = datasets.get_dataset_split_names(name)
        chosen = next((s for s in SPLIT_FOLDERS.get(split, (split,)) if s in splits), None)
        if chosen is None:
            raise WavezooError(f"{data}: no split '{split}'", f"available splits: {', '.join(splits)}")
        reader = create_dataset(data, root=None, split=chosen).reader
    classes = sorted(reader.class_to_idx, key=reader.class_to_idx.get)
    targets = [int(label) for label in reader.dataset[reader.label_key]]
    return TimmImages(data if not Path(name).exists() else f"hfds/{Path(name).name}", chosen, classes, reader, targets)


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

    root = default_data_folder()
    timm_split = {"val": "validation"}.get(split, split)
    try:
        dataset = create_dataset(data.lower(), root=str(root), split=timm_split, download=True)
    except TypeError:  # this data set has no download argument
        dataset = create_dataset(data.lower(), root=str(root), split=timm_split)
    labels = next((getattr(dataset, key) for key in ("targets", "_labels", "labels") if hasattr(dataset, key)), None)
    targets = [int(label) for label in labels] if labels is not None else [label for _, label in dataset]
    classes = getattr(dataset, "classes", None) or [str(number) for number in range(max(targets) + 1)]
    return TimmImages(data, split, [str(name) for name in classes], dataset, targets)


def _open_tar(data: str, split: str) -> TimmImages:
    from timm.data.readers.reader_image_in_tar import ReaderImageInTar

    # no cached tar file: forked loader workers would share its file position
    reader = ReaderImageInTar(data, cache_tarfiles=False, cache_tarinfo=False)
    classes = sorted(reader.class_name_to_idx, key=reader.class_name_to_idx.get)
    return TimmImages(Path(data).name, split, classes, reader, [int(target) for target in reader.targets])
