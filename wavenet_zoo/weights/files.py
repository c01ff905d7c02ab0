"""Weights files: safetensors and training checkpoints, read without running code, and written."""

import hashlib
import io
import json
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from pydantic import ValidationError
from timm.models import clean_state_dict

from wavenet_zoo.errors import WavezooError
from wavenet_zoo.weights.metadata import METADATA_KEY, WeightsMetadata

__all__ = ["WeightsFile", "read_metadata", "read_weights_file", "weights_bytes"]


@dataclass
class WeightsFile:
    """Content of a weights file.

    Attributes:
        tensors: State dict.
        metadata: Its metadata; None for a file of another tool.
        variant: ``raw``, or ``ema`` for the moving average.
        sha256: Hash of the file.
    """

    tensors: dict[str, torch.Tensor]
    metadata: WeightsMetadata | None
    variant: str = "raw"
    sha256: str = ""


def weights_bytes(state_dict: Mapping[str, torch.Tensor], metadata: WeightsMetadata) -> bytes:
    """Return a safetensors file with ``metadata`` in its header."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in state_dict.items()}
    # one key: with more, their order in the file, and so its hash, would change from run to run
    return safetensors.torch.save(tensors, {METADATA_KEY: json.dumps(metadata.model_dump(mode="json"), sort_keys=True)})


def read_metadata(path: Path) -> WeightsMetadata:
    """Return the metadata of a weights file.

    Raises:
        WavezooError: If the file is damaged or has no metadata.
    """
    metadata = read_weights_file(path).metadata
    if metadata is None:
        raise WavezooError(
            f"{path}: has no wavenet_zoo metadata", "use weights that 'wavezoo train' or 'weights convert' wrote"
        )
    return metadata


def read_weights_file(path: Path, variant: str | None = None) -> WeightsFile:
    """Read a safetensors file or a training checkpoint, without running code from it.

    Args:
        path: The file.
        variant: ``raw`` reads the raw weights of a checkpoint that also has a moving average.

    Raises:
        WavezooError: If the file is missing, truncated or unsafe, or a value is not finite.
    """
    if path.is_dir():
        raise WavezooError(f"{path}: is a folder, not a weights file")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WavezooError(f"{path}: cannot be read: {error.strerror}") from error
    if not content:
        raise WavezooError(f"{path}: is empty (0 bytes)")
    # safetensors: 8 bytes of length, then the opening brace of the JSON header
    is_pickle = content[8:9] != b"{" and (content[:2] == b"PK" or content[:1] == b"\x80")
    if is_pickle and path.suffix == ".safetensors":
        raise WavezooError(f"{path}: is a pickle, not a safetensors file; it was not opened")
    file = _read_checkpoint(path, content, variant) if is_pickle else _read_safetensors(path, content)
    for key, value in file.tensors.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise WavezooError(f"{path}: tensor {key} has values that are not finite")
    file.sha256 = hashlib.sha256(content).hexdigest()
    return file


def _read_safetensors(path: Path, content: bytes) -> WeightsFile:
    try:
        tensors = safetensors.torch.load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        text = header.get("__metadata__", {}).get(METADATA_KEY)
        metadata = _read_metadata(path, json.loads(text)) if text is not None else None
    except (safetensors.SafetensorError, ValueError) as error:
        reason = str(error).removeprefix("Error while deserializing header: ")
        raise WavezooError(f"{path}: truncated, or not a safetensors file: {reason}") from error
    return WeightsFile(clean_state_dict(tensors), metadata, metadata.variant if metadata else "raw")


def _read_checkpoint(path: Path, content: bytes, wanted: str | None = None) -> WeightsFile:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a bad pickle is reported below
            checkpoint = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WavezooError(
            f"{path}: refused, because loading this pickle would run code{_unsafe_globals(content)}",
            "use a safetensors file",
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise WavezooError(f"{path}: truncated, or not a PyTorch checkpoint") from error
    if not isinstance(checkpoint, dict):
        raise WavezooError(f"{path}: contains a {type(checkpoint).__name__}, not weights")
    metadata = _read_metadata(path, checkpoint["metadata"]) if "metadata" in checkpoint else None
    state_dict, variant = checkpoint, "raw"
    for key in ("state_dict_ema", "model_ema", "state_dict", "model"):  # in timm's order
        if wanted == "raw" and key.endswith("ema"):
            continue
        if isinstance(checkpoint.get(key), dict):
            state_dict, variant = checkpoint[key], "ema" if key.endswith("ema") else "raw"
            break
    tensors = {key: value for key, value in state_dict.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise WavezooError(f"{path}: contains no weights")
    return WeightsFile(clean_state_dict(tensors), metadata, variant)


def _read_metadata(path: Path, values: Any) -> WeightsMetadata:
    try:
        return WeightsMetadata.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise WavezooError(f"{path}: invalid metadata: {where or 'metadata'}: {first['msg']}") from error


def _unsafe_globals(content: bytes) -> str:
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(content))
    except Exception:  # only for the message; the file is refused in any case
        return ""
    return f" ({', '.join(names)})" if names else ""
