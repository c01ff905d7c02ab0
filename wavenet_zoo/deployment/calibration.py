"""Images for the calibration of a quantized file, and held-out images to compare it on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from wavenet_zoo.data.decoding import IMAGE_EXTENSIONS
from wavenet_zoo.data.held_out import hold_out
from wavenet_zoo.data.image_hashes import UNREADABLE, hash_images
from wavenet_zoo.data.open import is_named, open_data
from wavenet_zoo.data.preprocessing import Preprocessing, evaluation_transform, normalize
from wavenet_zoo.data.sources import ImageSource
from wavenet_zoo.data.splits import fraction_of, split_named
from wavenet_zoo.data.subsets import SubsetImages, limit_images
from wavenet_zoo.data.unlabelled import find_images
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.files import expand
from wavenet_zoo.runtime.progress import Progress

__all__ = ["Calibration", "check_calibration", "load_pixels", "open_calibration", "portable_name", "to_input"]


@dataclass
class Calibration:
    """Images of the calibration data.

    Attributes:
        name: Name of the data, without the folders above it.
        source: Images that the ranges of activations are measured on.
        held_out: Other images of the same data, to compare the quantized file with the network.
    """

    name: str
    source: ImageSource
    held_out: ImageSource


def open_calibration(data: str | Path, images: int, split: str = "val") -> Calibration:
    """Choose images for calibration, and as many held-out ones, evenly from all classes of the training split.

    Args:
        data: Folder or name, see :func:`wavenet_zoo.data.open.open_data`; or a folder of images without labels.
        images: Number of images for calibration. If the data has fewer than twice as many, half of them are used.
        split: Split of the evaluation. If it is a fraction of the training split, these images are not chosen.

    Raises:
        WavezooError: If the data does not exist, or has fewer than two images.
    """
    if images < 1:
        raise WavezooError(f"--calibration-images {images}: must be at least 1")
    source = find_images([data]) if _is_folder_of_images(data) else _open_training_images(data, split)
    count = len(source.targets)
    if count < 2:
        raise WavezooError(f"{data}: calibration requires at least 2 images", "pass more images")
    images = min(images, count // 2)
    chosen = limit_images(source, str(2 * images))
    chosen_indices = chosen.indices if isinstance(chosen, SubsetImages) and chosen is not source else range(count)
    return Calibration(
        name=portable_name(data),
        source=SubsetImages(source, chosen_indices[0::2]),
        held_out=SubsetImages(source, chosen_indices[1::2]),
    )


def _open_training_images(data: str | Path, split: str) -> ImageSource:
    source, fraction = open_data(data, "train"), fraction_of(split)
    return source if fraction is None else hold_out(source, fraction)[0]


def _is_folder_of_images(data: str | Path) -> bool:
    folder = expand(data)
    if is_named(str(data)) or not folder.is_dir():
        return False
    return any(file.name.lower().endswith(IMAGE_EXTENSIONS) for file in folder.iterdir())


def portable_name(data: str | Path) -> str:
    """Return the name of data without the folders above it."""
    if is_named(str(data)):
        return str(data)
    folder = expand(data).resolve()
    return folder.parent.name if split_named(folder.name) else folder.name


def check_calibration(calibration: Calibration, evaluated: ImageSource, progress: bool = False) -> None:
    """Check that no image for calibration or comparison is among the evaluation images, by the hash of its content.

    Raises:
        WavezooError: If one is.
    """
    evaluated_hashes = hash_images(evaluated, progress=progress)
    for source in (calibration.source, calibration.held_out):
        hashes = hash_images(source)
        shared = np.flatnonzero(np.isin(hashes, evaluated_hashes) & (hashes != UNREADABLE))
        if len(shared):
            raise WavezooError(
                f"{len(shared)} calibration images are among the evaluation images, "
                f"{source.describe(int(shared[0]))} for example",
                "calibrate on training images: --calibrate DIR with a train folder, or --split 0.1 to hold out images",
            )


def load_pixels(source: ImageSource, preprocessing: Preprocessing, progress: bool = False) -> torch.Tensor:
    """Decode, resize and crop all images of a source.

    Returns:
        8-bit images, (N, C, H, W).

    Raises:
        WavezooError: If an image cannot be decoded.
    """
    transform = evaluation_transform(preprocessing, normalized=False)
    pixels = torch.empty(len(source.targets), *preprocessing.input_size, dtype=torch.uint8)
    with Progress("loading images", len(pixels), enabled=progress) as bar:
        for index in range(len(pixels)):
            pixels[index] = torch.as_tensor(transform(source.load(index)))
            bar.advance(1)
    return pixels


def to_input(pixels: torch.Tensor, preprocessing: Preprocessing, dtype: str, layout: str) -> torch.Tensor:
    """Convert 8-bit images, (N, C, H, W), to the input of an exported file.

    Args:
        pixels: The images.
        preprocessing: Normalization for ``float32``.
        dtype: ``float32`` or ``uint8``.
        layout: ``NCHW`` or ``NHWC``.
    """
    images = pixels if dtype == "uint8" else normalize(pixels, preprocessing)
    return (images if layout == "NCHW" else images.permute(0, 2, 3, 1)).contiguous()
