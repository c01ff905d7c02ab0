"""Timing several things against each other, in turn, so that a machine that slows down slows them all."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["Timing", "quantile", "ratio", "take_turns"]

WARM_UP = 2
MIN_ROUNDS = 5


@dataclass
class Timing:
    """What was measured of one contender.

    Attributes:
        seconds: Of every round.
    """

    seconds: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def p90(self) -> float:
        return quantile(self.seconds, 0.9)


def take_turns(
    contenders: Mapping[str, Callable[[], object]], seconds: float, after_round: Callable[[], None] = lambda: None
) -> dict[str, Timing]:
    """Run every contender once a round, each round beginning with the next one, after two rounds that are not timed.

    Args:
        contenders: What to run, by name; a call returns when the work is done.
        seconds: How long, roughly, for each contender; five rounds at least.
        after_round: Called after every round.
    """
    names = list(contenders)
    for _ in range(WARM_UP):
        for name in names:
            contenders[name]()
    times: dict[str, list[float]] = {name: [] for name in names}
    end = time.perf_counter() + seconds * len(names)
    rounds = 0
    while rounds < MIN_ROUNDS or time.perf_counter() < end:
        for i in range(len(names)):
            name = names[(rounds + i) % len(names)]
            started = time.perf_counter()
            contenders[name]()
            times[name].append(time.perf_counter() - started)
        rounds += 1
        after_round()
    return {name: Timing(values) for name, values in times.items()}


def ratio(ours: Timing, theirs: Timing) -> tuple[float, float, float]:
    """Return the median, the lower and the upper quartile of the ratios round by round."""
    ratios = [a / b for a, b in zip(ours.seconds, theirs.seconds)]
    return statistics.median(ratios), quantile(ratios, 0.25), quantile(ratios, 0.75)


def quantile(values: list[float], share: float) -> float:
    """Return the value below which ``share`` of ``values`` lie, interpolated."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
