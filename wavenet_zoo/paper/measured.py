"""Errors that this project has measured, read from the folders of finished runs."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from wavenet_zoo.errors import WavezooError
from wavenet_zoo.paper.statistics import Estimate, estimate
from wavenet_zoo.recipes import Recipe, list_recipes, load_recipe
from wavenet_zoo.runtime.files import read_regular_file
from wavenet_zoo.runtime.records import parse_json, read_record
from wavenet_zoo.runtime.resources import shipped_folder
from wavenet_zoo.runtime.results import NOT_IN_JSON, Result
from wavenet_zoo.training.records import EpochRecord, RunRecord, TrainingRun
from wavenet_zoo.weights.metadata import WeightsMetadata

__all__ = [
    "MeasuredRun",
    "RunGroup",
    "count_epochs",
    "find_runs",
    "group_runs",
    "read_history",
    "read_runs",
]

MAX_LOG_BYTES = 64 * 2**20
NAMED_ELSEWHERE = ("model.", "data.", "schedule.epochs", "seed")  # keys that the tables show in other places


@dataclass
class MeasuredRun:
    """A finished run.

    Attributes:
        metadata: Metadata of its weights.
        recipe: Its recipe, seed included.
        error: Top-1 error in percent on the validation split after the last epoch.
        weights_sha256: Hash of its weights.
        cache_images: Whether images were augmented on the device, with other random numbers.
        validation_images: Number of images that the error is measured on; None if the run did not record it.
    """

    metadata: WeightsMetadata
    recipe: Recipe
    error: float
    weights_sha256: str
    cache_images: bool = False
    validation_images: int | None = None


@dataclass
class RunGroup(Result):
    """Runs that differ only in the seed.

    Attributes:
        model: Name of the model.
        model_kwargs: Model arguments.
        data: Name of the data set.
        recipe: Name of the recipe.
        epochs: Epochs of each run.
        seeds: Seeds of the runs.
        error: Top-1 error in percent after the last epoch, over the seeds.
        weights_sha256: Hashes of the weights, by seed.
        cache_images: Whether images were augmented on the device.
        recipe_values: The recipe with the first of the seeds.
        validation_images: Number of images that the errors are measured on; None if the runs did not record it.
    """

    model: str
    model_kwargs: dict[str, Any]
    data: str
    recipe: str
    epochs: int
    seeds: list[int]
    error: Estimate
    weights_sha256: list[str]
    recipe_values: Recipe = field(repr=False, metadata=NOT_IN_JSON)
    cache_images: bool = False
    validation_images: int | None = None

    def describe(self) -> str:
        """Return data set, recipe, epochs, overrides, initial weights and seeds."""
        seeds = f"seed{'s' if len(self.seeds) > 1 else ''} {', '.join(map(str, self.seeds))}"
        return ", ".join([self.data, f"recipe {self.recipe}", self.training(), seeds])

    def training(self) -> str:
        """Return epochs, overrides and initial weights."""
        parts = [count_epochs(self.epochs), *self.overrides()]
        if self.recipe_values.model.pretrained:
            parts.append(f"initial weights {self.recipe_values.model.pretrained}")
        return ", ".join(parts)

    def overrides(self) -> list[str]:
        """Return ``--cache-images`` if used, and overrides of the recipe, apart from model, data, epochs and seed."""
        options = ["--cache-images"] if self.cache_images else []
        if self.recipe not in list_recipes():
            return options
        differing = self.recipe_values.differing(load_recipe(self.recipe))
        return options + [
            f"{key}={_short(value)}" for key, (value, _) in differing.items() if not key.startswith(NAMED_ELSEWHERE)
        ]

    def title(self) -> str:
        """Return the model with its arguments."""
        return " ".join([self.model, *(f"{key}={_short(value)}" for key, value in self.model_kwargs.items())])


def find_runs(folders: Iterable[str | Path] = ()) -> list[MeasuredRun]:
    """Read the finished runs below ``results/`` and below other folders. Runs with equal weights count once.

    Raises:
        WavezooError: If a folder does not exist, or the files of a finished run are invalid.
    """
    shipped = shipped_folder("results")
    runs: dict[str, MeasuredRun] = {}
    for root in [*([shipped] if shipped else []), *map(Path, folders)]:
        if not root.is_dir():
            raise WavezooError(f"{root}: folder of runs not found")
        for path in sorted(root.rglob("result.json")):
            if (path.parent / "run.json").is_file():
                run = _read_run(path.parent)
                runs.setdefault(run.weights_sha256, run)
    return list(runs.values())


def read_runs(folders: Iterable[Path]) -> list[MeasuredRun]:
    """Read finished runs.

    Raises:
        WavezooError: If the files of a run are invalid.
    """
    return [_read_run(folder) for folder in folders]


def group_runs(runs: Iterable[MeasuredRun]) -> list[RunGroup]:
    """Group runs that differ only in the seed. Runs with and without cached images differ in more."""
    groups: dict[str, list[MeasuredRun]] = {}
    for run in runs:
        metadata = run.metadata
        fingerprints = (metadata.data_fingerprint, metadata.validation_fingerprint)
        key = json.dumps([run.recipe.model_dump(exclude={"seed"}), metadata.data, fingerprints, run.cache_images])
        groups.setdefault(key, []).append(run)
    return [_group(sorted(group, key=lambda run: run.recipe.seed)) for group in groups.values()]


def read_history(folder: Path, epochs: int) -> list[EpochRecord]:
    """Read the records of a finished run, one per epoch.

    Args:
        folder: Folder of the run.
        epochs: Number of its epochs.

    Raises:
        WavezooError: If ``log.jsonl`` cannot be read, or does not have one valid record per epoch.
    """
    path, hint = folder / "log.jsonl", f"copy the run again, or remove {folder}"
    try:
        lines = read_regular_file(path, MAX_LOG_BYTES).splitlines()
    except OSError as error:
        raise WavezooError(f"{path}: cannot be read: {error.strerror}", hint) from error
    if len(lines) != epochs:
        raise WavezooError(f"{path}: has {len(lines)} lines, but the run has {count_epochs(epochs)}", hint)
    records = [parse_json(line, f"{path}:{number}", hint) for number, line in enumerate(lines, 1)]
    try:
        history = TypeAdapter(list[EpochRecord]).validate_python(records)
    except ValidationError as error:
        line, *key = error.errors()[0]["loc"]
        name = ".".join(map(str, key))
        raise WavezooError(f"{path}:{int(line) + 1}: missing or invalid key '{name}'", hint) from None
    for number, values in enumerate(history, 1):
        if "train_loss" not in values:
            raise WavezooError(f"{path}:{number}: missing or invalid key 'train_loss'", hint)
    return history


def count_epochs(epochs: int) -> str:
    """Return ``1 epoch`` or ``4 epochs``."""
    return f"{epochs} epoch{'s' if epochs > 1 else ''}"


def _group(runs: list[MeasuredRun]) -> RunGroup:
    first = runs[0]
    return RunGroup(
        model=first.metadata.model,
        model_kwargs=first.metadata.model_kwargs,
        data=str(first.metadata.data),
        recipe=str(first.metadata.recipe),
        epochs=first.recipe.schedule.epochs,
        seeds=[run.recipe.seed for run in runs],
        error=estimate([run.error for run in runs]),
        weights_sha256=[run.weights_sha256 for run in runs],
        recipe_values=first.recipe,
        cache_images=first.cache_images,
        validation_images=first.validation_images,
    )


def _read_run(folder: Path) -> MeasuredRun:
    hint = f"copy the run again, or remove {folder}"
    result = read_record(folder / "result.json", TrainingRun, hint)
    record = read_record(folder / "run.json", RunRecord, hint)
    top1 = result.last["top1"]
    if not 0 <= top1 <= 100:
        raise WavezooError(f"{folder / 'result.json'}: invalid key 'last.top1': {top1} is not a percentage", hint)
    try:
        recipe = load_recipe(folder / "recipe.yaml")
    except WavezooError as error:
        raise WavezooError(error.message, hint) from error
    return MeasuredRun(
        record.metadata, recipe, 100 - top1, result.weights_sha256, record.cache_images, record.validation_images
    )


def _short(value: Any) -> str:
    return json.dumps(value, separators=(",", ":")) if isinstance(value, list) else str(value)
