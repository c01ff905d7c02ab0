"""WaveletNet: MobileNetV2 with a Haar transform of the channels (DFWT) and wavelet convolutions (WConv) in its units.

Paper: `WaveletNet: Logarithmic Scale Efficient Convolutional Neural Networks for Edge Devices`
(Li Jing, Rumen Dangovski, Marin Soljacic). Architecture: Figure 5, Table 4, section 5.1.
"""

from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple, Union

import torch
import torch.nn as nn
import torch.nn.functional as F
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import (
    DropPath,
    LayerType,
    calculate_drop_path_rates,
    create_classifier,
    create_conv2d,
    get_device_dtype,
    get_norm_act_layer,
    make_divisible,
)
from timm.models import checkpoint_seq, generate_default_cfgs, register_model
from timm.models._features import feature_take_indices
from torch.types import Device

from ..layers import DFWT, WConv2d, fold_dfwt
from ._folded_unit import fold_unit
from ._pretrained import build_with_checked_weights, with_weights

__all__ = ["UNFOLDED_FORMS", "WaveletNet", "WaveletNetCfg", "WaveletNetUnit", "checkpoint_filter_fn", "set_form"]

UNFOLDED_FORMS = ("factored", "dense")  # forms of units whose batch norms are not folded, as in training


class WaveletNetUnit(nn.Module):
    """WaveletNet unit: an inverted residual with DFWT and WConv as its projection.

    The layers are 1x1 WConv(kappa1), BN, ReLU6; 3x3 depthwise, BN, ReLU6; DFWT(kappa2); 1x1 WConv(kappa3), BN. At
    expansion ratio 1 the first WConv is omitted. The input is added if the stride is 1 and the channels are equal. With
    kappas (0, 0, 0) the unit is MobileNetV2's inverted residual.

    Args:
        in_chs: Input channels, D.
        out_chs: Output channels, D'.
        stride: Stride of the depthwise convolution.
        expand_ratio: Expansion ratio, t.
        kappas: Logarithmic depths (kappa1, kappa2, kappa3) of first WConv, DFWT and last WConv.
        haar: Channels that DFWT pairs: ``halves`` or ``neighbours``, see :func:`~wavenet_zoo.layers.dfwt`.
        dfwt_after: Position of DFWT: after the ``depthwise`` convolution, or before it, after the ``expand`` layer.
        act_layer: Activation layer.
        norm_layer: Normalization layer.
        drop_path_rate: Stochastic depth rate of the residual branch.

    Attributes:
        form: ``factored`` or ``dense``, see :func:`set_form`.

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
        """Return DFWT and the last WConv as one kernel (out_chs, mid_chs, 1, 1), differentiable in WConv's weights."""
        weight = self.conv_pwl.dense_weight()
        return weight if self.dfwt_first else fold_dfwt(weight, self.dfwt.depth, self.dfwt.haar)

    @torch.jit.ignore
    def fuse(self, form: str = "dense") -> nn.Module:
        """Return the unit for inference, see :func:`fold_unit`. ``timm.models.reparameterize_model`` calls it."""
        return fold_unit(self, form)


@dataclass
class WaveletNetCfg:
    """Configuration of a WaveletNet at width 1.

    Attributes:
        stages: (channels, units, stride) of every stage. The stride is that of the first unit.
        stem_chs: Channels of the 3x3 stem, which ``width`` does not scale.
        stem_stride: Stride of the stem.
        first_expand_ratio: Expansion ratio of the first unit of the network. Default: that of the other units.
        head_chs: Channels of the 1x1 convolution before pooling; 0 for no convolution.
    """

    stages: Tuple[Tuple[int, int, int], ...]
    stem_chs: int
    stem_stride: int
    first_expand_ratio: Optional[float] = None
    head_chs: int = 0


IMAGENET_CFG = WaveletNetCfg(  # Table 4
    stages=((16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1)),
    stem_chs=32,
    stem_stride=2,
    first_expand_ratio=1,
    head_chs=1280,
)


def cifar_cfg(units: int) -> WaveletNetCfg:
    """Return the configuration for CIFAR-10 with M = ``units`` per stage, 9 M + 2 layers (section 5.1)."""
    return WaveletNetCfg(stages=((16, units, 1), (32, units, 2), (64, units, 2)), stem_chs=16, stem_stride=1)


class WaveletNet(nn.Module):
    """WaveletNet with timm's model interface.

    Args:
        cfg: Configuration of stem, stages and head.
        num_classes: Number of classes; 0 for no classifier.
        in_chans: Number of image channels.
        global_pool: Pooling before the classifier.
        width: Width multiplier of stages and head. Channels are rounded to the nearest multiple of 4.
        expand_ratio: Expansion ratio of the units, t.
        kappas: Logarithmic depths (kappa1, kappa2, kappa3) of first WConv, DFWT and last WConv of every unit. A layer
            uses the largest depth that its channels allow. With (0, 0, 0) the network is MobileNetV2.
        use_dfwt: False removes DFWT, for the ablation of Table 3. Parameters and MACs do not change.
        haar: Channels that DFWT pairs: ``halves``, or ``neighbours`` as the reshape in Algorithm 2 is printed.
        dfwt_after: Position of DFWT: after the ``depthwise`` convolution (as in the appendix), or before it, after the
            ``expand`` layer.
        act_layer: Activation layer.
        norm_layer: Normalization layer.
        drop_rate: Dropout rate before the classifier.
        drop_path_rate: Stochastic depth rate of the last unit. It increases linearly from 0 at the first unit.

    Shape:
        (B, in_chans, H, W) -> (B, num_classes)

    Raises:
        ValueError: If ``kappas`` are not three numbers of at least 0, or ``haar`` or ``dfwt_after`` is not supported.

    Source: paper, section 5, Table 4.
    """

    def __init__(
        self,
        cfg: WaveletNetCfg,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        width: float = 1.0,
        expand_ratio: float = 6.0,
        kappas: Tuple[int, int, int] = (0, 3, 3),
        use_dfwt: bool = True,
        haar: str = "halves",
        dfwt_after: str = "depthwise",
        act_layer: LayerType = nn.ReLU6,
        norm_layer: LayerType = nn.BatchNorm2d,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        device: Device = None,
        dtype: Optional[torch.dtype] = None,
    ):
        super().__init__()
        dd: Dict[str, Any] = {"device": device, "dtype": dtype}
        if len(kappas) != 3:
            raise ValueError(f"kappas must be three depths (kappa1, kappa2, kappa3), got {kappas!r}")
        if dfwt_after not in ("depthwise", "expand"):
            raise ValueError(f"dfwt_after must be 'depthwise' or 'expand', got {dfwt_after!r}")
        kappa1, kappa2, kappa3 = kappas
        norm_act_layer = get_norm_act_layer(norm_layer, act_layer)
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.drop_rate = drop_rate
        self.grad_checkpointing = False
        self.kappas = (kappa1, kappa2 if use_dfwt else 0, kappa3)

        self.conv_stem = create_conv2d(in_chans, cfg.stem_chs, 3, stride=cfg.stem_stride, **dd)
        self.bn1 = norm_act_layer(cfg.stem_chs, inplace=True, **dd)

        prev_chs, reduction, expand = cfg.stem_chs, cfg.stem_stride, cfg.first_expand_ratio or expand_ratio
        drop_path_rates = calculate_drop_path_rates(drop_path_rate, [n for _, n, _ in cfg.stages], stagewise=True)
        stages: List[nn.Module] = []
        feature_info: List[Dict[str, Any]] = []
        for i, (channels, repeats, stride) in enumerate(cfg.stages):
            out_chs = _scale_channels(channels, width)
            units: List[nn.Module] = []
            for j in range(repeats):
                units.append(
                    WaveletNetUnit(
                        prev_chs,
                        out_chs,
                        stride=stride if j == 0 else 1,
                        expand_ratio=expand,
                        kappas=self.kappas,
                        haar=haar,
                        dfwt_after=dfwt_after,
                        act_layer=act_layer,
                        norm_layer=norm_layer,
                        drop_path_rate=drop_path_rates[i][j],
                        **dd,
                    )
                )
                prev_chs, expand = out_chs, expand_ratio
            stages.append(nn.Sequential(*units))
            reduction *= stride
            if i + 1 == len(cfg.stages) or cfg.stages[i + 1][2] > 1:  # last stage at this resolution
                feature_info.append(dict(num_chs=out_chs, reduction=reduction, module=f"blocks.{i}", stage=i + 1))
        self.blocks = nn.Sequential(*stages)
        self.feature_info = feature_info
        self.stage_ends = [info["stage"] for info in feature_info]

        self.num_features = _scale_channels(cfg.head_chs, width) if cfg.head_chs else prev_chs
        self.conv_head = create_conv2d(prev_chs, self.num_features, 1, **dd) if cfg.head_chs else nn.Identity()
        self.bn2 = norm_act_layer(self.num_features, inplace=True, **dd) if cfg.head_chs else nn.Identity()
        self.global_pool, self.classifier = create_classifier(
            self.num_features, num_classes, pool_type=global_pool, **dd
        )
        self.head_hidden_size = self.num_features * self.global_pool.feat_mult()

        self.init_weights()

    @torch.jit.ignore
    def init_weights(self) -> None:
        """Initialize as timm's MobileNetV2: convolutions normal by fan-out, classifier uniform, biases zero."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
                nn.init.normal_(module.weight, 0.0, (2.0 / fan_out) ** 0.5)
            elif isinstance(module, nn.Linear):
                bound = module.out_features**-0.5
                nn.init.uniform_(module.weight, -bound, bound)
                nn.init.zeros_(module.bias)

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> Dict[str, Any]:
        """Return timm's patterns that group parameters by depth: by stage if ``coarse``, else by unit."""
        return dict(
            stem=r"^conv_stem|^bn1",
            blocks=[
                (r"^blocks\.(\d+)" if coarse else r"^blocks\.(\d+)\.(\d+)", None),
                (r"^conv_head|^bn2", (99999,)),
            ],
        )

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute the activations of the units in the backward pass instead of storing them."""
        self.grad_checkpointing = enable

    @torch.jit.ignore
    def get_classifier(self) -> nn.Module:
        """Return the classifier."""
        return self.classifier

    def reset_classifier(self, num_classes: int, global_pool: Optional[str] = None) -> None:
        """Replace the classifier.

        Args:
            num_classes: Number of classes; 0 for no classifier.
            global_pool: Type of pooling; "" for none. Default: the current type.
        """
        dd = get_device_dtype(self)
        self.num_classes = num_classes
        pool_type = self.global_pool.pool_type if global_pool is None else global_pool
        self.global_pool, self.classifier = create_classifier(self.num_features, num_classes, pool_type=pool_type, **dd)
        self.head_hidden_size = self.num_features * self.global_pool.feat_mult()
        self.global_pool.train(self.training)
        self.classifier.train(self.training)

    def forward_intermediates(
        self,
        x: torch.Tensor,
        indices: Optional[Union[int, List[int]]] = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Union[List[torch.Tensor], Tuple[torch.Tensor, List[torch.Tensor]]]:
        """Return the features and the intermediate feature maps of ``feature_info``.

        Args:
            x: Images, (B, in_chans, H, W).
            indices: The last n maps if an int, all maps if None, else the maps with these indices.
            norm: Part of timm's interface; no effect.
            stop_early: Do not run the stages after the last selected map.
            output_fmt: "NCHW" is the only supported format.
            intermediates_only: Return only the maps.

        Returns:
            The maps, or the features of :meth:`forward_features` and the maps. A map is (B, num_chs, H / reduction,
            W / reduction).
        """
        assert output_fmt in ("NCHW",), "Output shape must be NCHW."
        take_indices, max_index = feature_take_indices(len(self.stage_ends), indices)
        take_stages = [self.stage_ends[i] for i in take_indices]
        last_stage = self.stage_ends[max_index]

        x = self.bn1(self.conv_stem(x))
        intermediates = []
        stages = self.blocks if torch.jit.is_scripting() or not stop_early else self.blocks[:last_stage]
        for i, stage in enumerate(stages, start=1):
            x = checkpoint_seq(stage, x) if self.grad_checkpointing and not torch.jit.is_scripting() else stage(x)
            if i in take_stages:
                intermediates.append(x)
        if intermediates_only:
            return intermediates
        if len(stages) == len(self.blocks):
            x = self.bn2(self.conv_head(x))
        return x, intermediates

    def prune_intermediate_layers(
        self,
        indices: Union[int, List[int]] = 1,
        prune_norm: bool = False,
        prune_head: bool = True,
    ) -> List[int]:
        """Remove the layers that the given feature maps do not need, and return the indices of the maps."""
        take_indices, max_index = feature_take_indices(len(self.stage_ends), indices)
        last_stage = self.stage_ends[max_index]
        prune_end = last_stage < len(self.blocks)
        self.blocks = self.blocks[:last_stage]
        if prune_end or prune_head:
            self.num_features = self.feature_info[max_index]["num_chs"]
            self.conv_head = nn.Identity()
            self.bn2 = nn.Identity()
            self.reset_classifier(0, "")
        return take_indices

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Return the features before pooling, (B, num_features, H / reduction, W / reduction)."""
        x = self.conv_stem(x)
        x = self.bn1(x)
        if self.grad_checkpointing and not torch.jit.is_scripting():
            x = checkpoint_seq(self.blocks, x, flatten=True)
        else:
            x = self.blocks(x)
        x = self.conv_head(x)
        x = self.bn2(x)
        return x

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Apply pooling, dropout and, unless ``pre_logits``, the classifier to features (B, C, H, W)."""
        x = self.global_pool(x)
        if self.drop_rate > 0.0:
            x = F.dropout(x, p=self.drop_rate, training=self.training)
        return x if pre_logits else self.classifier(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits, (B, num_classes), of images (B, in_chans, H, W)."""
        x = self.forward_features(x)
        x = self.forward_head(x)
        return x


def set_form(model: nn.Module, form: str) -> None:
    """Set how the units of a network compute DFWT and WConv. Parameters and state dict do not change.

    Outputs and gradients are equal up to rounding.

    Args:
        model: The network.
        form: ``factored`` computes the layers as in the paper. ``dense`` composes each WConv and the DFWT before it
            into one convolution at every call: more multiplications in fewer, larger operations.

    Raises:
        ValueError: If the form is not supported.
    """
    if form not in UNFOLDED_FORMS:
        raise ValueError(f"form must be 'factored' or 'dense', got {form!r}")
    for module in model.modules():
        if isinstance(module, WaveletNetUnit):
            module.form = form
            if isinstance(module.conv_pw, WConv2d):
                module.conv_pw.dense = form == "dense" and module.conv_pw.depth > 0


def _scale_channels(channels: int, width: float) -> int:
    return make_divisible(channels * width, 4, round_limit=0.0)  # nearest multiple of 4, halves up


def checkpoint_filter_fn(state_dict: Dict[str, torch.Tensor], model: nn.Module) -> Dict[str, torch.Tensor]:
    """Rename the weights of timm's MobileNetV2 for a WaveletNet with kappas (0, 0, 0). Others do not change."""
    if "blocks.0.0.conv_pw.weight" not in state_dict:
        return state_dict
    renamed = {}
    for key, value in state_dict.items():
        if key.startswith("blocks.0.0."):  # expansion ratio 1: timm numbers the layers without the expansion
            key = key.replace(".bn2.", ".bn3.").replace(".bn1.", ".bn2.").replace(".conv_pw.", ".conv_pwl.")
        if key.startswith("blocks.") and key.endswith((".conv_pw.weight", ".conv_pwl.weight")):
            key += ".0"  # WConv of depth 0 has one piece
        renamed[key] = value
    return renamed


def _create_waveletnet(variant: str, cfg: WaveletNetCfg, pretrained: bool = False, **kwargs: Any) -> WaveletNet:
    return build_with_checked_weights(
        WaveletNet,
        variant,
        pretrained,
        _CFGS[variant],
        checkpoint_filter_fn,
        model_cfg=cfg,
        feature_cfg=dict(out_indices=tuple(range(1 + sum(s > 1 for _, _, s in cfg.stages))), flatten_sequential=True),
        **kwargs,
    )


def _cfg(**kwargs: Any) -> Dict[str, Any]:
    return {
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "pool_size": (7, 7),
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "conv_stem",
        "classifier": "classifier",
        "license": "apache-2.0",
        "paper_name": "WaveletNet: Logarithmic Scale Efficient Convolutional Neural Networks for Edge Devices",
        **kwargs,
    }


def _cfg_cifar(**kwargs: Any) -> Dict[str, Any]:
    return _cfg(
        **{
            "num_classes": 10,
            "input_size": (3, 32, 32),
            "pool_size": (8, 8),
            "crop_pct": 1.0,
            "mean": (0.4914, 0.4822, 0.4465),
            "std": (0.2470, 0.2435, 0.2616),
            **kwargs,
        }
    )


_CFGS = {
    "waveletnet_x0_75": _cfg(),
    "waveletnet_x1": _cfg(),
    "waveletnet_x1_25": _cfg(),
    "waveletnet_x1_k3": _cfg(),
    "waveletnet_x1_k5": _cfg(),
    "waveletnet_cifar_m1": _cfg_cifar(),
    "waveletnet_cifar_m2": _cfg_cifar(),
    "waveletnet_cifar_m3": _cfg_cifar(),
    "waveletnet_cifar_m6": _cfg_cifar(),
    "waveletnet_cifar_m12": _cfg_cifar(),
    "waveletnet_cifar_m24": _cfg_cifar(),
}

default_cfgs = generate_default_cfgs(with_weights(_CFGS))


@register_model
def waveletnet_x0_75(pretrained: bool = False, **kwargs: Any) -> WaveletNet:
    """WaveletNet x0.75 (Table 6)."""
    return _create_waveletnet("waveletnet_x0_75", IMAGENET_CFG, pretrained, **{"width": 0.75, **kwargs})


@register_model
def waveletnet_x1(pretrained: bool = False, **kwargs: Any) -> WaveletNet:
    """WaveletNet x1 (Tables 4, 5 and 6)."""
    return _create_waveletnet("waveletnet_x1", IMAGENET_CFG, pretrained, **kwargs)


@register_model
def waveletnet_x1_25(pretrained: bool = False, **kwargs: Any) -> WaveletNet:
    """WaveletNet x1.25 (Table 6)."""
    return _create_waveletnet("waveletnet_x1_25", IMAGENET_CFG, pretrained, **{"width": 1.25, **kwargs})


@register_model
def waveletnet_x1_k3(pretrained: bool = False, **kwargs: Any) -> WaveletNet:
    """WaveletNet x1 with kappa 3 (Table 7), the same network as waveletnet_x1."""
    return _create_waveletnet("waveletnet_x1_k3", IMAGENET_CFG, pretrained, **{"kappas": (0, 3, 3), **kwargs})


@register_model
def waveletnet_x1_k5(pretrained: bool = False, **kwargs: Any) -> WaveletNet:
    """WaveletNet x1 with kappa 5 (Table 7)."""
    return _create_waveletnet("waveletnet_x1_k5", IMAGENET_CFG, pretrained, **{"kappas": (0, 5, 5), **kwargs})


@register_model
def waveletnet_cifar_m1(pretrained: bool = False, **kwargs: Any) -> WaveletNet:
    """WaveletNet for CIFAR with 1 unit per stage, 11 layers (section 5.1)."""
    return _create_waveletnet("waveletnet_cifar_m1", cifar_cfg(1), pretrained, **kwargs)


@register_model
def waveletnet_cifar_m2(pretrained: bool = False, **kwargs: Any) -> WaveletNet:
    """WaveletNet for CIFAR with 2 units per stage, 20 layers (section 5.1)."""
    return _create_waveletnet("waveletnet_cifar_m2", cifar_cfg(2), pretrained, **kwargs)


@register_model
def waveletnet_cifar_m3(pretrained: bool = False, **kwargs: Any) -> WaveletNet:
    """WaveletNet for CIFAR with 3 units per stage, 29 layers (section 5.1)."""
    return _create_waveletnet("waveletnet_cifar_m3", cifar_cfg(3), pretrained, **kwargs)


@register_model
def waveletnet_cifar_m6(pretrained: bool = False, **kwargs: Any) -> WaveletNet:
    """WaveletNet for CIFAR with 6 units per stage, 56 layers (section 5.1)."""
    return _create_waveletnet("waveletnet_cifar_m6", cifar_cfg(6), pretrained, **kwargs)


@register_model
def waveletnet_cifar_m12(pretrained: bool = False, **kwargs: Any) -> WaveletNet:
    """WaveletNet for CIFAR with 12 units per stage, 110 layers (section 5.1)."""
    return _create_waveletnet("waveletnet_cifar_m12", cifar_cfg(12), pretrained, **kwargs)


@register_model
def waveletnet_cifar_m24(pretrained: bool = False, **kwargs: Any) -> WaveletNet:
    """WaveletNet for CIFAR with 24 units per stage, 218 layers (section 5.1, Tables 2 and 3)."""
    return _create_waveletnet("waveletnet_cifar_m24", cifar_cfg(24), pretrained, **kwargs)
