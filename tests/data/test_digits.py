import numpy as np
import pytest

from wavenet_zoo.data.open import open_data
from wavenet_zoo.errors import WavezooError


def test_every_fifth_image_is_for_testing_and_no_image_is_in_both():
    from sklearn.datasets import load_digits

    digits = load_digits()
    train, test = open_data("digits", "train"), open_data("digits", "val")
    assert (len(train.targets), len(test.targets)) == (1437, 360)
    assert test.targets == digits.target[::5].tolist()
    assert np.array_equal(test.images, np.round(digits.images[::5] * 255 / 16))
    assert sorted(train.targets + test.targets) == sorted(digits.target.tolist())


def test_an_unknown_split_names_those_that_exist():
    with pytest.raises(WavezooError, match="it has train and test"):
        open_data("digits", "dev")


def test_without_scikit_learn_it_names_the_extra(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(WavezooError, match=r"pip install 'wavenet_zoo\[digits\]'"):
        open_data("digits", "val")
