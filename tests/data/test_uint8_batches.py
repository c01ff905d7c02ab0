"""Batches of 8-bit images, normalized afterwards: every bit is that of timm's transform, image by image."""

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform

from wavenet_zoo.data.loaders import evaluation_loader, training_loader
from wavenet_zoo.data.open import open_data
from wavenet_zoo.data.preprocessing import (
    CROP_MODES,
    INTERPOLATIONS,
    Preprocessing,
    evaluation_transform,
    normalize,
    training_transform,
)
from wavenet_zoo.recipes import load_recipe

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
DIGITS = (0.1307, 0.1307, 0.1307), (0.3081, 0.3081, 0.3081)
RANDOM = (-0.1234567, 0.0, 1.7), (1e-3, 0.3333333, 255.0)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Return a folder of images of all kinds, and what they are in 8-bit RGB, in the order of their names."""
    folder, generator = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    expected = []

    def add(name, image, pixels=None):
        path = folder / name[0] / name
        path.parent.mkdir(exist_ok=True)
        image.save(path)
        expected.append(Image.open(path).convert("RGB") if pixels is None else Image.fromarray(pixels).convert("RGB"))

    smooth = Image.fromarray(generator.integers(0, 256, (9, 7, 3), dtype=np.uint8)).resize((157, 101))
    add("a1.jpg", smooth)
    add("a2.jpg", smooth.convert("L").resize((64, 64)))
    add("a3.jpg", smooth.convert("CMYK").rotate(90, expand=True))
    add("b1.png", smooth.convert("P").resize((51, 333)))
    add("b2.png", smooth.convert("RGBA").resize((1, 1)))
    add("b3.png", smooth.convert("LA"))
    for name in ("c1.png", "c2.tif"):
        deep = generator.integers(0, 2**16, (75, 98), dtype=np.uint16)
        add(name, Image.fromarray(deep), (deep >> 8).astype(np.uint8))
    add("c3.webp", smooth.resize((40, 33)))
    return folder, expected


def batch(folder, preprocessing, workers=0):
    source = open_data(folder, "val")
    transform = evaluation_transform(preprocessing, normalized=False)
    loader = evaluation_loader(source, transform, [0, 1, 2], batch_size=len(source.targets), workers=workers)
    ((pixels, labels, _),) = loader
    assert pixels.dtype == torch.uint8 and labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    return normalize(pixels, preprocessing)


def by_timm(images, preprocessing):
    transform = create_transform(**preprocessing.to_dict(), is_training=False)
    return torch.stack([transform(image) for image in images])


@pytest.mark.parametrize("size", [(32, 32), (33, 47)])
@pytest.mark.parametrize("crop_mode", CROP_MODES)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_batch_of_any_images_has_the_bits_of_timms_transform(images, interpolation, crop_mode, size):
    folder, expected = images
    preprocessing = Preprocessing((3, *size), interpolation, 0.875, crop_mode, *IMAGENET)
    assert torch.equal(batch(folder, preprocessing), by_timm(expected, preprocessing))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("crop_pct", [0.9, 1.0])
def test_batch_from_workers_has_the_bits_of_timms_transform(images, crop_pct, workers):
    folder, expected = images
    preprocessing = Preprocessing((3, 28, 28), "bicubic", crop_pct, "center", *CLIP)
    assert torch.equal(batch(folder, preprocessing, workers), by_timm(expected, preprocessing))


@pytest.mark.parametrize("statistics", [IMAGENET, CLIP, HALF, DIGITS, RANDOM])
def test_every_value_of_a_pixel_normalizes_as_in_timm(statistics):
    preprocessing = Preprocessing((3, 16, 16), "nearest", 1.0, "center", *statistics)
    values = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    expected = by_timm([Image.fromarray(values)], preprocessing)
    assert torch.equal(normalize(torch.from_numpy(values).permute(2, 0, 1)[None], preprocessing), expected)


@pytest.mark.parametrize(
    "overrides",
    [
        ["augmentation.crop=resized", "augmentation.hflip=0.5", "augmentation.color_jitter=0.3"],
        ["augmentation.crop=pad", "augmentation.auto_augment=rand-m5-mstd0.5"],
    ],
)
def test_training_batches_normalized_afterwards_have_the_same_bits(images, overrides):
    recipe = load_recipe("digits", overrides)
    preprocessing = Preprocessing.from_recipe(recipe.preprocessing)
    source, batches = open_data(images[0], "val"), []
    for normalized in (True, False):
        transform = training_transform(preprocessing, recipe.augmentation, normalized)
        loader = training_loader(source, transform, len(source.targets), seed=3, workers=0)
        loader.batch_sampler.start(epoch=1)
        ((pixels, labels, indices),) = loader
        batches.append((pixels, labels, indices))
    expected, eight_bits = batches[0][0], batches[1][0]
    assert eight_bits.dtype == torch.uint8 and torch.equal(batches[0][2], batches[1][2])
    assert torch.equal(normalize(eight_bits, preprocessing), expected)
