"""Export a folded network to ONNX, torch.export or ExecuTorch, and compare the file with the network."""

import io
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from wavenet_zoo.data.open import open_data
from wavenet_zoo.data.preprocessing import Preprocessing, evaluation_transform, preprocessing_of
from wavenet_zoo.deployment.choose import resolve_forms
from wavenet_zoo.deployment.convert import executorch_bytes, exported_program, onnx_bytes
from wavenet_zoo.deployment.exported import (
    MAX_EXECUTORCH_BATCH,
    SUFFIXES,
    ExportMetadata,
    open_exported_file,
)
from wavenet_zoo.deployment.fold import fold, forms_of
from wavenet_zoo.deployment.forms import check_form, read_forms
from wavenet_zoo.errors import INTERNAL_FAILURE, WavezooError
from wavenet_zoo.runtime.environment import git_state, package_versions
from wavenet_zoo.runtime.figures import import_matplotlib
from wavenet_zoo.runtime.files import check_writable, sha256_of, write_atomically
from wavenet_zoo.runtime.results import Result
from wavenet_zoo.runtime.seeds import preserve_rng_state
from wavenet_zoo.weights.input_check import check_input
from wavenet_zoo.weights.loading import Weights, load_model
from wavenet_zoo.weights.locations import HUB, resolve_model
from wavenet_zoo.weights.metadata import METADATA_KEY

__all__ = ["Export", "export"]

logger = logging.getLogger(__name__)

COMPARED_IMAGES = 8
MAX_RELATIVE_DIFFERENCE = 1e-4  # of the largest logit


@dataclass
class Export(Result):
    """The result of :func:`export`.

    Attributes:
        file: Path of the file.
        to: Its format: ``onnx``, ``pt2`` or ``executorch``.
        bytes: Its size in bytes.
        sha256: Its hash.
        model: Name of the model.
        weights: Description of the weights.
        form: Form of all units, or ``mixed``.
        forms: Form of each unit by name.
        preprocessing: Description of the preprocessing.
        largest_difference: Largest absolute difference between the logits of the file and of the network.
        compared_on: Description of the images that they were compared on.
    """

    file: str
    to: str
    bytes: int
    sha256: str
    model: str
    weights: str
    form: str
    forms: dict[str, str]
    preprocessing: str
    largest_difference: float
    compared_on: str


@preserve_rng_state()
def export(
    model: str,
    to: str,
    out: str | Path | None = None,
    weights: str | Path | None = None,
    *,
    form: str | Mapping[str, str] = "dense",
    size: int | None = None,
    data: str | Path | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> Export:
    """Fold a network and write it as a file for another engine.

    The file maps ``images``, (B, C, H, W) of float32 with dynamic B, to logits, (B, classes). It contains the
    preprocessing and the class names. It is written only if its logits on real images, one by one and as a batch, equal
    those of the network before folding, up to rounding.

    Args:
        model: Name of any timm model, with or without a tag; or its weights, see
            :func:`wavenet_zoo.weights.locations.resolve_model`.
        to: ``onnx``, ``pt2`` (torch.export) or ``executorch`` (for XNNPACK; B at most 8).
        out: Path of the file. Default: the model's name with the suffix of the format.
        weights: A tag, a file, or ``none`` for random weights. Default: the model's pretrained weights.
        form: How WaveletNet's units compute DFWT and WConv: ``factored``, ``dense``, ``split``, ``split2``,
            ``halves``, ``auto``, a file of forms, or a form by name of the unit.
        size: Input size in pixels. Default: that of the weights.
        data: Data whose first images are used for the comparison. Default: crops of a photograph.
        model_kwargs: Model arguments.
        overwrite: Replace an existing file.
        progress: Show progress on stderr.

    Raises:
        WavezooError: If the file exists, the model or its weights do not exist, the model does not accept the size, the
            format requires an extra that is not installed, or the logits differ. No file is written then.
    """
    if to not in SUFFIXES:
        raise WavezooError(f"unknown format '{to}'", f"use {', '.join(SUFFIXES)}")
    if isinstance(form, str):
        check_form(form)
        form = read_forms(Path(form)) if form.endswith(".json") else form
    model, weights = resolve_model(model, weights)
    name = model.partition(".")[0]
    path = Path(out) if out is not None else Path(f"{name}{SUFFIXES[to]}")
    if path.suffix != SUFFIXES[to]:
        raise WavezooError(f"{path}: the suffix for {to} must be {SUFFIXES[to]}")
    if path.exists() and not overwrite:
        raise WavezooError(f"{path}: exists already", "pass --force to replace it, or --out FILE")
    check_writable(path)
    network, source = load_model(model, weights, model_kwargs)
    network.eval()
    if source.kind == "random":
        logger.info("weights: %s", source.describe())
    preprocessing = (source.metadata.preprocessing or preprocessing_of(network)).with_overrides(size)
    check_input(network, preprocessing.input_size)
    images, compared_on = _comparison_images(preprocessing, data)
    if isinstance(form, str):
        engine = {"onnx": "onnxruntime"}.get(to, "torch")
        form = resolve_forms(form, network, preprocessing.input_size, engine=engine, progress=progress)
    folded = fold(network, form)
    metadata = _build_metadata(name, network.num_classes, source, preprocessing, forms_of(folded))
    content = _to_bytes(to, folded, images, metadata)
    with tempfile.TemporaryDirectory() as folder:
        candidate = Path(folder, path.name)
        candidate.write_bytes(content)
        difference = _compare(network, candidate, images)
    write_atomically(path, content)
    return Export(
        file=str(path),
        to=to,
        bytes=len(content),
        sha256=sha256_of(path),
        model=name,
        weights=source.describe(),
        form=metadata.form,
        forms=metadata.forms,
        preprocessing=str(preprocessing),
        largest_difference=difference,
        compared_on=compared_on,
    )


def _to_bytes(to: str, folded: nn.Module, images: torch.Tensor, metadata: ExportMetadata) -> bytes:
    text = metadata.model_dump_json()
    if to == "onnx":
        return onnx_bytes(folded, images, text)
    if to == "executorch":
        return executorch_bytes(folded, images, text, MAX_EXECUTORCH_BATCH)
    program = exported_program(folded, torch.zeros_like(images))  # the file contains the example input
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # contains paths of this machine
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={METADATA_KEY: text})
    return buffer.getvalue()


def _compare(network: nn.Module, file: Path, images: torch.Tensor) -> float:
    """Return the largest difference of the file's logits from the network's, as a batch and image by image.

    Raises:
        WavezooError: If the file does not run, or the difference exceeds rounding.
    """
    exported = open_exported_file(file)[0]
    with torch.inference_mode():
        expected = network(images)
        try:
            found = [exported(images), torch.cat([exported(image[None]) for image in images])]
        except RuntimeError as error:  # ExecuTorch does not support every form at every batch size
            raise WavezooError(
                f"{file.name}: not written, because it does not run: {error}", "use another --form", INTERNAL_FAILURE
            ) from error
    difference = max(float((logits - expected).abs().max()) for logits in found)
    if not difference <= MAX_RELATIVE_DIFFERENCE * float(expected.abs().max()):  # true for nan too
        raise WavezooError(
            f"{file.name}: not written, because its logits differ by {difference:g} from the network's",
            "use another --form or --to",
            INTERNAL_FAILURE,
        )
    return difference


def _comparison_images(preprocessing: Preprocessing, data: str | Path | None) -> tuple[torch.Tensor, str]:
    """Return real images, (B, C, H, W), and their description."""
    transform = evaluation_transform(preprocessing)
    if data is not None:
        source = open_data(data, "val")
        count = min(COMPARED_IMAGES, len(source.targets))
        images = [source.load(index) for index in range(count)]
        return torch.stack([transform(image) for image in images]), f"{count} images of {source.name}"
    get_sample_data = import_matplotlib().cbook.get_sample_data
    with Image.open(str(get_sample_data("grace_hopper.jpg", asfileobj=False))) as opened:
        photograph = opened.convert("RGB")
    width, height = photograph.size
    corners = [(x * width // 4, y * height // 5) for x in range(2) for y in range(COMPARED_IMAGES // 2)]
    crops = [photograph.crop((x, y, x + width // 2, y + height // 2)) for x, y in corners]
    return torch.stack([transform(crop) for crop in crops]), f"{len(crops)} crops of a photograph"


def _build_metadata(
    name: str, num_classes: int, source: Weights, preprocessing: Preprocessing, forms: dict[str, str]
) -> ExportMetadata:
    stored = source.metadata.model_dump(exclude={"model", "preprocessing", "versions", "git"})
    return ExportMetadata(
        **stored,
        model=name,
        num_classes=num_classes,
        preprocessing=preprocessing,
        preprocessing_text=str(preprocessing),
        forms=forms,
        weights=Path(source.name).name if source.kind == "file" and not source.name.startswith(HUB) else source.name,
        weights_sha256=source.sha256,
        versions=package_versions(),
        git=git_state(),
    )
