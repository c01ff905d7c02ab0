"""A network as a file for another engine: ONNX, torch.export, ExecuTorch; compared with the original, then kept."""

import io
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
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
from wavenet_zoo.errors import INTERNAL_FAILURE, WavezooError
from wavenet_zoo.runtime.environment import git_state, package_versions
from wavenet_zoo.runtime.files import check_writable, sha256_of, write_atomically
from wavenet_zoo.weights.loading import Weights, load_model
from wavenet_zoo.weights.metadata import METADATA_KEY

__all__ = ["Export", "export"]

logger = logging.getLogger(__name__)

IMAGES_COMPARED = 8
MAX_DIFFERENCE = 1e-4  # of the logits' largest magnitude


@dataclass
class Export:
    """The result of :func:`export`.

    Attributes:
        file: What was written.
        to: Its format: onnx, pt2 or executorch.
        bytes: Its size.
        sha256: Its hash.
        model: Name of the model.
        weights: What is known of its weights, in words.
        form: Form of the units: one for all, or ``mixed``.
        forms: Form of every unit that has one.
        preprocessing: How images have to become tensors, in words.
        largest_difference: Of the logits from those of the network as written.
        compared_on: The images that the two were compared on.
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

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values, for JSON."""
        return asdict(self)


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
    progress: bool = False,
) -> Export:
    """Write a network, folded, as a file for another engine.

    The file takes ``images``, (B, C, H, W) of float32 with any B, and gives logits. It holds the preprocessing and the
    names of the classes. Before it is kept it is run on real images, alone and in a batch, and its logits are compared
    with those of the network as written.

    Args:
        model: Name, with or without a tag.
        to: ``onnx``, ``pt2`` (torch.export) or ``executorch`` (for XNNPACK).
        out: The file; by default the model's name, with the suffix of the format.
        weights: A tag, a file, or ``none`` for random weights; by default the model's pretrained ones.
        forms: Form of the units, one for all or by name: see :func:`wavenet_zoo.deployment.fold.fold`.
        size: Side of the input in pixels, in place of the weights'.
        data: Data whose first images the two are compared on; by default pieces of a photograph.
        model_kwargs: Arguments for the model.
        note: Called with a line on random weights.

    Raises:
        WavezooError: If the model or weights are not there, the format's extra is not installed, or the file does not
            do what the network does; nothing is written then.
    """
    if to not in SUFFIXES:
        raise WavezooError(f"no format '{to}' to export to", f"one of {', '.join(SUFFIXES)}")
    network, known = load_model(model, weights, model_kwargs)
    name = model.partition(".")[0]
    path = Path(out) if out is not None else Path(f"{name}{SUFFIXES[to]}")
    if path.suffix != SUFFIXES[to]:
        raise WavezooError(f"{path}: a file for {to} ends in {SUFFIXES[to]}")
    check_writable(path)
    if known.kind == "random":
        logger.info("weights: %s", known.describe())
    preprocessing = (known.metadata.preprocessing or preprocessing_of(network)).with_overrides(size)
    images, compared_on = _real_images(preprocessing, data)
    network.eval()
    if isinstance(form, str):
        engine = {"onnx": "onnxruntime"}.get(to, "torch")
        form = resolve_forms(form, network, preprocessing.input_size, engine=engine, progress=progress)
    folded = fold(network, form)
    metadata = _describe(name, network, known, preprocessing, forms_of(folded))
    content = _to_bytes(to, folded, images, metadata)
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder, path.name)
        trial.write_bytes(content)
        difference = _compare(network, trial, images)
    write_atomically(path, content)
    return Export(
        file=str(path),
        to=to,
        bytes=len(content),
        sha256=sha256_of(path),
        model=name,
        weights=known.describe(),
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
    buffer = io.BytesIO()
    torch.export.save(exported_program(folded, images), buffer, extra_files={METADATA_KEY: text})
    return buffer.getvalue()


def _compare(network: nn.Module, file: Path, images: torch.Tensor) -> float:
    """Return the largest difference of the file's logits, by image and in a batch.

    Raises:
        WavezooError: If it is above what rounding explains.
    """
    exported = open_exported_file(file)[0]
    with torch.inference_mode():
        expected = network(images)
        try:
            found = [exported(images), torch.cat([exported(image[None]) for image in images])]
        except RuntimeError as error:  # ExecuTorch cannot run every form with every number of images
            raise WavezooError(
                f"{file.name}: does not run, so it was not kept: {error}", "another --form", INTERNAL_FAILURE
            ) from error
    difference = max(float((logits - expected).abs().max()) for logits in found)
    if not difference <= MAX_DIFFERENCE * float(expected.abs().max()):  # also where it is not a number
        raise WavezooError(
            f"{file.name}: its logits differ by {difference:g} from the network's, so it was not kept",
            exit_code=INTERNAL_FAILURE,
        )
    return difference


def _real_images(preprocessing: Preprocessing, data: str | Path | None) -> tuple[torch.Tensor, str]:
    transform = evaluation_transform(preprocessing)
    if data is not None:
        source = open_data(data, "val")
        count = min(IMAGES_COMPARED, len(source.targets))
        images = [source.load(index) for index in range(count)]
        return torch.stack([transform(image) for image in images]), f"{count} images of {source.name}"
    from matplotlib.cbook import get_sample_data

    with Image.open(str(get_sample_data("grace_hopper.jpg", asfileobj=False))) as opened:
        photograph = opened.convert("RGB")
    width, height = photograph.size
    corners = [(x * width // 4, y * height // 5) for x in range(2) for y in range(IMAGES_COMPARED // 2)]
    pieces = [photograph.crop((x, y, x + width // 2, y + height // 2)) for x, y in corners]
    return torch.stack([transform(piece) for piece in pieces]), f"{len(pieces)} pieces of a photograph"


def _describe(
    name: str, network: Any, known: Weights, preprocessing: Preprocessing, forms: dict[str, str]
) -> ExportMetadata:
    stored = known.metadata.model_dump(exclude={"model", "preprocessing", "versions", "git"})
    return ExportMetadata(
        **stored,
        model=name,
        num_classes=network.num_classes,
        preprocessing=preprocessing,
        preprocessing_text=str(preprocessing),
        forms=forms,
        weights=known.name if known.kind != "file" else Path(known.name).name,
        weights_sha256=known.sha256,
        versions=package_versions(),
        git=git_state(),
    )
