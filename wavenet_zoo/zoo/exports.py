"""Exported files in a repository of weights: ``onnx/model.onnx``, ``onnx/model_int8.onnx`` and so on.

These are the names that tools on the Hub expect, transformers.js for example.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import wavenet_zoo
from wavenet_zoo.deployment.formats import FORMATS
from wavenet_zoo.edge.export import export
from wavenet_zoo.errors import WavezooError, did_you_mean
from wavenet_zoo.runtime.records import parse_json
from wavenet_zoo.zoo.card import exported_section
from wavenet_zoo.zoo.package import Package, refuse_paths

__all__ = ["add_exports", "check_exports", "is_exported_path"]

INT8 = "-int8"
INSTALLED_IN = {str(Path(str(module.__file__)).parents[1]).encode() for module in (torch, wavenet_zoo)}


def check_exports(exports: Sequence[str], calibrate: str | Path | None) -> None:
    """Check the words of ``--with``, before any work.

    Args:
        exports: ``FORMAT`` or ``FORMAT-int8``.
        calibrate: Images for int8.

    Raises:
        WavezooError: If a word is unknown or repeated, or ``calibrate`` has no effect.
    """
    for word in exports:
        to = word.removesuffix(INT8)
        if to not in FORMATS:
            hint = did_you_mean(to, FORMATS, f"use {', '.join(FORMATS)}, or FORMAT-int8")
            raise WavezooError(f"--with {word}: unknown format '{to}'", hint)
        if exports.count(word) > 1:
            raise WavezooError(f"--with {word}: repeated", "name every format once")
    if calibrate is not None and not any(word.endswith(INT8) for word in exports):
        raise WavezooError(f"--calibrate {calibrate}: no format is int8", "add FORMAT-int8 to --with, or remove it")


def is_exported_path(path: str) -> bool:
    """Return whether a path in a repository has the form of an exported file or its metadata."""
    folder, _, name = path.partition("/")
    return folder in FORMATS and name.startswith("model")


def add_exports(
    package: Package,
    weights: str | Path,
    exports: Sequence[str],
    *,
    data: str | Path | None = None,
    calibrate: str | Path | None = None,
    max_drop: float | None = 1.0,
    progress: bool = False,
) -> None:
    """Export weights, and add the files to their package and to its model card.

    Args:
        package: The package.
        weights: The safetensors file.
        exports: ``FORMAT`` or ``FORMAT-int8``, see :func:`check_exports`.
        data: Images to compare on, see :func:`wavenet_zoo.export`.
        calibrate: Images for int8.
        max_drop: Points of top-1 that an int8 file may have lost at most; None to not evaluate it.
        progress: Show progress on stderr.

    Raises:
        WavezooError: If an export fails, or its preprocessing is not that of the package.
    """
    metadata, preprocessing = package.metadata, package.record.preprocessing
    models, int8 = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for word in exports:
            to = word.removesuffix(INT8)
            int8_options = {"int8": True, "calibrate": calibrate, "max_drop": max_drop}
            options: dict[str, Any] = int8_options if word != to else {}
            models.append(f"{to}/model{'_int8' if word != to else ''}{FORMATS[to].suffix}")
            path = Path(folder, models[-1])
            path.parent.mkdir(exist_ok=True)
            made = export(
                metadata.model, to, path, weights, data=data, size=preprocessing.input_size[-1],
                model_kwargs=metadata.model_kwargs, progress=progress, **options,
            )  # fmt: skip
            if made.int8 is not None:
                int8[models[-1]] = made.int8
            if made.preprocessing != str(preprocessing):
                raise WavezooError(
                    f"--with {word}: the evaluation has another preprocessing ({preprocessing}) than the weights "
                    f"({made.preprocessing})",
                    "evaluate without --crop-pct and --interpolation",
                )
        paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    for name, content in files.items():
        if name.endswith(".json"):
            refuse_paths(name, parse_json(content, name), "pass a name instead of a path")
        if found := [path for path in INSTALLED_IN if path in content]:
            raise WavezooError(f"{name}: contains a path of this machine, '{found[0].decode()}'", "do not publish it")
    package.files.update(files)
    package.files["README.md"] += exported_section(package.repo, package.record, models, files, int8).encode()
