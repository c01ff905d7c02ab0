"""Statistics of two models on the same images: McNemar's test, an interval of the difference, Holm's correction.

Only images that exactly one of the models gets right, the discordant ones, say anything about the difference. Comparing
the intervals of two accuracies ignores that both are of the same images, and misses most differences.
"""

import math
from collections.abc import Sequence

from wavenet_zoo.evaluation.statistics import Z

__all__ = ["difference_interval", "format_p", "holm", "mcnemar"]


def mcnemar(only_a: int, only_b: int) -> float:
    """Return the exact two-sided p-value of McNemar's test: that both models are right on equally many images.

    If they are, each discordant image is one of A or of B like a toss of a coin: the p-value is the probability that
    the smaller of both counts is as small as it is, or smaller (McNemar 1947, "Note on the sampling error of the
    difference between correlated proportions or percentages", with binomial instead of chi-squared probabilities).

    Args:
        only_a: Number of images that only model A gets right.
        only_b: Number of images that only model B gets right.
    """
    discordant, smaller = only_a + only_b, min(only_a, only_b)
    ways = total = 1  # to choose k of the discordant images
    for k in range(1, smaller + 1):
        ways = ways * (discordant - k + 1) // k
        total += ways
    return min(1.0, 2 * total / 2**discordant)  # integers of any size: Python rounds the quotient once


def difference_interval(only_a: int, only_b: int, images: int) -> tuple[float, float]:
    """Return a 95 % interval of the accuracy of model B minus that of model A, in percentage points.

    It is the adjusted Wald interval of paired proportions, with one image added to both discordant counts (Bonett and
    Price 2012, "Adjusted Wald confidence interval for a difference of binomial proportions based on paired data",
    Journal of Educational and Behavioral Statistics 37(4), 479-488). Without that addition, the interval has no width
    if no image is discordant, and covers the difference too rarely if few are.

    Args:
        only_a: Number of images that only model A gets right.
        only_b: Number of images that only model B gets right.
        images: Number of images.
    """
    a, b = (only_a + 1) / (images + 2), (only_b + 1) / (images + 2)
    margin = Z * math.sqrt((a + b - (b - a) ** 2) / (images + 2))
    return 100 * max(b - a - margin, -1.0), 100 * min(b - a + margin, 1.0)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number: the chance of any false finding is that of a single test.

    The smallest is multiplied by the number of tests n, the next by n - 1 and so on; none becomes smaller than one
    before it (Holm 1979, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics
    6(2), 65-70).

    Args:
        p_values: One p-value per test.
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = largest
    return corrected


def format_p(p: float) -> str:
    """Return a p-value as text, ``p = 0.0312``: four decimals, or one significant digit of a smaller one."""
    return f"p = {p:.4f}" if p >= 0.0001 else f"p = {p:.1g}" if p else "p < 1e-300"
