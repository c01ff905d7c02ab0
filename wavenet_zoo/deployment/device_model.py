"""A network as a device runs it: from the pixels of an image, to probabilities."""

import torch
from torch import nn

from wavenet_zoo.data.preprocessing import Preprocessing
from wavenet_zoo.deployment.metadata import ExportMetadata

__all__ = ["DeviceModel", "for_device"]


class DeviceModel(nn.Module):
    """A network with its normalization before it, or a softmax after it.

    Args:
        network: The network: logits (B, num_classes) of normalized images (B, C, H, W).
        preprocessing: Mean and standard deviation per channel; None without normalization, for normalized images
            (B, C, H, W) of float32.
        softmax: Return probabilities instead of logits.

    Shape:
        (B, H, W, C) of uint8 with ``preprocessing``, else (B, C, H, W) -> (B, num_classes)
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, network: nn.Module, preprocessing: Preprocessing | None = None, softmax: bool = False):
        super().__init__()
        self.network = network
        self.softmax = softmax
        self.uint8 = preprocessing is not None
        if preprocessing is not None:
            mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
            self.register_buffer("scale", (1 / (255 * std)).view(-1, 1, 1))
            self.register_buffer("shift", (-mean / std).view(-1, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.uint8:
            images = images.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
            images = images * self.scale + self.shift
        logits = self.network(images)
        return torch.softmax(logits, dim=1) if self.softmax else logits


def for_device(network: nn.Module, metadata: ExportMetadata) -> nn.Module:
    """Return a network with the input and the output of an exported file.

    Args:
        network: The folded network.
        metadata: Metadata of the file. For float32 input and logits the network itself is returned.
    """
    uint8, softmax = metadata.input.dtype == "uint8", metadata.output.kind == "probabilities"
    if not (uint8 or softmax):
        return network
    return DeviceModel(network, metadata.preprocessing if uint8 else None, softmax).eval()
