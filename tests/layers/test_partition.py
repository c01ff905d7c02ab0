import pytest

from wavenet_zoo.layers import dyadic_partition, usable_depth


def test_partition_equals_equation_1():
    assert dyadic_partition(64, 3) == [32, 16, 8, 8]
    assert dyadic_partition(64, 0) == [64]
    assert dyadic_partition(64, 1) == [32, 32]


@pytest.mark.parametrize("channels", [8, 16, 24, 96, 1920])
@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_pieces_sum_to_the_channels(channels, depth):
    assert sum(dyadic_partition(channels, depth)) == channels


def test_partition_rejects_indivisible_channels():
    with pytest.raises(ValueError, match=r"2\^3 does not divide 12"):
        dyadic_partition(12, 3)


@pytest.mark.parametrize(
    ("kappa", "channels", "depth"),
    [
        (3, (96, 16), 3),
        (3, (96, 12), 2),
        (5, (96, 16), 4),
        (5, (96, 24), 3),
        (5, (96,), 5),
        (3, (7,), 0),
        (0, (64,), 0),
    ],
)
def test_usable_depth_is_the_largest_that_channels_allow(kappa, channels, depth):
    assert usable_depth(kappa, *channels) == depth


@pytest.mark.parametrize("arguments", [(-1, 8), (3, 0), (3, 8, -2)])
def test_invalid_depths_and_channels_are_rejected(arguments):
    with pytest.raises(ValueError):
        usable_depth(*arguments)
