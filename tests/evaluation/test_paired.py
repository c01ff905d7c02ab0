import math
from fractions import Fraction
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wavenet_zoo.evaluation.paired import difference_interval, holm, mcnemar

Z = 1.959963984540054  # 97.5 % quantile of the normal distribution

counts = st.integers(0, 200)


def brute_force_p(only_a, only_b):
    """Sum the probabilities of all outcomes that are at most as probable as the observed one."""
    n = only_a + only_b
    chances = [Fraction(math.comb(n, k), 2**n) for k in range(n + 1)]
    return float(sum(chance for chance in chances if chance <= chances[only_a]))


def test_mcnemar_is_the_sum_of_binomial_probabilities():
    for only_a in range(26):
        for only_b in range(26):
            assert mcnemar(only_a, only_b) == pytest.approx(brute_force_p(only_a, only_b), rel=1e-14)


def test_mcnemar_equals_the_binomial_test_of_scipy():
    stats = pytest.importorskip("scipy.stats")
    for only_a, only_b in [(0, 0), (0, 5), (17, 40), (300, 200), (531, 324), (12_000, 12_300)]:
        expected = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
        assert mcnemar(only_a, only_b) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_of_extreme_counts_is_a_number():
    assert mcnemar(0, 2000) == 0.0  # smaller than any float
    assert mcnemar(0, 1000) == pytest.approx(2.0**-999)
    assert mcnemar(5_000, 5_000) == 1.0


@given(counts, counts, counts)
def test_swapping_the_models_mirrors_the_result(only_a, only_b, others):
    images = only_a + only_b + others + 1
    low, high = difference_interval(only_a, only_b, images)
    assert difference_interval(only_b, only_a, images) == pytest.approx((-high, -low))
    assert mcnemar(only_a, only_b) == mcnemar(only_b, only_a)


@given(counts, counts, counts)
def test_interval_contains_the_difference(only_a, only_b, others):
    images = only_a + only_b + others + 1
    low, high = difference_interval(only_a, only_b, images)
    assert -100 <= low <= 100 * (only_b - only_a) / images <= high <= 100 and low < high


def test_interval_by_hand():
    low, high = difference_interval(only_a=10, only_b=4, images=98)
    middle, error = (5 - 11) / 100, math.sqrt((5 / 100 + 11 / 100 - (6 / 100) ** 2) / 100)
    assert (low, high) == pytest.approx((100 * (middle - Z * error), 100 * (middle + Z * error)))


def test_interval_without_discordant_images_has_a_width():
    low, high = difference_interval(0, 0, 10_000)
    assert low == -high and 0.02 < high < 0.04  # at most 3 to 4 in 10,000, as the rule of three has it


def wald_interval(only_a, only_b, images):
    a, b = only_a / images, only_b / images
    margin = Z * math.sqrt((a + b - (b - a) ** 2) / images)
    return 100 * (b - a - margin), 100 * (b - a + margin)


def coverage(interval, images, chance_a, chance_b):
    """Return the probability that the interval contains the true difference: a sum over all possible counts."""
    difference, covered = 100 * (chance_b - chance_a), 0.0
    for only_a in range(images + 1):
        for only_b in range(images + 1 - only_a):
            low, high = interval(only_a, only_b, images)
            if low - 1e-9 <= difference <= high + 1e-9:
                ways = math.comb(images, only_a) * math.comb(images - only_a, only_b)
                concordant = (1 - chance_a - chance_b) ** (images - only_a - only_b)
                covered += ways * chance_a**only_a * chance_b**only_b * concordant
    return covered


@pytest.mark.parametrize("images", [20, 60])
@pytest.mark.parametrize(("chance_a", "chance_b"), [(0.02, 0.02), (0.05, 0.02), (0.1, 0.03), (0.1, 0.1), (0.3, 0.1)])
def test_interval_covers_the_difference_in_95_percent_of_cases(images, chance_a, chance_b):
    assert coverage(difference_interval, images, chance_a, chance_b) > 0.935


@pytest.mark.parametrize(("images", "chance"), [(20, 0.05), (60, 0.03)])
def test_plain_wald_interval_does_not_cover_it(images, chance):
    assert coverage(wald_interval, images, chance, 0.01) < 0.9


def test_holm_by_hand():
    # 3 tests: 0.01 * 3, then 0.02 * 2, then 0.03 * 1, which must not be smaller than 0.04
    assert holm([0.02, 0.01, 0.03]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.5, 0.4]) == pytest.approx([0.8, 0.8])
    assert holm([0.03]) == [0.03] and holm([]) == []


def test_holm_does_not_depend_on_the_order():
    p_values = [0.001, 0.013, 0.04, 0.04, 0.7]
    expected = dict(zip(p_values, holm(p_values)))
    for order in permutations(p_values):
        assert holm(order) == [expected[p] for p in order]
