"""Mean and standard error over seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

__all__ = ["Estimate", "estimate"]


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

    def __str__(self) -> str:
        error = "" if self.standard_error is None else f" ± {self.standard_error:.2f}"
        return f"{self.mean:.2f}{error}"


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean of ``values`` with its standard error."""
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return Estimate(fmean(values), error, list(values))
