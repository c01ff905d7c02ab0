"""Uncertainty of the metrics of one model: intervals, standard errors and calibration."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from wavenet_zoo.evaluation.predictions import Predictions

__all__ = ["CONFIDENCE", "Calibration", "Z", "calibrate", "macro_top1", "standard_error", "wilson_interval"]

CONFIDENCE = 0.95
Z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
BINS = 15  # as in Guo et al. and torchmetrics


@dataclass
class Calibration:
    """How often predictions of a given confidence are correct.

    Attributes:
        images: Number of images of each bin, int64 of shape (15,).
        confidence: Mean probability of the prediction in each bin, NaN in empty bins, float64 of shape (15,).
        accuracy: Share of correct predictions in each bin, NaN in empty bins, float64 of shape (15,).
        ece: Expected calibration error, on a scale of 0 to 1.
    """

    images: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    ece: float


def wilson_interval(correct: int, images: int) -> tuple[float, float]:
    """Return the 95 % score interval of a proportion, in percent (Wilson, JASA 22, 1927).

    It stays within 0 and 100 %, also for few images and for proportions near the ends.

    Args:
        correct: Number of correct images.
        images: Number of images.
    """
    share, spread = correct / images, Z**2 / images
    center = share + spread / 2
    half = math.sqrt(spread * (share * (1 - share) + spread / 4))
    low, high = (center - half) / (1 + spread), (center + half) / (1 + spread)
    return 100 * max(0.0, low) if correct else 0.0, 100 * min(1.0, high) if correct < images else 100.0


def standard_error(values: np.ndarray) -> float | None:
    """Return the standard error of the mean of ``values`` (N,); None for a single one."""
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else None


def macro_top1(predictions: Predictions) -> float:
    """Return the mean over the classes of the data of their top-1 accuracy, in percent."""
    images = np.bincount(predictions.labels)
    correct = np.bincount(predictions.labels, weights=predictions.correct)
    return float(np.mean(100 * correct[images > 0] / images[images > 0]))


def calibrate(predictions: Predictions) -> Calibration:
    """Compare the confidence of predictions with their accuracy, in 15 bins of equal width.

    The expected calibration error is the mean over the images of the gap between confidence and accuracy of their bin
    (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017). A confidence of 1 is in the last bin.
    """
    confidence = predictions.probabilities[:, 0]
    edges = np.linspace(0, 1, BINS + 1)
    numbers = np.clip(np.digitize(confidence, edges) - 1, 0, BINS - 1)
    images = np.bincount(numbers, minlength=BINS)
    with np.errstate(invalid="ignore"):  # empty bins
        mean = np.bincount(numbers, weights=confidence, minlength=BINS) / images
        accuracy = np.bincount(numbers, weights=predictions.correct, minlength=BINS) / images
    gap = np.nansum(images / len(confidence) * np.abs(accuracy - mean))
    return Calibration(images, mean, accuracy, float(gap))
