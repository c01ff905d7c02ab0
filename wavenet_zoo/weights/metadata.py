"""The metadata of weights: one description, stored in every file that holds weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError, field_validator

from wavenet_zoo.data.preprocessing import Preprocessing
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.recipes import refused_model_kwarg

__all__ = ["METADATA_KEY", "WeightsMetadata", "parse_metadata"]

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

    @field_validator("model_kwargs")
    @classmethod
    def _check_model_kwargs(cls, model_kwargs: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if (mistake := refused_model_kwarg(model_kwargs)) is not None:
            raise ValueError(mistake)
        return model_kwargs


Metadata = TypeVar("Metadata", bound=WeightsMetadata)


def parse_metadata(path: Path, values: Any, kind: type[Metadata], hint: str = "") -> Metadata:
    """Check metadata of a file of unknown origin.

    Args:
        path: The file, for messages.
        values: Content of its metadata.
        kind: Class of the metadata.
        hint: What the user can do if it is invalid.

    Raises:
        WavezooError: If it is not a mapping, or a value is missing or invalid. The message names the key.
    """
    if not isinstance(values, Mapping):
        raise WavezooError(f"{path}: invalid metadata: a {type(values).__name__}, not a mapping", hint)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        raise WavezooError(f"{path}: invalid metadata: {key or 'metadata'}: {reason}", hint) from None
    except RecursionError:
        raise WavezooError(f"{path}: invalid metadata: nested too deep", hint) from None
