"""Mean, standard error and 95 % interval over seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

__all__ = ["Estimate", "difference_interval", "estimate"]

# 97.5 % quantiles of Student's t distribution for 1, 2, ... degrees of freedom
T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


@dataclass
class Estimate:
    """A mean over seeds.

    Attributes:
        mean: Mean of the values.
        standard_error: Standard error of the mean, from the spread of the values; None for a single value.
        values: One value per seed.
    """

    mean: float
    standard_error: float | None
    values: list[float]

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the mean, by Student's t distribution; None for a single value."""
        if self.standard_error is None:
            return None
        half = _t_975(len(self.values) - 1) * self.standard_error
        return self.mean - half, self.mean + half

    def describe_interval(self) -> str:
        """Return the interval as text, ``-`` for a single value."""
        return "-" if self.interval is None else f"{self.interval[0]:+.2f} to {self.interval[1]:+.2f}"

    def __str__(self) -> str:
        error = "" if self.standard_error is None else f" ± {self.standard_error:.2f}"
        return f"{self.mean:.2f}{error}"


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean of ``values`` with its standard error."""
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return Estimate(fmean(values), error, list(values))


def difference_interval(a: Estimate, b: Estimate) -> tuple[float, float] | None:
    """Return the 95 % interval of the mean of ``b`` minus that of ``a`` by Welch's t, for independent values.

    None if either has a single value, or if all values of both are equal.
    """
    if not a.standard_error or not b.standard_error:
        return None
    variances = [estimate.standard_error**2 for estimate in (a, b) if estimate.standard_error]
    freedom = sum(variances) ** 2 / sum(v**2 / (len(e.values) - 1) for v, e in zip(variances, (a, b)))
    half = _t_975(freedom) * math.sqrt(sum(variances))
    return b.mean - a.mean - half, b.mean - a.mean + half


def _t_975(freedom: float) -> float:
    """Return the 97.5 % quantile of Student's t, linear in 1 / freedom between integers; wider beyond the table."""
    low = min(math.floor(freedom), len(T_975))
    if low == len(T_975) or low == freedom:
        return T_975[low - 1]
    share = (1 / low - 1 / freedom) / (1 / low - 1 / (low + 1))
    return T_975[low - 1] + share * (T_975[low] - T_975[low - 1])
