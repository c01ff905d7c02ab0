"""Checkpoints of a training run: tensors and plain values alone, so that they load without running code."""

import io
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wavenet_zoo.files import write_atomically
from wavenet_zoo.weights import WeightsMetadata

__all__ = ["save_checkpoint"]


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
    history: list[dict[str, Any]],
    metadata: WeightsMetadata,
) -> None:
    """Write everything that a run is made of at the end of an epoch.

    Args:
        path: File to write, whole or not at all.
        model: Its state goes under ``state_dict``, where timm looks for it.
        optimizer: Its state, momentum included. The schedule is a function of ``step``.
        step: Optimizer steps taken.
        history: One record for each epoch completed.
        metadata: What the weights are.
    """
    checkpoint = {
        "state_dict": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": metadata.epoch,
        "step": step,
        "history": history,
        "rng_state": torch.get_rng_state(),
        "metadata": metadata.model_dump(mode="json"),
    }
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    write_atomically(path, buffer.getvalue())
