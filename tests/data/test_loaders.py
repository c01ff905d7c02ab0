import pickle
import random

import pytest
import torch

from wavenet_zoo.data.catalog import open_data
from wavenet_zoo.data.loaders import UNREADABLE, evaluation_loader, training_loader
from wavenet_zoo.data.preprocessing import Preprocessing, evaluation_transform, training_transform
from wavenet_zoo.recipes import AugmentationSection

PREPROCESSING = Preprocessing((3, 16, 16), "bicubic", 1.0, "center", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def epoch_of(source, epoch, workers, seed=0):
    transform = training_transform(PREPROCESSING, AugmentationSection(crop="pad", padding=2, hflip=0.5))
    loader = training_loader(source, transform, 32, seed, workers)
    loader.sampler.epoch = epoch
    batches = list(loader)
    return torch.cat([b[0] for b in batches]), torch.cat([b[2] for b in batches])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_order_and_augmentation_are_a_function_of_seed_epoch_and_index_alone(digit_folder):
    source = open_data(digit_folder, "train")
    images, order = epoch_of(source, 1, workers=0)
    again, same_order = epoch_of(source, 1, workers=2)
    assert torch.equal(order, same_order) and torch.equal(images, again)
    assert not torch.equal(order, epoch_of(source, 2, workers=0)[1])
    assert not torch.equal(order, epoch_of(source, 1, workers=0, seed=1)[1])
    assert len(set(order.tolist())) == len(order) == 96  # 3 whole batches of 100 images


def test_drawing_augmentation_leaves_the_random_state_of_the_main_process_alone(digit_folder):
    transform = training_transform(PREPROCESSING, AugmentationSection(crop="pad", padding=2, hflip=0.5))
    loader = training_loader(open_data(digit_folder, "train"), transform, 32, 0, 0)
    before = torch.get_rng_state(), random.getstate()
    loader.dataset[1, 5]
    assert torch.equal(torch.get_rng_state(), before[0]) and random.getstate() == before[1]


def test_an_image_that_cannot_be_decoded_is_marked_and_not_replaced(digit_folder):
    source = open_data(digit_folder, "val")
    source.files[4].write_bytes(b"")
    loader = evaluation_loader(source, evaluation_transform(PREPROCESSING), range(10), 30, 0)
    images, labels, indices = next(iter(loader))
    assert labels[4] == UNREADABLE and (labels != UNREADABLE).sum() == 29
    assert not images[4].any()
    assert indices.tolist() == list(range(30))


def test_data_sets_can_be_sent_to_processes_that_do_not_fork(digit_folder):
    for data in (digit_folder, "digits"):
        source = open_data(data, "val")
        dataset = evaluation_loader(source, evaluation_transform(PREPROCESSING), range(10), 30, 0).dataset
        copy = pickle.loads(pickle.dumps(dataset))
        assert torch.equal(copy[7][0], dataset[7][0]) and copy[7][1:] == dataset[7][1:]
    transform = training_transform(PREPROCESSING, AugmentationSection(crop="resized", hflip=0.5))
    dataset = training_loader(open_data("digits", "train"), transform, 32, 0, 0).dataset
    assert torch.equal(pickle.loads(pickle.dumps(dataset))[1, 7][0], dataset[1, 7][0])
