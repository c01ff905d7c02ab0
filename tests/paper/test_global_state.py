"""Public functions leave the global state of the process unchanged."""

import logging
import os
import random

import numpy as np
import pytest
import torch

from wavenet_zoo import ablate, connectivity, table
from wavenet_zoo.paper.plots import plot_ablation, plot_connectivity, plot_table


def global_state():
    generator, keys, position, *gauss = np.random.get_state()
    names = [None, *sorted(logging.root.manager.loggerDict)]
    loggers = {name: logging.getLogger(name) for name in names}
    return {
        "torch generator": torch.get_rng_state().numpy().tobytes(),
        "numpy generator": (generator, keys.tobytes(), position, *gauss),
        "python generator": random.getstate(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "torch modes": (
            torch.is_grad_enabled(),
            torch.get_default_dtype(),
            torch.are_deterministic_algorithms_enabled(),
        ),
        "environment": dict(os.environ),
        "logging": {name: (logger.level, logger.propagate, list(logger.handlers)) for name, logger in loggers.items()},
    }


def run_table(folder, data):
    for number in (1, 3, 4, 6):
        result = table(number)
        if number != 4:
            plot_table(folder / f"{number}.png", result)


def run_connectivity(folder, data):
    plot_connectivity(folder / "figure.png", connectivity("waveletnet_cifar_m1"))


def run_ablate(folder, data):
    overrides = ["schedule.epochs=1", "batch_size=50", "augmentation.mixup=0.2", "regularization.dropout=0.1"]
    plot_ablation(folder / "figure.png", ablate(None, data, folder, overrides, no_dfwt=True, seeds=1, workers=0))


@pytest.mark.parametrize("run", [run_table, run_connectivity, run_ablate])
def test_global_state_is_unchanged(run, tmp_path, small_digits):
    torch.manual_seed(7)
    np.random.seed(7)
    random.seed(7)
    before = global_state()
    run(tmp_path, small_digits)
    after = global_state()
    new = set(after["logging"]) - set(before["logging"])  # loggers of modules that were imported
    after["logging"] = {name: state for name, state in after["logging"].items() if name not in new}
    for key, value in before.items():
        assert after[key] == value, key
