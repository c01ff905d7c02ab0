import pickle
from collections import Counter

import numpy as np
import pytest

from wavenet_zoo.data.open import open_data
from wavenet_zoo.data.sources import ArrayImages
from wavenet_zoo.data.subsets import SubsetImages, limit_images
from wavenet_zoo.errors import WavezooError


def source_of(labels, classes=None):
    images = np.arange(len(labels), dtype=np.uint8).repeat(4).reshape(-1, 2, 2)
    return ArrayImages("x", "val", [str(i) for i in range(classes or max(labels) + 1)], images, labels)


def test_subset_has_the_images_of_the_indices_in_their_order(small_digits):
    source = open_data(small_digits, "val")
    subset = SubsetImages(source, np.array([29, 4, 11]))
    assert (subset.name, subset.split, subset.in_memory) == (source.name, "val", False)
    assert subset.classes == source.classes and subset.targets == [9, 1, 3]
    for number, index in enumerate((29, 4, 11)):
        assert np.array_equal(np.asarray(subset.load(number)), np.asarray(source.load(index)))
        for method in ("content", "stamp", "describe", "relative_path"):
            assert getattr(subset, method)(number) == getattr(source, method)(index)
    assert pickle.loads(pickle.dumps(subset)).relative_path(0) == "9/2.png"
    assert source_of([0, 1]).in_memory and SubsetImages(source_of([0, 1]), [0]).in_memory


def test_fingerprint_of_a_subset_depends_on_source_and_indices():
    source, other = source_of([0, 0, 1]), source_of([0, 1, 1])
    subsets = [(source, [0, 1]), (source, [1, 0]), (source, [0]), (source, [0, 1, 2]), (other, [0, 1])]
    assert len({source.fingerprint(), *(SubsetImages(*subset).fingerprint() for subset in subsets)}) == 6
    assert SubsetImages(source, [0, 1]).fingerprint() == SubsetImages(source, np.array([0, 1])).fingerprint()


def test_limit_takes_every_kth_image_of_every_class_in_data_order():
    subset = limit_images(source_of([1, 0] * 10), "4")
    assert (subset.indices, subset.targets) == ([0, 1, 10, 11], [1, 0, 1, 0])
    assert limit_images(source_of([1, 0] * 10), "0.2").indices == [0, 1, 10, 11]


@pytest.mark.parametrize("seed", range(5))
def test_limit_gives_every_class_its_share_of_images(seed):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(12), rng.integers(0, 40, 12))).tolist()
    available = Counter(labels)
    for number in (1, 5, 11, 50, len(labels) - 1):  # fewer than the classes, too
        subset = limit_images(source_of(labels, classes=12), f"{number}")
        taken = Counter(subset.targets)
        assert len(subset.targets) == number and subset.indices == sorted(set(subset.indices))
        assert all(abs(taken[c] - available[c] * number / len(labels)) < 1 for c in range(12))


@pytest.mark.parametrize(
    ("limit", "number"), [("0.1", 2), (".5", 10), ("0.01", 1), ("0.99", 20), ("1e-3", 1), ("7", 7)]
)
def test_limit_is_a_number_of_images_or_a_share(limit, number):
    assert len(limit_images(source_of([0, 1] * 10), limit).targets) == number


@pytest.mark.parametrize("limit", ["20", "21", "999999999999"])
def test_limit_of_all_images_is_the_source_itself(limit):
    source = source_of([0, 1] * 10)
    assert limit_images(source, limit) is source


@pytest.mark.parametrize("limit", ["", "0", "0.0", "1.0", "1.5", "-3", "-0.1", "10%", "nan", "inf", "9" * 5000, "1_0"])
def test_invalid_limit_is_one_line_with_the_option(limit):
    with pytest.raises(WavezooError, match=r"^--limit .*: is neither a number of images nor a share of them \(pass"):
        limit_images(source_of([0, 1] * 10), limit)
