import numpy as np
import pytest

from wavenet_zoo import WavezooError
from wavenet_zoo.evaluation.confusion import (
    ConfusedPair,
    classes_of_data,
    confusion_figure,
    draw_confusion,
    most_confused,
)

ANIMALS = ["ant", "bee", "cat", "dog"]


def matrix(figure):
    return figure.axes[0].images[0].get_array()


def tick_labels(axis):
    return [text.get_text() for text in axis.get_ticklabels()]


def test_most_confused_pairs_are_ordered_by_images_then_share(make_predictions):
    labels, predicted = [0, 0, 0, 0, 1, 1, 1, 2, 2], [1, 1, 0, 0, 2, 2, 1, 2, 0]
    predictions = make_predictions(labels, predicted, class_names=ANIMALS)
    pairs = [
        ConfusedPair("bee", "cat", 2, 200 / 3),
        ConfusedPair("ant", "bee", 2, 50),
        ConfusedPair("cat", "ant", 1, 50),
    ]
    assert most_confused(predictions, 9) == pairs and most_confused(predictions, 1) == pairs[:1]


def test_without_a_mistake_there_is_no_confused_pair(make_predictions):
    assert most_confused(make_predictions([0, 1], [0, 1], class_names=ANIMALS), 5) == []


def test_rows_of_the_matrix_are_shares_of_the_classes_of_the_data(make_predictions):
    predictions = make_predictions([3, 3, 3, 3, 1], [3, 3, 1, 0, 1], class_names=ANIMALS)
    figure = confusion_figure(predictions, [3, 1])
    assert np.array_equal(matrix(figure), [[50, 25, 25], [0, 100, 0]])
    axes = figure.axes[0]
    assert tick_labels(axes.yaxis) == ["dog", "bee"] and tick_labels(axes.xaxis) == ["dog", "bee", "others"]
    assert [text.get_text() for text in axes.texts] == ["50", "25", "25", "100"]
    assert figure.axes[1].get_ylabel() == "share of the label's images, %"


def test_column_of_other_classes_is_only_drawn_if_it_is_needed(make_predictions):
    figure = confusion_figure(make_predictions([3, 1], [1, 1], class_names=ANIMALS), [1, 3])
    assert np.array_equal(matrix(figure), [[100, 0], [100, 0]])


def test_classes_keep_the_order_of_the_data(make_predictions, make_evaluation):
    predictions = make_predictions([0, 3, 3, 1], [0, 3, 1, 1], class_names=ANIMALS)
    assert classes_of_data(make_evaluation(predictions, classes=["dog", "cat", "bee", "ant"])) == [3, 1, 0]


@pytest.mark.parametrize("number", [200, 1000])
def test_matrix_of_many_classes_has_few_ticks_and_no_numbers(make_predictions, number):
    labels = np.arange(number)
    figure = confusion_figure(make_predictions(labels, labels, class_names=[f"c{i}" for i in labels]), range(number))
    axes = figure.axes[0]
    assert matrix(figure).shape == (number, number) and not axes.texts
    assert 20 < len(axes.get_xticks()) <= 40 and tick_labels(axes.yaxis)[:2] == ["c0", f"c{number // 40}"]


def test_ticks_of_synsets_have_readable_names(make_predictions):
    figure = confusion_figure(make_predictions([0, 1], [0, 1], class_names=["n01443537", "n99999999"]), [0, 1])
    assert tick_labels(figure.axes[0].yaxis) == ["goldfish", "n99999999"]


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_names_that_look_like_formulas_or_bytes_are_drawn(make_predictions, make_evaluation, tmp_path, suffix):
    names = [r"$\frac{$", "$x$", "\udcff\n", "x" * 500]
    evaluation = make_evaluation(make_predictions([0, 1, 2, 3], [1, 1, 2, 3], class_names=names), name=r"$\frac{$")
    draw_confusion(tmp_path / f"confusion.{suffix}", evaluation)
    assert (tmp_path / f"confusion.{suffix}").stat().st_size > 5000
    with pytest.raises(WavezooError, match="the format of a figure must be one of"):
        draw_confusion(tmp_path / "confusion.txt", evaluation)
