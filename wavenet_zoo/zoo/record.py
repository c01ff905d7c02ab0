"""The record of an evaluation, as ``wavezoo eval --save-json`` writes it and publishing reads it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, FiniteFloat, JsonValue, NonNegativeInt, PositiveInt, model_validator
from typing_extensions import Self

from wavenet_zoo.data.preprocessing import Preprocessing

__all__ = ["EvaluationRecord"]

ROUNDING = 1e-3  # percentage points
REAL = "imagenet-real"


class EvaluatedWeights(BaseModel):
    """Weights that were evaluated.

    Attributes:
        name: ``architecture.tag``, or the path of their file.
        description: One line.
        sha256: Hash of their file; None without one.
        data: Name of the training data set.
        data_fingerprint: Hash of the training images.
        validation_fingerprint: Hash of the validation images.
    """

    name: str
    description: str
    sha256: str | None
    data: str | None
    data_fingerprint: str | None
    validation_fingerprint: str | None


class EvaluatedData(BaseModel):
    """Images that weights were evaluated on.

    Attributes:
        name: Name or folder of the data set.
        split: Name of the split; empty if it is not known.
        fingerprint: Hash of the images.
        seen: ``training`` or ``validation`` if the weights were trained or validated on these images, ``partly`` if on
            some of them, ``neither`` if on none, None if unknown.
    """

    name: str
    split: str
    fingerprint: str
    seen: Literal["training", "validation", "partly", "neither"] | None


class EvaluationEnvironment(BaseModel):
    """Software of an evaluation.

    Attributes:
        versions: Versions of packages.
        git: Commit of the code; None outside of a checkout.
    """

    versions: dict[str, str]
    git: dict[str, JsonValue] | None = None


class EvaluationRecord(BaseModel):
    """The part of an evaluation record that publishing needs; other keys are ignored.

    Attributes:
        weights: The weights.
        data: The images.
        preprocessing: How images became tensors.
        top1: Percentage of images whose label scored highest.
        top5: Percentage of images whose label is among the five highest scores.
        loss: Mean cross entropy.
        correct_top1: Number of images behind ``top1``.
        correct_top5: Number of images behind ``top5``.
        images: Number of images.
        skipped: Images that could not be decoded.
        precision: ``fp32``, or ``bf16``.
        environment: Versions and commit.
        among: Outputs among which the metrics were scored; only ``all`` can be published.
        limit: How many images were selected; an evaluation of some images cannot be published.
        label_set: Convention of the labels; an evaluation with other labels cannot be published.
    """

    model_config = ConfigDict(protected_namespaces=())

    weights: EvaluatedWeights
    data: EvaluatedData
    preprocessing: Preprocessing
    top1: FiniteFloat
    top5: FiniteFloat
    loss: FiniteFloat
    correct_top1: NonNegativeInt
    correct_top5: NonNegativeInt
    images: PositiveInt
    skipped: list[str]
    precision: Literal["fp32", "bf16"] = "fp32"
    environment: EvaluationEnvironment
    among: Literal["all", "data"] = "all"
    limit: dict[str, NonNegativeInt] | None = None
    label_set: dict[str, str] | None = None

    @model_validator(mode="after")
    def _check_scope(self) -> Self:
        if self.limit is not None:
            raise ValueError(f"is a limited evaluation of {' of '.join(map(str, self.limit.values()))} images")
        if self.among != "all":
            raise ValueError("is scored among the classes of the data: evaluate with --among all")
        if self.label_set is not None and self.label_set.get("name") == REAL:
            raise ValueError("is scored with the labels of ImageNet-ReaL: evaluate without --labels")
        return self

    @model_validator(mode="after")
    def _check_percentages(self) -> Self:
        if not self.correct_top1 <= self.correct_top5 <= self.images:
            raise ValueError(f"{self.correct_top1} and {self.correct_top5} correct of {self.images} images")
        for key in ("top1", "top5"):
            stated, correct = getattr(self, key), getattr(self, f"correct_{key}")
            if abs(stated - 100 * correct / self.images) > ROUNDING:
                raise ValueError(f"{key} is {stated:g} %, but {correct} of {self.images} images are correct")
        return self
