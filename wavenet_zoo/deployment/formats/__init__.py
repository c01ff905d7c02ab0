"""File formats of other engines: one module each, with the same functions.

``convert(network, images, metadata)`` returns the content of each file of the export, by suffix: ``{".onnx": ...}``, or
``{".xml": ..., ".bin": ...}``; the first is the one that users name. The keys of a folder are
``{".mlpackage/Manifest.json": ...}``.

``quantize(network, calibration, metadata, reduce_range)`` does the same for an int8 file, with images for calibration
in the layout of the input, (N, ...); ``scheme(reduce_range)`` describes it, see
:class:`wavenet_zoo.deployment.metadata.Quantization`. Only formats with ``int8`` have them.

``load(path, threads)`` returns a function from a batch in the layout of the input to the output (B, classes), and the
metadata in the file as JSON text; None if it is in the sidecar, see :mod:`wavenet_zoo.deployment.sidecar`.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

__all__ = ["FORMATS", "Files", "Format", "Run", "format_of"]

Files = dict[str, bytes]
Run = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes:
        name: Name of the format, for ``--to``.
        suffix: Suffix of the file that users name.
        companions: Suffixes of the other files of an export, which belong beside it.
        engine: Name of its engine.
        runtime: Python module of its engine.
        extra: Extra that installs what it requires; None if nothing is required.
        int8: Whether it has a quantizer.
        max_batch: Maximum batch size of its files; None for any.
        is_folder: Whether the export is a folder.
        platform: ``sys.platform`` of the machines that run it; None for all.
    """

    name: str
    suffix: str
    engine: str
    runtime: str
    companions: tuple[str, ...] = ()
    extra: str | None = None
    int8: bool = False
    max_batch: int | None = None
    is_folder: bool = False
    platform: str | None = None

    @property
    def module(self) -> Any:
        """Its module, which requires its extra."""
        return importlib.import_module(f"wavenet_zoo.deployment.formats.{self.name}")


FORMATS = {
    file_format.name: file_format
    for file_format in (
        Format("onnx", ".onnx", "ONNX Runtime", "onnxruntime", extra="onnx", int8=True),
        Format("pt2", ".pt2", "PyTorch", "torch"),
        Format("executorch", ".pte", "ExecuTorch", "executorch.runtime", extra="executorch", int8=True, max_batch=8),
    )
}


def format_of(path: str | Path) -> Format | None:
    """Return the format of an exported file by its suffix; None if it is not an exported file."""
    return next((found for found in FORMATS.values() if str(path).rstrip("/").endswith(found.suffix)), None)
