"""The floor of a network's time: the network without its projections.

A projection is the linear 1x1 convolution at the end of an inverted residual block. DFWT and WConv take its place in
WaveletNet, so nothing that they save exceeds the whole projection. Without it, a block passes its first channels on: a
slice of the shape that the projection would return. The expansions, the depthwise convolutions of all channels, the
shortcuts and the head are computed as before.
"""

import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wavenet_zoo.deployment.device_model import for_device
from wavenet_zoo.deployment.fold import fold
from wavenet_zoo.deployment.formats import format_of
from wavenet_zoo.deployment.metadata import ExportMetadata
from wavenet_zoo.deployment.sidecar import make_sidecar
from wavenet_zoo.deployment.write import write_files
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.models import WaveletNetUnit
from wavenet_zoo.weights.loading import load_model

__all__ = ["FLOOR", "remove_projections", "write_floor_file"]

FLOOR = "no projection"  # form in results
HINT = "use --against mobilenetv2_100, or another network of inverted residual blocks"


class FirstChannels(nn.Module):
    """The first channels of a feature map: (B, C, H, W) -> (B, channels, H, W)."""

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, : self.channels]


def remove_projections(network: nn.Module) -> nn.Module:
    """Return a copy of a network whose blocks have no projections.

    Args:
        network: A network in evaluation mode. WaveletNet's units are folded to ``dense``.

    Raises:
        WavezooError: If it has no block with a projection.
    """
    network = copy.deepcopy(network)
    for name, module in list(network.named_modules()):
        if isinstance(module, WaveletNetUnit):
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, module.fuse("dense"))
    removed = 0
    for block in list(network.modules()):
        name = _name_of_projection(block)
        projection: Any = getattr(block, name, None)
        if isinstance(projection, nn.Conv2d) and projection.out_channels <= projection.in_channels:
            setattr(block, name, FirstChannels(projection.out_channels))
            removed += 1
    if not removed:
        raise WavezooError("--floor: the baseline has no projections", HINT)
    return network


def _name_of_projection(block: nn.Module) -> str:
    """Return the attribute of a block that is its projection if it is a convolution."""
    if not hasattr(block, "conv_dw"):
        return ""
    if hasattr(block, "conv_pwl"):  # timm's InvertedResidual
        return "conv_pwl"
    if getattr(block, "has_pw_act", None) is False:  # timm's DepthwiseSeparableConv, in MobileNetV2's first block
        return "conv_pw"
    return "projection"  # FoldedUnit


def write_floor_file(metadata: ExportMetadata, path: Path, folder: Path) -> tuple[nn.Module, Path]:
    """Write the floor of an exported file as a file of the same format, with the same input and output.

    Args:
        metadata: Metadata of the file.
        path: The file.
        folder: Folder to write into.

    Returns:
        The network without projections, and the file.

    Raises:
        WavezooError: If the file is quantized, its network has no projections, or the floor cannot be written.
    """
    if metadata.quantization is not None:
        raise WavezooError(f"--floor: the baseline {path} is {metadata.precision}", "pass an fp32 file as baseline")
    file_format = format_of(path)
    assert file_format is not None
    model_kwargs = {**metadata.model_kwargs, "num_classes": metadata.num_classes}
    network = remove_projections(fold(load_model(metadata.model, "none", model_kwargs)[0].eval()))
    channels, height, width = metadata.preprocessing.input_size
    nhwc = metadata.input.layout == "NHWC"
    shape = (2, height, width, channels) if nhwc else (2, channels, height, width)
    images = torch.zeros(shape, dtype=getattr(torch, metadata.input.dtype))
    files = file_format.module.convert(for_device(network, metadata), images, metadata)
    floor = folder / f"floor{file_format.suffix}"
    write_files(floor, file_format, files, make_sidecar(floor.name, file_format, files, metadata, {}).to_json())
    return network, floor
