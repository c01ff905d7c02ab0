"""The entry point for data: from the value of ``--data`` to labelled images."""

from pathlib import Path

from wavenet_zoo.data.archives import ARCHIVE_SUFFIXES
from wavenet_zoo.data.cifar import CIFAR_FOLDERS, open_cifar
from wavenet_zoo.data.digits import open_digits
from wavenet_zoo.data.folders import open_folder
from wavenet_zoo.data.held_out import hold_out
from wavenet_zoo.data.labels import check_labels
from wavenet_zoo.data.shards import open_shards
from wavenet_zoo.data.sources import ImageSource
from wavenet_zoo.data.splits import fraction_of
from wavenet_zoo.data.tars import find_split_tar, open_tar
from wavenet_zoo.data.timm_sources import PREFIXES, STREAMED, open_timm_dataset
from wavenet_zoo.errors import WavezooError, did_you_mean
from wavenet_zoo.runtime.files import expand

__all__ = ["NAMED_DATA", "is_named", "open_data"]

NAMED_DATA = ("digits", *CIFAR_FOLDERS)


def is_named(data: str) -> bool:
    """Return whether ``data`` is a name, ``digits`` or ``hfds/ORG/NAME`` for example, and not a path."""
    return data in NAMED_DATA or data.startswith(("hfds/", "torch/"))


def open_data(data: str | Path, split: str) -> ImageSource:
    """Open a data set by name or by path.

    Args:
        data: ``digits``, ``cifar10``, ``cifar100``; an image folder, see :func:`~.folders.open_folder`; a folder with
            CIFAR's unpacked archive. With timm's readers: ``hfds/ORG/NAME``, ``torch/NAME``, a tar file, or a folder
            with ``train.tar`` and ``val.tar``. ``wds/FOLDER`` reads WebDataset shards. A name takes precedence over a
            folder of that name: write ``./digits`` for the folder.
        split: ``train``, ``val`` or ``test``. ``val`` is the test split if the data has no validation split, as
            ``digits`` and CIFAR. Data without splits is read as it is. A fraction, ``0.1`` for example, is the part of
            the training split that ``data.validation: 0.1`` of a recipe holds out, see :func:`~.held_out.hold_out`.

    Returns:
        The source. Its ``split`` is the one that is read.

    Raises:
        WavezooError: If the data or the split does not exist, or cannot be read, or an image has no valid label.
    """
    if (fraction := fraction_of(split)) is not None:
        return hold_out(open_data(data, "train"), fraction)[1]
    source = _open(data, split)
    check_labels(source, str(data))
    return source


def _open(data: str | Path, split: str) -> ImageSource:
    if data == "digits":
        return open_digits(split)
    if data in CIFAR_FOLDERS:
        return open_cifar(str(data), split)
    name = str(data)
    if name.startswith((*PREFIXES, *STREAMED)):
        return open_timm_dataset(name, split)
    folder = expand(name.removeprefix("wds/"))
    if name.startswith("wds/"):
        return open_shards(folder, split)
    if folder.name.endswith(ARCHIVE_SUFFIXES) and folder.is_file():
        return open_tar(folder, split)
    if tar := find_split_tar(folder, split):
        return open_tar(tar, split)
    for name, unpacked in CIFAR_FOLDERS.items():
        if folder.name == unpacked or (folder / unpacked).is_dir():
            return open_cifar(name, split, root=folder.parent if folder.name == unpacked else folder)
    if not folder.exists() and folder.name == str(data):
        raise WavezooError(
            f"{data}: no such data folder",
            did_you_mean(str(data), NAMED_DATA, f"data sets by name: {', '.join(NAMED_DATA)}"),
        )
    return open_folder(folder, split)
