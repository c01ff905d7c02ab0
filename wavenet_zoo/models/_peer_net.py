"""The network class of the peers: stem, stages of units, head, pooling and classifier.

As in timm, every network class has its own methods of timm's model interface, also where they equal another class's.
"""

from typing import Any, Dict, List, Optional, Tuple, Union

import torch
import torch.nn as nn
import torch.nn.functional as F
from timm.layers import create_classifier, get_device_dtype
from timm.models import checkpoint_seq
from timm.models._features import feature_take_indices
from torch.types import Device

__all__ = ["PeerNet"]


class PeerNet(nn.Module):
    """A network of stem, stages, head, pooling and classifier with timm's model interface.

    Args:
        stem: Layers before the first unit.
        stages: Units of every stage. The output of a stage is a feature map.
        feature_info: Number of channels and reduction of every stage's output.
        head: Layers between the last stage and pooling.
        num_features: Number of channels after ``head``.
        num_classes: Number of classes; 0 for no classifier.
        in_chans: Number of image channels.
        global_pool: Pooling before the classifier.
        drop_rate: Dropout rate before the classifier.

    Shape:
        (B, in_chans, H, W) -> (B, num_classes)
    """

    def __init__(
        self,
        stem: nn.Module,
        stages: List[nn.Sequential],
        feature_info: List[Tuple[int, int]],
        head: nn.Module,
        num_features: int,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        device: Device = None,
        dtype: Optional[torch.dtype] = None,
    ):
        super().__init__()
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.drop_rate = drop_rate
        self.grad_checkpointing = False
        self.stem = stem
        self.blocks = nn.Sequential(*stages)
        self.head = head
        self.feature_info = [
            dict(num_chs=channels, reduction=reduction, module=f"blocks.{i}", stage=i + 1)
            for i, (channels, reduction) in enumerate(feature_info)
        ]
        self.num_features = num_features
        self.global_pool, self.classifier = create_classifier(
            num_features, num_classes, pool_type=global_pool, device=device, dtype=dtype
        )
        self.head_hidden_size = num_features * self.global_pool.feat_mult()
        self.init_weights()

    @torch.jit.ignore
    def init_weights(self) -> None:
        """Initialize convolutions with He's normal initialization by fan-out, and biases with zero."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
                nn.init.zeros_(module.bias)

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> Dict[str, Any]:
        """Return timm's patterns that group parameters by depth: by stage if ``coarse``, else by unit."""
        unit = r"^blocks\.(\d+)" if coarse else r"^blocks\.(\d+)\.(\d+)"
        return dict(stem=r"^stem", blocks=[(unit, None), (r"^head", (99999,))])

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
        """Return the features and the outputs of the stages, see :meth:`WaveletNet.forward_intermediates`."""
        assert output_fmt in ("NCHW",), "Output shape must be NCHW."
        take_indices, max_index = feature_take_indices(len(self.blocks), indices)
        x = self.stem(x)
        intermediates = []
        stages = self.blocks if torch.jit.is_scripting() or not stop_early else self.blocks[: max_index + 1]
        for i, stage in enumerate(stages):
            x = checkpoint_seq(stage, x) if self.grad_checkpointing and not torch.jit.is_scripting() else stage(x)
            if i in take_indices:
                intermediates.append(x)
        if intermediates_only:
            return intermediates
        if len(stages) == len(self.blocks):
            x = self.head(x)
        return x, intermediates

    def prune_intermediate_layers(
        self, indices: Union[int, List[int]] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> List[int]:
        """Remove the layers that the given feature maps do not need, and return the indices of the maps."""
        take_indices, max_index = feature_take_indices(len(self.blocks), indices)
        prune_end = max_index + 1 < len(self.blocks)
        self.blocks = self.blocks[: max_index + 1]
        if prune_end or prune_head:
            self.num_features = self.feature_info[max_index]["num_chs"]
            self.head = nn.Identity()
            self.reset_classifier(0, "")
        return take_indices

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Return the features before pooling, (B, num_features, H / reduction, W / reduction)."""
        x = self.stem(x)
        if self.grad_checkpointing and not torch.jit.is_scripting():
            x = checkpoint_seq(self.blocks, x, flatten=True)
        else:
            x = self.blocks(x)
        return self.head(x)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Apply pooling, dropout and, unless ``pre_logits``, the classifier to features (B, C, H, W)."""
        x = self.global_pool(x)
        if self.drop_rate > 0.0:
            x = F.dropout(x, p=self.drop_rate, training=self.training)
        return x if pre_logits else self.classifier(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits, (B, num_classes), of images (B, in_chans, H, W)."""
        return self.forward_head(self.forward_features(x))
