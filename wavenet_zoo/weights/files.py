"""Weights files: safetensors and training checkpoints, read without running code, and written."""

import hashlib
import io
import itertools
import json
import os
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import safetensors.torch
import torch
from timm.models import clean_state_dict

from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.files import open_regular_file
from wavenet_zoo.runtime.records import parse_json
from wavenet_zoo.weights.metadata import METADATA_KEY, WeightsMetadata, parse_metadata

__all__ = ["WeightsFile", "read_metadata", "read_weights_file", "weights_bytes"]

MAX_BYTES = 16 * 2**30
MAX_HEADER_BYTES = 100_000_000  # the limit of safetensors
MAX_PICKLE_BYTES = 2 * 2**30  # of PyTorch before 1.6, whose parts cannot be checked before reading
DTYPES = {  # of tensors that models have; floats are converted to those of the model
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
}
STATE_DICTS = (  # keys of state dicts in checkpoints, timm's first and in its order
    *("state_dict_ema", "model_ema", "state_dict", "model"),
    *("ema_state_dict", "ema", "model_state_dict", "net", "network", "weights", "params", "module"),
)
MAX_NESTING = 3  # {"ema": {"state_dict": ...}}
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "timm_model.", "backbone.")
DOWNLOAD_AGAIN = "download or convert the file again"


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
    try:
        with open_regular_file(path, MAX_BYTES) as file:
            is_checkpoint = _check_kind(path, file)
            content = file.read()
    except OSError as error:
        raise WavezooError(f"{path}: cannot be read: {error.strerror}") from error
    weights = _read_checkpoint(path, content, variant) if is_checkpoint else _read_safetensors(path, content)
    for key, value in weights.tensors.items():
        if value.dtype not in DTYPES or value.layout != torch.strided or value.device.type != "cpu":
            kind = str(value.dtype).removeprefix("torch.")
            raise WavezooError(
                f"{path}: tensor {key} is of type {kind}, which is not supported", "convert it to float32"
            )
        if value.numel() * value.element_size() > len(content):
            raise WavezooError(f"{path}: tensor {key} has more values than the file")
        if value.is_floating_point() and not value.isfinite().all():
            raise WavezooError(f"{path}: tensor {key} has values that are not finite")
    weights.sha256 = hashlib.sha256(content).hexdigest()
    return weights


def _check_kind(path: Path, file: BinaryIO) -> bool:
    """Check before reading a file into memory that its parts cover it, and return whether it is a checkpoint.

    Raises:
        WavezooError: If it is neither a safetensors file nor a checkpoint, or its parts have another size.
    """
    size = os.fstat(file.fileno()).st_size
    if size == 0:
        raise WavezooError(f"{path}: is empty (0 bytes)")
    start = file.read(9)
    file.seek(0)
    if start[8:9] == b"{":  # 8 bytes of length, then the opening brace of the JSON header
        _check_safetensors(path, file, size)
        return False
    is_zip, is_pickle = start[:2] == b"PK", start[:1] == b"\x80"
    if not is_zip and not is_pickle:
        raise WavezooError(f"{path}: truncated, or not a safetensors file or a checkpoint", DOWNLOAD_AGAIN)
    if path.suffix == ".safetensors":
        raise WavezooError(f"{path}: is a pickle, not a safetensors file; it was not opened")
    if is_pickle and size > MAX_PICKLE_BYTES:
        raise WavezooError(f"{path}: has {size:,} bytes, the limit for PyTorch's old format is {MAX_PICKLE_BYTES:,}")
    if is_zip:
        try:
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
        except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
            raise WavezooError(f"{path}: truncated, or not a PyTorch checkpoint", DOWNLOAD_AGAIN) from error
        # torch.save does not compress: an archive that unpacks to more than the file is not one of its
        if sum(member.file_size for member in members) > size:
            raise WavezooError(f"{path}: refused: a compressed archive, which torch.save does not write")
        file.seek(0)
    return True


def _check_safetensors(path: Path, file: BinaryIO, size: int) -> None:
    """Check that the tensors in a safetensors header cover the file, which may be sparse.

    Raises:
        WavezooError: If they do not.
    """
    length = int.from_bytes(file.read(8), "little")
    try:
        header = json.loads(file.read(min(length, size, MAX_HEADER_BYTES)))
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
        covered = 8 + length + max(ends, default=0) == size
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise WavezooError(f"{path}: truncated, or not a safetensors file", DOWNLOAD_AGAIN) from error
    if not covered:
        raise WavezooError(
            f"{path}: truncated, or not a safetensors file: its tensors do not end with it", DOWNLOAD_AGAIN
        )
    file.seek(0)


def _read_safetensors(path: Path, content: bytes) -> WeightsFile:
    try:
        tensors = safetensors.torch.load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        text = header.get("__metadata__", {}).get(METADATA_KEY)
    except Exception as error:  # mostly a SafetensorError; for an unknown dtype others
        reason = str(error).removeprefix("Error while deserializing header: ")
        raise WavezooError(f"{path}: truncated, or not a safetensors file: {reason}", DOWNLOAD_AGAIN) from error
    metadata = None
    if text is not None:
        metadata = parse_metadata(path, parse_json(text, f"{path}: metadata"), WeightsMetadata)
    return WeightsFile(_without_prefixes(tensors), metadata, metadata.variant if metadata else "raw")


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
    except Exception as error:  # a damaged pickle raises any type
        raise WavezooError(f"{path}: truncated, or not a PyTorch checkpoint", DOWNLOAD_AGAIN) from error
    if not isinstance(checkpoint, dict):
        raise WavezooError(f"{path}: contains a {type(checkpoint).__name__}, not weights")
    metadata = None
    if "metadata" in checkpoint:
        metadata = parse_metadata(path, checkpoint["metadata"], WeightsMetadata)
    state_dict, variant = _find_state_dict(checkpoint, wanted)
    tensors = {str(key): value for key, value in state_dict.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        keys = ", ".join(str(key) for key in itertools.islice(state_dict, 8))
        raise WavezooError(
            f"{path}: contains no weights; its keys are: {keys or 'none'}",
            f"expected tensors, or one of {', '.join(STATE_DICTS)}",
        )
    return WeightsFile(_without_prefixes(tensors), metadata, variant)


def _find_state_dict(checkpoint: Mapping[Any, Any], wanted: str | None) -> tuple[Mapping[Any, Any], str]:
    """Return the state dict in a checkpoint, and whether it is ``raw`` or ``ema``."""
    variant = "raw"
    for _ in range(MAX_NESTING):
        keys = [key for key in STATE_DICTS if not (wanted == "raw" and "ema" in key)]
        key = next((key for key in keys if _contains_weights(checkpoint.get(key))), None)
        if key is None:
            break
        checkpoint = checkpoint[key]
        variant = "ema" if "ema" in key else variant
    return checkpoint, variant


def _contains_weights(value: Any) -> bool:
    return isinstance(value, dict) and any(isinstance(part, (dict, torch.Tensor)) for part in value.values())


def _without_prefixes(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Remove prefixes of wrappers that all names have, ``module._orig_mod.`` for example."""
    tensors = clean_state_dict(tensors)
    while (
        prefix := next((p for p in PREFIXES if tensors and all(key.startswith(p) for key in tensors)), None)
    ) is not None:
        tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
    return tensors


def _unsafe_globals(content: bytes) -> str:
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(content))
    except Exception:  # only for the message; the file is refused in any case
        return ""
    return f" ({', '.join(names)})" if names else ""
