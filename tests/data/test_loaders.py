import pickle
import random

import numpy as np
import pytest
import torch

from wavenet_zoo.data.loaders import UNREADABLE, evaluation_loader, training_loader
from wavenet_zoo.data.open import open_data
from wavenet_zoo.data.preprocessing import Preprocessing, evaluation_transform, training_transform
from wavenet_zoo.recipes import AugmentationSection

PREPROCESSING = Preprocessing((3, 16, 16), "bicubic", 1.0, "center", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def epoch_of(source, epoch, workers, seed=0):
    transform = training_transform(PREPROCESSING, AugmentationSection(crop="pad", padding=2, hflip=0.5))
    loader = training_loader(source, transform, 32, seed, workers)
    loader.batch_sampler.start(epoch)
    batches = list(loader)
    return torch.cat([b[0] for b in batches]), torch.cat([b[2] for b in batches])


def tensor_of(item):
    (tensor, _, _), reason = item
    assert not reason
    return tensor


def indices_of(loader):
    return [batch[2].tolist() for batch in loader]


@pytest.mark.parametrize(("world_size", "accumulation"), [(2, 1), (3, 1), (1, 4), (2, 2)])
def test_step_has_the_same_images_for_any_parts_and_processes(digit_folder, world_size, accumulation):
    source = open_data(digit_folder, "train")
    transform = training_transform(PREPROCESSING, AugmentationSection())
    whole = indices_of(training_loader(source, transform, 24, 0, 0))
    shared = [
        indices_of(
            training_loader(source, transform, 24, 0, 0, accumulation=accumulation, rank=rank, world_size=world_size)
        )
        for rank in range(world_size)
    ]
    for step, images in enumerate(whole):
        parts = [part for batches in shared for part in batches[step * accumulation : (step + 1) * accumulation]]
        assert len(parts) == world_size * accumulation and {len(part) for part in parts} == {24 // len(parts)}
        assert sorted(index for part in parts for index in part) == sorted(images)


def test_epoch_can_start_after_any_step(digit_folder):
    source = open_data(digit_folder, "train")
    loader = training_loader(source, training_transform(PREPROCESSING, AugmentationSection()), 24, 0, 0, accumulation=2)
    loader.batch_sampler.start(epoch=3)
    whole = indices_of(loader)
    assert len(whole) == 8
    for step in range(5):
        loader.batch_sampler.start(epoch=3, step=step)
        assert len(loader) == len(whole) - 2 * step
        assert indices_of(loader) == whole[2 * step :]


@pytest.mark.reliability(25)
@pytest.mark.parametrize("world_size", [1, 2, 3, 31])
def test_processes_evaluate_every_image_exactly_once(digit_folder, world_size):
    source = open_data(digit_folder, "val")
    seen = []
    for rank in range(world_size):
        loader = evaluation_loader(
            source, evaluation_transform(PREPROCESSING), range(10), 7, 0, rank=rank, world_size=world_size
        )
        seen += [index for batch in indices_of(loader) for index in batch]
    assert sorted(seen) == list(range(30))


@pytest.mark.parametrize(
    "augmentation",
    [
        {"auto_augment": "rand-m9-mstd0.5-inc1"},
        {"auto_augment": "augmix-m3-w3"},
        {"auto_augment": "original"},
        {"color_jitter": 0.4, "random_erasing": 0.9},
    ],
)
def test_augmentation_depends_only_on_seed_epoch_and_index(digit_folder, augmentation):
    source = open_data(digit_folder, "train")
    for crop in ("pad", "resized"):
        transform = training_transform(PREPROCESSING, AugmentationSection(crop=crop, hflip=0.5, **augmentation))
        dataset = training_loader(source, transform, 32, 0, 0).dataset
        first = tensor_of(dataset[1, 5])
        np.random.rand(), random.random(), torch.rand(1)
        assert torch.equal(tensor_of(dataset[1, 5]), first)
        assert any(not torch.equal(tensor_of(dataset[epoch, 5]), first) for epoch in (2, 3, 4))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_order_and_augmentation_do_not_depend_on_workers(digit_folder):
    source = open_data(digit_folder, "train")
    images, order = epoch_of(source, 1, workers=0)
    again, same_order = epoch_of(source, 1, workers=2)
    assert torch.equal(order, same_order) and torch.equal(images, again)
    assert not torch.equal(order, epoch_of(source, 2, workers=0)[1])
    assert not torch.equal(order, epoch_of(source, 1, workers=0, seed=1)[1])
    assert len(set(order.tolist())) == len(order) == 96  # 3 whole batches of 100 images


def test_augmentation_restores_the_global_rng(digit_folder):
    transform = training_transform(PREPROCESSING, AugmentationSection(crop="pad", padding=2, hflip=0.5))
    loader = training_loader(open_data(digit_folder, "train"), transform, 32, 0, 0)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    loader.dataset[1, 5]
    assert torch.equal(torch.get_rng_state(), before[0]) and random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]


@pytest.mark.reliability(11, 12)
def test_undecodable_image_is_labeled_unreadable(digit_folder):
    source = open_data(digit_folder, "val")
    source.files[4].write_bytes(b"")
    loader = evaluation_loader(source, evaluation_transform(PREPROCESSING), range(10), 30, 0)
    images, labels, indices = next(iter(loader))
    assert labels[4] == UNREADABLE and (labels != UNREADABLE).sum() == 29
    assert not images[4].any()
    assert indices.tolist() == list(range(30))


def test_data_sets_can_be_pickled_for_spawned_workers(digit_folder):
    for data in (digit_folder, "digits"):
        source = open_data(data, "val")
        dataset = evaluation_loader(source, evaluation_transform(PREPROCESSING), range(10), 30, 0).dataset
        copy = pickle.loads(pickle.dumps(dataset))
        assert torch.equal(tensor_of(copy[7]), tensor_of(dataset[7])) and copy[7][0][1:] == dataset[7][0][1:]
    transform = training_transform(PREPROCESSING, AugmentationSection(crop="resized", hflip=0.5))
    dataset = training_loader(open_data("digits", "train"), transform, 32, 0, 0).dataset
    assert torch.equal(tensor_of(pickle.loads(pickle.dumps(dataset))[1, 7]), tensor_of(dataset[1, 7]))
