from wavenet_zoo.deployment.timing import Timings, quantile, ratio_quartiles, time_interleaved


def test_candidates_alternate_and_each_round_starts_with_the_next():
    order = []
    timings = time_interleaved({name: (lambda name=name: order.append(name)) for name in "abc"}, seconds=0)
    rounds = ["".join(order[i : i + 3]) for i in range(0, len(order), 3)]
    assert rounds == ["abc", "abc", "abc", "bca", "cab", "abc", "bca"]  # two rounds of warm-up
    assert [len(timing.seconds) for timing in timings.values()] == [5, 5, 5]


def test_ratios_are_taken_round_by_round():
    slow, fast = Timings([2.0, 4.0, 6.0]), Timings([1.0, 1.0, 6.0])
    assert ratio_quartiles(slow, fast) == (2.0, 1.5, 3.0)
    assert slow.median == 4.0
    assert quantile([0.0, 10.0], 0.9) == 9.0
