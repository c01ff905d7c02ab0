import time

from wavenet_zoo.deployment.timing import Timings, event_clock, quantile, ratio_quartiles, time_interleaved


def test_candidates_alternate_and_each_round_starts_with_the_next():
    order = []
    timings = time_interleaved({name: (lambda name=name: order.append(name)) for name in "abc"}, seconds=0)
    warm_up, turns = "".join(order[:6]), "".join(order[6:])
    assert warm_up == "abcabc"
    assert turns == "aabbccbbccaaccaabbaabbccbbccaa"  # of each turn only the second run is timed
    assert [len(timing.seconds) for timing in timings.values()] == [5, 5, 5]


def test_first_runs_of_a_turn_are_not_timed():
    seconds = iter([9.0, 9.0] + [5.0, 1.0] * 5)  # two rounds of warm-up, then a slow and a fast run each turn
    timings = time_interleaved({"a": lambda: None}, 0, clock=lambda run: next(seconds))
    assert timings["a"].rounds == [[1.0]] * 5


def test_turn_has_several_timed_runs():
    timings = time_interleaved({"a": lambda: time.sleep(0.0005)}, seconds=0.1)["a"]
    assert all(len(turn) > 1 for turn in timings.rounds)
    assert timings.seconds == [seconds for turn in timings.rounds for seconds in turn]


def test_event_clock_returns_the_time_between_both_events():
    log = []

    class Event:
        """Behaves like torch.cuda.Event: recorded in the queue, read after it was synchronized."""

        def record(self):
            log.append("record")
            self.position = len(log)

        def synchronize(self):
            log.append("synchronize")

        def elapsed_time(self, end):
            assert log[-1] == "synchronize"
            return 1000.0 * (end.position - self.position)

    seconds = event_clock(Event)(lambda: log.append("run"))
    assert log == ["record", "run", "record", "synchronize"] and seconds == 2.0


def test_ratios_are_taken_round_by_round():
    slow, fast = Timings([[2.0], [4.0], [6.0, 6.0, 60.0]]), Timings([[1.0], [1.0, 0.5, 1.5], [6.0]])
    assert ratio_quartiles(slow, fast) == (2.0, 1.5, 3.0)
    assert slow.median == 6.0
    assert quantile([0.0, 10.0], 0.9) == 9.0
