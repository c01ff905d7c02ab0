"""Peers: the models of the paper's Tables 2 and 5 that timm does not have.

AlexNet, ShuffleNet, NASNet-A, and for CIFAR DenseNet-40, pre-activation ResNet-164, IGCV2, IGCV3 and MobileNetV2. The
other models of these tables are timm's ``vgg16``, ``resnet50``, ``mobilenetv1_100``, ``mobilenetv2_100`` and
``mobilenetv2_140``. The counts of each model agree with the published ones.
"""

from typing import Any, Dict, List, Tuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import create_model, generate_default_cfgs, register_model
from torch.types import Device

from ._nasnet_mobile import NasNetMobile
from ._peer_net import PeerNet
from ._pretrained import build_with_checked_weights, with_weights
from .waveletnet import WaveletNet, WaveletNetCfg


class ChannelShuffle(nn.Module):
    """Interleave the channels of ``groups`` groups (channel shuffle); (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, groups: int):
        super().__init__()
        self.groups = groups

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        B, C, H, W = x.shape
        return x.reshape(B, self.groups, C // self.groups, H, W).transpose(1, 2).reshape(B, C, H, W)


def _conv(in_chs: int, out_chs: int, kernel: int = 1, stride: int = 1, groups: int = 1, **dd: Any) -> nn.Conv2d:
    return nn.Conv2d(in_chs, out_chs, kernel, stride, kernel // 2, groups=groups, bias=False, **dd)


# ------------------------------------------------------------------------------------------------------------- ResNet


def resnet50_v1(device: Device = None) -> nn.Module:
    """Build ResNet-50 as published, with the stride of a stage in the first 1x1 convolution instead of the 3x3.

    It is for the counts of Table 5. Pretrained weights of timm's ``resnet50`` are for the stride in the 3x3.
    """
    model = create_model("resnet50", device=device)
    for stage in (model.layer2, model.layer3, model.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    return model


# ------------------------------------------------------------------------------------------------------------ AlexNet


def _alexnet(in_chans: int = 3, drop_rate: float = 0.5, **kwargs: Any) -> PeerNet:
    dd = _device_and_dtype(kwargs)

    def stage(*layers: nn.Module) -> nn.Sequential:
        return nn.Sequential(*layers)

    def relu() -> nn.Module:
        return nn.ReLU()  # not in-place: with gradient checkpointing every layer here is a checkpointed unit

    stem = nn.Sequential(
        nn.Conv2d(in_chans, 96, 11, 4, 2, **dd), relu(), nn.LocalResponseNorm(5, k=2), nn.MaxPool2d(3, 2)
    )
    stages = [
        stage(nn.Conv2d(96, 256, 5, 1, 2, groups=2, **dd), relu(), nn.LocalResponseNorm(5, k=2)),
        stage(
            nn.MaxPool2d(3, 2),
            nn.Conv2d(256, 384, 3, 1, 1, **dd),
            relu(),
            nn.Conv2d(384, 384, 3, 1, 1, groups=2, **dd),
            relu(),
            nn.Conv2d(384, 256, 3, 1, 1, groups=2, **dd),
            relu(),
        ),
    ]
    head = nn.Sequential(  # the two hidden fully connected layers as convolutions
        nn.MaxPool2d(3, 2),
        nn.Dropout(drop_rate),
        nn.Conv2d(256, 4096, 6, **dd),
        relu(),
        nn.Dropout(drop_rate),
        nn.Conv2d(4096, 4096, 1, **dd),
        relu(),
    )
    return PeerNet(stem, stages, [(256, 8), (256, 16)], head, 4096, in_chans=in_chans, **kwargs)


# --------------------------------------------------------------------------------------------------------- ShuffleNet


class ShuffleUnit(nn.Module):
    """ShuffleNet unit: grouped 1x1, channel shuffle, 3x3 depthwise, grouped 1x1.

    At stride 1 the input is added; at stride 2 the average-pooled input is concatenated.

    Args:
        in_chs: Input channels.
        out_chs: Output channels, those of the concatenated input included.
        groups: Groups of the 1x1 convolutions.
        stride: Stride of the depthwise convolution, 1 or 2.
        first: Use one group in the first 1x1 convolution: the unit after the stem has few input channels.

    Shape:
        (B, in_chs, H, W) -> (B, out_chs, H / stride, W / stride)

    Source: Zhang et al., ShuffleNet (CVPR 2018), Figure 2.
    """

    def __init__(self, in_chs: int, out_chs: int, groups: int, stride: int, first: bool, **dd: Any):
        super().__init__()
        mid_chs = -(-out_chs // (4 * groups)) * groups  # a quarter, rounded up to a multiple of groups
        branch_chs = out_chs - in_chs if stride == 2 else out_chs
        self.conv1 = _conv(in_chs, mid_chs, groups=1 if first else groups, **dd)
        self.bn1 = nn.BatchNorm2d(mid_chs, **dd)
        self.shuffle = ChannelShuffle(groups)
        self.conv2 = _conv(mid_chs, mid_chs, 3, stride, groups=mid_chs, **dd)
        self.bn2 = nn.BatchNorm2d(mid_chs, **dd)
        self.conv3 = _conv(mid_chs, branch_chs, groups=groups, **dd)
        self.bn3 = nn.BatchNorm2d(branch_chs, **dd)
        self.pool = nn.AvgPool2d(3, 2, 1) if stride == 2 else nn.Identity()
        self.concat = stride == 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.shuffle(F.relu(self.bn1(self.conv1(x))))
        y = self.bn3(self.conv3(self.bn2(self.conv2(y))))
        x = self.pool(x)
        return F.relu(torch.cat([x, y], 1) if self.concat else x + y)


def _shufflenet(groups: int, width: int, stem_chs: int, in_chans: int = 3, **kwargs: Any) -> PeerNet:
    dd = _device_and_dtype(kwargs)
    stem = nn.Sequential(
        _conv(in_chans, stem_chs, 3, 2, **dd),
        nn.BatchNorm2d(stem_chs, **dd),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1),
    )
    stages, prev_chs = [], stem_chs
    for i, repeats in enumerate((4, 8, 4)):
        out_chs = width * 2**i
        units = []
        for j in range(repeats):
            units.append(ShuffleUnit(prev_chs, out_chs, groups, 2 if j == 0 else 1, first=i + j == 0, **dd))
            prev_chs = out_chs
        stages.append(nn.Sequential(*units))
    info = [(width, 8), (2 * width, 16), (4 * width, 32)]
    return PeerNet(stem, stages, info, nn.Identity(), 4 * width, in_chans=in_chans, **kwargs)


# -------------------------------------------------------------------------------------------------------- DenseNet-40


class DenseLayer(nn.Module):
    """DenseNet layer: BN, ReLU, 3x3 convolution; the output is concatenated to the input.

    Shape:
        (B, in_chs, H, W) -> (B, in_chs + growth, H, W)
    """

    def __init__(self, in_chs: int, growth: int, **dd: Any):
        super().__init__()
        self.bn = nn.BatchNorm2d(in_chs, **dd)
        self.conv = _conv(in_chs, growth, 3, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, self.conv(F.relu(self.bn(x)))], 1)


def _densenet40(in_chans: int = 3, **kwargs: Any) -> PeerNet:
    dd = _device_and_dtype(kwargs)
    stages, info, channels = [], [], 16
    for i in range(3):
        layers: List[nn.Module] = []
        if i > 0:  # transition without compression
            layers += [nn.BatchNorm2d(channels, **dd), nn.ReLU(), _conv(channels, channels, **dd)]
            layers += [nn.AvgPool2d(2)]
        for _ in range(12):
            layers.append(DenseLayer(channels, 12, **dd))
            channels += 12
        stages.append(nn.Sequential(*layers))
        info.append((channels, 2**i))
    head = nn.Sequential(nn.BatchNorm2d(channels, **dd), nn.ReLU(inplace=True))
    return PeerNet(_conv(in_chans, 16, 3, **dd), stages, info, head, channels, in_chans=in_chans, **kwargs)


# ------------------------------------------------------------------------------------------- pre-activation ResNet-164


class PreActBottleneck(nn.Module):
    """Pre-activation bottleneck: BN, ReLU and convolution three times, plus the input or its projection.

    Shape:
        (B, in_chs, H, W) -> (B, out_chs, H / stride, W / stride)

    Source: He et al., Identity Mappings in Deep Residual Networks (2016).
    """

    def __init__(self, in_chs: int, mid_chs: int, out_chs: int, stride: int, **dd: Any):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_chs, **dd)
        self.conv1 = _conv(in_chs, mid_chs, **dd)
        self.bn2 = nn.BatchNorm2d(mid_chs, **dd)
        self.conv2 = _conv(mid_chs, mid_chs, 3, stride, **dd)
        self.bn3 = nn.BatchNorm2d(mid_chs, **dd)
        self.conv3 = _conv(mid_chs, out_chs, **dd)
        self.project = in_chs != out_chs or stride > 1
        self.projection = _conv(in_chs, out_chs, 1, stride, **dd) if self.project else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(x))
        shortcut = self.projection(y) if self.project else x
        y = self.conv2(F.relu(self.bn2(self.conv1(y))))
        return self.conv3(F.relu(self.bn3(y))) + shortcut


def _preresnet164(in_chans: int = 3, **kwargs: Any) -> PeerNet:
    dd = _device_and_dtype(kwargs)
    stages, prev_chs = [], 16
    for i, mid_chs in enumerate((16, 32, 64)):
        units = []
        for j in range(18):
            units.append(PreActBottleneck(prev_chs, mid_chs, 4 * mid_chs, 2 if i > 0 and j == 0 else 1, **dd))
            prev_chs = 4 * mid_chs
        stages.append(nn.Sequential(*units))
    head = nn.Sequential(nn.BatchNorm2d(256, **dd), nn.ReLU(inplace=True))
    info = [(64, 1), (128, 2), (256, 4)]
    return PeerNet(_conv(in_chans, 16, 3, **dd), stages, info, head, 256, in_chans=in_chans, **kwargs)


# --------------------------------------------------------------------------------------------- IGCV2 and IGCV3 (CIFAR)


def _igcv2_block(in_chs: int, out_chs: int, stride: int, branches: Tuple[int, int], **dd: Any) -> nn.Sequential:
    """Build a depthwise 3x3 and two grouped 1x1 with complementary groups: one path per pair of channels."""
    layers: List[nn.Module] = [_conv(in_chs, out_chs, 3, stride, groups=in_chs, **dd)]
    for channels_per_branch in branches:
        groups = out_chs // channels_per_branch
        layers += [_conv(out_chs, out_chs, groups=groups, **dd), ChannelShuffle(groups)]
    return nn.Sequential(*layers, nn.BatchNorm2d(out_chs, **dd), nn.ReLU(inplace=True))


def _igcv2(in_chans: int = 3, **kwargs: Any) -> PeerNet:
    dd = _device_and_dtype(kwargs)
    stem = nn.Sequential(_conv(in_chans, 560, 3, **dd), nn.BatchNorm2d(560, **dd), nn.ReLU(inplace=True))
    stages, prev_chs = [], 560
    for i, branches in enumerate(((20, 28), (32, 35), (40, 56))):
        out_chs = 560 * 2**i
        blocks = []
        for j in range(6):
            blocks.append(_igcv2_block(prev_chs, out_chs, 2 if i > 0 and j == 0 else 1, branches, **dd))
            prev_chs = out_chs
        stages.append(nn.Sequential(*blocks))
    info = [(560, 1), (1120, 2), (2240, 4)]
    return PeerNet(stem, stages, info, nn.Identity(), 2240, in_chans=in_chans, **kwargs)


class Igcv3Block(nn.Module):
    """IGCV3 block: MobileNetV2's with 1x1 convolutions in two groups, a shuffle, and no activation before the 3x3.

    Some ports add a second shuffle at the end; the authors' code and this one do not.

    Shape:
        (B, in_chs, H, W) -> (B, out_chs, H / stride, W / stride)

    Source: Sun et al., IGCV3 (BMVC 2018).
    """

    def __init__(self, in_chs: int, out_chs: int, expand_ratio: int, stride: int, **dd: Any):
        super().__init__()
        mid_chs = in_chs * expand_ratio
        self.conv1 = _conv(in_chs, mid_chs, groups=2, **dd)
        self.bn1 = nn.BatchNorm2d(mid_chs, **dd)
        self.shuffle = ChannelShuffle(2)
        self.conv2 = _conv(mid_chs, mid_chs, 3, stride, groups=mid_chs, **dd)
        self.bn2 = nn.BatchNorm2d(mid_chs, **dd)
        self.conv3 = _conv(mid_chs, out_chs, groups=2, **dd)
        self.bn3 = nn.BatchNorm2d(out_chs, **dd)
        self.has_skip = stride == 1 and in_chs == out_chs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.shuffle(self.bn1(self.conv1(x)))
        y = F.relu6(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return x + y if self.has_skip else y


def _igcv3(in_chans: int = 3, **kwargs: Any) -> PeerNet:
    dd = _device_and_dtype(kwargs)
    stem = nn.Sequential(_conv(in_chans, 32, 3, **dd), nn.BatchNorm2d(32, **dd), nn.ReLU6(inplace=True))
    stages, prev_chs = [], 32
    for channels, repeats, stride, expand_ratio in (
        (16, 1, 1, 1), (24, 4, 1, 6), (32, 6, 2, 6), (64, 8, 2, 6), (96, 6, 1, 6), (160, 6, 1, 6), (320, 1, 1, 6),
    ):  # fmt: skip
        blocks = []
        for j in range(repeats):
            blocks.append(Igcv3Block(prev_chs, channels, expand_ratio, stride if j == 0 else 1, **dd))
            prev_chs = channels
        stages.append(nn.Sequential(*blocks))
    # one stage per resolution: its output is a feature map
    stages = [nn.Sequential(*stages[0], *stages[1]), stages[2], nn.Sequential(*(b for s in stages[3:] for b in s))]
    head = nn.Sequential(_conv(320, 1280, **dd), nn.BatchNorm2d(1280, **dd), nn.ReLU6(inplace=True))
    return PeerNet(stem, stages, [(24, 1), (32, 2), (320, 4)], head, 1280, in_chans=in_chans, **kwargs)


# -------------------------------------------------------------------------------------------------- MobileNetV2 (CIFAR)

MOBILENETV2_CIFAR_CFG = WaveletNetCfg(  # MobileNetV2 is WaveletNet with kappas (0, 0, 0); strides as IGCV3 on CIFAR
    stages=((16, 1, 1), (24, 2, 1), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 1), (320, 1, 1)),
    stem_chs=32,
    stem_stride=1,
    first_expand_ratio=1,
    head_chs=1280,
)


# ------------------------------------------------------------------------------------------------------- registration


def _device_and_dtype(kwargs: Dict[str, Any]) -> Dict[str, Any]:
    return {key: kwargs.get(key) for key in ("device", "dtype")}


def _create(builder: Any, variant: str, pretrained: bool, **kwargs: Any) -> Any:
    return build_with_checked_weights(
        builder,
        variant,
        pretrained,
        _CFGS[variant],
        feature_cfg=dict(out_indices=(0, 1, 2) if variant != "alexnet_2012" else (0, 1), flatten_sequential=True),
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
        "first_conv": "stem.0",
        "classifier": "classifier",
        **kwargs,
    }


def _cfg_cifar(**kwargs: Any) -> Dict[str, Any]:
    cifar = {"num_classes": 10, "input_size": (3, 32, 32), "pool_size": (8, 8), "crop_pct": 1.0}
    return _cfg(**{**cifar, "mean": (0.4914, 0.4822, 0.4465), "std": (0.2470, 0.2435, 0.2616), **kwargs})


_CFGS = {
    "alexnet_2012": _cfg(pool_size=(1, 1)),
    "shufflenet_v1_x0_5": _cfg(),
    "shufflenet_v1_x1": _cfg(),
    "shufflenet_v1_x1_5": _cfg(),
    "shufflenet_v1_x2": _cfg(),
    "nasnet_a_mobile": _cfg(first_conv="features.init_block.conv"),
    "densenet40_cifar": _cfg_cifar(first_conv="stem"),
    "preresnet164_cifar": _cfg_cifar(first_conv="stem"),
    "igcv2_cifar": _cfg_cifar(),
    "igcv3_cifar": _cfg_cifar(),
    "mobilenetv2_cifar": _cfg_cifar(first_conv="conv_stem"),
}

default_cfgs = generate_default_cfgs(with_weights(_CFGS))


@register_model
def alexnet_2012(pretrained: bool = False, **kwargs: Any) -> PeerNet:
    """AlexNet as published, with grouped convolutions and 4096 hidden units (Table 5)."""
    return _create(_alexnet, "alexnet_2012", pretrained, **kwargs)


@register_model
def shufflenet_v1_x0_5(pretrained: bool = False, **kwargs: Any) -> PeerNet:
    """ShuffleNet x0.5 with 4 groups (Table 5), reconstructed: the first bottleneck has 36 channels, rounded up."""
    settings = {"groups": 4, "width": 136, "stem_chs": 12}
    return _create(_shufflenet, "shufflenet_v1_x0_5", pretrained, **settings, **kwargs)


@register_model
def shufflenet_v1_x1(pretrained: bool = False, **kwargs: Any) -> PeerNet:
    """ShuffleNet x1 with 8 groups (Table 5)."""
    settings = {"groups": 8, "width": 384, "stem_chs": 24}
    return _create(_shufflenet, "shufflenet_v1_x1", pretrained, **settings, **kwargs)


@register_model
def shufflenet_v1_x1_5(pretrained: bool = False, **kwargs: Any) -> PeerNet:
    """ShuffleNet x1.5 with 3 groups (Table 5)."""
    settings = {"groups": 3, "width": 360, "stem_chs": 24}
    return _create(_shufflenet, "shufflenet_v1_x1_5", pretrained, **settings, **kwargs)


@register_model
def shufflenet_v1_x2(pretrained: bool = False, **kwargs: Any) -> PeerNet:
    """ShuffleNet x2 with 3 groups (Table 5)."""
    settings = {"groups": 3, "width": 480, "stem_chs": 48}
    return _create(_shufflenet, "shufflenet_v1_x2", pretrained, **settings, **kwargs)


@register_model
def nasnet_a_mobile(pretrained: bool = False, **kwargs: Any) -> NasNetMobile:
    """NASNet-A (4 @ 1056) of pytorchcv (Table 5). Requires the extra ``peers``."""
    return build_with_checked_weights(NasNetMobile, "nasnet_a_mobile", pretrained, _CFGS["nasnet_a_mobile"], **kwargs)


@register_model
def densenet40_cifar(pretrained: bool = False, **kwargs: Any) -> PeerNet:
    """DenseNet-40 with growth rate 12, without bottlenecks or compression (Table 2)."""
    return _create(_densenet40, "densenet40_cifar", pretrained, **kwargs)


@register_model
def preresnet164_cifar(pretrained: bool = False, **kwargs: Any) -> PeerNet:
    """Pre-activation ResNet-164 (Table 2)."""
    return _create(_preresnet164, "preresnet164_cifar", pretrained, **kwargs)


@register_model
def igcv2_cifar(pretrained: bool = False, **kwargs: Any) -> PeerNet:
    """IGCV2 with 560 channels, reconstructed: the network of Table 2 is not published."""
    return _create(_igcv2, "igcv2_cifar", pretrained, **kwargs)


@register_model
def igcv3_cifar(pretrained: bool = False, **kwargs: Any) -> PeerNet:
    """IGCV3-D for CIFAR (Table 2)."""
    return _create(_igcv3, "igcv3_cifar", pretrained, **kwargs)


@register_model
def mobilenetv2_cifar(pretrained: bool = False, **kwargs: Any) -> WaveletNet:
    """MobileNetV2 for CIFAR (Table 2)."""
    return build_with_checked_weights(
        WaveletNet,
        "mobilenetv2_cifar",
        pretrained,
        _CFGS["mobilenetv2_cifar"],
        model_cfg=MOBILENETV2_CIFAR_CFG,
        feature_cfg=dict(out_indices=(0, 1, 2), flatten_sequential=True),
        **{"kappas": (0, 0, 0), **kwargs},
    )
