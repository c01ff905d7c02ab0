"""The metadata of weights: one description, stored in every file that holds weights."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from wavenet_zoo.data.preprocessing import Preprocessing

__all__ = ["METADATA_KEY", "WeightsMetadata"]

METADATA_KEY = "wavenet_zoo"  # key in the header of safetensors and exported files; its value is JSON


class WeightsMetadata(BaseModel):
    """Metadata of weights, stored in safetensors headers, checkpoints, exported files and the manifest.

    Attributes:
        model: Name of the model, without a tag.
        model_kwargs: Model arguments that the weights were trained with; tensor shapes do not determine them.
        classes: Name of every output.
        data: Name of the training data set.
        data_fingerprint: Hash of the training images.
        validation_fingerprint: Hash of the validation images.
        preprocessing: How an image becomes a tensor.
        recipe: Name of the recipe.
        recipe_sha256: Hash of the recipe's values.
        seed: Seed of the run.
        epoch: Number of epochs trained.
        variant: ``ema`` for the moving average of the weights, else ``raw``.
        versions: Versions of the packages that trained them.
        git: Commit of the code that trained them, and whether the checkout was dirty; None outside of a checkout.
    """

    model_config = ConfigDict(protected_namespaces=())

    model: str
    model_kwargs: dict[str, JsonValue] = {}
    classes: list[str] | None = None
    data: str | None = None
    data_fingerprint: str | None = None
    validation_fingerprint: str | None = None
    preprocessing: Preprocessing | None = None
    recipe: str | None = None
    recipe_sha256: str | None = None
    seed: int | None = None
    epoch: int | None = None
    variant: Literal["raw", "ema"] = "raw"
    versions: dict[str, str] = {}
    git: dict[str, JsonValue] | None = None
