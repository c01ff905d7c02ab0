"""From what a user writes after ``--data`` to labelled images."""

from pathlib import Path

from wavenet_zoo.data.cifar import CIFAR_FOLDERS, open_cifar
from wavenet_zoo.data.digits import open_digits
from wavenet_zoo.data.folders import open_folder
from wavenet_zoo.data.shards import open_shards
from wavenet_zoo.data.sources import ImageSource
from wavenet_zoo.data.timm_sources import PREFIXES, STREAMED, open_timm_dataset, tar_of_split
from wavenet_zoo.errors import WavezooError, did_you_mean

__all__ = ["NAMED_DATA", "is_named", "open_data"]

NAMED_DATA = ("digits", *CIFAR_FOLDERS)


def is_named(data: str) -> bool:
    """Return whether a data set needs no folder: ``digits``, ``cifar10``, ``hfds/ORG/NAME`` and the like."""
    return data in NAMED_DATA or data.startswith(("hfds/", "torch/"))


def open_data(data: str | Path, split: str) -> ImageSource:
    """Open a data set by name or by folder.

    Args:
        data: ``digits``, ``cifar10``, ``cifar100``, a folder of class folders, a folder that holds such folders for
            each split, or the folder that CIFAR's archive was unpacked in. As in timm: ``hfds/ORG/NAME``,
            ``torch/NAME``, ``wds/FOLDER`` for WebDataset shards, a tar file, or a folder with ``train.tar`` and
            ``val.tar``. A name goes before a folder of that name: write ``./digits`` for the folder.
        split: ``train``, ``val`` or ``test``; for the named ones ``val`` is ``test``.

    Raises:
        WavezooError: If there is nothing of that name, or it is not a data set.
    """
    if data == "digits":
        return open_digits(split)
    if data in CIFAR_FOLDERS:
        return open_cifar(str(data), split)
    name = str(data)
    if name.startswith("wds/"):
        return open_shards(Path(name.removeprefix("wds/")).expanduser(), split)
    if name.startswith((*PREFIXES, *STREAMED)):
        return open_timm_dataset(name, split)
    folder = Path(data).expanduser()
    if folder.suffix == ".tar" and folder.is_file():
        return open_timm_dataset(str(folder), split)
    if tar := tar_of_split(folder, split):
        return open_timm_dataset(str(tar), split)
    for name, unpacked in CIFAR_FOLDERS.items():
        if folder.name == unpacked or (folder / unpacked).is_dir():
            return open_cifar(name, split, root=folder.parent if folder.name == unpacked else folder)
    if not folder.exists() and folder.name == str(data):
        raise WavezooError(
            f"{data}: no such data folder", did_you_mean(str(data), NAMED_DATA, f"by name: {', '.join(NAMED_DATA)}")
        )
    return open_folder(folder, split)
