"""Interleaved timing: the candidates alternate, so a machine that slows down slows all of them."""

import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

__all__ = ["Timings", "quantile", "ratio_quartiles", "time_interleaved"]

WARM_UP_ROUNDS = 2
MIN_ROUNDS = 5

Name = TypeVar("Name", bound=Hashable)


@dataclass
class Timings:
    """Times of one candidate.

    Attributes:
        seconds: One value per round.
    """

    seconds: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def p90(self) -> float:
        return quantile(self.seconds, 0.9)


def time_interleaved(candidates: Mapping[Name, Callable[[], object]], seconds: float) -> dict[Name, Timings]:
    """Time candidates in rounds. Each round runs every candidate once and starts with the next one.

    Two rounds run first without being timed.

    Args:
        candidates: Functions that return when their work is done.
        seconds: Approximate time per candidate, in seconds. At least five rounds run.
    """
    names = list(candidates)
    for _ in range(WARM_UP_ROUNDS):
        for name in names:
            candidates[name]()
    times: dict[Name, list[float]] = {name: [] for name in names}
    end = time.perf_counter() + seconds * len(names)
    rounds = 0
    while rounds < MIN_ROUNDS or time.perf_counter() < end:
        for i in range(len(names)):
            name = names[(rounds + i) % len(names)]
            started = time.perf_counter()
            candidates[name]()
            times[name].append(time.perf_counter() - started)
        rounds += 1
    return {name: Timings(values) for name, values in times.items()}


def ratio_quartiles(timings: Timings, baseline: Timings) -> tuple[float, float, float]:
    """Return median, lower and upper quartile of the ratios to the baseline, taken round by round."""
    ratios = [ours / theirs for ours, theirs in zip(timings.seconds, baseline.seconds)]
    return statistics.median(ratios), quantile(ratios, 0.25), quantile(ratios, 0.75)


def quantile(values: list[float], fraction: float) -> float:
    """Return a quantile of ``values``, interpolated linearly; ``fraction`` is 0.5 for the median."""
    ordered = sorted(values)
    position = fraction * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])
