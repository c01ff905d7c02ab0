"""Quantize a network to int8 by the quantizer of its engine, and measure what that costs."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wavenet_zoo.data.open import open_data
from wavenet_zoo.data.preprocessing import Preprocessing
from wavenet_zoo.deployment.calibration import (
    Calibration,
    check_calibration,
    load_pixels,
    open_calibration,
    portable_name,
    to_input,
)
from wavenet_zoo.deployment.exported import open_exported_file
from wavenet_zoo.deployment.formats import FORMATS, Files, Format
from wavenet_zoo.deployment.metadata import ExportMetadata, Quantization
from wavenet_zoo.errors import BELOW_THRESHOLD, WavezooError
from wavenet_zoo.evaluation.compare import compare
from wavenet_zoo.runtime.results import Result

__all__ = ["Int8", "Int8Checks", "check_int8", "quantize"]

logger = logging.getLogger(__name__)

BATCH = 32


@dataclass
class Int8:
    """A request for an int8 file. The attributes are the arguments of :func:`wavenet_zoo.export`."""

    model: str
    weights: str | Path | None
    model_kwargs: Mapping[str, Any] | None
    size: int | None
    calibrate: str | Path | None
    images: int
    data: str | Path | None
    max_drop: float | None
    full_range: bool
    progress: bool
    split: str = "val"

    def check(self, file_format: Format, form: str | Mapping[str, str]) -> None:
        """Check the request before the model is loaded.

        Raises:
            WavezooError: If the format has no quantizer or no reduced range, the form is not dense, or calibration data
                is missing.
        """
        if not file_format.int8:
            supported = ", ".join(name for name, other in FORMATS.items() if other.int8)
            raise WavezooError(f"format '{file_format.name}' does not support int8", f"use {supported}")
        if self.full_range and not file_format.reduced_range:
            raise WavezooError(
                f"--full-range: the quantizer of '{file_format.name}' uses 8 bits of the weights always",
                "remove --full-range",
            )
        if form != "dense":
            raise WavezooError(
                "int8 requires form 'dense': pieces of the other forms share one scale with larger ones",
                "remove --form",
            )
        if self.calibrate is None:
            raise WavezooError("int8 requires calibration images", "pass --calibrate DIR or NAME, training images")

    def open_calibration(self, default_data: str | None) -> Calibration:
        """Choose images for calibration, none of which is among the evaluation images.

        Args:
            default_data: Name of the data set of the weights, if it is one of the named ones.

        Raises:
            WavezooError: If evaluation images are missing, or calibration images are among them.
        """
        assert self.calibrate is not None
        if self.data is None and self.max_drop is not None:
            self.data = default_data
        if self.data is None and self.max_drop is not None:
            raise WavezooError(
                "int8 is evaluated before the file is written, and the weights' data is not included",
                "pass --data DIR, or --max-drop none to write the file without evaluating it",
            )
        calibration = open_calibration(self.calibrate, self.images, self.split)
        if self.data is not None:
            check_calibration(calibration, open_data(self.data, self.split), self.progress)
        return calibration


@dataclass
class Int8Checks(Result):
    """What quantization to int8 costs.

    Attributes:
        agreement: Percentage of held-out images of the calibration data for which file and network predict the same
            class.
        held_out_images: Number of these images.
        data: Name of the evaluation data; None if it was not evaluated, as the next attributes.
        images: Number of evaluation images.
        top1: Top-1 of the file, in percent.
        top1_fp32: Top-1 of the network.
        difference: Top-1 of the file minus that of the network, in percentage points.
        interval: Paired 95 % interval of ``difference``.
        p: Exact p-value of McNemar's test.
        max_drop: Points that it may have lost at most.
    """

    agreement: float
    held_out_images: int
    data: str | None = None
    images: int | None = None
    top1: float | None = None
    top1_fp32: float | None = None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    p: float | None = None
    max_drop: float | None = None


def quantize(
    network: nn.Module, calibration: Calibration, metadata: ExportMetadata, file_format: Format, request: Int8
) -> tuple[ExportMetadata, Files]:
    """Quantize a network.

    Args:
        network: The network as a device runs it, in evaluation mode.
        calibration: Images for calibration.
        metadata: Metadata of the fp32 file.
        file_format: Format of the file.
        request: The request.

    Returns:
        The metadata with the quantization, and the content of the files.
    """
    reduce_range = not request.full_range
    quantization = Quantization(
        **file_format.module.scheme(reduce_range),
        data=calibration.name,
        data_fingerprint=calibration.source.fingerprint(),
        images=len(calibration.source.targets),
    )
    metadata = metadata.model_copy(update={"quantization": quantization})
    logger.info("quantizing with %d images of %s", quantization.images, quantization.data)
    pixels = load_pixels(calibration.source, metadata.preprocessing, request.progress)
    images = to_input(pixels, metadata.preprocessing, metadata.input.dtype, metadata.input.layout)
    return metadata, file_format.module.quantize(network, images, metadata, reduce_range)


def check_int8(
    file: Path, network: nn.Module, calibration: Calibration, metadata: ExportMetadata, request: Int8
) -> Int8Checks:
    """Compare an int8 file with its network: agreement on held-out images, and paired loss of top-1.

    Args:
        file: The file.
        network: The network in fp32, before folding.
        calibration: Images for calibration, and held-out ones.
        metadata: Metadata of the file.
        request: The request.

    Raises:
        WavezooError: If the loss of top-1 may exceed ``max_drop``.
    """
    agreement = _agreement(file, network, calibration, metadata.preprocessing, request.progress)
    checks = Int8Checks(agreement, len(calibration.held_out.targets))
    if request.max_drop is None or request.data is None:
        return checks
    result = compare(
        [request.model, str(file)],
        request.data,
        weights=request.weights,
        split=request.split,
        size=request.size,
        model_kwargs=request.model_kwargs,
        device="cpu",
        progress=request.progress,
    )
    (pair,) = result.pairs
    checks.data, checks.images, checks.max_drop = portable_name(request.data), result.images, request.max_drop
    checks.top1_fp32, checks.top1 = (model.top1 for model in result.models)
    checks.difference, checks.interval, checks.p = pair.difference, pair.interval, pair.p
    if pair.possible_drop > request.max_drop:
        low, high = pair.interval
        raise WavezooError(
            f"{file.name}: not written, because its top-1 on {checks.images:,} images of {checks.data} differs by "
            f"{pair.difference + 0:+.2f} points, 95 % interval {low:+.2f} to {high:+.2f}: it may lose more than "
            f"--max-drop {request.max_drop:g}",
            "calibrate or evaluate with more images, use another format, or allow more",
            BELOW_THRESHOLD,
        )
    return checks


@torch.inference_mode()
def _agreement(
    file: Path, network: nn.Module, calibration: Calibration, preprocessing: Preprocessing, progress: bool
) -> float:
    exported, _, metadata = open_exported_file(file)
    pixels = load_pixels(calibration.held_out, preprocessing, progress)
    same = 0
    for part in pixels.split(BATCH):
        expected = network(to_input(part, preprocessing, "float32", "NCHW")).argmax(1)
        found = exported(to_input(part, preprocessing, metadata.input.dtype, "NCHW")).argmax(1)
        same += int((expected == found).sum())
    return 100 * same / len(pixels)
