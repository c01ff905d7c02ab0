"""What a set of weights is: the one description, stored in every file that holds weights."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from wavenet_zoo.data.preprocessing import Preprocessing

__all__ = ["METADATA_KEY", "WeightsMetadata"]

METADATA_KEY = "wavenet_zoo"  # in the header of our files: what the weights are, as JSON


class WeightsMetadata(BaseModel):
    """What a weights file says of itself, in the header of safetensors or in a training checkpoint.

    Attributes:
        model: Name of the model, without a tag.
        model_kwargs: Arguments that it was trained with; the tensors alone would not tell.
        classes: Name of every output.
        data: What the data set is called.
        data_fingerprint: Hash of the images that it learned from.
        validation_fingerprint: Hash of the images that it was validated on.
        preprocessing: How an image becomes a tensor.
        recipe: Name of the recipe.
        recipe_sha256: Hash of every value in effect.
        seed: Of the run.
        epoch: Epochs trained.
        variant: ``ema`` where these are the moving average of the weights, else ``raw``.
        versions: Of the libraries that trained it.
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
