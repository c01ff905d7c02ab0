"""Preprocessing: from an image to a tensor. Every result records it and every weights file stores it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config, str_to_interp_mode
from torch import nn
from torchvision import transforms

from wavenet_zoo.errors import WavezooError
from wavenet_zoo.recipes import AugmentationSection, PreprocessingSection

__all__ = ["Preprocessing", "evaluation_transform", "preprocessing_of", "training_transform"]

Transform = Callable[[Image.Image], torch.Tensor]


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

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocessing":
        """Create the preprocessing from the values of :meth:`to_dict`."""
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**fields)

    @classmethod
    def from_recipe(cls, section: PreprocessingSection) -> "Preprocessing":
        """Return the preprocessing of a recipe."""
        return cls(
            input_size=(3, section.size, section.size),
            interpolation=section.interpolation,
            crop_pct=section.crop_pct,
            crop_mode="center",
            mean=tuple(section.mean),
            std=tuple(section.std),
        )

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
            WavezooError: If ``size`` is below 1, or ``crop_pct`` is not in (0, 1].
        """
        if size is not None and size < 1:
            raise WavezooError(f"--size {size}: must be at least 1 pixel")
        if crop_pct is not None and not 0 < crop_pct <= 1:
            raise WavezooError(f"--crop-pct {crop_pct}: must be above 0 and at most 1")
        return replace(
            self,
            input_size=(self.input_size[0], size, size) if size else self.input_size,
            crop_pct=crop_pct or self.crop_pct,
            interpolation=interpolation or self.interpolation,
        )

    def __str__(self) -> str:
        _, height, width = self.input_size
        return (
            f"resize to {int(height / self.crop_pct)} px ({self.interpolation}), {self.crop_mode} crop {width} x "
            f"{height}, mean {_numbers(self.mean)}, std {_numbers(self.std)}"
        )


def preprocessing_of(model: nn.Module) -> Preprocessing:
    """Return the preprocessing in a model's pretrained configuration, with timm's defaults for missing fields."""
    config = resolve_model_data_config(model)
    return Preprocessing.from_dict({**config, "input_size": tuple(config["input_size"])})


def evaluation_transform(preprocessing: Preprocessing) -> Transform:
    """Return timm's evaluation transform: resize, crop, convert to a tensor (C, H, W), normalize."""
    return create_transform(**preprocessing.to_dict(), is_training=False)


def training_transform(preprocessing: Preprocessing, augmentation: AugmentationSection) -> Transform:
    """Return the augmentation of a recipe, with the output shape and normalization of :func:`evaluation_transform`.

    Args:
        preprocessing: Input size, interpolation and normalization.
        augmentation: The recipe's augmentation section.

    Raises:
        WavezooError: If timm does not support the augmentation policy.
    """
    size = preprocessing.input_size[-2:]
    layers = re.search(r"-n(\d+)", augmentation.auto_augment or "")
    if layers and len(layers[1]) > 2:  # every image would take seconds
        raise WavezooError(f"augmentation.auto_augment: '{augmentation.auto_augment}': at most 99 operations per image")
    try:
        steps = create_transform(  # in three parts: crop and flip, color, tensor and normalization
            **preprocessing.to_dict(),
            is_training=True,
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
