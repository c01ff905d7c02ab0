import numpy as np
import pytest

from wavenet_zoo import evaluate, train
from wavenet_zoo.data.labels import check_labels
from wavenet_zoo.data.open import open_data
from wavenet_zoo.data.sources import ArrayImages
from wavenet_zoo.errors import WavezooError


@pytest.mark.reliability(16, 37)
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "x, val: contains no images"),
        ([0, 1, -1, -1], "x, val: 2 of 4 images have no label (-1)"),
        ([-1, -1], "x, val: 2 of 2 images have no label (-1)"),
        ([0, 2], "x, val: label 2 of x val image 1 exceeds the 2 classes"),
        ([0, 0.9], "x, val: label 0.9 is not an integer"),
        ([0, None], "x, val: label None is not an integer"),
        ([0, [0, 1]], "x, val: label [0, 1] is not an integer"),
        ([0, 10**30], "label 1000000000000000000000000000000 of"),
    ],
)
def test_labels_that_are_no_class_are_one_line(labels, message):
    source = ArrayImages("x", "val", ["a", "b"], np.zeros((4, 2, 2), np.uint8), labels)
    with pytest.raises(WavezooError) as error:
        check_labels(source, "x")
    assert message in error.value.message


@pytest.mark.reliability(16, 37)
def test_images_without_a_label_are_neither_evaluated_nor_trained_on(write_shard, tmp_path):
    write_shard("data/x-train-0.tar", [*range(10)] * 3)
    write_shard("data/x-val-0.tar", [*range(10), -1, -1])
    data = f"wds/{tmp_path / 'data'}"
    with pytest.raises(WavezooError, match=r"val: 2 of 12 images have no label \(-1\)"):
        evaluate("waveletnet_cifar_m1", None, data, workers=0)
    with pytest.raises(WavezooError, match=r"val: 2 of 12 images have no label \(-1\)"):
        train("digits", data, tmp_path / "run", ["batch_size=10"])
    assert len(open_data(data, "train").targets) == 30
