"""What is known about the overlap of evaluated images with those that the weights were trained on, in words."""

from collections.abc import Mapping
from typing import Any

__all__ = ["describe_overlap"]


def describe_overlap(data: Mapping[str, Any]) -> str:
    """Describe how many of the images are training or validation images of the weights.

    Args:
        data: ``data`` of an :class:`~wavenet_zoo.evaluation.result.Evaluation`.
    """
    overlap, images = data["overlap"], f"{data['images']:,}"
    if overlap is None and data["seen"]:
        return f"file names and sizes are those of the {data['seen']} images; their contents are not recorded"
    if overlap is None:
        return "unknown: the images that the weights were trained on are not recorded"
    if data["seen"] == "neither":
        return f"none of the {images} images was trained or validated on"
    words = {"training": "trained", "validation": "validated"}
    return ", ".join(
        f"{overlap[split]:,} of {images} images were {words[split]} on" for split in words if overlap[split]
    )
