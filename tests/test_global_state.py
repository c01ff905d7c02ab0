"""Public functions do not change the global state of their caller."""

import contextlib
import logging
import os
import random
import signal
import warnings

import numpy as np
import pytest
import timm
import torch

from wavenet_zoo import WavezooError, count, dry_run, evaluate, train
from wavenet_zoo.data.digits import open_digits
from wavenet_zoo.data.loaders import batches, evaluation_loader, persistent_workers, training_loader
from wavenet_zoo.data.open import open_data
from wavenet_zoo.data.preprocessing import Preprocessing, evaluation_transform, training_transform
from wavenet_zoo.recipes import AugmentationSection

SHORT = ["schedule.epochs=1", "batch_size=50", "augmentation.mixup=0.2", "model.kwargs.drop_rate=0.1"]
PREPROCESSING = Preprocessing((3, 16, 16), "bicubic", 1.0, "center", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def global_state():
    numpy = np.random.get_state()
    return {
        "python rng": random.getstate(),
        "numpy rng": (numpy[0], numpy[1].tolist(), *numpy[2:]),
        "torch rng": torch.get_rng_state().tolist(),
        "threads": torch.get_num_threads(),
        "default dtype": torch.get_default_dtype(),
        "grad": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn benchmark": torch.backends.cudnn.benchmark,
        "environment": dict(os.environ),
        "working directory": os.getcwd(),  # noqa: PTH109
        "signal handlers": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "logging": {name: logging.getLogger(name).level for name in ("", "timm", "PIL", "torch", "wavenet_zoo")},
        "logging disabled": logging.root.manager.disable,
        "warnings": list(warnings.filters),
    }


@pytest.fixture(autouse=True, scope="module")
def imported():
    """Import what the functions import: scikit-learn and torch set variables and warning filters once, on import."""
    open_digits("test")


@contextlib.contextmanager
def unchanged_state():
    """Assert that the body does not change the global state."""
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    before = global_state()
    yield
    after = global_state()
    assert not [key for key in before if before[key] != after[key]]


def test_a_change_of_the_global_state_is_noticed():
    with pytest.raises(AssertionError, match="torch rng"), unchanged_state():
        torch.rand(1)


def test_evaluate_keeps_the_global_state():
    with unchanged_state():
        evaluate("waveletnet_cifar_m1")


def test_evaluate_of_random_weights_keeps_the_global_state(small_digits):
    with unchanged_state():
        evaluate("waveletnet_cifar_m1", "none", small_digits, model_kwargs={"num_classes": 10}, workers=1)


@pytest.mark.parametrize("deterministic", [False, True])
def test_train_keeps_the_global_state(small_digits, tmp_path, deterministic):
    with unchanged_state():
        train("digits", small_digits, tmp_path / "run", SHORT, workers=0, deterministic=deterministic)


def test_dry_run_keeps_the_global_state(small_digits, tmp_path):
    with unchanged_state():
        dry_run("digits", small_digits, tmp_path / "run", SHORT, workers=0)


@pytest.mark.parametrize("per_layer", [False, True])
def test_count_keeps_the_global_state(per_layer):
    with unchanged_state():
        count("waveletnet_x1", per_layer=per_layer)


def test_count_of_a_module_keeps_the_global_state():
    model = timm.create_model("waveletnet_cifar_m1")
    with unchanged_state():
        count(model)


def test_count_of_an_unsupported_size_keeps_the_global_state():
    with unchanged_state(), pytest.raises(WavezooError):
        count("vit_tiny_patch16_224", size=100)


def test_open_data_keeps_the_global_state(small_digits):
    for data in ("digits", small_digits):
        with unchanged_state():
            source = open_data(data, "val")
            source.load(0)
            source.fingerprint()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_loader_keeps_the_global_state(small_digits, workers):
    source = open_data(small_digits, "val")
    with unchanged_state():
        loader = evaluation_loader(source, evaluation_transform(PREPROCESSING), range(10), 8, workers)
        with batches(loader) as iterator:
            assert sum(len(labels) for _, labels, _ in iterator) == 30


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 2])
def test_training_loader_keeps_the_global_state(small_digits, workers):
    augmentation = AugmentationSection(crop="pad", padding=2, hflip=0.5, auto_augment="rand-m9-mstd0.5-inc1")
    source = open_data(small_digits, "train")
    with unchanged_state():
        loader = training_loader(source, training_transform(PREPROCESSING, augmentation), 25, 0, workers)
        with persistent_workers(loader):
            for epoch in range(2):
                loader.batch_sampler.start(epoch)
                assert sum(len(labels) for _, labels, _ in loader) == 100
