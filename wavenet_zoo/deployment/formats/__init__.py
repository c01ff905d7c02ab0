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
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

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
        reduced_range: Whether its quantizer uses 7 bits of the weights by default.
        layout: Layout of the float32 input; that of uint8 is ``NHWC``.
        max_batch: Maximum batch size of its files; None for any.
        is_folder: Whether the export is a folder.
        platform: ``sys.platform`` of the machines that run it; None for all.
        inputs: Types of the input that it supports.
        input_name: Name of the input tensor.
        output_name: Name of the output tensor; None for the kind of the output.
        holds_metadata: Whether its files contain their metadata; else only the sidecar does.
    """

    name: str
    suffix: str
    engine: str
    runtime: str
    companions: tuple[str, ...] = ()
    extra: str | None = None
    int8: bool = False
    reduced_range: bool = False
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    max_batch: int | None = None
    is_folder: bool = False
    platform: str | None = None
    inputs: tuple[str, ...] = ("float32", "uint8")
    input_name: str = "images"
    output_name: str | None = None
    holds_metadata: bool = True

    @property
    def runs_here(self) -> bool:
        """Whether this machine runs its files."""
        return self.platform in (None, sys.platform)

    @property
    def module(self) -> Any:
        """Its module, which requires its extra."""
        return importlib.import_module(f"wavenet_zoo.deployment.formats.{self.name}")


FORMATS = {
    file_format.name: file_format
    for file_format in (
        Format("onnx", ".onnx", "ONNX Runtime", "onnxruntime", extra="onnx", int8=True, reduced_range=True),
        Format("pt2", ".pt2", "PyTorch", "torch"),
        Format("executorch", ".pte", "ExecuTorch", "executorch.runtime", extra="executorch", int8=True, max_batch=8),
        Format(
            "openvino",
            ".xml",
            "OpenVINO",
            "openvino",
            companions=(".bin",),
            extra="openvino",
            int8=True,
            reduced_range=True,
            holds_metadata=False,
        ),
        Format(
            "tflite",
            ".tflite",
            "LiteRT",
            "ai_edge_litert.interpreter",
            extra="tflite",
            int8=True,
            layout="NHWC",
            max_batch=1,
            holds_metadata=False,
        ),
        Format(
            "ncnn",
            ".ncnn.param",
            "ncnn",
            "ncnn",
            companions=(".ncnn.bin",),
            extra="ncnn",
            max_batch=1,
            inputs=("float32",),
            input_name="in0",
            output_name="out0",
            holds_metadata=False,
        ),
        Format(
            "coreml",
            ".mlpackage",
            "Core ML",
            "coremltools",
            extra="coreml",
            max_batch=1,
            is_folder=True,
            platform="darwin",
        ),
    )
}


def format_of(path: str | Path) -> Format | None:
    """Return the format of an exported file by its suffix; None if it is not an exported file."""
    return next((found for found in FORMATS.values() if str(path).rstrip("/").endswith(found.suffix)), None)
