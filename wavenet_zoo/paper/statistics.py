"""Mean, standard error and 95 % interval over seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

__all__ = ["Estimate", "estimate"]

# 97.5 % quantiles of Student's t distribution by degrees of freedom; of more, that of the last, which is wider
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
        half = T_975[min(len(self.values) - 1, len(T_975)) - 1] * self.standard_error
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
