import numpy as np
import pytest

from wavenet_zoo.data.open import open_data
from wavenet_zoo.errors import WavezooError


def test_splits_are_disjoint_and_every_fifth_image_is_test():
    from sklearn.datasets import load_digits

    digits = load_digits()
    train, test = open_data("digits", "train"), open_data("digits", "val")
    assert (len(train.targets), len(test.targets)) == (1437, 360)
    assert test.targets == digits.target[::5].tolist()
    assert [test.relative_path(i) for i in (0, 359)] == ["0", "359"]
    assert np.array_equal(test.images, np.round(digits.images[::5] * 255 / 16))
    assert sorted(train.targets + test.targets) == sorted(digits.target.tolist())


def test_unknown_split_lists_available_splits():
    with pytest.raises(WavezooError, match="available splits: train, test"):
        open_data("digits", "dev")


def test_missing_scikit_learn_names_the_extra(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(WavezooError, match=r"pip install scikit-learn"):
        open_data("digits", "val")
