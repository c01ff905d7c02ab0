"""The predictions of a model on labelled images, one record per image."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Predictions"]

TOP = 5  # number of predictions that are kept per image


@dataclass
class Predictions:
    """Predictions for every image that was scored, in the order of the data. They do not depend on the batch size.

    Attributes:
        paths: Path of each image relative to the data, or its number.
        class_names: Unique name of every output of the model.
        indices: Index of each image in the source of the images, int64 of shape (N,).
        labels: Output of each image's class, int64 of shape (N,).
        top: Outputs with the highest scores, best first, int64 of shape (N, K) with K = min(5, number of outputs).
        probabilities: Their probabilities, float64 of shape (N, K).
        label_probability: Probability of the label; of several valid labels the sum, float64 of shape (N,).
        loss: Its negative logarithm, the cross entropy, float64 of shape (N,).
        correct: Whether the best output is a valid label, bool of shape (N,).
        correct_top5: Whether one of the five best outputs is a valid label, bool of shape (N,).
        scoring: ``all`` or ``data``, the outputs among which was scored, or ``real`` for the labels of ImageNet-ReaL;
            empty if it is not known.
    """

    paths: Sequence[str]
    class_names: Sequence[str]
    indices: np.ndarray
    labels: np.ndarray
    top: np.ndarray
    probabilities: np.ndarray
    label_probability: np.ndarray
    loss: np.ndarray
    correct: np.ndarray
    correct_top5: np.ndarray
    scoring: str = ""
