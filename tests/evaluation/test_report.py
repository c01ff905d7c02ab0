import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from wavenet_zoo import WavezooError
from wavenet_zoo.data.decoding import ImageError
from wavenet_zoo.evaluation.metrics import score
from wavenet_zoo.evaluation.report import check_report_path, class_rows, write_report
from wavenet_zoo.evaluation.statistics import wilson_interval
from wavenet_zoo.evaluation.thumbnails import most_confident_mistakes

DIGITS = [str(i) for i in range(10)]
HOSTILE = [
    "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "' onclick='alert(1)", "{{ 7 * 7 }}", "]]><b>",
    "&lt;i&gt;", "\udcff\udc80", "a\x00b\x1b[31m\u202e", "$\\frac{$", "x" * 5000,
]  # fmt: skip


class Page(HTMLParser):
    """Elements, attributes and text of a page."""

    def __init__(self, path):
        super().__init__()
        self.source = path.read_bytes().decode()
        self.tags, self.text, self.script, self.attributes, self.current = [], [], "", [], ""
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.current = tag
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        self.current = ""

    def handle_data(self, data):
        if self.current == "script":
            self.script += data
        elif self.current != "style":
            self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())

    def values(self, tag, name):
        return [value for owner, attribute, value in self.attributes if (owner, attribute) == (tag, name)]


@pytest.fixture
def make_report(tmp_path):
    def make(evaluation, **options):
        path = tmp_path / "report.html"
        write_report(path, evaluation, **options)
        return Page(path)

    return make


@pytest.fixture
def mistaken(make_predictions):
    """40 images of 10 classes, every fourth predicted as the class after its own, the later the more confident."""
    labels = np.arange(40) % 10
    predicted = np.where(np.arange(40) % 4 == 0, (labels + 1) % 10, labels)
    return make_predictions(labels, predicted, 0.5 + np.arange(40) / 100, class_names=DIGITS)


def test_report_shows_result_uncertainty_and_provenance(make_report, make_evaluation, mistaken):
    limit = {"images": 40, "of": 400}
    page = make_report(make_evaluation(mistaken, limit=limit), command="wavezoo eval toy_net --limit 40")
    low, high = wilson_interval(30, 40)
    for words in (
        "toy_net on toys", "75.00 %", f"95 %: {low:.2f} to {high:.2f}", "30 of 40 images", "12,345 parameters",
        "ab" * 32, "cd" * 32, "Limited evaluation: 40 of 400 images", "wavezoo eval toy_net --limit 40",
        "none of the 40 images was trained or validated on", "resize to 8 px", "torch 2.9", "ef" * 20 + ", modified",
    ):  # fmt: skip
        assert words in page.words, words
    assert page.values("html", "lang") == ["en"] and page.tags.count("h1") == 1


def test_both_ways_of_scoring_are_named(make_report, make_evaluation, mistaken):
    evaluation = make_evaluation(mistaken, classes=DIGITS)
    evaluation.scores["data"] = score(replace(mistaken, correct=np.ones(40, bool)))
    evaluation.data["classes"] = 7
    page = make_report(evaluation)
    assert "This report is about the predictions among all 10 classes of the model ." in page.words
    assert "among all 10 classes of the model among the 7 classes of the data" in page.words
    assert re.search(r"top-1, % 75.00 \(.*?\) 100.00 \(", page.words)


def test_images_that_the_weights_have_seen_are_pointed_out(make_report, make_evaluation, mistaken):
    evaluation = make_evaluation(mistaken)
    evaluation.data |= {"seen": "partly", "overlap": {"training": 7, "validation": 0}}
    assert "The weights have seen images of this data: 7 of 40 images were trained on." in make_report(evaluation).words


def test_rows_of_classes_have_counts_interval_and_mistake(make_evaluation, make_predictions):
    labels, predicted = [0, 0, 0, 1, 1, 3], [0, 1, 1, 1, 2, 3]
    evaluation = make_evaluation(make_predictions(labels, predicted, class_names=["a", "b", "c", "d"]))
    rows = class_rows(evaluation)
    assert [(row.name, row.images, row.correct) for row in rows] == [("a", 3, 1), ("b", 2, 1), ("d", 1, 1)]
    assert rows[0].interval == wilson_interval(1, 3) and rows[0].accuracy == 100 / 3
    assert [row.mistake and (row.mistake.prediction, row.mistake.images) for row in rows] == [("b", 2), ("c", 1), None]


def test_synsets_have_readable_names(make_report, make_evaluation, make_predictions):
    predictions = make_predictions([0, 0, 1], [0, 1, 1], class_names=["n01443537", "n01629819"])
    words = make_report(make_evaluation(predictions)).words
    assert "n01443537 goldfish 2 1" in words and "European fire salamander n01629819" in words


def test_hostile_names_are_text_and_the_only_script_is_the_shipped_one(make_report, make_evaluation, make_predictions):
    number = len(HOSTILE)
    labels, predicted = np.arange(number), (np.arange(number) + 1) % number

    def report_with(names):
        predictions = make_predictions(labels, predicted, class_names=names, paths=names)
        evaluation = make_evaluation(predictions, name=names[0], model=names[1], skipped=names)
        return make_report(evaluation, command=" ".join(names))

    page = report_with(HOSTILE)
    assert page.tags == report_with([f"class {i}" for i in range(number)]).tags
    assert page.tags.count("script") == 1
    assert all(value.startswith("data:image/jpeg;base64,") for value in page.values("img", "src"))
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    for name in HOSTILE[:6]:
        assert name in "".join(page.text), name
    assert r"\udcff\udc80" in page.words and r"a\x00b\x1b[31m\u202e" in page.words
    policy = page.values("meta", "content")[0]
    assert f"'sha256-{base64.b64encode(hashlib.sha256(page.script.encode()).digest()).decode()}'" in policy


def test_report_refers_to_nothing_outside_the_file(make_report, make_evaluation, mistaken):
    page = make_report(make_evaluation(mistaken))
    addresses = [value for _, name, value in page.attributes if name in ("src", "href", "xlink:href", "srcset")]
    assert addresses and all(
        value.startswith(("#", "data:")) or value == "https://github.com/tofsjonas/sortable" for value in addresses
    )
    assert page.values("meta", "content")[0].startswith("default-src 'none'; img-src data:; style-src")
    assert "@import" not in page.source and "url(http" not in page.source


def test_secrets_in_the_command_are_removed(make_report, make_evaluation, mistaken):
    page = make_report(make_evaluation(mistaken), command="HF_TOKEN=hf_" + "a" * 30 + " wavezoo eval x")
    assert "HF_TOKEN=hf_*** wavezoo eval x" in page.words and "hf_aaa" not in page.source


def test_thumbnails_are_the_most_confident_mistakes(make_report, make_evaluation, mistaken):
    assert most_confident_mistakes(mistaken, 3).tolist() == [36, 32, 28]
    page = make_report(make_evaluation(mistaken))
    alternatives = [f"Image of class {i % 10}, predicted as {(i + 1) % 10}" for i in range(36, -1, -4)]
    assert page.values("img", "alt") == alternatives and "6/36.png" in page.words and "with 86.0 %" in page.words


def test_report_without_images_has_no_thumbnails(make_report, make_evaluation, mistaken):
    evaluation = make_evaluation(mistaken)
    evaluation.source.images = None  # loading an image fails
    page = make_report(evaluation, images=False)
    assert "img" not in page.tags and "Most confident mistakes" not in page.words


def test_image_that_is_gone_is_noted(make_report, make_evaluation, mistaken, monkeypatch):
    evaluation = make_evaluation(mistaken)
    load = evaluation.source.load

    def load_unless_gone(index):
        if index == 32:
            raise ImageError("No such file or directory")
        return load(index)

    monkeypatch.setattr(evaluation.source, "load", load_unless_gone)
    page = make_report(evaluation)
    assert page.tags.count("img") == 9 and "Not loaded any more: 2/32.png." in page.words


def test_report_without_a_mistake(make_report, make_evaluation, make_predictions):
    page = make_report(make_evaluation(make_predictions([0, 1], [0, 1], class_names=["a", "b"])))
    assert "No prediction is wrong." in page.words and "100.00 %" in page.words


def test_report_of_1000_classes_stays_below_a_megabyte(make_report, make_evaluation, make_predictions):
    labels = np.repeat(np.arange(1000), 3)
    names = [f"n{i:08d}" for i in range(1000)]
    predictions = make_predictions(labels, (labels + (np.arange(3000) % 3 == 0)) % 1000, class_names=names)
    page = make_report(make_evaluation(predictions, side=32))
    assert page.tags.count("img") == 48 and page.tags.count("tr") > 1000
    assert len(page.source) < 1_000_000


@pytest.mark.parametrize(
    ("name", "message"),
    [("report.pdf", r"report.pdf: the file name of a report must end in .html"), ("no/report.html", "does not exist")],
)
def test_path_of_a_report_is_checked_before_the_work(tmp_path, name, message):
    check_report_path(tmp_path / "report.html")
    with pytest.raises(WavezooError, match=message):
        check_report_path(tmp_path / name)
