"""Depthwise fast wavelet transform (DFWT): paper, section 4.2, Algorithm 2."""

from typing import List, Optional, Tuple

import torch
import torch.nn as nn
from torch.types import Device

from .partition import dyadic_partition, usable_depth

__all__ = ["DFWT", "dfwt", "fold_dfwt", "haar_matrix", "halve"]


def dfwt(x: torch.Tensor, depth: int, haar: str = "halves") -> torch.Tensor:
    """Apply ``depth`` steps of the modified Haar transform along the channels.

    Each step splits T in two, outputs ``second - first`` and continues with ``second + first``; the output is the
    differences in order, then the remaining T. Halves and not neighbouring pairs: Figure 4's caption and the matrix
    in equation (9) say so, against the reshape in Algorithm 2; the two differ by a permutation of the channels.

    Args:
        x: Input, (B, C, ...); 2^depth divides C.
        depth: Number of steps; 0 returns ``x``.
        haar: ``halves`` takes the first and the second half of T, ``neighbours`` its even and its odd channels.

    Returns:
        Output of the shape of ``x``.
    """
    if depth == 0:
        return x
    bands: List[torch.Tensor] = []
    t = x
    for _ in range(depth):
        first, second = halve(t, haar)
        bands.append(second - first)
        t = second + first
    bands.append(t)
    return torch.cat(bands, dim=1)


def halve(x: torch.Tensor, haar: str) -> Tuple[torch.Tensor, torch.Tensor]:
    """Return the two parts of the channels that one step pairs; as slices, which every engine can look through."""
    if haar == "halves":
        middle = x.shape[1] // 2
        return x[:, :middle], x[:, middle:]
    return x[:, 0::2], x[:, 1::2]


def haar_matrix(
    channels: int,
    depth: int,
    haar: str = "halves",
    device: Device = None,
    dtype: Optional[torch.dtype] = None,
) -> torch.Tensor:
    """Return the (C, C) matrix of :func:`dfwt`: ``y = H x`` on column vectors of channels (equation 9)."""
    return dfwt(torch.eye(channels, device=device, dtype=dtype), depth, haar).T


def fold_dfwt(weight: torch.Tensor, depth: int, haar: str = "halves") -> torch.Tensor:
    """Return the kernel that does to ``x`` what ``weight`` does to ``dfwt(x)``: the product ``weight . H``.

    The transform runs backwards over the kernel's inputs, one step at a time: what a difference was weighted by goes to
    its second half, and with the opposite sign to its first.

    Args:
        weight: Kernel, (C', C, ...); 2^depth divides C.
        depth: Number of steps.
        haar: As in :func:`dfwt`.

    Returns:
        Kernel of the shape of ``weight``, differentiable in it.
    """
    bands = weight.split(dyadic_partition(weight.shape[1], depth), dim=1)
    t: torch.Tensor = bands[depth]
    for step in range(depth - 1, -1, -1):
        first, second = t - bands[step], t + bands[step]
        t = torch.cat([first, second], dim=1) if haar == "halves" else torch.stack([first, second], dim=2).flatten(1, 2)
    return t


class DFWT(nn.Module):
    """Depthwise fast wavelet transform: mixes the channels by sums and differences, without a parameter.

    Costs ``C (2 - 2^(1 - k))`` additions per pixel and no multiplication. ``kappa=0`` is the identity. The depth in
    use is the largest one <= kappa for which 2^depth divides the channels (:func:`~.partition.usable_depth`).

    Args:
        channels: Number of channels, C.
        kappa: Logarithmic depth, an upper bound of ``depth``.
        haar: ``halves``, as in equation (9), or ``neighbours``, the other reading of Algorithm 2.

    Attributes:
        depth: The depth in use.
        adds_per_pixel: Additions and subtractions per pixel; each step makes as many outputs as it has inputs.

    Shape:
        (B, C, H, W) -> (B, C, H, W)

    Raises:
        ValueError: If ``kappa`` is negative, ``channels`` is not positive or there is no such ``haar``.

    Source: paper, section 4.2, Algorithm 2, Figure 4, equation (9).
    """

    def __init__(self, channels: int, kappa: int = 3, haar: str = "halves"):
        super().__init__()
        if haar not in ("halves", "neighbours"):
            raise ValueError(f"haar is 'halves' or 'neighbours', got {haar!r}")
        self.channels = channels
        self.kappa = kappa
        self.haar = haar
        self.depth = usable_depth(kappa, channels)
        self.adds_per_pixel = sum(channels >> step for step in range(self.depth))

    def matrix(self, device: Device = None, dtype: Optional[torch.dtype] = None) -> torch.Tensor:
        """Return the transform as a (C, C) matrix acting on column vectors of channels."""
        return haar_matrix(self.channels, self.depth, self.haar, device=device, dtype=dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return dfwt(x, self.depth, self.haar)

    def extra_repr(self) -> str:
        return f"{self.channels}, kappa={self.kappa}, depth={self.depth}, haar={self.haar}"
