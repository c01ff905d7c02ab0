"""CIFAR-10 and CIFAR-100 through torchvision, which downloads the archives and verifies their checksums."""

import contextlib
import os
import sys
from pathlib import Path

from wavenet_zoo.data.sources import ArrayImages
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.files import expand

__all__ = ["CIFAR_FOLDERS", "default_data_folder", "open_cifar"]

CIFAR_FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}  # the folder inside each archive


def default_data_folder() -> Path:
    """Return the download folder: ``$WAVEZOO_DATA``, default: ``wavenet_zoo/data`` in the user's cache folder."""
    if folder := os.environ.get("WAVEZOO_DATA"):
        return Path(folder)
    return expand(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "wavenet_zoo" / "data"


def open_cifar(name: str, split: str, root: Path | None = None) -> ArrayImages:
    """Open CIFAR-10 or CIFAR-100, and download it to ``root`` if it is missing.

    Args:
        name: ``cifar10`` or ``cifar100``.
        split: ``train`` or ``test``; ``val`` is ``test``.
        root: Parent of ``cifar-10-batches-py`` or ``cifar-100-python``. Default: :func:`default_data_folder`.

    Raises:
        WavezooError: If the split does not exist, the download fails, or the files do not match torchvision's
            checksums.
    """
    if split not in ("train", "test", "val"):
        raise WavezooError(f"{name}: no split '{split}'", "available splits: train, test")
    from torchvision.datasets import CIFAR10, CIFAR100

    root = root or default_data_folder()
    dataset_class = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]
    try:
        with contextlib.redirect_stdout(sys.stderr):  # torchvision prints progress; stdout is for results
            dataset = dataset_class(root=root, train=split == "train", download=True)
    except (OSError, RuntimeError, EOFError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WavezooError(
            f"{name}: not found in {root}, and the download failed: {reason}",
            f"put {CIFAR_FOLDERS[name]} into {root}, or pass an image folder with --data",
        ) from error
    return ArrayImages(name, "train" if split == "train" else "test", dataset.classes, dataset.data, dataset.targets)
