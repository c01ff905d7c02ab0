"""Training recipes: one typed YAML file says everything about a run. No torch in here."""

import hashlib
import json
import reprlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError, model_validator

from wavenet_zoo.errors import WavezooError, did_you_mean

__all__ = ["Recipe", "find_recipe", "list_recipes", "load_recipe", "recipe_name"]

MAX_RECIPE_BYTES = 1 << 20


def _read_scientific(value: Any) -> Any:
    """Read ``3e-4``, which YAML 1.1 calls a string, as the number that its author meant."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


Number = Annotated[float, BeforeValidator(_read_scientific)]
Fraction = Annotated[Number, Field(ge=0, le=1)]
Positive = Annotated[Number, Field(gt=0)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class ModelSection(_Section):
    """Which network.

    Attributes:
        name: Name of any timm model, ours or not, without a tag.
        kwargs: Keyword arguments for ``timm.create_model``, ``use_dfwt: false`` for example.
    """

    name: str
    kwargs: dict[str, JsonValue] = {}


class DataSection(_Section):
    """What it learns from, unless ``--data`` says otherwise.

    Attributes:
        name: ``digits``, ``cifar10``, ``cifar100``, or what to call an image folder that ``--data`` has to name.
        train: Split to learn from.
        validation: Split that is evaluated after every epoch.
    """

    name: str
    train: str = "train"
    validation: str = "val"


class PreprocessingSection(_Section):
    """How an image becomes a tensor, in training and in evaluation.

    Attributes:
        size: Side of the square input in pixels.
        interpolation: Of the resizing.
        crop_pct: Evaluation resizes the short side to ``size / crop_pct`` and crops the centre.
        mean: Subtracted per channel, on a scale of 0 to 1.
        std: Divided by per channel, on the same scale.
    """

    size: Annotated[int, Field(ge=1)]
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bicubic"
    crop_pct: Annotated[Number, Field(gt=0, le=1)] = 1.0
    mean: Annotated[list[Number], Field(min_length=3, max_length=3)]
    std: Annotated[list[Positive], Field(min_length=3, max_length=3)]


class AugmentationSection(_Section):
    """What varies from epoch to epoch.

    Attributes:
        crop: ``pad`` pads by ``padding`` and crops at random (He et al., CIFAR-10); ``resized`` is the random resized
            crop of ImageNet; ``none`` is the crop of evaluation.
        padding: Pixels on every side, for ``pad``.
        scale: Smallest and largest share of the image's area, for ``resized``.
        hflip: Probability of a horizontal flip.
    """

    crop: Literal["pad", "resized", "none"] = "none"
    padding: Annotated[int, Field(ge=0)] = 4
    scale: Annotated[list[Fraction], Field(min_length=2, max_length=2)] = [0.08, 1.0]
    hflip: Fraction = 0.0


class OptimizerSection(_Section):
    """How weights move; weight decay leaves biases and normalization alone, as timm does.

    Attributes:
        name: Any of timm's optimizers; ``momentum`` is SGD with plain momentum, as in the paper.
        lr: Learning rate at the start of the schedule.
        momentum: Of the gradient.
        weight_decay: L2 penalty.
    """

    name: str = "momentum"
    lr: Positive
    momentum: Fraction = 0.9
    weight_decay: Annotated[Number, Field(ge=0)] = 0.0


class ScheduleSection(_Section):
    """How long, and how the learning rate falls.

    Attributes:
        name: ``steps`` multiplies by ``decay_rate`` at each of ``milestones``; ``linear`` falls to 0 over the run.
        epochs: Length of the run.
        milestones: Epochs at which ``steps`` steps.
        decay_rate: Factor of each step.
        warmup_epochs: Epochs in which the learning rate rises from 0 to ``lr``.
    """

    name: Literal["steps", "linear"]
    epochs: Annotated[int, Field(ge=1)]
    milestones: list[Annotated[int, Field(ge=1)]] = []
    decay_rate: Annotated[Number, Field(gt=0, le=1)] = 0.1
    warmup_epochs: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _milestones_go_with_steps(self) -> "ScheduleSection":
        if (self.name == "steps") != bool(self.milestones):
            raise ValueError("'steps' needs milestones, and only 'steps' takes them")
        return self


class Recipe(_Section):
    """Everything about a training run.

    Attributes:
        model: Which network.
        data: What it learns from.
        preprocessing: How an image becomes a tensor.
        augmentation: What varies from epoch to epoch.
        optimizer: How weights move.
        schedule: How long, and how the learning rate falls.
        batch_size: Images per step.
        precision: ``bf16`` runs the forward pass under autocast.
        channels_last: Memory layout of images and weights; faster on most machines.
        seed: Of the initial weights, the order of the images and their augmentation.
    """

    model: ModelSection
    data: DataSection
    preprocessing: PreprocessingSection
    augmentation: AugmentationSection = AugmentationSection()
    optimizer: OptimizerSection
    schedule: ScheduleSection
    batch_size: Annotated[int, Field(ge=1)]
    precision: Literal["fp32", "bf16"] = "fp32"
    channels_last: bool = True
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    def sha256(self) -> str:
        """Return a hash of every value in effect, whatever order and comments the file has."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()

    def to_yaml(self) -> str:
        """Return the recipe with every default written out."""
        return yaml.safe_dump(self.model_dump(), sort_keys=False, default_flow_style=None, width=120)


def load_recipe(path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe.

    Args:
        path: A YAML file, or the name of a shipped recipe.
        overrides: Values to replace, each ``section.key=value`` with the value in YAML.

    Raises:
        WavezooError: If the file is missing or not YAML, or a key or value is not valid: one line with file, line and
            the nearest valid key.
    """
    path = find_recipe(path)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_RECIPE_BYTES + 1)
    except OSError as error:
        raise WavezooError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > MAX_RECIPE_BYTES:
        raise WavezooError(f"{path}: is larger than a recipe can be ({MAX_RECIPE_BYTES} bytes)")
    try:
        text = content.decode("utf-8")
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        _refuse_duplicate_keys(path, tree)
        values = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise WavezooError(f"{where}: not valid YAML: {getattr(error, 'problem', None) or error}") from error
    if tree is None or not isinstance(values, dict):
        raise WavezooError(f"{path}: a recipe is a mapping of sections, this is {_kind(values)}")
    for override in overrides:
        _apply_override(values, override)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise _first_error(error, path, tree, overrides) from None


def find_recipe(name: Path | str) -> Path:
    """Return the path of a recipe: a file or, where there is no such file, a shipped one.

    A shipped recipe is named by its path in the repository (``recipes/digits.yaml``) or in short (``digits``).

    Raises:
        WavezooError: If there is neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = list_recipes()
    stem = str(name).removesuffix(".yaml").removeprefix("recipes/")
    if stem in shipped:
        return shipped[stem]
    if path.is_dir():
        raise WavezooError(f"{path}: is a folder, not a recipe")
    hint = did_you_mean(stem, shipped, f"shipped recipes: {', '.join(shipped)}")
    raise WavezooError(f"{name}: no such recipe", hint)


def recipe_name(recipe: Path | str) -> str:
    """Return the name of a recipe: the shipped one's, or that of the file without ``.yaml``."""
    path = find_recipe(recipe)
    return next((name for name, shipped in list_recipes().items() if shipped.samefile(path)), path.stem)


def list_recipes() -> dict[str, Path]:
    """Return the shipped recipes by name: their path below ``recipes/`` without ``.yaml``."""
    package = Path(__file__).resolve().parent
    for folder in (package / "_shipped" / "recipes", package.parent / "recipes"):
        if folder.is_dir():
            return {str(p.relative_to(folder).with_suffix("").as_posix()): p for p in sorted(folder.rglob("*.yaml"))}
    return {}


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise WavezooError(f"--set {override}: expected key=value", "for example --set schedule.epochs=1")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise WavezooError(f"--set {override}: the value is not valid YAML") from error
    *parents, last = key.split(".")
    section = values
    for parent in parents:
        section = section.setdefault(parent, {})
        if not isinstance(section, dict):
            raise WavezooError(f"--set {override}: '{parent}' is not a section")
    section[last] = value


def _first_error(error: ValidationError, path: Path, tree: yaml.Node, overrides: Sequence[str]) -> WavezooError:
    details = sorted(error.errors(), key=lambda detail: detail["type"] != "extra_forbidden")
    first = details[0]  # an unknown key before the key that is missing because of it
    location = [str(part) for part in first["loc"]]
    key = ".".join(location)
    override = next((o for o in overrides if f"{o.partition('=')[0]}.".startswith(f"{key}.")), None)
    where = f"--set {override}" if override else f"{path}:{_line_of(tree, location)}"
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    if first["type"] == "extra_forbidden":
        siblings = _keys_at(Recipe, location[:-1])
        hint = did_you_mean(location[-1], siblings, f"valid keys: {', '.join(siblings)}")
        return WavezooError(f"{where}: unknown key '{key}'{more}", hint)
    if first["type"] == "missing":
        return WavezooError(f"{where}: missing key '{key}'{more}")
    reason = first["msg"].removeprefix("Value error, ")
    reason = reason[0].lower() + reason[1:]
    value = first["input"]
    got = "" if isinstance(value, dict) else f", got {reprlib.repr(value)}"
    return WavezooError(f"{where}: {key}: {reason}{got}{more}")


def _line_of(node: yaml.Node, location: Iterable[str]) -> int:
    """Return the line of the deepest part of ``location`` that the file has."""
    line = node.start_mark.line
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == part), None)
            if found is None:
                break
            line, node = found[0].start_mark.line, found[1]
        elif isinstance(node, yaml.SequenceNode) and part.isdigit() and int(part) < len(node.value):
            node = node.value[int(part)]
            line = node.start_mark.line
        else:
            break
    return line + 1


def _keys_at(section: type[BaseModel], location: Sequence[str]) -> list[str]:
    for part in location:
        section = section.model_fields[part].annotation  # type: ignore[assignment]
    return list(section.model_fields)


def _refuse_duplicate_keys(path: Path, node: yaml.Node | None) -> None:
    pending, seen = [node], set()
    while pending:
        node = pending.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, value in node.value:
                name = str(key.value)
                if name in keys:
                    raise WavezooError(f"{path}:{key.start_mark.line + 1}: key '{name}' stands here a second time")
                keys.add(name)
                pending.append(value)
        elif isinstance(node, yaml.SequenceNode):
            pending.extend(node.value)


def _kind(value: Any) -> str:
    return "empty" if value is None else f"a {type(value).__name__}"
