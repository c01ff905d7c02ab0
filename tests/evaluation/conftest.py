import numpy as np
import pytest

from wavenet_zoo.data.sources import ArrayImages
from wavenet_zoo.evaluation.metrics import score
from wavenet_zoo.evaluation.predictions import Predictions
from wavenet_zoo.evaluation.result import Evaluation


def make_predictions(labels, predicted, confidence=None, *, class_names, paths=None) -> Predictions:
    """Predictions of ``predicted`` with a given confidence; the second choice is the next class."""
    labels, predicted = np.array(labels), np.array(predicted)
    confidence = np.full(len(labels), 0.75) if confidence is None else np.array(confidence)
    top = np.stack([predicted, (predicted + 1) % len(class_names)], axis=1)
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    of_label = np.maximum(np.where(top == labels[:, None], probabilities, 0).sum(1), 1e-6)
    return Predictions(
        paths=paths or [f"{class_names[label]}/{i}.png" for i, label in enumerate(labels)],
        class_names=class_names,
        indices=np.arange(len(labels)),
        labels=labels,
        top=top,
        probabilities=probabilities,
        label_probability=of_label,
        loss=-np.log(of_label),
        correct=predicted == labels,
        correct_top5=(top == labels[:, None]).any(1),
    )


@pytest.fixture(name="make_predictions")
def _make_predictions():
    return make_predictions


@pytest.fixture
def make_evaluation():
    """Make an evaluation from predictions: of a data set with images of random pixels, without running a model."""

    def make(predictions: Predictions, *, name="toys", classes=None, side=8, **changed) -> Evaluation:
        classes = classes or list(predictions.class_names)
        targets = [classes.index(predictions.class_names[label]) for label in predictions.labels]
        pixels = np.random.default_rng(0).integers(0, 256, (len(targets), side, side, 3), np.uint8)
        scores = score(predictions)
        values = dict(
            model="toy_net",
            weights={"name": "toy_net.v1", "kind": "file", "sha256": "ab" * 32, "description": "toy_net.v1",
                     "model_kwargs": {}},
            data={"name": name, "split": "val", "images": len(targets), "classes": len(classes), "seen": "neither",
                  "fingerprint": "cd" * 32, "overlap": {"training": 0, "validation": 0}},
            preprocessing={"description": "resize to 8 px"},
            **vars(scores), among="all", scores={"all": scores}, label_set=None, limit=None, param_count=12345,
            seconds=2.0, images_per_second=5.0, form="dense", time={}, precision="fp32", batch_size=64, workers=2,
            processes=1, predictions=predictions, source=ArrayImages(name, "val", classes, pixels, targets),
            environment={"versions": {"torch": "2.9"}, "git": {"commit": "ef" * 20, "dirty": True}, "device": "cpu",
                         "accelerator": None, "machine": "x86_64", "system": "Linux", "available_cpus": 2},
            date="2026-01-02T03:04:05+00:00",
        )  # fmt: skip
        return Evaluation(**{**values, **changed})

    return make
