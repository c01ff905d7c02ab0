import numpy as np
import pytest

from wavenet_zoo.evaluation.compare import ClassCounts, ComparedModel, Comparison, Pair
from wavenet_zoo.evaluation.comparison_report import write_comparison_report

CLASSES = ["n01443537", "<script>", "$x$"]
NAMES = ["small", r"<img src=x onerror=alert(1)>$\frac{$", "\udcff"]


@pytest.fixture
def comparison(make_predictions, make_evaluation):
    """Two evaluated models and saved predictions on 60 images; 0, 3 and 6 are right in one of the first two only."""
    labels = np.arange(60) % 3
    wrong = [[0, 3], [6], []]
    models = []
    for name, mistakes in zip(NAMES, wrong):
        predicted = labels.copy()
        predicted[mistakes] = 1
        confidence = np.linspace(0.5, 0.9, 60)
        predictions = make_predictions(labels, predicted, confidence, class_names=CLASSES)
        evaluation = make_evaluation(predictions) if name != NAMES[2] else None
        correct = 60 - len(mistakes)
        models.append(ComparedModel(name, f"{name}.v1", correct / 0.6, (80, 99), correct, evaluation, predictions))
    pairs = [
        Pair(NAMES[0], NAMES[1], 1.67, (-2.5, 5.75), 1.0, 1.0, 95.0, 1, 2, [], []),
        Pair(NAMES[0], NAMES[2], 3.33, (0.5, 8), 0.00004, 0.00012, 96.67, 0, 2, [], []),
        Pair(NAMES[1], NAMES[2], 1.67, (-2, 5), 1.0, 1.0, 98.33, 0, 1, [], []),
    ]
    counts = [ClassCounts(CLASSES[1], 20, [20, 20, 20]), ClassCounts(CLASSES[0], 20, [18, 19, 20])]
    return Comparison(60, 0.95, models, pairs, counts)


def read(path):
    return path.read_bytes().decode()


def test_report_shows_pairs_models_and_classes(comparison, tmp_path):
    write_comparison_report(tmp_path / "c.html", comparison, command="wavezoo compare a b")
    text = read(tmp_path / "c.html")
    for part in (
        "-2.50 to +5.75", "0.0001<", "B is better", "no significant difference", "for the 3 pairs", "96.67",
        "wavezoo compare a b", "goldfish", "saved predictions", "ab" * 32, "+5.00", "+10.00",
    ):  # fmt: skip
        assert part in text, part
    assert text.index(">n01443537<") < text.index(">&lt;script&gt;<")  # where they differ most comes first


def test_names_of_models_are_escaped_in_tables_and_in_the_plot(comparison, tmp_path):
    write_comparison_report(tmp_path / "c.html", comparison)
    text = read(tmp_path / "c.html")
    assert "<img src=x" not in text and text.count("<script") == 1
    plot = text[text.index("<svg") : text.index("</svg>")]
    assert "against small" in plot and "&lt;img src=x onerror=alert(1)&gt;$" in plot and r"\udcff" in plot


def test_thumbnails_are_images_that_only_one_of_the_first_pair_gets_right(comparison, tmp_path):
    write_comparison_report(tmp_path / "c.html", comparison)
    text = read(tmp_path / "c.html")
    order = [text.index(f"{CLASSES[0]}/{i}.png") for i in (6, 3, 0)]  # those that only A gets right come first
    assert order == sorted(order) and text.count("<img ") == 3


def test_report_without_images_or_with_saved_predictions_only(comparison, tmp_path):
    write_comparison_report(tmp_path / "c.html", comparison, images=False)
    assert "<img " not in read(tmp_path / "c.html")
    for model in comparison.models:
        model.evaluation = None
    write_comparison_report(tmp_path / "c.html", comparison)
    text = read(tmp_path / "c.html")
    assert "<img " not in text and "Environment" not in text and "-2.50 to +5.75" in text
