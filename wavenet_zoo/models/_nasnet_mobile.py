"""NASNet-A (mobile) of pytorchcv with timm's model interface. Its cells do not fit the stages of ``PeerNet``."""

from typing import Any, Dict, Optional

import torch
import torch.nn as nn
from timm.layers import create_classifier
from torch.types import Device

from ._peer_net import PeerNet

__all__ = ["NasNetMobile"]


class NasNetMobile(nn.Module):
    """NASNet-A (4 @ 1056) of pytorchcv with timm's model interface, without intermediate features.

    Args:
        num_classes: Number of classes; 0 for no classifier.
        in_chans: Number of image channels.
        global_pool: Pooling before the classifier.
        drop_rate: Dropout rate before the classifier.

    Shape:
        (B, in_chans, H, W) -> (B, num_classes)

    Raises:
        ImportError: If pytorchcv, the extra ``peers``, is not installed.

    Source: Zoph et al., Learning Transferable Architectures for Scalable Image Recognition (2018).
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.5,
        device: Device = None,
        dtype: Optional[torch.dtype] = None,
    ):
        super().__init__()
        try:
            from pytorchcv.models.nasnet import nasnet_4a1056
        except ImportError as error:
            raise ImportError("nasnet_a_mobile requires pytorchcv: pip install pytorchcv") from error
        features = nasnet_4a1056(in_channels=in_chans).features.to(device=device, dtype=dtype)
        features.final_pool = nn.Identity()
        self.features = features
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.drop_rate = drop_rate
        self.num_features = 1056
        self.global_pool, self.classifier = create_classifier(
            1056, num_classes, pool_type=global_pool, device=device, dtype=dtype
        )
        self.head_hidden_size = 1056 * self.global_pool.feat_mult()

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> Dict[str, Any]:
        """Return timm's patterns that group parameters by depth: by stage if ``coarse``, else by cell."""
        unit = r"^features\.stage(\d+)" if coarse else r"^features\.stage(\d+)\.unit(\d+)"
        return dict(stem=r"^features\.(init_block|stem)", blocks=[(unit, None)])

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Raise AssertionError if ``enable``: a cell has two inputs, so the cells are not a sequence."""
        assert not enable, "gradient checkpointing not supported"

    get_classifier = PeerNet.get_classifier
    reset_classifier = PeerNet.reset_classifier
    forward_head = PeerNet.forward_head
    forward = PeerNet.forward

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Return the features before pooling, (B, 1056, H / 32, W / 32)."""
        return self.features(x)
