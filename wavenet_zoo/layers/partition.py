"""The dyadic partition of channels that WConv and DFWT share (paper, section 4.1)."""

from typing import List

__all__ = ["dyadic_partition", "usable_depth"]


def usable_depth(kappa: int, *channels: int) -> int:
    """Return the largest depth <= ``kappa`` for which ``2 ** depth`` divides every one of ``channels``.

    The paper assumes that 2^kappa divides all channel dimensions and then uses kappa = 5 with 16 and 24 channels.
    This rule is how a layer of any width takes part: nothing is padded or rounded.

    Raises:
        ValueError: If ``kappa`` is negative or a channel count is not positive.
    """
    if kappa < 0:
        raise ValueError(f"kappa must be 0 or more, got {kappa}")
    if min(channels) < 1:
        raise ValueError(f"channel counts must be positive, got {channels}")
    depth = 0
    while depth < kappa and all(count % 2 ** (depth + 1) == 0 for count in channels):
        depth += 1
    return depth


def dyadic_partition(channels: int, depth: int) -> List[int]:
    """Split ``channels`` into ``[C/2, C/4, ..., C/2^depth, C/2^depth]`` (paper, equation 1); ``[C]`` at depth 0.

    Raises:
        ValueError: If ``2 ** depth`` does not divide ``channels``.
    """
    if channels % 2**depth:
        raise ValueError(f"2^{depth} does not divide {channels} channels")
    return [channels >> (i + 1) for i in range(depth)] + [channels >> depth]
