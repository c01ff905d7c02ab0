import math

import numpy as np
import pytest
import torch

from wavenet_zoo.evaluation.metrics import score
from wavenet_zoo.evaluation.predictions import Predictions
from wavenet_zoo.evaluation.statistics import Z, calibrate, macro_top1, standard_error, wilson_interval


def make_predictions(probabilities, labels):
    """Predictions of a model with these probabilities, (N, C)."""
    probabilities, labels = np.asarray(probabilities, float), np.asarray(labels)
    top = np.argsort(-probabilities, axis=1, kind="stable")[:, :5]
    own = probabilities[np.arange(len(labels)), labels]
    hits = top == labels[:, None]
    return Predictions(
        [str(i) for i in range(len(labels))],
        [str(i) for i in range(probabilities.shape[1])],
        np.arange(len(labels)),
        labels,
        top,
        np.take_along_axis(probabilities, top, 1),
        own,
        -np.log(own),
        hits[:, 0],
        hits.any(1),
    )


@pytest.fixture
def random_predictions():
    generator = np.random.default_rng(0)
    logits = 3 * generator.standard_normal((500, 7))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return make_predictions(probabilities, generator.integers(7, size=500)), probabilities


@pytest.mark.parametrize(("correct", "images"), [(1, 3), (5, 10), (284, 1000), (9999, 10_000), (1, 50_000)])
def test_ends_of_the_wilson_interval_solve_the_score_equation(correct, images):
    for end in wilson_interval(correct, images):
        share = end / 100
        spread = math.sqrt(share * (1 - share) / images)
        assert abs(correct / images - share) == pytest.approx(Z * spread, rel=1e-9)


@pytest.mark.parametrize("images", [1, 20, 10_000])
def test_wilson_interval_without_errors_or_hits_ends_at_its_limit(images):
    low, high = wilson_interval(0, images), wilson_interval(images, images)
    assert low[0] == 0 and 0 < low[1] < 100
    assert high[1] == 100 and high[0] == pytest.approx(100 - low[1])


def test_calibration_error_equals_that_of_torchmetrics(random_predictions):
    functional = pytest.importorskip("torchmetrics.functional.classification")
    predictions, probabilities = random_predictions
    expected = functional.multiclass_calibration_error(
        torch.tensor(probabilities), torch.tensor(predictions.labels), num_classes=7, n_bins=15, norm="l1"
    )
    assert calibrate(predictions).ece == pytest.approx(float(expected), abs=1e-6)  # theirs is float32


def test_calibration_bins_hold_every_image_once():
    predictions = make_predictions([[1.0, 1e-300], [0.95, 0.05], [0.9, 0.1], [0.5, 0.5]], [0, 1, 0, 0])
    bins = calibrate(predictions)
    assert bins.images.tolist() == [0] * 7 + [1] + [0] * 5 + [1, 2]  # a confidence of 1 is in the last bin
    assert bins.accuracy[-1] == 0.5 and bins.confidence[-1] == pytest.approx(0.975)
    assert np.isnan(bins.accuracy[0])
    assert bins.ece == pytest.approx((2 * abs(0.5 - 0.975) + abs(1 - 0.9) + abs(1 - 0.5)) / 4)


def test_macro_accuracy_weighs_classes_equally():
    predictions = make_predictions([[0.9, 0.05, 0.05]] * 9 + [[0.1, 0.7, 0.2]], [0] * 9 + [2])
    assert score(predictions).top1 == 90 and macro_top1(predictions) == 50  # class 1 has no image


def test_standard_error_of_the_loss_is_that_of_a_mean(random_predictions):
    predictions = random_predictions[0]
    expected = torch.tensor(predictions.loss).std() / math.sqrt(500)
    assert score(predictions).loss_standard_error == pytest.approx(float(expected))
    assert standard_error(np.array([1.0])) is None
