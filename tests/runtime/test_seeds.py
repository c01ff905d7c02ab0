"""Seeds, and the state of the global generators."""

import random
import warnings

import numpy as np
import pytest
import torch

from wavenet_zoo.runtime.seeds import mix_seed, preserve_rng_state
from wavenet_zoo.weights.loading import load_model


def test_mixed_seeds_differ_if_any_part_differs():
    parts = [(a, b) for a in range(20) for b in range(20)]
    assert len({mix_seed(*pair) for pair in parts}) == len(parts)


def test_state_of_the_generators_is_restored_after_an_error():
    expected = [preview() for _ in range(2)]
    assert expected[0] == expected[1]
    with pytest.raises(KeyError), preserve_rng_state():
        random.seed(9), np.random.seed(9), torch.manual_seed(9)
        raise KeyError
    assert preview() == expected[0]


def preview():
    """Return the next random numbers without drawing them."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    numbers = random.random(), np.random.rand(), torch.rand(1).item()
    random.setstate(states[0]), np.random.set_state(states[1]), torch.set_rng_state(states[2])
    return numbers


@pytest.fixture
def unused_gpus(monkeypatch):
    """A machine with four GPUs that this process does not use."""

    def touched(*args, **kwargs):
        raise AssertionError("initializes CUDA")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    for name in ("get_rng_state", "set_rng_state", "current_device", "init"):
        monkeypatch.setattr(torch.cuda, name, touched)


def test_gpus_that_are_not_used_are_not_initialized(unused_gpus):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with preserve_rng_state():
            pass
        load_model("waveletnet_cifar_m1", "none")
