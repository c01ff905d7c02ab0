"""Random crop and flip of a batch of 8-bit images on their device, with the pixels of the transforms for single images.

The transforms of :func:`~.preprocessing.training_transform` process one Pillow image in a loader worker. These process
a batch on a GPU, from images that are kept there.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from wavenet_zoo.data.preprocessing import Preprocessing, normalize
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.recipes import AugmentationSection

__all__ = ["BatchAugmentation", "check_batch_augmentation", "crop_weights"]

ATTEMPTS = 10  # of torchvision's RandomResizedCrop to find a box inside the image
RATIO = (3 / 4, 4 / 3)  # of width and height, the default of timm and torchvision


def check_batch_augmentation(augmentation: AugmentationSection) -> None:
    """Check that :class:`BatchAugmentation` supports a recipe's augmentation.

    Raises:
        WavezooError: If it does not: policies, color jitter and random erasing process single images.
    """
    unsupported = [key for key in ("color_jitter", "auto_augment", "random_erasing") if getattr(augmentation, key)]
    if unsupported:
        raise WavezooError(
            f"--cache-images: augmentation.{unsupported[0]} is not supported on cached images",
            "remove --cache-images, or the augmentation",
        )


class BatchAugmentation:
    """Random crop, random flip and normalization of cached images.

    The random numbers of an image are a function of (seed, epoch, index), as in loader workers, but not the same ones.

    Args:
        preprocessing: Input size, interpolation and normalization.
        augmentation: The recipe's augmentation section.
    """

    def __init__(self, preprocessing: Preprocessing, augmentation: AugmentationSection):
        check_batch_augmentation(augmentation)
        self.preprocessing = preprocessing
        self.augmentation = augmentation

    def draw(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Draw the random numbers of ``count`` images, uniform from 0 to 1, (count, K)."""
        return torch.rand(count, 3 + 2 * ATTEMPTS, generator=generator)

    def __call__(self, images: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """Augment and normalize a batch.

        Args:
            images: 8-bit images (B, H, W, 3).
            numbers: Random numbers of :meth:`draw` for them, (B, K), on the same device.

        Returns:
            float32 images (B, 3, size, size), in memory format channels_last.
        """
        size = self.preprocessing.input_size[-1]
        flip = numbers[:, 0] < self.augmentation.hflip
        if self.augmentation.crop == "resized":
            box = random_box(images.shape[1], images.shape[2], self.augmentation.scale, numbers)
            images = _resized_crop(images, box, flip, size, self.preprocessing.interpolation)
        else:
            padding = self.augmentation.padding if self.augmentation.crop == "pad" else 0
            images = _padded_crop(images, padding, flip, numbers)
        return normalize(images.permute(0, 3, 1, 2), self.preprocessing)


def _padded_crop(images: torch.Tensor, padding: int, flip: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """Pad 8-bit images (B, H, W, 3) with zeros and crop them at random to their size."""
    height, width = images.shape[1:3]
    images = F.pad(images, (0, 0, padding, padding, padding, padding))
    top, left = ((numbers[:, column] * (2 * padding + 1)).long() for column in (1, 2))
    rows = top[:, None] + torch.arange(height, device=images.device)
    columns = left[:, None] + torch.arange(width, device=images.device)
    columns = torch.where(flip[:, None], columns.flip(1), columns)
    batch = torch.arange(len(images), device=images.device)
    return images[batch[:, None, None], rows[:, :, None], columns[:, None, :]]


def random_box(height: int, width: int, scale: Any, numbers: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return the boxes of torchvision's ``RandomResizedCrop.get_params``: the first of ten that is inside the image.

    Args:
        height: Height of the images in pixels.
        width: Width of the images in pixels.
        scale: Minimum and maximum fraction of the image's area.
        numbers: Random numbers (B, K).

    Returns:
        Top, left, height and width in pixels, each (B,).
    """
    areas = height * width * (scale[0] + (scale[1] - scale[0]) * numbers[:, 3 : 3 + ATTEMPTS])
    low, high = math.log(RATIO[0]), math.log(RATIO[1])
    ratios = torch.exp(low + (high - low) * numbers[:, 3 + ATTEMPTS : 3 + 2 * ATTEMPTS])
    widths, heights = torch.sqrt(areas * ratios).round(), torch.sqrt(areas / ratios).round()
    inside = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    first = inside.int().argmax(1, keepdim=True)
    # without one inside: the center, with the nearest allowed ratio
    ratio = min(max(width / height, RATIO[0]), RATIO[1])
    whole_width, whole_height = min(width, round(height * ratio)), min(height, round(width / ratio))
    found = inside.any(1)
    box_width = torch.where(found, widths.gather(1, first)[:, 0], whole_width)
    box_height = torch.where(found, heights.gather(1, first)[:, 0], whole_height)
    top = torch.where(found, (numbers[:, 1] * (height - box_height + 1)).floor(), (height - box_height) // 2)
    left = torch.where(found, (numbers[:, 2] * (width - box_width + 1)).floor(), (width - box_width) // 2)
    return top, left, box_height, box_width


def _resized_crop(
    images: torch.Tensor, box: tuple[torch.Tensor, ...], flip: torch.Tensor, size: int, interpolation: str
) -> torch.Tensor:
    """Crop 8-bit images (B, H, W, 3) to boxes and resize them to ``size``, columns first as Pillow does."""
    top, left, height, width = box
    columns = crop_weights(left, width, images.shape[2], size, interpolation)
    columns = torch.where(flip[:, None, None], columns.flip(1), columns)
    rows = crop_weights(top, height, images.shape[1], size, interpolation)
    pixels = _to_8_bits(torch.einsum("bxw,bhwc->bhxc", columns, images.float()))
    return _to_8_bits(torch.einsum("byh,bhxc->byxc", rows, pixels))


def _to_8_bits(pixels: torch.Tensor) -> torch.Tensor:
    """Round to integers from 0 to 255 in place, halves up as Pillow does."""
    return pixels.add_(0.5).floor_().clamp_(0, 255)


def _triangle(x: torch.Tensor) -> torch.Tensor:
    return (1 - x.abs()).clamp_(min=0)


def _cubic(x: torch.Tensor) -> torch.Tensor:
    a, x = -0.5, x.abs()
    near, far = ((a + 2) * x - (a + 3)) * x * x + 1, (((x - 5) * x + 8) * x - 4) * a
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


def _sinc_window(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x.abs() < 3, torch.sinc(x) * torch.sinc(x / 3), 0.0)


FILTERS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "bilinear": _triangle, "bicubic": _cubic, "lanczos": _sinc_window,
}  # fmt: skip


def crop_weights(start: torch.Tensor, length: torch.Tensor, pixels: int, size: int, interpolation: str) -> torch.Tensor:
    """Return the weights with which Pillow resizes one dimension of a crop, antialiased.

    Args:
        start: First pixel of each crop, (B,).
        length: Number of pixels of each crop, (B,).
        pixels: Number of pixels of the image in this dimension.
        size: Number of pixels of the result.
        interpolation: ``nearest``, ``bilinear``, ``bicubic`` or ``lanczos``.

    Returns:
        Weights (B, size, pixels); each row sums to 1.
    """
    start, length = start[:, None, None].float(), length[:, None, None].float()
    scale = length / size
    center = start + (torch.arange(size, device=start.device)[:, None] + 0.5) * scale
    pixel = torch.arange(pixels, device=start.device)
    if interpolation == "nearest":
        return (pixel == center.floor()).float()
    weights = FILTERS[interpolation]((pixel + 0.5 - center) / scale.clamp(min=1))
    weights = torch.where((pixel >= start) & (pixel < start + length), weights, 0.0)
    return weights / weights.sum(2, keepdim=True)
