"""The gain of DFWT by depth, and its rule."""

import pytest

from wavenet_zoo.paper.depth_table import depth_table
from wavenet_zoo.paper.measured import RunGroup
from wavenet_zoo.paper.statistics import T_975, difference_interval, estimate
from wavenet_zoo.recipes import load_recipe


def groups(depth, errors, without, *overrides):
    """Return two groups of runs, with and without DFWT."""
    name = f"waveletnet_cifar_m{depth}"
    result = []
    for kwargs, values in (({}, errors), ({"use_dfwt": False}, without)):
        recipe = load_recipe("digits", [f"model.name={name}", *overrides])
        recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"kwargs": kwargs})})
        seeds = list(range(len(values)))
        result.append(
            RunGroup(name, kwargs, "digits", "digits", 20, seeds, estimate(values), ["0" * 64] * len(values), recipe)
        )
    return result


@pytest.mark.parametrize(
    ("deep", "verdict"),
    [
        ([15.0, 15.1, 15.2], "the gap grows with depth"),
        ([10.1, 10.0, 10.2], "the gap shrinks with depth"),
        ([10.0, 12.5, 10.0], "undecided"),
    ],
)
def test_verdict_follows_the_rule_of_two_standard_errors(deep, verdict):
    measured = [*groups(1, [20.0, 20.0, 20.0], [21.0, 20.9, 21.1]), *groups(3, [10.0, 10.0, 10.0], deep)]
    table = depth_table(measured)
    assert [row["depth"] for row in table.rows] == [1, 3, 24]
    assert verdict in table.notes[1]
    assert table.rows[0]["gap"] == "1.00 ± 0.06" and table.rows[-1]["gap_paper"] == 3.59


def test_single_pair_is_shown_and_does_not_decide():
    measured = [*groups(1, [20.0, 20.0], [21.0, 20.9]), *groups(6, [10.0], [15.0])]
    table = depth_table(measured)
    assert table.rows[1]["gap"] == "5.00" and table.rows[1]["pairs"] == 1
    assert table.notes[1].startswith("Undecided")


def test_runs_of_another_protocol_are_left_out():
    measured = [
        *groups(1, [20.0, 20.0], [21.0, 20.9]),
        *groups(2, [18.0, 18.0], [19.0, 19.1]),
        *groups(3, [10.0, 10.0], [11.0, 11.1], "schedule.epochs=3"),
    ]
    assert [row["depth"] for row in depth_table(measured).rows] == [1, 2, 24]


@pytest.mark.parametrize("count", [2, 3, 10])
def test_interval_is_that_of_students_t(count):
    stats = pytest.importorskip("scipy.stats", reason="needs scipy, which scikit-learn installs")
    values = [0.3 * i**2 for i in range(count)]
    expected = stats.t.interval(0.95, count - 1, loc=sum(values) / count, scale=estimate(values).standard_error)
    assert estimate(values).interval == pytest.approx(expected, rel=1e-3)


def test_interval_of_more_values_is_never_too_narrow():
    assert list(T_975) == sorted(T_975, reverse=True) and T_975[-1] > 1.96
    assert estimate([1.0]).interval is None and estimate([1.0]).describe_interval() == "-"


@pytest.mark.parametrize("spread", [0.2, 1.0, 3.0])
def test_interval_of_a_difference_is_that_of_welch(spread):
    stats = pytest.importorskip("scipy.stats", reason="needs scipy, which scikit-learn installs")
    a, b = [0.1, 0.5, 0.4], [2.0, 2.0 + spread, 2.3, 1.9]
    expected = stats.ttest_ind(b, a, equal_var=False).confidence_interval(0.95)
    assert difference_interval(estimate(a), estimate(b)) == pytest.approx(tuple(expected), abs=0.01)


def test_interval_of_a_difference_needs_several_values_of_both():
    assert difference_interval(estimate([1.0]), estimate([1.0, 2.0])) is None
    assert difference_interval(estimate([1.0, 1.0]), estimate([2.0, 2.0])) is None
