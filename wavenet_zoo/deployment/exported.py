"""Files that ``wavezoo export`` writes: what they say of themselves, and running them."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from pydantic import ConfigDict, ValidationError, model_validator
from torch import nn

from wavenet_zoo.data.preprocessing import Preprocessing
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.files import sha256_of
from wavenet_zoo.weights.loading import Weights
from wavenet_zoo.weights.metadata import METADATA_KEY, WeightsMetadata

__all__ = [
    "MAX_EXECUTORCH_BATCH",
    "SUFFIXES",
    "ExportMetadata",
    "is_exported_file",
    "missing_extra",
    "open_exported_file",
    "quiet_loggers",
]

MAX_EXECUTORCH_BATCH = 8  # ExecuTorch plans memory for a maximum batch size
SUFFIXES = {"onnx": ".onnx", "pt2": ".pt2", "executorch": ".pte"}


class ExportMetadata(WeightsMetadata):
    """Metadata of an exported file: those of its weights, and how to feed it and read its outputs.

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
    forms: dict[str, str] = {}
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
        forms = set(self.forms.values())
        return forms.pop() if len(forms) == 1 else "mixed" if forms else "dense"


class _ExportedModel(nn.Module):
    """A network behind a function that takes a batch and returns logits, with what timm's models know of themselves."""

    def __init__(self, run: Callable[[torch.Tensor], torch.Tensor], metadata: ExportMetadata):
        super().__init__()
        self.run = run
        self.num_classes = metadata.num_classes
        self.pretrained_cfg = {"architecture": metadata.model}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.run(x)
        if logits.shape != (len(x), self.num_classes):
            raise WavezooError(f"the file says that it has {self.num_classes} outputs and gives {list(logits.shape)}")
        return logits


def is_exported_file(model: str) -> bool:
    """Return whether a model is given as a file, by its suffix."""
    return model.endswith(tuple(SUFFIXES.values()))


def open_exported_file(path: Path) -> tuple[nn.Module, Weights, ExportMetadata]:
    """Open an exported file for evaluation.

    Returns:
        The network, its weights' description, and the file's metadata.

    Raises:
        WavezooError: If the file is missing or damaged, was not written by ``wavezoo export``, or its runtime is not
            installed.
    """
    if not path.is_file():
        raise WavezooError(f"{path}: file not found", "'wavezoo export' writes such files")
    run, text = {".onnx": _open_onnx, ".pt2": _open_pt2, ".pte": _open_executorch}[path.suffix](path)
    if not text:
        raise WavezooError(f"{path}: has no wavenet_zoo metadata", "use a file of 'wavezoo export'")
    try:
        metadata = ExportMetadata.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise WavezooError(f"{path}: invalid metadata: {key}: {first['msg']}") from None
    weights = Weights(name=str(path), kind="file", metadata=metadata, sha256=sha256_of(path))
    return _ExportedModel(run, metadata), weights, metadata


def missing_extra(extra: str, error: ImportError) -> WavezooError:
    """Return the error for a library that is not installed."""
    return WavezooError(f"{error.name or error} is not installed", f"pip install 'wavenet_zoo[{extra}]'")


@contextlib.contextmanager
def quiet_loggers() -> Iterator[None]:
    """Keep what other libraries log about their own inner life from a user's terminal; errors are raised anyway."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(previous)


def _open_onnx(path: Path) -> tuple[Any, str]:
    try:
        import onnxruntime
    except ImportError as error:
        raise missing_extra("onnx", error) from error
    onnxruntime.set_default_logger_severity(3)  # errors are raised; what else it has to say is for its developers
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes of errors have no common one
        raise WavezooError(f"{path}: not an ONNX file that can be run: {_first_line(error)}") from error
    name = session.get_inputs()[0].name

    def run(x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(session.run(None, {name: x.contiguous().numpy()})[0])

    return run, session.get_modelmeta().custom_metadata_map.get(METADATA_KEY, "")


def _open_pt2(path: Path) -> tuple[Any, str]:
    extra = {METADATA_KEY: ""}
    try:
        with quiet_loggers():
            program = torch.export.load(str(path), extra_files=extra)
    except Exception as error:  # whatever unpacking a damaged archive comes upon
        raise WavezooError(f"{path}: not an exported program that can be run: {_first_line(error)}") from error
    module = program.module()
    return lambda x: module(x), extra[METADATA_KEY]  # a function: it cannot be put into evaluation mode, nor has to


def _open_executorch(path: Path) -> tuple[Any, str]:
    try:
        with quiet_loggers():
            from executorch.runtime import Runtime
    except ImportError as error:
        raise missing_extra("executorch", error) from error
    try:
        program = Runtime.get().load_program(path)
        method = program.load_method("forward")
        text = program.load_method(METADATA_KEY).execute([])[0] if METADATA_KEY in program.method_names else ""
    except Exception as error:  # a RuntimeError with a code, or worse
        raise WavezooError(f"{path}: not an ExecuTorch program that can be run: {_first_line(error)}") from error

    def run(x: torch.Tensor) -> torch.Tensor:
        assert program  # the method points into it and does not keep it
        parts = x.contiguous().split(MAX_EXECUTORCH_BATCH)
        return torch.cat([method.execute([part])[0].clone() for part in parts])  # what it returns is its own memory

    return run, text


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
