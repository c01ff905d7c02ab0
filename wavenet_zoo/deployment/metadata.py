"""The metadata of exported files."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from wavenet_zoo.data.preprocessing import Preprocessing
from wavenet_zoo.deployment.forms import one_form
from wavenet_zoo.weights.metadata import WeightsMetadata

__all__ = ["ExportMetadata", "InputFormat", "OutputFormat", "Quantization"]


class InputFormat(BaseModel):
    """The input of an exported file.

    Attributes:
        name: Name of the tensor.
        layout: ``NCHW``, (B, C, H, W), or ``NHWC``, (B, H, W, C).
        dtype: ``float32``, normalized by the caller, or ``uint8``, RGB values from 0 to 255 that the file normalizes.
            In Core ML, uint8 is an image.
        max_batch: Maximum batch size; None for any.
    """

    model_config = ConfigDict(extra="forbid")

    name: str = "images"
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    dtype: Literal["float32", "uint8"] = "float32"
    max_batch: int | None = None


class OutputFormat(BaseModel):
    """The output of an exported file, (B, classes) of float32.

    Attributes:
        name: Name of the tensor.
        kind: ``logits``, or ``probabilities`` after a softmax.
    """

    model_config = ConfigDict(extra="forbid")

    name: str = "logits"
    kind: Literal["logits", "probabilities"] = "logits"


class Quantization(BaseModel):
    """How a file was quantized.

    Attributes:
        method: Quantizer and its scheme.
        weights: Type and granularity of the weights.
        activations: Type of the activations.
        data: Name of the calibration data.
        data_fingerprint: Hash of the images that it was calibrated with.
        images: Number of these images.
    """

    model_config = ConfigDict(extra="forbid")

    method: str
    weights: str
    activations: str
    data: str
    data_fingerprint: str
    images: int


class ExportMetadata(WeightsMetadata):
    """Metadata of an exported file: that of its weights, its preprocessing, its forms, its input and its output.

    Attributes:
        num_classes: Number of outputs.
        preprocessing: How an image becomes the input.
        preprocessing_text: The preprocessing in words.
        forms: Form of every WaveletNet unit, by name.
        weights: Name of the weights.
        weights_sha256: Hash of their file; None without one.
        input: The input tensor.
        output: The output tensor.
        quantization: How it was quantized; None for float32.
    """

    model_config = ConfigDict(protected_namespaces=(), extra="forbid")

    num_classes: int
    preprocessing: Preprocessing
    preprocessing_text: str
    forms: dict[str, str] = Field(default_factory=dict)
    weights: str
    weights_sha256: str | None = None
    input: InputFormat = Field(default_factory=InputFormat)
    output: OutputFormat = Field(default_factory=OutputFormat)
    quantization: Quantization | None = None

    @model_validator(mode="after")
    def _check_classes(self) -> "ExportMetadata":
        if self.classes is not None and len(self.classes) != self.num_classes:
            raise ValueError(f"{len(self.classes)} class names for {self.num_classes} outputs")
        return self

    @property
    def form(self) -> str:
        """The form of all units, ``mixed``, or ``dense`` for a model without units."""
        return one_form(self.forms)

    @property
    def precision(self) -> str:
        """``fp32`` or ``int8``."""
        return "int8" if self.quantization else "fp32"
