"""The settings of a call that trains: of a new run by a recipe, or of the run in a folder."""

import logging
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from wavenet_zoo.data.open import NAMED_DATA, is_named
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.recipes import Recipe, find_recipe, list_recipes, load_recipe, recipe_name
from wavenet_zoo.runtime.environment import computes_in_bf16
from wavenet_zoo.runtime.files import expand
from wavenet_zoo.runtime.records import read_record
from wavenet_zoo.training.records import RunRecord, TrainingRun

__all__ = ["RunSettings", "evaluation_command", "is_run_dir", "resolve_precision", "run_settings"]

logger = logging.getLogger(__name__)

LOCAL_PREFIXES = ("wds/", "hfds/")  # before a folder
SHORT_NAME = re.compile(r"[\w.,=+-]{1,80}")


@dataclass(frozen=True)
class RunSettings:
    """Result of :func:`run_settings`.

    Attributes:
        recipe: The recipe.
        name: Its name, for metadata.
        data: Data set that overrides the recipe's; None for the recipe's name.
        run_dir: Folder of the run.
        compile: Compile the model with torch.compile.
        form: How WaveletNet's units compute.
        deterministic: Use deterministic algorithms on GPUs.
        cache_images: Keep decoded images in the memory of the device.
    """

    recipe: Recipe
    name: str
    data: str | None
    run_dir: Path
    compile: bool
    form: str
    deterministic: bool
    cache_images: bool = False

    @property
    def data_location(self) -> str:
        """Where the data is on this machine: a name, or an absolute path."""
        data = self.data if self.data is not None else self.recipe.data.name
        for prefix in LOCAL_PREFIXES:
            folder = expand(data.removeprefix(prefix))
            if data.startswith(prefix) and folder.exists():
                return f"{prefix}{folder.absolute()}"
        return data if is_named(data) else str(expand(data).absolute())


def run_settings(
    recipe: str | Path,
    data: str | Path | None,
    out: str | Path | None,
    overrides: Sequence[str],
    compile: bool | None,
    form: str | None,
    deterministic: bool | None,
    cache_images: bool | None = None,
) -> RunSettings:
    """Return the settings of a call: what it does not set has its default or, for the folder of a run, the run's value.

    Args:
        recipe: A recipe, or the folder of a run.
        data: Data set. Default: that of the run, or the recipe's.
        out: Folder of the run. Default: see :func:`default_run_dir`.
        overrides: Overrides of the recipe's values.
        compile: Whether to compile the model. Default: no.
        form: How WaveletNet's units compute. Default: ``dense``.
        deterministic: Whether to use deterministic algorithms on GPUs. Default: no.
        cache_images: Whether to keep decoded images in the memory of the device. Default: no.

    Raises:
        WavezooError: If the recipe or the folder is invalid.
    """
    given = None if data is None else str(data)
    if not is_run_dir(recipe):
        values = load_recipe(recipe, overrides)
        name = recipe_name(recipe)
        if given is None and values.data.path is not None:
            given = str(find_recipe(recipe).parent / expand(values.data.path))
        run_dir = Path(out) if out is not None else default_run_dir(name, values, load_recipe(recipe))
        return RunSettings(
            values, name, given, run_dir, bool(compile), form or "dense", bool(deterministic), bool(cache_images)
        )
    run_dir = Path(recipe)
    if out is not None or overrides:
        raise WavezooError(
            f"{run_dir}: the folder of a run is resumed as it was started, without --out and --set",
            f"for a new run, pass the recipe: {run_dir / 'recipe.yaml'}",
        )
    stored = read_record(run_dir / "run.json", RunRecord, "start a new run in another folder with --out")
    values = load_recipe(run_dir / "recipe.yaml")
    if given is None and stored.data_location != values.data.name:
        given = stored.data_location
    return RunSettings(
        recipe=values,
        name=stored.recipe,
        data=given,
        run_dir=run_dir,
        compile=stored.compile if compile is None else compile,
        form=form or stored.form,
        deterministic=stored.deterministic if deterministic is None else deterministic,
        cache_images=stored.cache_images if cache_images is None else cache_images,
    )


def resolve_precision(settings: RunSettings, device: torch.device) -> RunSettings:
    """Replace the precision ``auto`` by that of a device, and log it."""
    recipe = settings.recipe
    if recipe.precision != "auto":
        return settings
    precision = "bf16" if computes_in_bf16(device) else "fp32"
    logger.info("precision: %s, chosen for this %s", precision, device.type.upper())
    return replace(settings, recipe=recipe.model_copy(update={"precision": precision}))


def is_run_dir(recipe: str | Path) -> bool:
    """Return whether a recipe argument is the folder of a run. The name of a shipped recipe takes precedence."""
    return str(recipe) not in list_recipes() and (Path(recipe) / "run.json").is_file()


def default_run_dir(name: str, recipe: Recipe, unchanged: Recipe) -> Path:
    """Return the default folder of a run: ``runs/`` and the recipe's name, with the values that were overridden.

    Runs of different values get different folders: ``runs/digits`` and ``runs/digits-seed=1``. Long values are replaced
    by the beginning of the recipe's hash.

    Args:
        name: Name of the recipe.
        recipe: The recipe, overrides included.
        unchanged: The recipe without overrides.
    """
    folder = Path("runs") / name
    changed = ",".join(f"{key}={own}" for key, (own, _) in recipe.differing(unchanged).items())
    if not changed or _contains_run_of(folder, recipe):
        return folder
    suffix = changed if SHORT_NAME.fullmatch(changed) else recipe.sha256()[:8]
    return folder.with_name(f"{folder.name}-{suffix}")


def evaluation_command(run: TrainingRun) -> str:
    """Return the command that evaluates the weights of a finished run on its validation images."""
    record = read_record(Path(run.out) / "run.json", RunRecord)
    recipe = load_recipe(Path(run.out) / "recipe.yaml")
    words = ["wavezoo", "eval", run.model, "--weights", str(run.weights)]
    if record.data_location is not None and record.data_location not in NAMED_DATA:
        words += ["--data", record.data_location]
    if recipe.data.validation != "val":
        words += ["--split", str(recipe.data.validation)]
    return shlex.join(words)


def _contains_run_of(folder: Path, recipe: Recipe) -> bool:
    """Return whether version 0.1, whose default folder did not depend on overrides, started a run of this recipe."""
    try:
        return read_record(folder / "run.json", RunRecord).recipe_sha256 == recipe.sha256()
    except WavezooError:
        return False
