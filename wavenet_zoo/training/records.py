"""The records of a run: ``run.json``, ``result.json`` and one per epoch."""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict
from typing_extensions import Required, TypedDict

from wavenet_zoo.runtime.results import Result
from wavenet_zoo.weights.metadata import WeightsMetadata

__all__ = ["EnvironmentRecord", "EpochRecord", "RunRecord", "TrainingRun"]


class EnvironmentRecord(TypedDict, total=False):
    """Versions, commit and machine, as far as a resumed run compares them."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    versions: dict[str, str]
    git: dict[str, Any] | None
    device: str
    accelerator: str | None
    machine: str
    torch_threads: int


class RunRecord(BaseModel):
    """Content of ``run.json``: what a run was started with.

    Attributes:
        recipe: Name of the recipe.
        recipe_sha256: Hash of the recipe's values.
        data: Name of the data set.
        data_location: Where the data is on this machine: a name, or an absolute path.
        training_images: Number of training images.
        validation_images: Number of validation images.
        validation_split: Name of the validation split, or the part of the training split that is held out for it.
        world_size: Number of processes.
        compile: Whether the model is compiled.
        form: Form of WaveletNet's units.
        deterministic: Whether deterministic algorithms are used.
        cache_images: Whether images are decoded once and augmented on the device.
        pretrained: Name and hash of the initial weights; None for random ones.
        metadata: Metadata of the weights to be trained.
        environment: Versions, commit and machine.
    """

    recipe: str
    recipe_sha256: str
    data: str
    data_location: str | None = None  # never published
    training_images: int | None = None  # the first runs did not record these two
    validation_images: int | None = None
    validation_split: str | None = None  # nor, for a while, this one
    world_size: int
    compile: bool
    form: str = "factored"  # the first runs did not record it either
    deterministic: bool
    cache_images: bool = False
    pretrained: dict[str, Any] | None = None
    metadata: WeightsMetadata
    environment: EnvironmentRecord


class EpochRecord(TypedDict, total=False):
    """Record of an epoch, one line of ``log.jsonl``.

    Attributes:
        epoch: Number of the epoch, from 1.
        step: Optimizer steps since the start of the run.
        lr: Learning rate of the last step.
        train_loss: Mean training loss of the epoch, with augmentation and regularization.
        loss: Cross entropy on the validation images, with the weights that are exported.
        top1: Top-1 on the validation images in percent, with the same weights.
        top5: Top-5 on the validation images in percent, with the same weights.
        train_images_per_second: Training throughput of the epoch.
        raw_loss: ``loss`` without the moving average of the weights, if the recipe has one.
        raw_top1: ``top1`` without it.
        seconds: Seconds since the start of the run.
    """

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    epoch: Required[int]
    step: int
    lr: float
    train_loss: float
    loss: float
    top1: Required[float]
    top5: float
    train_images_per_second: float
    raw_loss: float
    raw_top1: float
    seconds: float


@dataclass
class TrainingRun(Result):
    """Result of :func:`wavenet_zoo.train`, stored as ``result.json``.

    Attributes:
        out: Folder of the run.
        model: Name of the model.
        recipe: Name of the recipe.
        recipe_sha256: Hash of the recipe's values.
        weights: The safetensors file: weights of the last epoch, or their moving average if the recipe has one. None
            in ``results/``, which does not contain them.
        weights_sha256: Hash of that file.
        epochs: Number of epochs trained.
        last: Record of the last epoch.
        best: Record of the epoch with the highest top-1 on the validation split.
        seconds: Time taken, validation included, over all parts of a resumed run.
        resumed: One record per resume: checkpoint, step, and what had changed.
        environment: Versions, commit and machine.
    """

    out: str
    model: str
    recipe: str
    recipe_sha256: str
    weights: str | None
    weights_sha256: str
    epochs: int
    last: EpochRecord
    best: EpochRecord
    seconds: float
    resumed: list[dict[str, Any]]
    environment: dict[str, Any]
