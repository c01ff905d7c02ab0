"""The WaveletNet unit (paper, section 4.3, Figure 5)."""

from typing import Any, Dict, Optional, Tuple

import torch
import torch.nn as nn
from timm.layers import DropPath, LayerType, create_conv2d, get_norm_act_layer
from torch.types import Device

from ..layers import DFWT, WConv2d

__all__ = ["WaveletNetUnit"]


class WaveletNetUnit(nn.Module):
    """The WaveletNet unit: an inverted residual whose projection is DFWT followed by WConv.

    ``1x1 WConv(kappa1), BN, ReLU6`` (left out at expansion 1), ``3x3 depthwise, BN, ReLU6``, ``DFWT(kappa2)``,
    ``1x1 WConv(kappa3), BN``; identity shortcut where the stride is 1 and the channels agree. With kappas (0, 0, 0) it
    is MobileNetV2's block.

    Args:
        in_chs: Input channels.
        out_chs: Output channels.
        stride: Stride of the depthwise convolution.
        expand_ratio: Expansion t.
        kappas: Logarithmic depths (kappa1, kappa2, kappa3).
        haar: Which channels a DFWT pairs, ``halves`` or ``neighbours``.
        dfwt_after: Where the DFWT stands: after the ``depthwise`` convolution, or before it, after the ``expand``
            one.
        act_layer: Activation.
        norm_layer: Normalization.
        drop_path_rate: Stochastic depth rate of the residual branch.

    Shape:
        (B, in_chs, H, W) -> (B, out_chs, H / stride, W / stride)

    Source: paper, section 4.3, Figure 5.
    """

    def __init__(
        self,
        in_chs: int,
        out_chs: int,
        stride: int = 1,
        expand_ratio: float = 6.0,
        kappas: Tuple[int, int, int] = (0, 3, 3),
        haar: str = "halves",
        dfwt_after: str = "depthwise",
        act_layer: LayerType = nn.ReLU6,
        norm_layer: LayerType = nn.BatchNorm2d,
        drop_path_rate: float = 0.0,
        device: Device = None,
        dtype: Optional[torch.dtype] = None,
    ):
        super().__init__()
        dd: Dict[str, Any] = {"device": device, "dtype": dtype}
        norm_act_layer = get_norm_act_layer(norm_layer, act_layer)
        mid_chs = round(in_chs * expand_ratio)
        self.has_skip = stride == 1 and in_chs == out_chs
        self.stride = stride
        self.dfwt_first = dfwt_after == "expand"

        expand = expand_ratio != 1
        self.conv_pw = WConv2d(in_chs, mid_chs, kappa=kappas[0], **dd) if expand else nn.Identity()
        self.bn1 = norm_act_layer(mid_chs, inplace=True, **dd) if expand else nn.Identity()
        if self.dfwt_first:
            self.dfwt = DFWT(mid_chs, kappa=kappas[1], haar=haar)
        self.conv_dw = create_conv2d(mid_chs, mid_chs, 3, stride=stride, depthwise=True, **dd)
        self.bn2 = norm_act_layer(mid_chs, inplace=True, **dd)
        if not self.dfwt_first:
            self.dfwt = DFWT(mid_chs, kappa=kappas[1], haar=haar)
        self.conv_pwl = WConv2d(mid_chs, out_chs, kappa=kappas[2], **dd)
        self.bn3 = norm_act_layer(out_chs, inplace=True, apply_act=False, **dd)
        self.drop_path = DropPath(drop_path_rate) if drop_path_rate else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x
        x = self.conv_pw(x)
        x = self.bn1(x)
        if self.dfwt_first:
            x = self.dfwt(x)
        x = self.conv_dw(x)
        x = self.bn2(x)
        if not self.dfwt_first:
            x = self.dfwt(x)
        x = self.conv_pwl(x)
        x = self.bn3(x)
        if self.has_skip:
            x = self.drop_path(x) + shortcut
        return x
