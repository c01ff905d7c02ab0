"""The WaveletNet unit (paper, section 4.3, Figure 5)."""

from typing import Any, Dict, Optional, Tuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from timm.layers import DropPath, LayerType, create_conv2d, get_norm_act_layer
from torch.types import Device

from ..layers import DFWT, WConv2d, fold_dfwt
from ._folded_unit import fold_unit

__all__ = ["WaveletNetUnit", "set_form"]


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

    Attributes:
        form: ``factored`` or ``dense``: see :func:`set_form`.

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
        self.form = "factored"
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
        if self.form == "dense":
            x = F.conv2d(x, self.projection_weight())
        else:
            if not self.dfwt_first:
                x = self.dfwt(x)
            x = self.conv_pwl(x)
        x = self.bn3(x)
        if self.has_skip:
            x = self.drop_path(x) + shortcut
        return x

    def projection_weight(self) -> torch.Tensor:
        """Return DFWT and the last WConv as one kernel, (out_chs, mid_chs, 1, 1), differentiable in the pieces."""
        weight = self.conv_pwl.dense_weight()
        return weight if self.dfwt_first else fold_dfwt(weight, self.dfwt.depth, self.dfwt.haar)

    @torch.jit.ignore
    def fuse(self, form: str = "dense") -> nn.Module:
        """Return the same map for inference, as :func:`fold_unit` does; ``timm.models.reparameterize_model`` asks."""
        return fold_unit(self, form)


def set_form(model: nn.Module, form: str) -> None:
    """Choose how the units of a network compute; parameters, state dict and gradients stay what they are.

    Args:
        model: The network.
        form: ``factored`` computes as the paper writes it. ``dense`` composes each WConv, with the DFWT before it, into
            one convolution at every call: more multiplications, fewer and larger operations.

    Raises:
        ValueError: If there is no such form.
    """
    if form not in ("factored", "dense"):
        raise ValueError(f"form is 'factored' or 'dense', got {form!r}")
    for module in model.modules():
        if isinstance(module, WaveletNetUnit):
            module.form = form
            if isinstance(module.conv_pw, WConv2d):
                module.conv_pw.dense = form == "dense" and module.conv_pw.depth > 0
