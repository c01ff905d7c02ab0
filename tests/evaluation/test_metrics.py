from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from wavenet_zoo.evaluation.metrics import _merge, _padded, _predict, score


@pytest.fixture
def logits():
    return 2 * torch.randn(40, 12, generator=torch.Generator().manual_seed(0))


def predictions(logits, labels, valid=None, outputs=None):
    own = labels[:, None] if valid is None else _padded(valid)
    return _merge([(np.arange(len(labels)), labels.numpy(), *_predict(logits, own, outputs))])


def test_metrics_equal_those_of_torch(logits):
    labels = torch.arange(40) % 12
    scores = score(predictions(logits, labels))
    ranked = logits.argsort(1, descending=True)
    assert scores.correct_top1 == int((ranked[:, 0] == labels).sum()) > 0
    assert scores.correct_top5 == int((ranked[:, :5] == labels[:, None]).sum()) > scores.correct_top1
    assert scores.loss == pytest.approx(float(F.cross_entropy(logits.double(), labels)), rel=1e-12)


def test_scores_among_some_outputs_equal_those_of_a_smaller_model(logits):
    outputs = [7, 2, 11, 4, 9, 3]
    labels = torch.tensor(outputs)[torch.arange(40) % 6]
    among = score(predictions(logits, labels, outputs=outputs))
    smaller = score(predictions(logits[:, outputs], torch.arange(40) % 6))
    assert among.loss == pytest.approx(smaller.loss, rel=1e-12)
    assert replace(among, loss=0, loss_standard_error=0, ece=0) == replace(
        smaller, loss=0, loss_standard_error=0, ece=0
    )
    assert among.correct_top1 > score(predictions(logits, labels)).correct_top1


def test_fewer_outputs_than_five_are_ranked_completely(logits):
    found = predictions(logits, torch.full((40,), 3), outputs=[3, 8])
    assert found.top.shape == (40, 2) and set(found.top.ravel().tolist()) == {3, 8}
    assert found.correct_top5.all()


def test_any_of_several_valid_labels_is_correct(logits):
    labels = torch.arange(40) % 12
    valid = [(int(label),) if label % 2 else (int(label), 5, 6) for label in labels]
    found = predictions(logits, labels, valid)
    probabilities = logits.double().softmax(1)
    for i, own in enumerate(valid):
        assert found.label_probability[i] == pytest.approx(float(probabilities[i, list(set(own))].sum()))
        assert found.loss[i] == pytest.approx(-np.log(found.label_probability[i]))
        assert found.correct[i] == (int(logits[i].argmax()) in own)
    assert found.correct.sum() > predictions(logits, labels).correct.sum()


def test_batches_are_merged_in_the_order_of_the_images(logits):
    labels = torch.arange(40) % 12
    indices = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    parts = [
        (part.numpy(), labels[part].numpy(), *_predict(logits[part], labels[part][:, None], None))
        for part in indices.split(7)
    ]
    merged, whole = _merge(parts), predictions(logits, labels)
    assert merged.indices.tolist() == list(range(40))
    assert np.array_equal(merged.top, whole.top) and np.array_equal(merged.loss, whole.loss)


@pytest.mark.parametrize("outputs", [None, [0, 3, 4, 5, 8, 9, 11]])
def test_of_equal_outputs_the_first_is_the_prediction(logits, outputs):
    logits = (2 * logits).round()  # as those of int8 models
    found = predictions(logits, torch.arange(40) % 12, outputs=outputs)
    kept = (
        logits
        if outputs is None
        else torch.full_like(logits, -torch.inf).index_copy(1, torch.tensor(outputs), logits[:, outputs])
    )
    ranked = np.argsort(-kept.numpy(), axis=1, kind="stable")[:, :5]
    assert np.array_equal(found.top, ranked)
    assert np.array_equal(found.top[:, 0], kept.argmax(1)) and (kept == kept.amax(1, keepdim=True)).sum() > 40
