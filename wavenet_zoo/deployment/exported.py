"""Open and run the files of ``wavezoo export``, with their metadata."""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pydantic import ConfigDict, Field, model_validator
from torch import nn

from wavenet_zoo.data.preprocessing import Preprocessing
from wavenet_zoo.deployment._program import safe_program
from wavenet_zoo.deployment.forms import one_form
from wavenet_zoo.deployment.optional import missing_extra, quiet_libraries
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.files import read_regular_file
from wavenet_zoo.runtime.records import parse_json
from wavenet_zoo.weights.images import find_image_hashes
from wavenet_zoo.weights.loading import Weights
from wavenet_zoo.weights.metadata import METADATA_KEY, WeightsMetadata, parse_metadata

__all__ = [
    "MAX_EXECUTORCH_BATCH",
    "SUFFIXES",
    "ExportMetadata",
    "is_exported_file",
    "open_exported_file",
]

MAX_EXECUTORCH_BATCH = 8  # ExecuTorch plans memory for a maximum batch size
MAX_BYTES = 8 * 2**30
EXPORT_AGAIN = "export the model again"
SUFFIXES = {"onnx": ".onnx", "pt2": ".pt2", "executorch": ".pte"}


class ExportMetadata(WeightsMetadata):
    """Metadata of an exported file: that of its weights, its preprocessing, its forms and its outputs.

    Attributes:
        num_classes: Number of outputs.
        preprocessing: How an image becomes the input ``images``, (B, C, H, W) of float32.
        preprocessing_text: The preprocessing in words.
        forms: Form of every WaveletNet unit, by name.
        weights: Name of the weights.
        weights_sha256: Hash of their file; None without one.
    """

    model_config = ConfigDict(protected_namespaces=(), extra="forbid")

    num_classes: int
    preprocessing: Preprocessing
    preprocessing_text: str
    forms: dict[str, str] = Field(default_factory=dict)
    weights: str
    weights_sha256: str | None = None

    @model_validator(mode="after")
    def _check_classes(self) -> "ExportMetadata":
        if self.classes is not None and len(self.classes) != self.num_classes:
            raise ValueError(f"{len(self.classes)} class names for {self.num_classes} outputs")
        return self

    @property
    def form(self) -> str:
        """The form of all units, ``mixed``, or ``dense`` for a model without units."""
        return one_form(self.forms)


class _ExportedModel(nn.Module):
    """An exported file as a module with the attributes of a timm model."""

    def __init__(self, run: Callable[[torch.Tensor], torch.Tensor], metadata: ExportMetadata):
        super().__init__()
        self.run = run
        self.num_classes = metadata.num_classes
        self.pretrained_cfg = {"architecture": metadata.model}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.run(x)
        if logits.shape != (len(x), self.num_classes):
            raise WavezooError(
                f"the exported file returns logits of shape {tuple(logits.shape)}, but its metadata states "
                f"{self.num_classes} classes",
                EXPORT_AGAIN,
            )
        return logits


def is_exported_file(model: str) -> bool:
    """Return whether a model's name is the path of an exported file, by its suffix."""
    return model.endswith(tuple(SUFFIXES.values()))


def open_exported_file(path: Path) -> tuple[nn.Module, Weights, ExportMetadata]:
    """Open an exported file for evaluation.

    Returns:
        The network, its weights' description, and the file's metadata.

    Raises:
        WavezooError: If the file is missing or damaged, was not written by ``wavezoo export``, or its runtime is not
            installed.
    """
    try:
        content = read_regular_file(path, MAX_BYTES)
    except FileNotFoundError:
        raise WavezooError(f"{path}: file not found", "'wavezoo export' writes such files") from None
    except OSError as error:
        raise WavezooError(f"{path}: cannot be read: {error.strerror}") from error
    run, text = {".onnx": _open_onnx, ".pt2": _open_pt2, ".pte": _open_executorch}[path.suffix](path, content)
    if not text:
        raise WavezooError(f"{path}: contains no wavenet_zoo metadata", "use a file of 'wavezoo export'")
    values = parse_json(text, f"{path}: metadata", EXPORT_AGAIN)
    metadata = parse_metadata(path, values, ExportMetadata, EXPORT_AGAIN)
    digest, images = hashlib.sha256(content).hexdigest(), find_image_hashes(path, metadata)
    weights = Weights(name=str(path), kind="file", metadata=metadata, sha256=digest, images=images)
    return _ExportedModel(run, metadata), weights, metadata


def _open_onnx(path: Path, content: bytes) -> tuple[Any, str]:
    try:
        import onnxruntime
    except ImportError as error:
        raise missing_extra("onnx", error) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
    except Exception as error:  # onnxruntime's exceptions have no common base
        raise WavezooError(f"{path}: is not a valid ONNX file: {_first_line(error)}", EXPORT_AGAIN) from error

    def run(x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(session.run(None, {name: x.contiguous().numpy()})[0])

    return run, session.get_modelmeta().custom_metadata_map.get(METADATA_KEY, "")


def _open_pt2(path: Path, content: bytes) -> tuple[Any, str]:
    program, metadata = safe_program(path, content)
    try:
        with quiet_libraries():
            module = torch.export.load(io.BytesIO(program)).module()
    except Exception as error:  # a damaged archive raises many types
        raise WavezooError(f"{path}: is not a valid exported program: {_first_line(error)}", EXPORT_AGAIN) from error
    return lambda x: module(x), metadata  # a function: this module refuses eval()


def _open_executorch(path: Path, content: bytes) -> tuple[Any, str]:
    try:
        with quiet_libraries():
            from executorch.runtime import Runtime
    except ImportError as error:
        raise missing_extra("executorch", error) from error
    try:
        program = Runtime.get().load_program(content)
        method = program.load_method("forward")
        text = program.load_method(METADATA_KEY).execute([])[0] if METADATA_KEY in program.method_names else ""
    except Exception as error:  # mostly a RuntimeError with a code
        raise WavezooError(f"{path}: is not a valid ExecuTorch program: {_first_line(error)}", EXPORT_AGAIN) from error

    def run(x: torch.Tensor) -> torch.Tensor:
        assert content and program  # keeps both alive: the method points into them
        parts = x.contiguous().split(MAX_EXECUTORCH_BATCH)
        return torch.cat([method.execute([part])[0].clone() for part in parts])  # the next call overwrites its memory

    return run, text


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
