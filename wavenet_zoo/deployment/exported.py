"""Open and run the files of ``wavezoo export``, with their metadata."""

from pathlib import Path

import torch
from torch import nn

from wavenet_zoo.deployment.formats import Run, format_of
from wavenet_zoo.deployment.metadata import ExportMetadata
from wavenet_zoo.deployment.sidecar import EXPORT_AGAIN, digest_of, hash_files, read_sidecar, sidecar_path
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.records import parse_json
from wavenet_zoo.weights.images import find_image_hashes
from wavenet_zoo.weights.loading import Weights
from wavenet_zoo.weights.metadata import parse_metadata

__all__ = ["ExportedModel", "is_exported_file", "open_exported_file"]


class ExportedModel(nn.Module):
    """An exported file as a module with the attributes of a timm model.

    Args:
        run: Function from a batch in the layout of the input to the output.
        metadata: Metadata of the file.

    Shape:
        (B, C, H, W) of the input's dtype -> logits (B, classes). Of probabilities the logarithm is returned, which
        is equal to the logits up to a constant.
    """

    def __init__(self, run: Run, metadata: ExportMetadata):
        super().__init__()
        self.run = run
        self.metadata = metadata
        self.num_classes = metadata.num_classes
        self.input_dtype = getattr(torch, metadata.input.dtype)
        self.pretrained_cfg = {"architecture": metadata.model}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.metadata.input.layout == "NHWC":
            x = x.permute(0, 2, 3, 1)
        output = self.run(x.contiguous())
        if output.shape != (len(x), self.num_classes):
            raise WavezooError(
                f"the exported file returns logits of shape {tuple(output.shape)}, but its metadata states "
                f"{self.num_classes} classes",
                EXPORT_AGAIN,
            )
        if self.metadata.output.kind == "probabilities":
            return output.clamp_min(torch.finfo(output.dtype).tiny).log()
        return output


def is_exported_file(model: str | Path) -> bool:
    """Return whether a model's name is the path of an exported file, by its suffix."""
    return format_of(model) is not None


def open_exported_file(path: Path, threads: int | None = None) -> tuple[ExportedModel, Weights, ExportMetadata]:
    """Open an exported file for evaluation.

    Args:
        path: The file.
        threads: Number of threads of its engine. Default: the engine's.

    Returns:
        The network, its weights' description, and the file's metadata.

    Raises:
        WavezooError: If the file is missing or damaged, was not written by ``wavezoo export``, or its runtime is not
            installed or does not run on this machine.
    """
    file_format = format_of(path)
    if file_format is None:
        raise WavezooError(f"{path}: is not an exported file", "'wavezoo export' writes such files")
    hashes = hash_files(path, file_format)
    metadata: ExportMetadata
    if sidecar_path(path).exists() or not file_format.holds_metadata:
        metadata = read_sidecar(path, hashes).export_metadata()  # first: the engine may crash on a damaged file
    run, text = file_format.module.load(path, threads)
    if file_format.holds_metadata:
        if not text:
            raise WavezooError(f"{path}: contains no wavenet_zoo metadata", "use a file of 'wavezoo export'")
        content = parse_json(text, f"{path}: metadata", EXPORT_AGAIN)
        metadata = parse_metadata(path, content, ExportMetadata, EXPORT_AGAIN)
    weights = Weights(
        name=str(path),
        kind="file",
        metadata=metadata,
        sha256=digest_of(hashes),
        images=find_image_hashes(path, metadata),
    )
    return ExportedModel(run, metadata), weights, metadata
