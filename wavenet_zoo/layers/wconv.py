"""Wavelet convolution (WConv): paper, section 4.1, Algorithm 1."""

from typing import Any, Dict, List, Optional, Tuple, Union

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.types import Device

from .partition import dyadic_partition, usable_depth

__all__ = ["WConv2d", "wconv2d", "wconv2d_dense_weight"]


def wconv2d(
    x: torch.Tensor,
    weight: List[torch.Tensor],
    bias: Optional[torch.Tensor] = None,
    padding: Tuple[int, int] = (0, 0),
) -> torch.Tensor:
    """Convolve every piece of the channels with its own kernel and concatenate (Algorithm 1).

    Args:
        x: Input, (B, C, H, W).
        weight: Kernels of the pieces in channel order, piece i of shape (C'_i, C_i, K, K); the C_i add up to C.
        bias: One value per output channel, (C',).
        padding: Zeros added at both ends of H and of W.

    Returns:
        Output, (B, C', H', W') with C' the sum of the C'_i.
    """
    outputs: List[torch.Tensor] = []
    read = written = 0
    for w in weight:
        piece = x[:, read : read + w.shape[1]]
        piece_bias = None if bias is None else bias[written : written + w.shape[0]]
        outputs.append(F.conv2d(piece, w, piece_bias, padding=padding))
        read, written = read + w.shape[1], written + w.shape[0]
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)


def wconv2d_dense_weight(weight: List[torch.Tensor]) -> torch.Tensor:
    """Return the ordinary kernel (C', C, K, K) of the same map: the pieces on a diagonal of blocks, zero elsewhere."""
    in_channels = sum([w.shape[1] for w in weight])
    rows: List[torch.Tensor] = []
    start = 0
    for w in weight:
        end = start + w.shape[1]
        rows.append(F.pad(w, (0, 0, 0, 0, start, in_channels - end)))
        start = end
    return torch.cat(rows, dim=0)


class WConv2d(nn.Module):
    r"""Wavelet convolution: an asymmetric grouped convolution of stride 1.

    The input channels are cut into pieces ``D/2, D/4, ..., D/2^k, D/2^k``, the output channels into the same list
    reversed, ``D'/2^k, D'/2^k, ..., D'/4, D'/2``, and piece is convolved with piece. A 1x1 layer holds exactly
    ``D D' (k + 3) / 2^(k + 2)`` weights: 3/16 of an ordinary convolution at depth 3. ``kappa=0`` is an ordinary
    convolution.

    The depth in use is the largest one <= kappa for which 2^depth divides both channel counts
    (:func:`~.partition.usable_depth`).

    Args:
        in_channels: Number of input channels, D.
        out_channels: Number of output channels, D'.
        kernel_size: Side of the kernel, or (height, width).
        kappa: Logarithmic depth, an upper bound of ``depth``.
        bias: Adds a learnable bias per output channel.
        padding: Zeros added at both ends of H and of W; by default (K - 1) // 2, which keeps the size for odd K.

    Attributes:
        weight: The pieces, piece i of shape (D'_i, D_i, K, K).
        depth: The depth in use.
        dense: Compute with :meth:`dense_weight`, composed anew at every call: more multiplications, fewer operations.

    Shape:
        (B, D, H, W) -> (B, D', H, W) with the default padding and an odd kernel.

    Raises:
        ValueError: If ``kappa`` is negative or a channel count is not positive.

    Source: paper, section 4.1, Algorithm 1, equations (1) and (2).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Union[int, Tuple[int, int]] = 1,
        kappa: int = 3,
        bias: bool = False,
        padding: Union[int, Tuple[int, int], None] = None,
        device: Device = None,
        dtype: Optional[torch.dtype] = None,
    ):
        super().__init__()
        dd: Dict[str, Any] = {"device": device, "dtype": dtype}
        kernel_size = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
        if padding is None:
            padding = ((kernel_size[0] - 1) // 2, (kernel_size[1] - 1) // 2)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.padding = (padding, padding) if isinstance(padding, int) else padding
        self.kappa = kappa
        self.depth = usable_depth(kappa, in_channels, out_channels)
        in_pieces = dyadic_partition(in_channels, self.depth)
        out_pieces = dyadic_partition(out_channels, self.depth)[::-1]
        self.weight = nn.ParameterList(
            nn.Parameter(torch.empty(out_piece, in_piece, *kernel_size, **dd))
            for in_piece, out_piece in zip(in_pieces, out_pieces)
        )
        self.bias = nn.Parameter(torch.empty(out_channels, **dd)) if bias else None
        self.dense = False
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the pieces as MobileNetV2 in timm draws a whole convolution: normal, variance 2 / (K K D')."""
        fan_out = self.kernel_size[0] * self.kernel_size[1] * self.out_channels
        for w in self.weight:
            nn.init.normal_(w, 0.0, (2.0 / fan_out) ** 0.5)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def dense_weight(self) -> torch.Tensor:
        """Return the equivalent ordinary kernel, (D', D, K, K), differentiable in the pieces."""
        return wconv2d_dense_weight(list(self.weight))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.dense:
            return F.conv2d(x, self.dense_weight(), self.bias, padding=self.padding)
        return wconv2d(x, list(self.weight), self.bias, self.padding)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, kappa={self.kappa}, "
            f"depth={self.depth}, padding={self.padding}, bias={self.bias is not None}"
        )
