"""Data sets that timm's ``create_dataset`` names, with images by index, so that their order can be a pure function."""

import hashlib
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from wavenet_zoo.data.cifar import default_data_folder
from wavenet_zoo.data.decoding import decode_image, to_rgb
from wavenet_zoo.data.folders import SPLIT_FOLDERS
from wavenet_zoo.errors import WavezooError

__all__ = ["PREFIXES", "STREAMED", "TimmImages", "open_timm_dataset", "tar_of_split"]

PREFIXES = ("hfds/", "torch/", "wds/")
STREAMED = ("hfids/", "tfds/")  # no image by index: order and resume could not be exact


class TimmImages:
    """Images of one of timm's data sets that have an index."""

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

    def label(self, index: int) -> str:
        return f"{self.name} {self.split} image {index}"

    def fingerprint(self) -> str:
        """Return a hash of name, classes and labels; the images themselves would have to be read for more."""
        what = json.dumps([self.name, self.split, list(self.classes), [int(target) for target in self.targets]])
        return hashlib.sha256(what.encode()).hexdigest()


def open_timm_dataset(data: str, split: str) -> TimmImages:
    """Open ``hfds/ORG/NAME`` (Hugging Face datasets), ``torch/NAME`` (torchvision's) or a tar file.

    Args:
        data: The name as timm has it; after ``hfds/`` also a folder of parquet files. Downloads go to
            ``$WAVEZOO_DATA``.
        split: Part of it; ``val`` stands for what the data set calls its validation or test part.

    Raises:
        WavezooError: If the extra that it needs is missing, or there is no such data set or split.
    """
    if data.startswith(STREAMED):
        raise WavezooError(
            f"{data}: {data.partition('/')[0]} streams, so order and resume could not be exact",
            "hfds/ and wds/ read the same data sets by index",
        )
    opener = _open_hfds if data.startswith("hfds/") else _open_torch if data.startswith("torch/") else _open_tar
    try:
        return opener(data, split)
    except (ValueError, RuntimeError, AssertionError, LookupError, OSError, TypeError, tarfile.TarError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WavezooError(f"{data}: cannot be opened: {reason}") from error


def tar_of_split(folder: Path, split: str) -> Path | None:
    """Return ``train.tar``, ``val.tar`` or the like in a folder; None where there is none for this split."""
    names = SPLIT_FOLDERS.get(split, (split,))
    return next((folder / f"{name}.tar" for name in names if (folder / f"{name}.tar").is_file()), None)


def _open_hfds(data: str, split: str) -> TimmImages:
    try:
        import datasets
    except ImportError as error:
        raise WavezooError(f"{data}: needs the package datasets", "pip install 'wavenet_zoo[hf]'") from error
    from timm.data import create_dataset

    datasets.disable_progress_bars()
    name = data.removeprefix("hfds/")
    splits = datasets.get_dataset_split_names(name)
    chosen = next((s for s in SPLIT_FOLDERS.get(split, (split,)) if s in splits), None)
    if chosen is None:
        raise WavezooError(f"{data}: no split '{split}'", f"it has {', '.join(splits)}")
    reader = create_dataset(data, root=None, split=chosen).reader
    classes = sorted(reader.class_to_idx, key=reader.class_to_idx.get)
    targets = [int(label) for label in reader.dataset[reader.label_key]]
    return TimmImages(data if not Path(name).exists() else f"hfds/{Path(name).name}", chosen, classes, reader, targets)


def _open_torch(data: str, split: str) -> TimmImages:
    from timm.data import create_dataset

    root = default_data_folder()
    timm_split = {"val": "validation"}.get(split, split)
    try:
        dataset = create_dataset(data.lower(), root=str(root), split=timm_split, download=True)
    except TypeError:  # one that cannot be downloaded
        dataset = create_dataset(data.lower(), root=str(root), split=timm_split)
    labels = next((getattr(dataset, key) for key in ("targets", "_labels", "labels") if hasattr(dataset, key)), None)
    targets = [int(label) for label in labels] if labels is not None else [label for _, label in dataset]
    classes = getattr(dataset, "classes", None) or [str(number) for number in range(max(targets) + 1)]
    return TimmImages(data, split, [str(name) for name in classes], dataset, targets)


def _open_tar(data: str, split: str) -> TimmImages:
    from timm.data.readers.reader_image_in_tar import ReaderImageInTar

    # an open tar file would be shared with the loader's processes, and with it the place where they read
    reader = ReaderImageInTar(data, cache_tarfiles=False, cache_tarinfo=False)
    classes = sorted(reader.class_name_to_idx, key=reader.class_name_to_idx.get)
    return TimmImages(Path(data).name, split, classes, reader, [int(target) for target in reader.targets])
