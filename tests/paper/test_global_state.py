"""Public functions leave the global state of the process unchanged."""

import pytest

from wavenet_zoo import ablate, connectivity, table
from wavenet_zoo.paper.ablation_figure import plot_ablation
from wavenet_zoo.paper.connectivity_figure import plot_connectivity
from wavenet_zoo.paper.plots import plot_table


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
def test_global_state_is_unchanged(run, tmp_path, small_digits, unchanged_state):
    with unchanged_state():
        run(tmp_path, small_digits)
