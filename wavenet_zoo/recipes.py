"""Training recipes: typed YAML files that define a run. This module does not import torch."""

import hashlib
import itertools
import json
import re
import reprlib
import shlex
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from wavenet_zoo.errors import WavezooError, did_you_mean, one_line
from wavenet_zoo.runtime.files import read_regular_file
from wavenet_zoo.runtime.resources import shipped_folder
from wavenet_zoo.runtime.results import Result
from wavenet_zoo.runtime.yaml_text import MAX_CHARACTERS, MAX_DEPTH, InvalidYaml, parse_yaml

__all__ = [
    "MAX_SIDE",
    "InvalidRecipe",
    "Mistake",
    "Recipe",
    "RecipeSummary",
    "check_model_kwargs",
    "describe_recipes",
    "find_recipe",
    "list_recipes",
    "load_recipe",
    "parse_value",
    "read_recipe",
    "recipe_name",
    "refused_model_kwarg",
]

MAX_SIDE = 8192  # pixels, before and after cropping; an RGB image of this size takes 0.8 GB as a tensor
NUMBER_LIST = re.compile(r"\(?\s*[-+.\de]+(\s*,\s*[-+.\de]+)+(\s*,)?\s*\)?")
# timm ignores what it cannot read, and has no maximum
POLICY = re.compile(
    r"rand(-(m\d{1,2}|n1?\d|p[01]?(\.\d+)?|mstd\d{1,3}(\.\d+)?|mmax\d{1,2}|inc[01]|tweights|t3aw?))*"
    r"|augmix(-(m\d{1,2}|w1?\d|d1?\d|a\d{1,2}(\.\d+)?|b[01]|mstd\d{1,3}(\.\d+)?))*"
    r"|(original|originalr|v0|v0r|3a)(-mstd\d{1,3}(\.\d+)?)*"
)
SCIENTIFIC = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")


def _check_policy(value: str) -> str:
    if not POLICY.fullmatch(value):
        raise ValueError("input should be a policy of timm, for example rand-m9-mstd0.5-inc1 or original")
    return value


def _read_scientific(value: Any) -> Any:
    """Read ``3e-4``, a string in YAML 1.1, as a number."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _check_magnitude(value: float) -> float:
    if value and not 1e-30 <= abs(value) <= 1e30:  # float32 would make it 0 or infinite
        raise ValueError("input should be 0 or have an absolute value from 1e-30 to 1e30")
    return value


def _check_text(value: str) -> str:
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
        raise ValueError("control characters are not allowed")
    return value


def _check_split(value: str) -> str:
    if value.startswith("/") or ".." in PurePosixPath(value).parts:
        raise ValueError("input should be the name of a split, not a path")
    return value


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and not SCIENTIFIC.fullmatch(value)


Number = Annotated[float, BeforeValidator(_read_scientific), AfterValidator(_check_magnitude)]
Fraction = Annotated[Number, Field(ge=0, le=1)]
Positive = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Text = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_check_text)]
Split = Annotated[Text, AfterValidator(_check_split)]
Validation = Annotated[
    Annotated[Split, Tag("name")] | Annotated[Number, Field(gt=0, lt=1), Tag("fraction")],
    Discriminator(lambda value: "name" if _is_name(value) else "fraction"),
]


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

    name: Text
    kwargs: dict[str, JsonValue] = {}
    initial_weights_of: dict[str, JsonValue] | None = None
    pretrained: Text | None = None

    @field_validator("kwargs", "initial_weights_of")
    @classmethod
    def _check_kwargs(cls, kwargs: dict[str, JsonValue] | None) -> dict[str, JsonValue] | None:
        if (mistake := refused_model_kwarg(kwargs or {}, classes_of_data=True)) is not None:
            raise ValueError(mistake)
        return kwargs

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
        validation: Validation split, evaluated after every epoch; or the fraction of the training images of every
            class that are held out for it, ``0.1`` for example.
    """

    name: Text
    path: Text | None = None
    train: Split = "train"
    validation: Validation = "val"

    @model_validator(mode="after")
    def _check_held_out(self) -> "DataSection":
        if isinstance(self.validation, float) and self.train != "train":
            raise ValueError(f"a fraction for validation is held out of the split train, not of {self.train}")
        return self


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

    @model_validator(mode="after")
    def _check_resized(self) -> "PreprocessingSection":
        if self.size / self.crop_pct > MAX_SIDE:
            raise ValueError(f"size / crop_pct is {self.size / self.crop_pct:.0f} pixels, the limit is {MAX_SIDE}")
        return self


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
    padding: Annotated[int, Field(ge=0, le=1024)] = 4
    scale: Annotated[list[Fraction], Field(min_length=2, max_length=2)] = [0.08, 1.0]
    hflip: Fraction = 0.0
    color_jitter: NotNegative = 0.0
    auto_augment: Annotated[str, AfterValidator(_check_policy)] | None = None
    random_erasing: Fraction = 0.0
    mixup: NotNegative = 0.0
    cutmix: NotNegative = 0.0
    mixing_probability: Fraction = 1.0

    @model_validator(mode="after")
    def _check_color_augmentation(self) -> "AugmentationSection":
        if self.color_jitter and self.auto_augment and "3a" not in self.auto_augment:
            raise ValueError("auto_augment and color_jitter are exclusive: remove one")
        return self

    @model_validator(mode="after")
    def _check_scale(self) -> "AugmentationSection":
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale should be a minimum above 0 and a maximum, got {self.scale}")
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
        layer_decay: Layer-wise learning rates, as timm's ``layer_decay``: the classifier has the rate ``lr``, and each
            layer below it ``layer_decay`` times that of the layer above; null for one rate.
        freeze_backbone: Train the classifier only. All other parameters and the statistics of batch norm keep the
            values of ``model.pretrained``.
    """

    name: Text = "momentum"
    lr: Positive
    momentum: Fraction = 0.9
    weight_decay: NotNegative = 0.0
    betas: Annotated[list[Annotated[Number, Field(ge=0, lt=1)]], Field(min_length=2, max_length=2)] | None = None
    clip_grad: Positive | None = None
    layer_decay: Annotated[Number, Field(gt=0, le=1)] | None = None
    freeze_backbone: bool = False

    @model_validator(mode="after")
    def _check_frozen(self) -> "OptimizerSection":
        if self.freeze_backbone and self.layer_decay is not None:
            raise ValueError(
                "freeze_backbone and layer_decay are exclusive, since only the classifier is trained: remove one"
            )
        return self


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
        if any(milestone >= following for milestone, following in zip(self.milestones, self.milestones[1:])):
            raise ValueError(f"milestones should increase, got {self.milestones}")
        if self.min_lr and self.name not in ("linear", "cosine"):
            raise ValueError("only 'linear' and 'cosine' accept min_lr")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs {self.warmup_epochs} must be below epochs {self.epochs}, for example 0")
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
        precision: ``bf16`` and ``fp16`` use autocast, ``fp16`` with a gradient scaler. ``auto`` is ``bf16`` on CUDA
            GPUs and CPUs that compute in it, else ``fp32``; the run records which.
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
    precision: Literal["fp32", "bf16", "fp16", "auto"] = "fp32"
    channels_last: bool = True
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @model_validator(mode="after")
    def _check_parts(self) -> "Recipe":
        part, rest = divmod(self.batch_size, self.accumulation)
        if rest:
            raise ValueError(f"batch_size {self.batch_size} is not divisible by accumulation {self.accumulation}")
        if part % 2 and (self.augmentation.mixup or self.augmentation.cutmix):
            raise ValueError(f"mixup and cutmix require an even number of images per process and part, got {part}")
        if self.optimizer.freeze_backbone and self.model.pretrained is None:
            raise ValueError("optimizer.freeze_backbone requires model.pretrained: random weights would be frozen")
        return self

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


@dataclass(frozen=True)
class Mistake:
    """A mistake in a recipe.

    Attributes:
        key: The key, ``schedule.epochs`` for example; empty if it is none of one key.
        message: What is wrong, with the file and the line, or the override.
        hint: What to do about it; empty if there is nothing to add.
    """

    key: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class InvalidRecipe(WavezooError):
    """A recipe with one or more mistakes. The message has the first, the hint their number.

    Args:
        mistakes: Every mistake.
        recipe: The recipe, as it was named.
        overrides: Overrides of its values.
    """

    def __init__(self, mistakes: Sequence[Mistake], recipe: Path | str, overrides: Sequence[str] = ()):
        first, hints = mistakes[0], [mistakes[0].hint]
        if len(mistakes) > 1:
            sets = [word for override in overrides for word in ("--set", override)]
            hints.append(
                f"and {len(mistakes) - 1} more: {shlex.join(['wavezoo', 'recipe', 'check', str(recipe), *sets])}"
            )
        super().__init__(first.message, "; ".join(hint for hint in hints if hint))
        self.mistakes = [Mistake(m.key, one_line(m.message), one_line(m.hint)) for m in mistakes]


def load_recipe(path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe.

    Args:
        path: A YAML file, or the name of a shipped recipe.
        overrides: Overrides, each ``section.key=value``; see :func:`parse_value`.

    Raises:
        WavezooError: If the file is missing or not YAML, or a key or value is invalid. The message has the file, the
            line and the closest valid key.
    """
    file = find_recipe(path)
    try:
        document = parse_yaml(read_recipe(file))
    except InvalidYaml as error:
        raise WavezooError(f"{file}:{error.line}: {error}" if error.line else f"{file}: {error}") from error
    values = document.value
    if document.tree is None or not isinstance(values, dict):
        raise WavezooError(f"{file}: a recipe must be a mapping of sections, got {_kind(values)}")
    mistakes = [
        Mistake(name, f"{file}:{line}: duplicate key '{name}'") for line, name in sorted(document.duplicates.items())
    ]
    for override in overrides:
        try:
            _apply_override(values, override)
        except WavezooError as error:
            mistakes.append(Mistake("", error.message, error.hint))
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        mistakes += _mistakes(error, values, file, document.tree, overrides)
    if mistakes:
        raise InvalidRecipe(mistakes, path, overrides)
    return recipe


def read_recipe(path: Path | str) -> str:
    """Read the text of a recipe.

    Args:
        path: A YAML file, or the name of a shipped recipe.

    Raises:
        WavezooError: If it is missing, not a regular file, too large for a recipe, or not in UTF-8.
    """
    path = find_recipe(path)
    try:
        return read_regular_file(path, MAX_CHARACTERS).decode("utf-8-sig")
    except OSError as error:
        raise WavezooError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise WavezooError(f"{path}: not valid YAML: not in UTF-8 at byte {error.start}") from error


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
        title = read_recipe(path).splitlines()[0].lstrip("# ").strip()
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
    try:
        if path.exists() and not path.is_dir():
            return path
    except OSError as error:
        raise WavezooError(f"{path}: cannot be read: {error.strerror}") from error
    shipped = list_recipes()
    stem = str(name).removesuffix(".yaml").removeprefix("recipes/")
    if stem in shipped:
        return shipped[stem]
    if path.is_dir():
        files = [str(file) for file in itertools.islice(sorted(path.glob("*.yaml")), 3)]
        hint = f"pass a file, for example {' or '.join(files)}" if files else "pass a YAML file"
        raise WavezooError(f"{path}: is a folder, not a recipe", hint)
    hint = did_you_mean(stem[:200], shipped, "see 'wavezoo recipe list'")
    raise WavezooError(f"{name}: recipe not found", hint)


def parse_value(text: str) -> Any:
    """Parse the value of ``--set KEY=VALUE`` and ``--model-kwargs KEY=VALUE``.

    The grammar is that of YAML, plus: numbers separated by commas are a list (``0,3,3``, with or without
    parentheses), ``1e-3`` is a number, and Python's ``None`` is null.

    Raises:
        WavezooError: If the value is not valid YAML, or a number in it is not finite.
    """
    bare = text.strip()
    if bare == "None":
        return None
    if NUMBER_LIST.fullmatch(bare):
        bare = f"[{bare.strip('()').rstrip(', ')}]"
    try:
        document = parse_yaml(bare)
    except InvalidYaml as error:
        raise WavezooError(str(error)) from error
    for name in document.duplicates.values():
        raise WavezooError(f"duplicate key '{name}'")
    value = document.value
    if isinstance(value, str) and SCIENTIFIC.fullmatch(value):
        value = float(value)
    try:
        json.dumps(value, allow_nan=False)
    except ValueError as error:
        raise WavezooError("a number is not finite") from error
    return value


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
    files = [path for path in sorted(folder.rglob("*.yaml")) if path.parent.name != "scales"]
    return {str(path.relative_to(folder).with_suffix("").as_posix()): path for path in files}


def _apply_override(values: dict[str, Any], override: str) -> None:
    where = f"--set {_shorten(override)}"
    key, equals, text = override.partition("=")
    *parents, last = key.split(".")
    if not equals or not all([*parents, last]):
        raise WavezooError(f"{where}: expected key=value", "for example --set schedule.epochs=1")
    if len(parents) >= MAX_DEPTH:
        raise WavezooError(f"{where}: nested deeper than {MAX_DEPTH} levels")
    try:
        value = parse_value(text)
    except WavezooError as error:
        raise WavezooError(f"{where}: {error.message}") from error
    section = values
    for parent in parents:
        inner = section.get(parent)
        if inner is not None and not isinstance(inner, dict):
            raise WavezooError(f"{where}: '{parent}' is not a section")
        section[parent] = section = dict(inner or {})  # a copy: an alias would change too
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


def _shorten(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:97]}..."


def _mistakes(
    error: ValidationError, values: Any, file: Path, tree: yaml.Node, overrides: Sequence[str]
) -> list[Mistake]:
    """Return the mistakes that a validation found, each with its file and line, or the override.

    Args:
        error: Result of the validation.
        values: What was validated.
        file: The file.
        tree: Nodes of the file, with their lines.
        overrides: Overrides of the file's values.
    """
    mistakes = []
    # an unknown key before the key that is missing because of it
    for detail in sorted(error.errors(), key=lambda detail: detail["type"] != "extra_forbidden"):
        location = _location(detail["loc"], values, detail["type"] == "missing")
        key = ".".join(location)
        override = next((o for o in reversed(overrides) if _concerns(o.partition("=")[0], key)), None)
        line = f":{_line_of(tree, location)}" if location else ""
        where = f"--set {_shorten(override)}" if override else f"{file}{line}"
        if detail["type"] == "extra_forbidden":
            siblings = _keys_at(Recipe, location[:-1])
            hint = did_you_mean(location[-1], siblings, f"valid keys: {', '.join(siblings)}")
            mistakes.append(Mistake(key, f"{where}: unknown key '{_shorten(key)}'", hint))
        elif detail["type"] == "missing":
            mistakes.append(Mistake(key, f"{where}: missing key '{key}'"))
        else:
            reason = detail["msg"].removeprefix("Value error, ")
            reason = reason[0].lower() + reason[1:]
            got = "" if isinstance(detail["input"], dict) else f", got {reprlib.repr(detail['input'])}"
            mistakes.append(Mistake(key, f"{where}: {f'{key}: ' if key else ''}{reason}{got}"))
    return mistakes


def _location(parts: Sequence[int | str], values: Any, missing: bool) -> list[str]:
    """Return the keys of a location of pydantic, which also names kinds of values: ``kwargs.x.list.0.float``."""
    location = []
    for part in parts:
        if (isinstance(values, dict) and part in values) or (isinstance(values, list) and isinstance(part, int)):
            values = values[part]  # type: ignore[index]
        elif not (missing and part == parts[-1]):
            continue
        location.append(str(part))
    return location


def _concerns(overridden: str, key: str) -> bool:
    return bool(key) and (f"{overridden}.".startswith(f"{key}.") or f"{key}.".startswith(f"{overridden}."))


def _line_of(node: yaml.Node, location: Iterable[str]) -> int:
    """Return the line of the deepest part of ``location`` that is in the file."""
    line = node.start_mark.line
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in reversed(node.value) if k.value == part), None)  # after merged ones
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


_WEIGHTS = "the weights are those of --weights, or of model.pretrained in a recipe"
_LOGITS = "the model must return logits"
_DECIDED = {  # arguments of timm.create_model and build_model_with_cfg that wavezoo sets itself, and why
    **dict.fromkeys(("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_strict"), _WEIGHTS),
    **dict.fromkeys(("pretrained_filter_fn", "pretrained_model_args", "pretrained_custom_load"), _WEIGHTS),
    **dict.fromkeys(("checkpoint_path", "cache_dir", "state_dict"), _WEIGHTS),
    **dict.fromkeys(("features_only", "feature_cfg", "feature_cls", "out_indices"), _LOGITS),
    **dict.fromkeys(("model_name", "model_cfg", "kwargs_filter", "pruned"), "the name of the model decides it"),
    **dict.fromkeys(("scriptable", "exportable", "no_jit"), "'wavezoo export' prepares a model for other engines"),
    "device": "the device is that of --device",
    "dtype": "the precision is that of --precision, or of precision in a recipe",
}


def check_model_kwargs(kwargs: Mapping[str, Any], where: str, rgb: bool = True) -> None:
    """Check that model arguments do not include any that wavezoo decides, ``pretrained`` for example.

    Args:
        kwargs: Model arguments, of the command line or of a file.
        where: Where they are from, for the message.
        rgb: Whether the model must accept RGB images.

    Raises:
        WavezooError: If one of them cannot be set.
    """
    if (mistake := refused_model_kwarg(kwargs, rgb=rgb)) is not None:
        raise WavezooError(f"{where}: {mistake}", "remove it")


def refused_model_kwarg(kwargs: Mapping[str, Any], classes_of_data: bool = False, rgb: bool = True) -> str | None:
    """Return what is wrong with the first model argument that cannot be set, or None.

    Args:
        kwargs: Model arguments.
        classes_of_data: Whether the number of classes is that of the data, as in a recipe.
        rgb: Whether the model must accept RGB images.
    """
    for name, value in kwargs.items():
        if name in _DECIDED:
            return f"model argument '{name}' cannot be set: {_DECIDED[name]}"
        if rgb and name == "in_chans" and value != 3:
            return f"model argument in_chans={reprlib.repr(value)} is not supported: images are RGB, with 3 channels"
        if name == "num_classes" and classes_of_data:
            return "model argument 'num_classes' cannot be set: the number of classes is that of the data"
    return None
