"""The figures of the tables: every row is drawn, texts do not overlap, printed and measured values are apart."""

import pytest
from matplotlib.text import Text

from wavenet_zoo import table
from wavenet_zoo.paper.ablation import Ablation, ArmResult
from wavenet_zoo.paper.ablation_figure import draw_ablation
from wavenet_zoo.paper.plots import DRAW, plot_table
from wavenet_zoo.paper.statistics import estimate
from wavenet_zoo.runtime.figures import figure_style
from wavenet_zoo.runtime.resources import shipped_folder

NUMBERS = [1, 2, 3, 5, 6, 7, "depth", "pairs"]


@pytest.fixture(scope="module")
def tables():
    return {number: table(number) for number in NUMBERS}


@pytest.fixture(scope="module")
def figures(tables):
    return {number: DRAW[number](tables[number]) for number in NUMBERS}


def texts_of(part):
    return [text.get_text() for text in part.findobj(Text) if text.get_text()]


def rows_of(figure):
    """Return the label of every row of every dot plot, with the number of marks at its height."""
    with figure_style():
        figure.canvas.draw()
    found = []
    for axes in figure.findobj(lambda artist: hasattr(artist, "get_yticklabels")):
        marks = [y for line in axes.get_lines() if line.get_marker() in ("o", "D") for y in line.get_ydata()]
        for place, label in zip(axes.get_yticks(), axes.get_yticklabels()):
            found.append((label.get_text(), marks.count(place)))
    return found


@pytest.mark.parametrize("number", NUMBERS)
def test_texts_of_a_figure_do_not_overlap(figures, number, assert_legible):
    assert_legible(figures[number])


@pytest.mark.parametrize("number", [2, 3, 5, 6, 7, "pairs"])
def test_every_row_of_a_table_has_a_mark(tables, figures, number):
    rows = tables[number].rows
    printed = [row for row in rows if row.get("error_paper") is not None or row.get("gap_paper") is not None]
    measured = [row for row in rows if row.get("measured") or number == "pairs"]
    panels = 2 if number in (2, 5) else 1  # printed errors by MACs and by parameters
    drawn = rows_of(figures[number])
    assert len(drawn) == panels * len(printed) + len(measured)
    assert all(marks == 1 for _, marks in drawn), drawn


def test_printed_and_measured_errors_share_no_axis(figures):
    upper, lower = figures[7].subfigs
    assert [len(part.axes) for part in (upper, lower)] == [1, 1]
    assert max(upper.axes[0].get_xlim()) < 40 < max(lower.axes[0].get_xlim())
    assert any("not to be compared" in text for text in texts_of(lower))
    assert "88.86 (88.23 to 89.46)" in texts_of(lower)  # one seed: the interval of the images
    assert any("95 % interval of 10,000 images" in text for text in texts_of(lower))


def test_several_seeds_have_a_standard_error_and_their_number(figures):
    _, lower = figures[2].subfigs
    assert "30.26 ± 0.09, n = 3" in texts_of(lower)
    (line,) = [line for line in lower.axes[0].get_lines() if line.get_marker() == "." and min(line.get_xdata()) > 40]
    assert len(line.get_xdata()) == 3
    assert any("number of images not recorded" in text for text in texts_of(lower))


def test_line_of_the_lowest_errors_never_rises(figures):
    for axes in figures[5].subfigs[0].axes:
        line = next(line for line in axes.get_lines() if len(line.get_xdata()) > 2)
        lowest = list(line.get_xdata())
        assert lowest == sorted(lowest, reverse=True) and lowest[-1] == 24.0


@pytest.mark.parametrize("number", ["depth", 5])
def test_a_figure_has_equal_bytes_each_time(tmp_path, tables, number):
    for name in ("one", "two"):
        plot_table(tmp_path / f"{name}.svg", tables[number])
    one, two = ((tmp_path / f"{name}.svg").read_bytes() for name in ("one", "two"))
    assert one == two and len(one) < 150_000


def ablation_of(folders, epochs, seeds):
    arms = []
    for name, folder in folders.items():
        runs = [{"out": str(shipped_folder("results") / folder / f"seed{seed}")} for seed in seeds]
        arms.append(ArmResult(name, name, [], 1, 1, estimate([1.0] * len(seeds)), None, None, runs))
    return Ablation("m", "r", "", "d", 1, epochs, list(seeds), arms, "", "")


def test_ablation_has_a_band_for_seeds_and_marks_drops(assert_legible):
    folders = {"original": "cifar10/depth/m1", "no DFWT": "cifar10/depth/m1_no_dfwt"}
    figure = draw_ablation(ablation_of(folders, 16, range(3)))
    assert_legible(figure)
    for axes in figure.axes:
        assert len(axes.collections) == 2  # a band for each arm
        drops = [line.get_xdata()[0] for line in axes.get_lines() if len(set(line.get_xdata())) == 1]
        assert drops == [8.5, 12.5]


def test_short_ablation_has_points_per_seed_and_no_line(assert_legible):
    folders = {name: f"cifar10/ablation_kappas_3_3_3/{name}" for name in ("original", "no_dfwt")}
    figure = draw_ablation(ablation_of(folders, 2, range(2)))
    assert_legible(figure)
    curves = [line for line in figure.axes[0].get_lines() if len(set(line.get_xdata())) > 1]
    assert len(curves) == 2 * (2 + 1)  # for each arm its seeds and the mean
    assert {line.get_linestyle() for line in curves} == {"None"}
