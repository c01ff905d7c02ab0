"""Training recipes: typed YAML files that define a run. This module does not import torch."""

import hashlib
import json
import re
import reprlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError, model_validator

from wavenet_zoo.errors import WavezooError, did_you_mean
from wavenet_zoo.runtime.resources import shipped_folder
from wavenet_zoo.runtime.results import Result

__all__ = [
    "Recipe",
    "RecipeSummary",
    "describe_recipes",
    "find_recipe",
    "list_recipes",
    "load_recipe",
    "parse_value",
    "recipe_name",
]

MAX_RECIPE_BYTES = 1 << 20
NUMBER_LIST = re.compile(r"\(?\s*[-+.\de]+\s*(,\s*[-+.\de]+\s*)+,?\s*\)?")
SCIENTIFIC = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")


def _read_scientific(value: Any) -> Any:
    """Read ``3e-4``, a string in YAML 1.1, as a number."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


Number = Annotated[float, BeforeValidator(_read_scientific)]
Fraction = Annotated[Number, Field(ge=0, le=1)]
Positive = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class ModelSection(_Section):
    """The network.

    Attributes:
        name: Name of a timm model, without a tag.
        kwargs: Model arguments, for example ``use_dfwt: false``.
        initial_weights_of: Model arguments of another variant of the network. Tensors with the same name and shape in
            both start from the initial values of that variant, so that a comparison differs in nothing else.
        pretrained: Initial weights, a tag or a file; null for random weights. The classifier starts at random unless
            the weights have the classes of the data.
    """

    name: str
    kwargs: dict[str, JsonValue] = {}
    initial_weights_of: dict[str, JsonValue] | None = None
    pretrained: str | None = None

    @model_validator(mode="after")
    def _check_initial_weights(self) -> "ModelSection":
        if self.pretrained == "none":
            raise ValueError("pretrained is a tag or a file; use null for random weights")
        if self.pretrained is not None and self.initial_weights_of is not None:
            raise ValueError("pretrained and initial_weights_of are exclusive: remove one")
        return self


class DataSection(_Section):
    """The data set; ``--data`` overrides its location.

    Attributes:
        name: ``digits``, ``cifar10``, ``cifar100``, or the name of an image folder that ``path`` or ``--data`` locates.
        path: Where the data is on this machine; a relative path starts at the recipe's folder. It is not part of the
            recipe's hash, and ``recipe.yaml`` of a run does not contain it.
        train: Training split.
        validation: Validation split, evaluated after every epoch.
    """

    name: str
    path: str | None = None
    train: str = "train"
    validation: str = "val"


class PreprocessingSection(_Section):
    """How an image becomes a tensor, in training and in evaluation.

    Attributes:
        size: Height and width of the input in pixels.
        interpolation: Interpolation of the resize.
        crop_pct: Evaluation resizes the short side to ``size / crop_pct`` and crops the center.
        mean: Mean per channel, for pixel values from 0 to 1.
        std: Standard deviation per channel, for pixel values from 0 to 1.
    """

    size: Count
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bicubic"
    crop_pct: Annotated[Number, Field(gt=0, le=1)] = 1.0
    mean: Annotated[list[Number], Field(min_length=3, max_length=3)]
    std: Annotated[list[Positive], Field(min_length=3, max_length=3)]


class AugmentationSection(_Section):
    """Data augmentation.

    Attributes:
        crop: ``pad`` pads by ``padding`` and crops at random (He et al., CIFAR-10); ``resized`` is the random resized
            crop of ImageNet; ``none`` resizes the short side to ``size`` and crops the center.
        padding: Padding on every side in pixels, for ``pad``.
        scale: Minimum and maximum fraction of the image's area, for ``resized``.
        hflip: Probability of a horizontal flip.
        color_jitter: Strength of the jitter of brightness, contrast and saturation; 0 disables it.
        auto_augment: timm's name of a policy, for example ``rand-m9-mstd0.5-inc1``; null disables it.
        random_erasing: Probability of random erasing with noise.
        mixup: Alpha of mixup; 0 disables it.
        cutmix: Alpha of cutmix; 0 disables it.
        mixing_probability: Fraction of the batches that mixup or cutmix is applied to, if either is enabled.
    """

    crop: Literal["pad", "resized", "none"] = "none"
    padding: Annotated[int, Field(ge=0)] = 4
    scale: Annotated[list[Fraction], Field(min_length=2, max_length=2)] = [0.08, 1.0]
    hflip: Fraction = 0.0
    color_jitter: NotNegative = 0.0
    auto_augment: str | None = None
    random_erasing: Fraction = 0.0
    mixup: NotNegative = 0.0
    cutmix: NotNegative = 0.0
    mixing_probability: Fraction = 1.0

    @model_validator(mode="after")
    def _check_color_augmentation(self) -> "AugmentationSection":
        if self.color_jitter and self.auto_augment and "3a" not in self.auto_augment:
            raise ValueError("auto_augment and color_jitter are exclusive: remove one")
        return self


class RegularizationSection(_Section):
    """Regularization, besides weight decay.

    Attributes:
        label_smoothing: Label smoothing.
        dropout: Dropout rate before the classifier.
        drop_path: Stochastic depth rate of the last residual branch.
    """

    label_smoothing: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    dropout: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    drop_path: Annotated[Number, Field(ge=0, lt=1)] = 0.0


class OptimizerSection(_Section):
    """The optimizer. Weight decay does not apply to biases and normalization layers, as in timm.

    Attributes:
        name: Name of a timm optimizer; ``momentum`` is SGD with momentum without Nesterov, as in the paper.
        lr: Learning rate at the start of the schedule.
        momentum: Momentum, if the optimizer uses it.
        weight_decay: Weight decay; decoupled in ``adamw`` and similar optimizers.
        betas: Betas of Adam and similar optimizers; null for the optimizer's default.
        clip_grad: Maximum norm of the gradient; null disables clipping.
    """

    name: str = "momentum"
    lr: Positive
    momentum: Fraction = 0.9
    weight_decay: NotNegative = 0.0
    betas: Annotated[list[Fraction], Field(min_length=2, max_length=2)] | None = None
    clip_grad: Positive | None = None


class ScheduleSection(_Section):
    """Number of epochs and learning rate schedule, updated at every step.

    Attributes:
        name: ``steps`` multiplies the rate by ``decay_rate`` at each of ``milestones``; ``linear`` and ``cosine``
            decay to ``min_lr`` over the run; ``constant`` does not decay.
        epochs: Number of epochs.
        milestones: Epochs at which ``steps`` decays.
        decay_rate: Factor of each decay of ``steps``.
        min_lr: Final learning rate of ``linear`` and ``cosine``.
        warmup_epochs: Epochs of linear warm-up: with n steps, the rate rises from ``lr`` / n at the first step to
            ``lr``. ``linear`` and ``cosine`` decay over the epochs that remain.
    """

    name: Literal["steps", "linear", "cosine", "constant"]
    epochs: Count
    milestones: list[Count] = []
    decay_rate: Annotated[Number, Field(gt=0, le=1)] = 0.1
    min_lr: NotNegative = 0.0
    warmup_epochs: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _check_name(self) -> "ScheduleSection":
        if (self.name == "steps") != bool(self.milestones):
            raise ValueError("'steps' requires milestones, and only 'steps' accepts them")
        if self.min_lr and self.name not in ("linear", "cosine"):
            raise ValueError("only 'linear' and 'cosine' accept min_lr")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs {self.warmup_epochs} must be below epochs {self.epochs}")
        if any(milestone < self.warmup_epochs for milestone in self.milestones):
            raise ValueError(f"milestones must not be below warmup_epochs {self.warmup_epochs}")
        return self


class EmaSection(_Section):
    """Exponential moving average (EMA) of the weights. The run exports the average.

    Attributes:
        decay: Decay per step.
        warmup: Start with a smaller decay, as timm's ``ModelEmaV3`` does with ``use_warmup``.
    """

    decay: Annotated[Number, Field(gt=0, lt=1)]
    warmup: bool = True


class Recipe(_Section):
    """A training run.

    Keys, defaults and their meaning are frozen: results store the hash of a recipe.

    Attributes:
        model: The network.
        data: The data set.
        preprocessing: How an image becomes a tensor.
        augmentation: Data augmentation.
        regularization: Regularization, besides weight decay.
        optimizer: The optimizer.
        schedule: Number of epochs and learning rate schedule.
        ema: Moving average of the weights; null disables it.
        batch_size: Images per step, over all processes.
        accumulation: Micro-batches per step (gradient accumulation).
        sync_bn: Synchronize batch norm statistics over the processes (GPUs only).
        precision: ``bf16`` and ``fp16`` use autocast, ``fp16`` with a gradient scaler.
        channels_last: Use the channels_last memory format.
        seed: Seed of initial weights, order of the images, augmentation and every other random number.
    """

    model: ModelSection
    data: DataSection
    preprocessing: PreprocessingSection
    augmentation: AugmentationSection = AugmentationSection()
    regularization: RegularizationSection = RegularizationSection()
    optimizer: OptimizerSection
    schedule: ScheduleSection
    ema: EmaSection | None = None
    batch_size: Count
    accumulation: Count = 1
    sync_bn: bool = False
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    channels_last: bool = True
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    def sha256(self) -> str:
        """Return the hash of the values, independent of order, comments and explicit defaults in the file.

        Values equal to their default are not hashed, so that a new key does not change the hash of older recipes. A
        released default therefore never changes. ``data.path`` is not hashed: it differs between machines.
        """
        values = self.without_path().model_dump(exclude_defaults=True)
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    def without_path(self) -> "Recipe":
        """Return the recipe without ``data.path``, which holds on this machine only."""
        return self.model_copy(update={"data": self.data.model_copy(update={"path": None})})

    def differences(self, other: "Recipe") -> list[str]:
        """Return the keys whose values differ, each as ``key: own value, other value``."""
        return [f"{key}: {here}, {there}" for key, (here, there) in self.differing(other).items()]

    def differing(self, other: "Recipe") -> dict[str, tuple[Any, Any]]:
        """Return (own value, other value) for the keys whose values differ; None for a missing key.

        ``data.path`` is not compared.
        """
        here, there = (_flatten(recipe.without_path().model_dump()) for recipe in (self, other))
        keys = [*here, *(key for key in there if key not in here)]
        return {key: (here.get(key), there.get(key)) for key in keys if here.get(key) != there.get(key)}

    def to_yaml(self) -> str:
        """Return the recipe as YAML, defaults included."""
        return yaml.safe_dump(self.model_dump(), sort_keys=False, default_flow_style=None, width=120)


def load_recipe(path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe.

    Args:
        path: A YAML file, or the name of a shipped recipe.
        overrides: Overrides, each ``section.key=value``; see :func:`parse_value`.

    Raises:
        WavezooError: If the file is missing or not YAML, or a key or value is invalid. The message has the file, the
            line and the closest valid key.
    """
    path = find_recipe(path)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_RECIPE_BYTES + 1)
    except OSError as error:
        raise WavezooError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > MAX_RECIPE_BYTES:
        raise WavezooError(f"{path}: exceeds the maximum size of a recipe ({MAX_RECIPE_BYTES} bytes)")
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
        raise WavezooError(f"{path}: a recipe must be a mapping of sections, got {_kind(values)}")
    for override in overrides:
        _apply_override(values, override)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise _first_mistake(error, Recipe, path, tree, overrides) from None


@dataclass
class RecipeSummary(Result):
    """Summary of a recipe.

    Attributes:
        name: Name of the recipe.
        title: First line of its header.
        model: Name of the model.
        data: Name of the data set.
        epochs: Number of epochs.
        batch_size: Images per step.
        sha256: Hash of the values.
        file: Path of the file.
    """

    name: str
    title: str
    model: str
    data: str
    epochs: int
    batch_size: int
    sha256: str
    file: str


def describe_recipes() -> list[RecipeSummary]:
    """Return a summary of every shipped recipe."""
    summaries = []
    for name, path in list_recipes().items():
        recipe = load_recipe(path)
        title = path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ").strip()
        summaries.append(
            RecipeSummary(
                name=name,
                title=title,
                model=recipe.model.name,
                data=recipe.data.name,
                epochs=recipe.schedule.epochs,
                batch_size=recipe.batch_size,
                sha256=recipe.sha256(),
                file=str(path),
            )
        )
    return summaries


def find_recipe(name: Path | str) -> Path:
    """Return the path of a recipe: an existing file, or else a shipped recipe.

    A shipped recipe is named by its path in the repository, ``recipes/digits.yaml``, or in short, ``digits``.

    Raises:
        WavezooError: If neither exists.
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
    hint = did_you_mean(stem, shipped, "see 'wavezoo recipe list'")
    raise WavezooError(f"{name}: recipe not found", hint)


def parse_value(text: str) -> Any:
    """Parse the value of ``--set KEY=VALUE`` and ``--model-kwargs KEY=VALUE``.

    The grammar is that of YAML, plus: numbers separated by commas are a list (``0,3,3``, with or without
    parentheses), ``1e-3`` is a number, and Python's ``None`` is null.

    Raises:
        WavezooError: If the value is not valid YAML.
    """
    bare = text.strip()
    if bare == "None":
        return None
    if NUMBER_LIST.fullmatch(bare):
        bare = f"[{bare.strip('()').rstrip(', ')}]"
    try:
        value = yaml.safe_load(bare)
    except yaml.YAMLError as error:
        raise WavezooError("the value is not valid YAML") from error
    return float(value) if isinstance(value, str) and SCIENTIFIC.fullmatch(value) else value


def recipe_name(recipe: Path | str) -> str:
    """Return the name of a recipe, valid as a folder: that of the shipped recipe, or of the file without ``.yaml``."""
    path = find_recipe(recipe)
    own = path.stem if path.stem.strip(".") else "recipe"
    return next((name for name, shipped in list_recipes().items() if shipped.samefile(path)), own)


def list_recipes() -> dict[str, Path]:
    """Return the shipped recipes by name: their path below ``recipes/`` without ``.yaml``."""
    folder = shipped_folder("recipes")
    if folder is None:
        return {}
    return {str(p.relative_to(folder).with_suffix("").as_posix()): p for p in sorted(folder.rglob("*.yaml"))}


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise WavezooError(f"--set {override}: expected key=value", "for example --set schedule.epochs=1")
    try:
        value = parse_value(text)
    except WavezooError as error:
        raise WavezooError(f"--set {override}: {error.message}") from error
    *parents, last = key.split(".")
    section = values
    for parent in parents:
        section[parent] = section = {} if section.get(parent) is None else section[parent]
        if not isinstance(section, dict):
            raise WavezooError(f"--set {override}: '{parent}' is not a section")
    section[last] = value


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _kind(value: Any) -> str:
    return "empty" if value is None else f"a {type(value).__name__}"


def _refuse_duplicate_keys(path: Path, node: yaml.Node | None) -> None:
    """Refuse duplicate keys, of which YAML would silently use the last.

    Raises:
        WavezooError: If a section has a duplicate key.
    """
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
                    raise WavezooError(f"{path}:{key.start_mark.line + 1}: duplicate key '{name}'")
                keys.add(name)
                pending.append(value)
        elif isinstance(node, yaml.SequenceNode):
            pending.extend(node.value)


def _first_mistake(
    error: ValidationError, schema: type[BaseModel], path: Path, tree: yaml.Node, overrides: Sequence[str]
) -> WavezooError:
    """Return the error for the first mistake in a recipe, with its key and the file and line, or the override.

    Args:
        error: Result of the validation.
        schema: Class that validated the recipe.
        path: The file.
        tree: Nodes of the file, with their lines.
        overrides: Overrides of the file's values.
    """
    details = sorted(error.errors(), key=lambda detail: detail["type"] != "extra_forbidden")
    first = details[0]  # an unknown key before the key that is missing because of it
    location = [str(part) for part in first["loc"]]
    key = ".".join(location)
    override = next((o for o in overrides if f"{o.partition('=')[0]}.".startswith(f"{key}.")), None)
    where = f"--set {override}" if override else f"{path}:{_line_of(tree, location)}"
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    if first["type"] == "extra_forbidden":
        siblings = _keys_at(schema, location[:-1])
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
    """Return the line of the deepest part of ``location`` that is in the file."""
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
        annotation: Any = section.model_fields[part].annotation
        section = next((a for a in get_args(annotation) if a is not type(None)), annotation)  # of "EmaSection | None"
    return list(section.model_fields)
