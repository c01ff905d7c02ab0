"""Public functions do not change global state: random generators, threads, environment and library settings."""

import contextlib
import logging
import os
import random
import signal
import sys
import warnings

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from wavenet_zoo import WavezooError, count
from wavenet_zoo.data.loaders import batches, evaluation_loader, persistent_workers, training_loader
from wavenet_zoo.data.open import open_data
from wavenet_zoo.data.preprocessing import Preprocessing, evaluation_transform, training_transform
from wavenet_zoo.recipes import AugmentationSection

PREPROCESSING = Preprocessing((3, 16, 16), "bicubic", 1.0, "center", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
MODULE = timm.create_model("waveletnet_cifar_m1")


def global_state():
    kind, keys, *position = np.random.get_state()
    return {
        "python rng": random.getstate(),
        "numpy rng": (kind, keys.tolist(), *position),
        "torch rng": torch.get_rng_state().tolist(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "environment": dict(os.environ),
        "dtype and device": (torch.get_default_dtype(), torch.get_default_device()),
        "grad mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "deterministic": (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark),
        "logging": (logging.root.level, list(logging.root.handlers)),
        "warnings": list(warnings.filters),
        "streams": (sys.stdout, sys.stderr),
        "signals": (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)),
        "pillow": Image.MAX_IMAGE_PIXELS,
    }


def count_at_an_unsupported_size(folder):
    with contextlib.suppress(WavezooError):
        count("vit_tiny_patch16_224", size=100)


def evaluate_batches(folder, workers):
    source = open_data(folder, "val")
    loader = evaluation_loader(source, evaluation_transform(PREPROCESSING), range(10), 8, workers)
    with batches(loader) as iterator:
        assert sum(len(labels) for _, labels, _ in iterator) == 30


def train_batches(folder, workers):
    augmentation = AugmentationSection(crop="pad", padding=2, hflip=0.5, auto_augment="rand-m9-mstd0.5-inc1")
    transform = training_transform(PREPROCESSING, augmentation)
    loader = training_loader(open_data(folder, "train"), transform, 25, 0, workers)
    with persistent_workers(loader):
        for epoch in range(2):
            loader.batch_sampler.start(epoch)
            assert sum(len(labels) for _, labels, _ in loader) == 100


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda folder: count("waveletnet_x1", per_layer=True), id="count-name"),
        pytest.param(lambda folder: count(MODULE, depth=2), id="count-module"),
        pytest.param(count_at_an_unsupported_size, id="count-error"),
        pytest.param(lambda folder: open_data(folder, "val").fingerprint(), id="open_data-folder"),
        pytest.param(lambda folder: open_data("digits", "train").load(0), id="open_data-digits"),
        pytest.param(lambda folder: evaluate_batches(folder, 0), id="evaluation_loader"),
        pytest.param(lambda folder: evaluate_batches(folder, 2), id="evaluation_loader-workers"),
        pytest.param(lambda folder: train_batches(folder, 0), id="training_loader"),
        pytest.param(lambda folder: train_batches(folder, 2), id="training_loader-workers"),
    ],
)
def test_function_does_not_change_global_state(call, small_digits):
    before = global_state()
    call(small_digits)
    after = global_state()
    assert [key for key in before if before[key] != after[key]] == []
