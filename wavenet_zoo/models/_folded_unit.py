"""Inference forms of the WaveletNet unit: batch norms folded, DFWT and WConv factored, composed or split."""

from typing import Any, List, Tuple

import torch
import torch.nn as nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import skip_init
from torch.nn.utils.fusion import fuse_conv_bn_weights

from ..layers import WConv2d, fold_dfwt, halve

__all__ = ["UNIT_FORMS", "FoldedUnit", "HalvedUnit", "fold_unit"]

UNIT_FORMS = ("factored", "dense", "split", "split2", "halves")


def fold_unit(unit: Any, form: str = "dense") -> nn.Module:
    """Return an equivalent of a unit for inference, with batch norms folded; equal up to rounding.

    DFWT and the WConv after it are linear in the channels. Their product is one matrix M with a known structure: rows
    that read one of the first L difference bands depend on every channel, all other rows depend on sums of channels
    only.

    Args:
        unit: A WaveletNetUnit with batch norms.
        form: ``factored``: DFWT, then WConv, as in the paper. ``dense``: M as one 1x1 convolution. ``split``: one 1x1
            convolution over all channels for the rows of the first difference band, and one over sums of channels for
            the other rows; 9/16 of the multiplications at kappa 3. ``split2``: the same for the first two difference
            bands. ``halves``: the two halves of the expanded channels are computed as separate tensors, and their
            difference and sum are convolved separately; half of the multiplications of the projection, no slicing.

    Returns:
        The module. Its ``form`` may differ from ``form``: ``split2`` becomes ``split`` in a unit of depth 1, and
        ``split``, ``split2`` and ``halves`` become ``dense`` if DFWT or WConv has depth 0, or if the DFWT precedes the
        depthwise convolution.

    Raises:
        ValueError: If the form is unknown, or a normalization is not batch norm with running statistics.
    """
    if form not in UNIT_FORMS:
        raise ValueError(f"unknown form {form!r}: must be one of {', '.join(UNIT_FORMS)}")
    depth = 0 if unit.dfwt_first else min(unit.dfwt.depth, unit.conv_pwl.depth)
    if form != "factored" and depth == 0:
        form = "dense"
    if form == "halves":
        return HalvedUnit(unit)
    if form == "factored":
        projection: nn.Module = FoldedWConv(unit.conv_pwl, unit.bn3)
        if not unit.dfwt_first:
            projection = nn.Sequential(unit.dfwt, projection)
    else:
        weight, bias = _projection(unit)
        if form == "dense":
            projection = _conv(_fold_dfwt_of(unit, weight), bias)
        else:
            levels = min(2 if form == "split2" else 1, depth)
            form = "split2" if levels == 2 else "split"
            projection = SplitProjection(unit, weight, bias, levels)
    return FoldedUnit(unit, projection, form)


class FoldedUnit(nn.Module):
    """A WaveletNet unit without batch norms: ``expand, act, depthwise, act, projection``.

    Args:
        unit: The WaveletNetUnit to fold.
        projection: The layers after the depthwise convolution, with bias.
        form: Name of the form.

    Shape:
        (B, in_chs, H, W) -> (B, out_chs, H / stride, W / stride)
    """

    def __init__(self, unit: Any, projection: nn.Module, form: str):
        super().__init__()
        self.form = form
        self.has_skip = unit.has_skip
        expand = isinstance(unit.conv_pw, WConv2d)
        self.conv_pw = (
            nn.Identity()
            if not expand
            else FoldedWConv(unit.conv_pw, unit.bn1)
            if form == "factored"
            else _conv(*_fold(unit.conv_pw.dense_weight(), unit.bn1))
        )
        self.act1 = unit.bn1.act if expand else nn.Identity()
        self.dfwt = unit.dfwt if unit.dfwt_first else nn.Identity()
        self.conv_dw = _depthwise(unit)
        self.act2 = unit.bn2.act
        self.projection = projection

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x
        x = self.act1(self.conv_pw(x))
        x = self.dfwt(x)
        x = self.act2(self.conv_dw(x))
        x = self.projection(x)
        return x + shortcut if self.has_skip else x

    def extra_repr(self) -> str:
        return f"form={self.form}"


class FoldedWConv(nn.Module):
    """A 1x1 WConv with its batch norm folded, computed piece by piece.

    Args:
        wconv: The layer.
        norm: The batch norm after it.

    Shape:
        (B, D, H, W) -> (B, D', H, W)
    """

    def __init__(self, wconv: WConv2d, norm: nn.Module):
        super().__init__()
        weight, bias = _fold(wconv.dense_weight(), norm)
        self.pieces = nn.ModuleList()
        self.starts: List[int] = []
        self.ends: List[int] = []
        row = column = 0
        for piece in wconv.weight:
            rows, columns = row + piece.shape[0], column + piece.shape[1]
            self.pieces.append(_conv(weight[row:rows, column:columns], bias[row:rows]))
            self.starts.append(column)
            self.ends.append(columns)
            row, column = rows, columns

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs = [conv(x[:, start:end]) for conv, start, end in zip(self.pieces, self.starts, self.ends)]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)


class SplitProjection(nn.Module):
    """DFWT and WConv as two 1x1 convolutions: one over all channels, one over their sums.

    Args:
        unit: The WaveletNetUnit to fold.
        weight: Kernel after the DFWT, (out_chs, mid_chs, 1, 1).
        bias: One value per output channel, (out_chs,).
        levels: Number of difference bands whose outputs depend on all channels.

    Shape:
        (B, mid_chs, H, W) -> (B, out_chs, H, W)
    """

    def __init__(self, unit: Any, weight: torch.Tensor, bias: torch.Tensor, levels: int):
        super().__init__()
        self.levels = levels
        self.haar = unit.dfwt.haar
        mid_chs = weight.shape[1]
        from_bands = sum(w.shape[0] for w in list(unit.conv_pwl.weight)[:levels])
        from_sums = weight[from_bands:, mid_chs - (mid_chs >> levels) :]
        self.conv_all = _conv(_fold_dfwt_of(unit, weight[:from_bands]), bias[:from_bands])
        self.conv_sums = _conv(fold_dfwt(from_sums, unit.dfwt.depth - levels, self.haar), bias[from_bands:])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sums = x
        for _ in range(self.levels):
            first, second = halve(sums, self.haar)
            sums = first + second
        return torch.cat([self.conv_all(x), self.conv_sums(sums)], dim=1)


class HalvedUnit(nn.Module):
    """A WaveletNet unit without batch norms that computes the two halves paired by its DFWT as separate tensors.

    Args:
        unit: A WaveletNetUnit whose DFWT and last WConv have depth 1 or more.

    Shape:
        (B, in_chs, H, W) -> (B, out_chs, H / stride, W / stride)
    """

    def __init__(self, unit: Any):
        super().__init__()
        self.form = "halves"
        self.has_skip = unit.has_skip
        self.haar = unit.dfwt.haar
        self.expands = isinstance(unit.conv_pw, WConv2d)
        if self.expands:
            expand, expand_bias = _fold(unit.conv_pw.dense_weight(), unit.bn1)
            self.conv_pw = nn.ModuleList(
                _conv(w, b) for w, b in zip(_halve_rows(expand, self.haar), _halve_rows(expand_bias, self.haar))
            )
            self.act1 = unit.bn1.act
        self.conv_dw = nn.ModuleList(_halve_depthwise(_depthwise(unit), self.haar))
        self.act2 = unit.bn2.act
        weight, bias = _projection(unit)
        from_band, half = unit.conv_pwl.weight[0].shape[:2]
        self.conv_difference = _conv(weight[:from_band, :half], bias[:from_band])
        self.conv_sum = _conv(fold_dfwt(weight[from_band:, half:], unit.dfwt.depth - 1, self.haar), bias[from_band:])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.expands:
            first, second = self.act1(self.conv_pw[0](x)), self.act1(self.conv_pw[1](x))
        else:
            first, second = halve(x, self.haar)
        first, second = self.act2(self.conv_dw[0](first)), self.act2(self.conv_dw[1](second))
        y = torch.cat([self.conv_difference(second - first), self.conv_sum(second + first)], dim=1)
        return y + x if self.has_skip else y

    def extra_repr(self) -> str:
        return f"form={self.form}"


def _halve_rows(weight: torch.Tensor, haar: str) -> List[torch.Tensor]:
    return list(weight.chunk(2)) if haar == "halves" else [weight[0::2], weight[1::2]]


def _halve_depthwise(conv: nn.Conv2d, haar: str) -> List[nn.Conv2d]:
    halves = zip(_halve_rows(conv.weight, haar), _halve_rows(conv.bias, haar))  # type: ignore[arg-type]
    return [_conv(w, b, conv.stride, conv.padding, groups=w.shape[0]) for w, b in halves]


def _projection(unit: Any) -> Tuple[torch.Tensor, torch.Tensor]:
    """Fold batch norm into the last WConv: return a dense kernel over the DFWT's output, and a bias."""
    return _fold(unit.conv_pwl.dense_weight(), unit.bn3)


def _fold_dfwt_of(unit: Any, weight: torch.Tensor) -> torch.Tensor:
    return weight if unit.dfwt_first else fold_dfwt(weight, unit.dfwt.depth, unit.dfwt.haar)


def _fold(weight: torch.Tensor, norm: nn.Module) -> Tuple[torch.Tensor, torch.Tensor]:
    if not isinstance(norm, _BatchNorm) or norm.running_mean is None or norm.running_var is None:
        raise ValueError(f"cannot fold {type(norm).__name__}: must be batch norm with running statistics")
    return fuse_conv_bn_weights(weight, None, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)


def _depthwise(unit: Any) -> nn.Conv2d:
    conv = unit.conv_dw
    weight, bias = _fold(conv.weight, unit.bn2)
    return _conv(weight, bias, conv.stride, conv.padding, groups=conv.groups)


def _conv(weight: torch.Tensor, bias: torch.Tensor, stride: Any = 1, padding: Any = 0, groups: int = 1) -> nn.Conv2d:
    conv: nn.Conv2d = skip_init(  # initializing would advance the global random number generator
        nn.Conv2d, weight.shape[1] * groups, weight.shape[0], (weight.shape[2], weight.shape[3]), stride, padding,
        groups=groups, device=weight.device, dtype=weight.dtype,
    )  # fmt: skip
    with torch.no_grad():
        conv.weight.copy_(weight)
        conv.bias.copy_(bias)  # type: ignore[union-attr]
    return conv
