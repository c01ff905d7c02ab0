"""Preprocessing: from an image to a tensor. Every result records it and every weights file stores it.


Importing this module imports neither torch nor timm.
"""

import functools
import math
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from wavenet_zoo.errors import WavezooError
from wavenet_zoo.recipes import MAX_SIDE, AugmentationSection, PreprocessingSection

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import nn

__all__ = [
    "Preprocessing",
    "check_size",
    "evaluation_transform",
    "normalize",
    "preprocessing_of",
    "training_transform",
]

Transform = Callable[["Image.Image"], "torch.Tensor"]

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")
CROP_MODES = ("center", "squash", "border")


@dataclass(frozen=True)
class Preprocessing:
    """Preprocessing of one model: the fields of timm's data configuration.

    Attributes:
        input_size: Shape of the tensor, (C, H, W).
        interpolation: Interpolation of the resize, ``bicubic`` for example.
        crop_pct: Share of the resized image that the crop keeps: the image is resized to ``input_size / crop_pct``.
        crop_mode: timm's crop: ``center``, ``squash`` or ``border``.
        mean: Mean per channel, on a scale of 0 to 1.
        std: Standard deviation per channel, on a scale of 0 to 1.
    """

    input_size: tuple[int, int, int]
    interpolation: str
    crop_pct: float
    crop_mode: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check all values, which may be from a file of unknown origin.

        Raises:
            ValueError: If one is invalid. The message names the key.
        """
        for key, check, rule in _RULES:
            value = getattr(self, key)
            try:
                valid = check(value)
            except (TypeError, ValueError, OverflowError):  # of another type
                valid = False
            if not valid:
                raise ValueError(f"{key} {reprlib.repr(value)}: {rule}")
        resized = max(self.input_size[1:]) / self.crop_pct
        if not 1 <= resized <= MAX_SIDE:
            raise ValueError(f"crop_pct {self.crop_pct}: resizes images to {resized:.3g} px, not 1 to {MAX_SIDE}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "preprocessing") -> "Preprocessing":
        """Create the preprocessing from the values of :meth:`to_dict`.

        Args:
            values: The values.
            where: Where they are from, for the message.

        Raises:
            WavezooError: If a key is missing or unknown, or a value is invalid.
        """
        names = [field.name for field in fields(cls)]
        for name in (*names, *values):
            if name not in values or name not in names:
                raise WavezooError(f"{where}: {'missing' if name in names else 'unknown'} key '{name}'")
        try:
            converted: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            return cls(**converted)
        except ValueError as error:
            raise WavezooError(f"{where}: {error}") from None

    @classmethod
    def from_recipe(cls, section: PreprocessingSection) -> "Preprocessing":
        """Return the preprocessing of a recipe.

        Raises:
            WavezooError: If the size of the image before or after cropping exceeds :data:`MAX_SIDE`.
        """
        values = section.model_dump(exclude={"size"})
        return cls.from_dict({**values, "input_size": (3, section.size, section.size), "crop_mode": "center"})

    def to_dict(self) -> dict[str, Any]:
        """Return the preprocessing as plain values, ready for JSON."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    def with_overrides(
        self, size: int | None = None, crop_pct: float | None = None, interpolation: str | None = None
    ) -> "Preprocessing":
        """Return a copy in which every argument that is not None overrides its field.

        Args:
            size: Side of the image in pixels.
            crop_pct: Share of the resized image that the crop keeps.
            interpolation: Interpolation of the resize.

        Raises:
            WavezooError: If ``size`` or the image before cropping exceeds :data:`MAX_SIDE`, or ``crop_pct`` is not in
                (0, 1].
        """
        if size is not None:
            check_size(size)
        if crop_pct is not None and not 0 < crop_pct <= 1:
            raise WavezooError(f"--crop-pct {crop_pct}: must be above 0 and at most 1")
        try:
            return replace(
                self,
                input_size=(self.input_size[0], size, size) if size else self.input_size,
                crop_pct=crop_pct or self.crop_pct,
                interpolation=interpolation or self.interpolation,
            )
        except ValueError as error:
            raise WavezooError(str(error)) from None

    def __str__(self) -> str:
        _, height, width = self.input_size
        return (
            f"resize to {int(height / self.crop_pct)} px ({self.interpolation}), {self.crop_mode} crop {width} x "
            f"{height}, mean {_numbers(self.mean)}, std {_numbers(self.std)}"
        )


def _are_numbers(values: Any, smallest: float) -> bool:
    return len(values) == 3 and all(math.isfinite(value) and value >= smallest for value in values)


_LARGEST, _SMALLEST = 3.4028234663852886e38, 1.1754943508222875e-38  # of float32, without importing torch
_RULES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    (
        "input_size",
        lambda size: len(size) == 3 and size[0] == 3 and all(type(n) is int and 1 <= n <= MAX_SIDE for n in size),
        f"must be 3 channels, height and width, in pixels from 1 to {MAX_SIDE}",
    ),
    ("interpolation", lambda name: name in INTERPOLATIONS, f"must be one of {', '.join(INTERPOLATIONS)}"),
    ("crop_pct", lambda share: math.isfinite(share) and share > 0, "must be a number above 0"),
    ("crop_mode", lambda mode: mode in CROP_MODES, f"must be one of {', '.join(CROP_MODES)}"),
    ("mean", lambda mean: _are_numbers(mean, -_LARGEST) and max(mean) <= _LARGEST, "must be 3 finite numbers"),
    ("std", lambda std: _are_numbers(std, _SMALLEST) and max(std) <= _LARGEST, "must be 3 positive numbers"),
)


def check_size(size: int) -> None:
    """Check an input size in pixels.

    Raises:
        WavezooError: If it is below 1 or above :data:`MAX_SIDE`.
    """
    if not 1 <= size <= MAX_SIDE:
        raise WavezooError(f"--size {size}: must be 1 to {MAX_SIDE} pixels")


def preprocessing_of(model: "nn.Module") -> Preprocessing:
    """Return the preprocessing in a model's pretrained configuration, with timm's defaults for missing fields.

    Raises:
        WavezooError: If the configuration is invalid.
    """
    from timm.data import resolve_model_data_config

    return Preprocessing.from_dict(resolve_model_data_config(model), "the model's pretrained_cfg")


def evaluation_transform(preprocessing: Preprocessing, normalized: bool = True) -> Transform:
    """Return timm's evaluation transform: resize, crop, convert to a tensor (C, H, W), normalize.

    Args:
        preprocessing: Input size, crop, interpolation and normalization.
        normalized: False stops before the normalization, with 8-bit values for :func:`normalize`: a quarter of the
            bytes that workers send to the main process.
    """
    from timm.data import create_transform

    return create_transform(**preprocessing.to_dict(), is_training=False, use_prefetcher=not normalized)


def normalize(images: "torch.Tensor", preprocessing: Preprocessing) -> "torch.Tensor":
    """Normalize a batch on its device, with the operations of timm's transform and so with the same bits.

    Args:
        images: 8-bit images (B, C, H, W).
        preprocessing: Mean and standard deviation per channel.

    Returns:
        float32 images (B, C, H, W), in memory format channels_last.
    """
    import torch

    mean, std = _constants(preprocessing.mean, preprocessing.std, images.device)
    return images.to(torch.float32, memory_format=torch.channels_last).div_(255).sub_(mean).div_(std)


@functools.lru_cache(maxsize=16)  # a copy to a GPU waits for the steps in progress
def _constants(
    mean: tuple[float, ...], std: tuple[float, ...], device: "torch.device"
) -> tuple["torch.Tensor", "torch.Tensor"]:
    import torch

    with torch.inference_mode(False):  # a tensor of inference mode cannot be used in training
        first, second = (
            torch.tensor(values, dtype=torch.float32, device=device).view(-1, 1, 1) for values in (mean, std)
        )
    return first, second


def training_transform(
    preprocessing: Preprocessing, augmentation: AugmentationSection, normalized: bool = True
) -> Transform:
    """Return the augmentation of a recipe, with the output shape and normalization of :func:`evaluation_transform`.

    Args:
        preprocessing: Input size, interpolation and normalization.
        augmentation: The recipe's augmentation section.
        normalized: False stops before the normalization, as in :func:`evaluation_transform`; not with random erasing,
            whose noise is drawn after it.

    Raises:
        WavezooError: If timm does not support the augmentation policy.
    """
    from timm.data import create_transform, str_to_interp_mode
    from torchvision import transforms

    size = preprocessing.input_size[-2:]
    try:
        steps = create_transform(  # in three parts: crop and flip, color, tensor and normalization
            **preprocessing.to_dict(),
            is_training=True,
            use_prefetcher=not normalized,
            scale=tuple(augmentation.scale),
            hflip=augmentation.hflip,
            color_jitter=augmentation.color_jitter or None,
            auto_augment=augmentation.auto_augment,
            re_prob=augmentation.random_erasing,
            re_mode="pixel",
            separate=True,
        )
    except (AssertionError, ValueError, KeyError) as error:
        raise WavezooError(f"augmentation.auto_augment: '{augmentation.auto_augment}': {error}") from error
    if augmentation.crop == "resized":
        return transforms.Compose(steps)
    interpolation = str_to_interp_mode(preprocessing.interpolation)
    crop: list[Any] = [transforms.Resize(size[0], interpolation=interpolation), transforms.CenterCrop(size)]
    if augmentation.crop == "pad":
        crop.append(transforms.RandomCrop(size, padding=augmentation.padding))
    if augmentation.hflip:
        crop.append(transforms.RandomHorizontalFlip(augmentation.hflip))
    return transforms.Compose([*crop, *steps[1:]])


def _numbers(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"
