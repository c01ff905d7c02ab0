"""Images that are decoded once and kept in the memory of the device."""

import pytest
import torch
from PIL import Image

from wavenet_zoo.data.cached_images import cached_evaluation_loader, cached_training_loader
from wavenet_zoo.data.loaders import batches, evaluation_loader, training_loader
from wavenet_zoo.data.open import open_data
from wavenet_zoo.data.preprocessing import Preprocessing, evaluation_transform, training_transform
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.recipes import load_recipe

CPU = torch.device("cpu")


@pytest.fixture
def recipe():
    return load_recipe("digits", ["augmentation.hflip=0.5"])


def loader_of(source, recipe, batch_size=20, **options):
    preprocessing = Preprocessing.from_recipe(recipe.preprocessing)
    return cached_training_loader(source, preprocessing, recipe.augmentation, batch_size, 0, 0, CPU, **options)


def images_by_index(loader, epoch=1, step=0):
    loader.batch_sampler.start(epoch, step)
    with batches(loader) as iterator:
        return {int(i): image for images, _, indices in iterator for i, image in zip(indices, images)}


def test_order_and_labels_are_those_of_the_other_loader(digit_folder, recipe):
    source = open_data(digit_folder, "train")
    cached = loader_of(source, recipe)
    transform = training_transform(Preprocessing.from_recipe(recipe.preprocessing), recipe.augmentation)
    other = training_loader(source, transform, 20, 0, 0)
    for epoch in (1, 2):
        cached.batch_sampler.start(epoch)
        other.batch_sampler.start(epoch)
        assert len(cached) == len(other)
        for (images, labels, indices), (other_images, other_labels, other_indices) in zip(cached, other):
            assert torch.equal(labels, other_labels) and torch.equal(indices, other_indices)
            assert images.shape == other_images.shape and images.dtype == other_images.dtype


def test_augmentation_depends_on_seed_epoch_and_image_only(digit_folder, recipe):
    source = open_data(digit_folder, "train")
    whole = images_by_index(loader_of(source, recipe))
    for options in ({"batch_size": 10}, {"accumulation": 2}, {"rank": 1, "world_size": 2}):
        part = images_by_index(loader_of(source, recipe, **options))
        assert part and all(torch.equal(image, whole[index]) for index, image in part.items())
    resumed = images_by_index(loader_of(source, recipe), step=2)
    assert len(resumed) == len(whole) - 40
    assert all(torch.equal(image, whole[index]) for index, image in resumed.items())
    other_epoch = images_by_index(loader_of(source, recipe), epoch=2)
    assert not all(torch.equal(image, whole[index]) for index, image in other_epoch.items() if index in whole)


@pytest.mark.parametrize("world_size", [1, 2])
def test_evaluation_batches_are_those_of_the_other_loader(digit_folder, recipe, world_size):
    source, preprocessing = open_data(digit_folder, "val"), Preprocessing.from_recipe(recipe.preprocessing)
    labels = list(reversed(range(len(source.classes))))
    shard = {"rank": world_size - 1, "world_size": world_size}
    cached = cached_evaluation_loader(source, preprocessing, labels, 7, 0, CPU, **shard)
    other = evaluation_loader(source, evaluation_transform(preprocessing, False), labels, 7, 0, **shard)
    assert len(cached) == len(other) > 1
    for one, two in zip(cached, other):
        assert all(torch.equal(a, b) for a, b in zip(one, two))


def test_images_of_different_sizes_are_refused_for_resized_crops(digit_folder, recipe):
    first, second = sorted((digit_folder / "train").rglob("*.png"))[:2]
    Image.open(second).resize((20, 10)).save(second)
    source = open_data(digit_folder, "train")
    assert str(first) == source.describe(0)
    resized = recipe.model_copy(update={"augmentation": recipe.augmentation.model_copy(update={"crop": "resized"})})
    with pytest.raises(WavezooError, match=f"{second.name}: has 20 x 10 px, the first image has 8 x 8"):
        loader_of(source, resized)
    loader_of(source, recipe)  # which resizes all images first


@pytest.mark.parametrize(("crop", "index"), [("pad", 5), ("resized", 5), ("resized", 0)])
def test_unreadable_image_is_named(digit_folder, recipe, crop, index):
    path = sorted((digit_folder / "train").rglob("*.png"))[index]
    path.write_bytes(b"not an image")
    cropped = recipe.model_copy(update={"augmentation": recipe.augmentation.model_copy(update={"crop": crop})})
    with pytest.raises(WavezooError, match=f"{path.name}: not an image file"):
        loader_of(open_data(digit_folder, "train"), cropped)


def test_images_that_do_not_fit_are_one_line(digit_folder, recipe, monkeypatch):
    allocate = torch.empty

    def full(*shape, **options):
        if shape == (100, 32, 32, 3):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return allocate(*shape, **options)

    monkeypatch.setattr(torch, "empty", full)
    with pytest.raises(WavezooError, match=r"--cache-images: 100 images of 32 x 32 px need 0\.0 GiB on cpu"):
        loader_of(open_data(digit_folder, "train"), recipe)
