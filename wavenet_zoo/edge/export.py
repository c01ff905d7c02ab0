"""Export a folded network to a file for another engine, in fp32 or int8, and compare the file with the network."""

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch
from PIL import Image
from torch import nn

from wavenet_zoo.data.open import NAMED_DATA, open_data
from wavenet_zoo.data.preprocessing import Preprocessing, evaluation_transform, preprocessing_of
from wavenet_zoo.deployment.calibration import portable_name, to_input
from wavenet_zoo.deployment.choose import resolve_forms
from wavenet_zoo.deployment.device_model import for_device
from wavenet_zoo.deployment.exported import open_exported_file
from wavenet_zoo.deployment.fold import fold, forms_of
from wavenet_zoo.deployment.formats import FORMATS, Files, Format
from wavenet_zoo.deployment.forms import check_form, read_forms
from wavenet_zoo.deployment.metadata import ExportMetadata, InputFormat, OutputFormat, Quantization
from wavenet_zoo.deployment.sidecar import digest_of, make_sidecar, sidecar_path
from wavenet_zoo.deployment.write import check_files_writable, write_files
from wavenet_zoo.edge.examples import check_examples_writable, write_examples
from wavenet_zoo.edge.int8 import Int8, Int8Checks, check_int8, quantize
from wavenet_zoo.errors import INTERNAL_FAILURE, WavezooError
from wavenet_zoo.runtime.environment import git_state, package_versions
from wavenet_zoo.runtime.figures import import_matplotlib
from wavenet_zoo.runtime.results import Result, to_plain
from wavenet_zoo.runtime.seeds import preserve_rng_state
from wavenet_zoo.weights.input_check import check_input
from wavenet_zoo.weights.loading import Weights, load_model
from wavenet_zoo.weights.locations import HUB, resolve_model

__all__ = ["Export", "export"]

logger = logging.getLogger(__name__)

COMPARED_IMAGES = 8
FORM_ENGINES = {"onnx": "onnxruntime", "openvino": "openvino", "executorch": "executorch"}  # in which auto measures
MAX_RELATIVE_DIFFERENCE = 1e-4  # of the largest logit


@dataclass
class Export(Result):
    """The result of :func:`export`.

    Attributes:
        file: Path of the file.
        to: Its format, see :data:`wavenet_zoo.deployment.formats.FORMATS`.
        bytes: Its size in bytes, with the files that belong to it.
        sha256: Its hash; of several files, that of their hashes.
        files: Hash of each file, by name.
        sidecar: Path of its metadata.
        model: Name of the model.
        weights: Description of the weights.
        data: Name of the data set that they were trained on; None if it is unknown.
        form: Form of all units, or ``mixed``.
        forms: Form of each unit by name.
        precision: ``fp32`` or ``int8``.
        input: Name, layout and dtype of the input.
        output: Name and kind of the output.
        preprocessing: Description of the preprocessing.
        largest_difference: Largest absolute difference between the logits of the file and of the network; None if it
            does not run on this machine.
        compared_on: Description of the images that they were compared on; None if it does not run on this machine.
        quantization: How it was quantized; None for fp32.
        int8: What the quantization costs; None for fp32.
        examples: Paths of the example programs.
    """

    file: str
    to: str
    bytes: int
    sha256: str
    files: dict[str, str]
    sidecar: str
    model: str
    weights: str
    data: str | None
    form: str
    forms: dict[str, str]
    precision: str
    input: InputFormat
    output: OutputFormat
    preprocessing: str
    largest_difference: float | None
    compared_on: str | None
    quantization: Quantization | None
    int8: Int8Checks | None
    examples: list[str]


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
    split: str = "val",
    int8: bool = False,
    calibrate: str | Path | None = None,
    calibration_images: int = 256,
    max_drop: float | None = 1.0,
    full_range: bool = False,
    input_dtype: Literal["float32", "uint8"] = "float32",
    softmax: bool = False,
    with_example: bool = False,
    model_kwargs: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> Export:
    """Fold a network and write it as a file for another engine, with its metadata beside it.

    The file maps ``images``, (B, C, H, W) of float32 with dynamic B, to logits, (B, classes). ``NAME.json`` beside it
    has preprocessing, class names, input, output, forms, quantization and hashes. An fp32 file is written only if its
    logits on real images, one by one and as a batch, equal those of the network before folding, up to rounding. An int8
    file is written only if the loss of top-1 on the evaluation images is small enough.

    Args:
        model: Name of any timm model, with or without a tag; or its weights, see
            :func:`wavenet_zoo.weights.locations.resolve_model`.
        to: One of :data:`wavenet_zoo.deployment.formats.FORMATS`.
        out: Path of the file. Default: the model's name, ``-int8`` for int8, and the suffix of the format.
        weights: A tag, a file, or ``none`` for random weights. Default: the model's pretrained weights.
        form: How WaveletNet's units compute DFWT and WConv: ``factored``, ``dense``, ``split``, ``split2``,
            ``halves``, ``auto``, a file of forms, or a form by name of the unit. int8 requires ``dense``.
        size: Input size in pixels. Default: that of the weights.
        data: Data to compare on: the first images of a split, or for int8 all of them. Default: crops of a photograph,
            or for int8 the data set of the weights.
        split: Split of ``data``, or a fraction, as in :func:`wavenet_zoo.evaluate`; for int8, the images of a fraction
            are not used for calibration.
        int8: Quantize weights and activations to int8.
        calibrate: Calibration data for int8, of which training images are used.
        calibration_images: Number of images for calibration.
        max_drop: Points of top-1 that an int8 file may have lost at most, by the upper end of the paired 95 % interval.
            None writes the file without evaluating it.
        full_range: Use 8 bits of the weights of an int8 file in engines that use 7 by default.
        input_dtype: ``float32``, or ``uint8`` for (B, H, W, C) of RGB values, which the file normalizes.
        softmax: Return probabilities instead of logits.
        with_example: Write programs beside the file that run it without this package.
        model_kwargs: Model arguments.
        overwrite: Replace existing files.
        progress: Show progress on stderr.

    Raises:
        WavezooError: If the file exists, the model or its weights do not exist, the model does not accept the size, the
            format requires an extra that is not installed, the logits differ, or an int8 file loses too much top-1. No
            file is written then.
    """
    if to not in FORMATS:
        raise WavezooError(f"unknown format '{to}'", f"use {', '.join(FORMATS)}")
    file_format = FORMATS[to]
    if input_dtype not in file_format.inputs:
        raise WavezooError(
            f"format '{to}' does not support {input_dtype} input",
            "remove --input; device code normalizes, see docs/guides/deploy.md",
        )
    if isinstance(form, str):
        check_form(form)
        form = read_forms(Path(form)) if form.endswith(".json") else form
    given, given_weights = model, weights
    model, weights = resolve_model(model, weights)
    name = model.partition(".")[0]
    path = Path(out) if out is not None else Path(f"{name}{'-int8' if int8 else ''}{file_format.suffix}")
    if not path.name.endswith(file_format.suffix):
        raise WavezooError(f"{path}: the suffix for {to} must be {file_format.suffix}")
    check_files_writable(path, file_format, overwrite)
    if with_example:
        check_examples_writable(path, file_format, overwrite)
    request = Int8(
        given,
        given_weights,
        model_kwargs,
        size,
        calibrate,
        calibration_images,
        data,
        max_drop,
        full_range,
        progress,
        split,
    )
    if int8:
        request.check(file_format, form)
    network, source = load_model(model, weights, model_kwargs)
    network.eval()
    if source.kind == "random":
        logger.info("weights: %s", source.describe())
    preprocessing = (source.metadata.preprocessing or preprocessing_of(network)).with_overrides(size)
    check_input(network, preprocessing.input_size)
    if isinstance(form, str):
        engine = FORM_ENGINES.get(to, "torch")
        form = resolve_forms(form, network, preprocessing.input_size, engine=engine, progress=progress)
    folded = fold(network, form)
    metadata = _build_metadata(
        name, network.num_classes, source, preprocessing, forms_of(folded), file_format, input_dtype, softmax
    )
    device_model = for_device(folded, metadata)
    largest_difference = compared_on = int8_checks = None
    with tempfile.TemporaryDirectory() as folder:
        candidate = Path(folder, path.name)
        if int8:
            calibration = request.open_calibration(_named_data(source))
            metadata, files = quantize(device_model, calibration, metadata, file_format, request)
            _write(candidate, file_format, files, metadata)
            int8_checks = check_int8(candidate, network, calibration, metadata, request)
            checks = to_plain(int8_checks)
        else:
            pixels, description = _comparison_images(preprocessing, data, split)
            example = to_input(pixels, preprocessing, metadata.input.dtype, metadata.input.layout)
            files = file_format.module.convert(device_model, example, metadata)
            _write(candidate, file_format, files, metadata)
            if file_format.runs_here:
                largest_difference = _compare(network, candidate, pixels, preprocessing)
                compared_on = description
            checks = {"largest_difference": largest_difference, "compared_on": compared_on}
    hashes = _write(path, file_format, files, metadata, checks)
    examples = write_examples(path, file_format, metadata) if with_example else []
    return Export(
        file=str(path),
        to=to,
        bytes=sum(len(content) for content in files.values()),
        sha256=digest_of(hashes),
        files=hashes,
        sidecar=str(sidecar_path(path)),
        model=name,
        weights=source.describe(),
        data=metadata.data,
        form=metadata.form,
        forms=metadata.forms,
        precision=metadata.precision,
        input=metadata.input,
        output=metadata.output,
        preprocessing=str(preprocessing),
        largest_difference=largest_difference,
        compared_on=compared_on,
        quantization=metadata.quantization,
        int8=int8_checks,
        examples=[str(example) for example in examples],
    )


def _write(
    path: Path,
    file_format: Format,
    files: Files,
    metadata: ExportMetadata,
    checks: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, str]:
    """Write the files of an export and the sidecar; return the hashes of the files."""
    sidecar = make_sidecar(path.name, file_format, files, metadata, checks)
    write_files(path, file_format, files, sidecar.to_json())
    return {name: file.sha256 for name, file in sidecar.files.items()}


def _compare(network: nn.Module, file: Path, pixels: torch.Tensor, preprocessing: Preprocessing) -> float:
    """Return the largest difference of the file's logits from the network's, as a batch and image by image.

    Raises:
        WavezooError: If the file does not run, or the difference exceeds rounding.
    """
    exported, _, metadata = open_exported_file(file)
    images = to_input(pixels, preprocessing, metadata.input.dtype, "NCHW")
    with torch.inference_mode():
        expected = network(to_input(pixels, preprocessing, "float32", "NCHW"))
        if metadata.output.kind == "probabilities":
            expected = expected.log_softmax(1)
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


def _comparison_images(preprocessing: Preprocessing, data: str | Path | None, split: str) -> tuple[torch.Tensor, str]:
    """Return 8-bit images, (N, C, H, W), and their description."""
    transform = evaluation_transform(preprocessing, normalized=False)
    if data is not None:
        source = open_data(data, split)
        count = min(COMPARED_IMAGES, len(source.targets))
        images = [source.load(index) for index in range(count)]
        description = f"{count} images of {portable_name(data)}"
    else:
        images = _crops_of_a_photograph()
        description = f"{len(images)} crops of a photograph"
    return torch.stack([torch.as_tensor(transform(image)) for image in images]), description


def _crops_of_a_photograph() -> list[Image.Image]:
    get_sample_data = import_matplotlib().cbook.get_sample_data
    with Image.open(str(get_sample_data("grace_hopper.jpg", asfileobj=False))) as opened:
        photograph = opened.convert("RGB")
    width, height = photograph.size
    corners = [(x * width // 4, y * height // 5) for x in range(2) for y in range(COMPARED_IMAGES // 2)]
    return [photograph.crop((x, y, x + width // 2, y + height // 2)) for x, y in corners]


def _named_data(source: Weights) -> str | None:
    """Return the data set of the weights if it can be opened by name."""
    return source.metadata.data if source.metadata.data in NAMED_DATA else None


def _build_metadata(
    name: str,
    num_classes: int,
    source: Weights,
    preprocessing: Preprocessing,
    forms: dict[str, str],
    file_format: Format,
    input_dtype: Literal["float32", "uint8"],
    softmax: bool,
) -> ExportMetadata:
    kind: Literal["logits", "probabilities"] = "probabilities" if softmax else "logits"
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
        input=InputFormat(
            name=file_format.input_name,
            layout="NHWC" if input_dtype == "uint8" else file_format.layout,
            dtype=input_dtype,
            max_batch=file_format.max_batch,
        ),
        output=OutputFormat(name=file_format.output_name or kind, kind=kind),
    )
