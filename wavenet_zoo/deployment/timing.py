"""Interleaved timing: the candidates alternate, so a machine that slows down slows all of them."""

import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

__all__ = ["Clock", "Timings", "clock_of", "event_clock", "quantile", "ratio_quartiles", "time_interleaved"]

WARM_UP_ROUNDS = 2
MIN_ROUNDS = 5
SETTLE_SECONDS = 0.005  # threads of other engines spin for milliseconds after their last run
TURN_SECONDS = 0.02

Name = TypeVar("Name", bound=Hashable)
Run = Callable[[], object]
Clock = Callable[[Run], float]  # runs a function and returns the seconds that its work took


@dataclass
class Timings:
    """Times of one candidate.

    Attributes:
        rounds: Seconds of each run, by round.
    """

    rounds: list[list[float]]

    @property
    def seconds(self) -> list[float]:
        """Seconds of each run."""
        return [seconds for turn in self.rounds for seconds in turn]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def p90(self) -> float:
        return quantile(self.seconds, 0.9)


def wall_clock(run: Run) -> float:
    """Run a function that returns when its work is done, and return its seconds."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def event_clock(new_event: Callable[[], Any]) -> Clock:
    """Return a clock for work that a device does in the background, by events in its queue.

    Args:
        new_event: Creates an event with the methods of ``torch.cuda.Event``.
    """

    def clock(run: Run) -> float:
        start, end = new_event(), new_event()
        start.record()
        run()
        end.record()
        end.synchronize()
        milliseconds: float = start.elapsed_time(end)
        return milliseconds / 1e3

    return clock


def clock_of(device: torch.device) -> Clock:
    """Return the clock of a device: the wall clock of the CPU, events of CUDA and MPS."""
    if device.type == "cpu":
        return wall_clock
    module: Any = torch.get_device_module(device)
    return event_clock(lambda: module.Event(enable_timing=True))


def time_interleaved(candidates: Mapping[Name, Run], seconds: float, clock: Clock = wall_clock) -> dict[Name, Timings]:
    """Time candidates in rounds. In each round every candidate has one turn; the next round starts with the next one.

    A turn is several runs in a row. The first ones, for 5 ms, are not timed: caches are cold, and idle threads of
    another engine may still occupy the cores. Then runs are timed for 20 ms. A turn has at least one run of each kind.
    Two rounds run first without being timed.

    Args:
        candidates: Functions that run a candidate once.
        seconds: Approximate time per candidate, in seconds. At least five rounds run.
        clock: Clock of their device.
    """
    names = list(candidates)
    turn = min(TURN_SECONDS, seconds / MIN_ROUNDS)
    settle = min(SETTLE_SECONDS, turn)
    for _ in range(WARM_UP_ROUNDS):
        for name in names:
            clock(candidates[name])
    times: dict[Name, list[list[float]]] = {name: [] for name in names}
    end = time.perf_counter() + seconds * len(names)
    rounds = 0
    while rounds < MIN_ROUNDS or time.perf_counter() < end:
        for i in range(len(names)):
            name = names[(rounds + i) % len(names)]
            _run_for(settle, candidates[name], clock)
            times[name].append(_run_for(turn, candidates[name], clock))
        rounds += 1
    return {name: Timings(values) for name, values in times.items()}


def _run_for(seconds: float, run: Run, clock: Clock) -> list[float]:
    """Run a candidate at least once, until ``seconds`` have passed, and return the seconds of each run."""
    end = time.perf_counter() + seconds
    times = [clock(run)]
    while time.perf_counter() < end:
        times.append(clock(run))
    return times


def ratio_quartiles(timings: Timings, baseline: Timings) -> tuple[float, float, float]:
    """Return median, lower and upper quartile of the ratios to the baseline, of the medians of each round."""
    ratios = [
        statistics.median(ours) / statistics.median(theirs) for ours, theirs in zip(timings.rounds, baseline.rounds)
    ]
    return statistics.median(ratios), quantile(ratios, 0.25), quantile(ratios, 0.75)


def quantile(values: list[float], fraction: float) -> float:
    """Return a quantile of ``values``, interpolated linearly; ``fraction`` is 0.5 for the median."""
    ordered = sorted(values)
    position = fraction * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])
