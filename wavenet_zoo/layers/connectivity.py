"""Which outputs of a layer see which of its inputs (paper, section 3.1 and Definition 6.1)."""

from typing import Tuple, Union

import torch
import torch.nn as nn

from .dfwt import DFWT
from .wconv import WConv2d, wconv2d_dense_weight

__all__ = ["connectivity"]


def connectivity(layer: Union[WConv2d, DFWT, nn.Conv2d]) -> torch.Tensor:
    """Return the adjacency matrix A of a layer, from its structure and not from the values of its weights.

    ``A[i, j] = 1`` where output channel i depends on input channel j. A acts on column vectors, so layers applied one
    after the other multiply from the left: ``connectivity(wconv) @ connectivity(dfwt)`` counts the paths through both.

    Args:
        layer: A WConv2d, a DFWT or an ordinary (also grouped) convolution.

    Returns:
        Integers 0 and 1 of shape (C', C).

    Raises:
        TypeError: If ``layer`` is of another kind.
    """
    if isinstance(layer, DFWT):
        return _dfwt_adjacency(layer)
    if isinstance(layer, WConv2d):
        kernel = wconv2d_dense_weight([torch.ones(w.shape) for w in layer.weight])
    elif isinstance(layer, nn.Conv2d):
        kernel = torch.block_diag(*torch.ones(layer.groups, *_group_shape(layer)))
    else:
        raise TypeError(f"connectivity is defined for WConv2d, DFWT and Conv2d, not for {type(layer).__name__}")
    return (kernel.flatten(2).abs().amax(-1) if kernel.ndim > 2 else kernel).ne(0).long()


def _dfwt_adjacency(dfwt: DFWT) -> torch.Tensor:
    """Output r of step s, a difference, sees 2^s inputs; what is left at the end sees what the last step sees."""
    channels = torch.arange(dfwt.channels)
    bands = []
    for step in range(1, dfwt.depth + 1):
        count = dfwt.channels >> step
        seen_by = channels % count if dfwt.haar == "halves" else channels // 2**step
        bands.append(torch.arange(count)[:, None] == seen_by)
    return torch.cat([*bands, bands[-1]]).long() if bands else torch.eye(dfwt.channels).long()


def _group_shape(conv: nn.Conv2d) -> Tuple[int, int]:
    return conv.out_channels // conv.groups, conv.in_channels // conv.groups
