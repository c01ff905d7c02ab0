"""Crop and flip of batches: the pixels of the transforms that process one image at a time."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from wavenet_zoo.data.batch_augmentation import ATTEMPTS, RATIO, BatchAugmentation, crop_weights, random_box
from wavenet_zoo.data.preprocessing import Preprocessing
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.recipes import load_recipe

MODES = {name: InterpolationMode(name) for name in ("bilinear", "bicubic", "lanczos")}


def augmentation(*overrides, size=64):
    recipe = load_recipe("digits", [f"preprocessing.size={size}", *overrides])
    return BatchAugmentation(Preprocessing.from_recipe(recipe.preprocessing), recipe.augmentation)


def photographs(count=8, height=64, width=64):
    generator = np.random.default_rng(0)
    small = generator.integers(0, 256, (count, 9, 9, 3), dtype=np.uint8)
    resized = [np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)) for image in small]
    return torch.from_numpy(np.stack(resized))


@pytest.mark.parametrize("size", [32, 64, 97])
def test_bilinear_crop_is_that_of_pillow_up_to_rounding(size):
    """Pillow computes in integers: near a half, each of the two dimensions may round to another level."""
    augment = augmentation(
        "augmentation.crop=resized", "augmentation.hflip=0.5", "preprocessing.interpolation=bilinear", size=size
    )
    images = photographs(64)
    numbers = augment.draw(len(images), torch.Generator().manual_seed(0))
    mean, std = (
        torch.tensor(value).view(-1, 1, 1) for value in (augment.preprocessing.mean, augment.preprocessing.std)
    )
    batch = (augment(images, numbers) * std + mean) * 255
    boxes = torch.stack(random_box(64, 64, augment.augmentation.scale, numbers), 1).int().tolist()
    differences = []
    for image, (top, left, height, width), flip, result in zip(images, boxes, numbers[:, 0] < 0.5, batch):
        expected = F.resized_crop(
            Image.fromarray(image.numpy()), top, left, height, width, [size, size], MODES["bilinear"]
        )
        expected = F.pil_to_tensor(F.hflip(expected) if flip else expected)
        differences.append((expected - result).abs().round())
    assert torch.stack(differences).max() <= 2
    assert (torch.stack(differences) > 1).float().mean() < 1e-4
    assert (torch.stack(differences) > 0).float().mean() < 0.1


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize(("start", "length", "size"), [(0, 64, 64), (5, 40, 64), (3, 61, 24), (20, 1, 8)])
def test_weights_of_a_crop_resize_as_pillow(interpolation, start, length, size):
    row = photographs(1)[0, :1]
    weights = crop_weights(torch.tensor([start]), torch.tensor([length]), 64, size, interpolation)
    assert torch.allclose(weights.sum(2), torch.ones(1, size))
    resized = (weights[0] @ row[0].float()).round().clamp(0, 255)
    expected = F.resized_crop(Image.fromarray(row.numpy()), 0, start, 1, length, [1, size], MODES[interpolation])
    assert (resized - torch.from_numpy(np.asarray(expected).copy())[0].float()).abs().max() <= 1


def test_nearest_crop_takes_pixels():
    weights = crop_weights(torch.tensor([8]), torch.tensor([32]), 64, 16, "nearest")
    assert weights[0].argmax(1).tolist() == list(range(9, 41, 2))
    assert weights.sum() == 16


def test_padded_crop_shifts_and_flips_the_image():
    augment = augmentation("augmentation.crop=pad", "augmentation.padding=4", "augmentation.hflip=0.5", size=32)
    images = photographs(32, 32, 32)
    numbers = augment.draw(len(images), torch.Generator().manual_seed(0))
    mean, std = (
        torch.tensor(value).view(-1, 1, 1) for value in (augment.preprocessing.mean, augment.preprocessing.std)
    )
    batch = ((augment(images, numbers) * std + mean) * 255).round().to(torch.uint8)
    padded = np.pad(images.numpy(), ((0, 0), (4, 4), (4, 4), (0, 0)))
    seen = set()
    for image, row, result in zip(padded, numbers, batch):
        flip, top, left = bool(row[0] < 0.5), int(row[1] * 9), int(row[2] * 9)
        expected = image[top : top + 32, left : left + 32]
        assert np.array_equal(expected[:, ::-1] if flip else expected, result.permute(1, 2, 0))
        seen.add((flip, top, left))
    assert len(seen) > 20 and {flip for flip, _, _ in seen} == {True, False}


def test_boxes_lie_in_the_image_and_have_the_scale_and_ratio():
    numbers = torch.rand(5000, 3 + 2 * ATTEMPTS, generator=torch.Generator().manual_seed(0))
    top, left, height, width = random_box(48, 64, (0.25, 0.5), numbers)
    assert ((top >= 0) & (top + height <= 48) & (left >= 0) & (left + width <= 64)).all()
    areas, ratios = height * width / (48 * 64), width / height
    assert 0.24 < areas.min() < 0.27 and 0.48 < areas.max() < 0.52 and abs(areas.mean() - 0.375) < 0.01
    assert RATIO[0] - 0.03 < ratios.min() < 0.8 and 1.25 < ratios.max() < RATIO[1] + 0.05
    assert len(top.unique()) > 20 and len(left.unique()) > 20


def test_image_without_a_box_of_the_scale_gives_its_center():
    numbers = torch.rand(100, 3 + 2 * ATTEMPTS, generator=torch.Generator().manual_seed(0))
    top, left, height, width = random_box(10, 100, (0.9, 1.0), numbers)
    assert (height == 10).all() and (width == 13).all() and (top == 0).all() and (left == 43).all()


@pytest.mark.parametrize(
    "override",
    ["augmentation.color_jitter=0.4", "augmentation.auto_augment=original", "augmentation.random_erasing=0.1"],
)
def test_augmentation_of_single_images_is_refused(override):
    key = override.partition("=")[0]
    with pytest.raises(WavezooError, match=rf"--cache-images: {key} is not supported"):
        augmentation(override)
