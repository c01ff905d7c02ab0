"""The errors that this project has measured itself, read from the folders of finished runs."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from wavenet_zoo.errors import WavezooError
from wavenet_zoo.paper.statistics import Estimate, estimate
from wavenet_zoo.recipes import Recipe, list_recipes, load_recipe
from wavenet_zoo.runtime.records import read_json
from wavenet_zoo.weights.metadata import WeightsMetadata

__all__ = ["Measured", "MeasuredRun", "find_runs", "group_runs", "results_folder"]


@dataclass
class MeasuredRun:
    """A finished run.

    Attributes:
        metadata: What its weights say of themselves.
        recipe: Its recipe, seed included.
        error: Top-1 error in percent on the validation split after the last epoch.
        weights_sha256: Hash of its weights.
    """

    metadata: WeightsMetadata
    recipe: Recipe
    error: float
    weights_sha256: str


@dataclass
class Measured:
    """Runs that differ in their seed alone.

    Attributes:
        model: Name of the model.
        model_kwargs: Arguments that it was trained with.
        data: What the data set is called.
        recipe: Name of the recipe.
        epochs: Length of each run.
        seeds: Of the runs.
        error: Top-1 error in percent, after the last epoch, over the seeds.
        weights_sha256: Hashes of their weights, by seed.
        plan: The recipe, with the first of the seeds; left out of JSON.
    """

    model: str
    model_kwargs: dict[str, Any]
    data: str
    recipe: str
    epochs: int
    seeds: list[int]
    error: Estimate
    weights_sha256: list[str]
    plan: Recipe = field(repr=False)

    def describe(self) -> str:
        """Return where the error comes from: data set, recipe, budget, seeds and weights."""
        seeds = f"seed{'s' if len(self.seeds) > 1 else ''} {', '.join(map(str, self.seeds))}"
        weights = ", ".join(digest[:12] for digest in self.weights_sha256)
        epochs = f"{self.epochs} epoch{'s' if self.epochs > 1 else ''}"
        parts = [self.data, f"recipe {self.recipe}", epochs, *self.changes()]
        if self.plan.model.pretrained:
            parts.append(f"beginning with {self.plan.model.pretrained}")
        return ", ".join([*parts, seeds, f"weights {weights}"])

    def changes(self) -> list[str]:
        """Return what the runs have otherwise than the recipe of that name, apart from model, epochs and seed."""
        if self.recipe not in list_recipes():
            return []
        differing = self.plan.differing(load_recipe(self.recipe))
        told = ("model.", "data.", "schedule.epochs", "seed")  # elsewhere in the tables
        return [f"{key}={_short(here)}" for key, (here, _) in differing.items() if not key.startswith(told)]

    def title(self) -> str:
        """Return the model with its arguments."""
        return " ".join([self.model, *(f"{key}={_short(value)}" for key, value in self.model_kwargs.items())])

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {key: value for key, value in asdict(self).items() if key != "plan"}


def results_folder() -> Path | None:
    """Return ``results/`` of the checkout, or the copy in the installed package."""
    package = Path(__file__).resolve().parent.parent
    return next((f for f in (package / "_shipped" / "results", package.parent / "results") if f.is_dir()), None)


def find_runs(folders: Iterable[str | Path] = ()) -> list[MeasuredRun]:
    """Read the finished runs below ``results/`` and below other folders; the same weights count once.

    Raises:
        WavezooError: If a folder is not there, or the files of a finished run are not what a run leaves.
    """
    own = results_folder()
    roots = [*([own] if own else []), *map(Path, folders)]
    runs: dict[str, MeasuredRun] = {}
    for root in roots:
        if not root.is_dir():
            raise WavezooError(f"{root}: no such folder of runs")
        for path in sorted(root.rglob("result.json")):
            if (path.parent / "run.json").is_file():
                run = _read_run(path.parent)
                runs.setdefault(run.weights_sha256, run)
    return list(runs.values())


def group_runs(runs: Iterable[MeasuredRun]) -> list[Measured]:
    """Put runs together that differ in their seed alone."""
    groups: dict[str, list[MeasuredRun]] = {}
    for run in runs:
        metadata = run.metadata
        fingerprints = (metadata.data_fingerprint, metadata.validation_fingerprint)
        key = json.dumps([run.recipe.model_dump(exclude={"seed"}), metadata.data, fingerprints])
        groups.setdefault(key, []).append(run)
    measured = []
    for group in groups.values():
        group.sort(key=lambda run: run.recipe.seed)
        first = group[0]
        measured.append(
            Measured(
                model=first.metadata.model,
                model_kwargs=first.metadata.model_kwargs,
                data=str(first.metadata.data),
                recipe=str(first.metadata.recipe),
                epochs=first.recipe.schedule.epochs,
                seeds=[run.recipe.seed for run in group],
                error=estimate([run.error for run in group]),
                weights_sha256=[run.weights_sha256 for run in group],
                plan=first.recipe,
            )
        )
    return measured


def _short(value: Any) -> str:
    return json.dumps(value, separators=(",", ":")) if isinstance(value, list) else str(value)


def _read_run(folder: Path) -> MeasuredRun:
    result, record = read_json(folder / "result.json"), read_json(folder / "run.json")
    try:
        return MeasuredRun(
            metadata=WeightsMetadata.model_validate(record["metadata"]),
            recipe=load_recipe(folder / "recipe.yaml"),
            error=100 - float(result["last"]["top1"]),
            weights_sha256=str(result["weights_sha256"]),
        )
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        raise WavezooError(f"{folder}: not what a finished run leaves: {str(error).splitlines()[0]}") from error
