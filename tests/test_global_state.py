"""Public functions do not change the global state of their caller."""

import pytest
import timm
import torch

from wavenet_zoo import WavezooError, count, dry_run, evaluate, train
from wavenet_zoo.data.loaders import batches, evaluation_loader, persistent_workers, training_loader
from wavenet_zoo.data.open import open_data
from wavenet_zoo.data.preprocessing import Preprocessing, evaluation_transform, training_transform
from wavenet_zoo.recipes import AugmentationSection

SHORT = ["schedule.epochs=1", "batch_size=50", "augmentation.mixup=0.2", "model.kwargs.drop_rate=0.1"]
PREPROCESSING = Preprocessing((3, 16, 16), "bicubic", 1.0, "center", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_a_change_of_the_global_state_is_noticed(unchanged_state):
    with pytest.raises(AssertionError, match="torch rng"), unchanged_state():
        torch.rand(1)


def test_evaluate_keeps_the_global_state(unchanged_state):
    with unchanged_state():
        evaluate("waveletnet_cifar_m1")


def test_evaluate_of_random_weights_keeps_the_global_state(small_digits, unchanged_state):
    with unchanged_state():
        evaluate("waveletnet_cifar_m1", "none", small_digits, model_kwargs={"num_classes": 10}, workers=1)


@pytest.mark.parametrize("deterministic", [False, True])
def test_train_keeps_the_global_state(small_digits, tmp_path, deterministic, unchanged_state):
    with unchanged_state():
        train("digits", small_digits, tmp_path / "run", SHORT, workers=0, deterministic=deterministic)


def test_dry_run_keeps_the_global_state(small_digits, tmp_path, unchanged_state):
    with unchanged_state():
        dry_run("digits", small_digits, tmp_path / "run", SHORT, workers=0)


@pytest.mark.parametrize("per_layer", [False, True])
def test_count_keeps_the_global_state(per_layer, unchanged_state):
    with unchanged_state():
        count("waveletnet_x1", per_layer=per_layer)


def test_count_of_a_module_keeps_the_global_state(unchanged_state):
    model = timm.create_model("waveletnet_cifar_m1")
    with unchanged_state():
        count(model)


def test_count_of_an_unsupported_size_keeps_the_global_state(unchanged_state):
    with unchanged_state(), pytest.raises(WavezooError):
        count("vit_tiny_patch16_224", size=100)


def test_open_data_keeps_the_global_state(small_digits, unchanged_state):
    for data in ("digits", small_digits):
        with unchanged_state():
            source = open_data(data, "val")
            source.load(0)
            source.fingerprint()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_loader_keeps_the_global_state(small_digits, workers, unchanged_state):
    source = open_data(small_digits, "val")
    with unchanged_state():
        loader = evaluation_loader(source, evaluation_transform(PREPROCESSING), range(10), 8, workers)
        with batches(loader) as iterator:
            assert sum(len(labels) for _, labels, _ in iterator) == 30


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 2])
def test_training_loader_keeps_the_global_state(small_digits, workers, unchanged_state):
    augmentation = AugmentationSection(crop="pad", padding=2, hflip=0.5, auto_augment="rand-m9-mstd0.5-inc1")
    source = open_data(small_digits, "train")
    with unchanged_state():
        loader = training_loader(source, training_transform(PREPROCESSING, augmentation), 25, 0, workers)
        with persistent_workers(loader):
            for epoch in range(2):
                loader.batch_sampler.start(epoch)
                assert sum(len(labels) for _, labels, _ in loader) == 100
