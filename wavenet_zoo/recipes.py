"""Training recipes: one typed YAML file says everything about a run. No torch in here."""

import hashlib
import json
import re
import reprlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError, model_validator

from wavenet_zoo.errors import WavezooError, did_you_mean

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
NotNegative = Annotated[Number, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class ModelSection(_Section):
    """Which network.

    Attributes:
        name: Name of any timm model, ours or not, without a tag.
        kwargs: Keyword arguments for ``timm.create_model``, ``use_dfwt: false`` for example.
        initial_weights_of: Keyword arguments of another form of the network. Tensors that have the same name and shape
            in both begin with the values that they would have there: what is compared then differs in nothing else.
        pretrained: Weights to begin with, a tag or a file, as after ``wavezoo eval --weights``; null begins at random.
            The classifier begins at random unless the weights have the very classes of the data.
    """

    name: str
    kwargs: dict[str, JsonValue] = {}
    initial_weights_of: dict[str, JsonValue] | None = None
    pretrained: str | None = None

    @model_validator(mode="after")
    def _one_beginning(self) -> "ModelSection":
        if self.pretrained == "none":
            raise ValueError("pretrained is a tag or a file; null begins at random")
        if self.pretrained is not None and self.initial_weights_of is not None:
            raise ValueError("pretrained and initial_weights_of are two beginnings: leave one of them out")
        return self


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

    size: Count
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
        color_jitter: Strength of the jitter of brightness, contrast and saturation; 0 is none.
        auto_augment: timm's name of a policy, ``rand-m9-mstd0.5-inc1`` for example, or null.
        random_erasing: Probability that a rectangle of an image is replaced by noise.
        mixup: Alpha of the beta distribution that images are mixed by; 0 is no mixup.
        cutmix: Alpha of the beta distribution that rectangles are exchanged by; 0 is no cutmix.
        mixing_probability: Share of the batches that mixup or cutmix is applied to, where either is on.
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
    def _colours_are_varied_by_one_of_two(self) -> "AugmentationSection":
        if self.color_jitter and self.auto_augment and "3a" not in self.auto_augment:
            raise ValueError("auto_augment takes the place of color_jitter: set one of them")
        return self


class RegularizationSection(_Section):
    """What keeps the network from learning the training images by heart, besides weight decay.

    Attributes:
        label_smoothing: Share of the target that is spread over all classes.
        dropout: Of the features before the classifier.
        drop_path: Stochastic depth: how often a residual branch is left out.
    """

    label_smoothing: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    dropout: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    drop_path: Annotated[Number, Field(ge=0, lt=1)] = 0.0


class OptimizerSection(_Section):
    """How weights move; weight decay leaves biases and normalization alone, as timm does.

    Attributes:
        name: Any of timm's optimizers; ``momentum`` is SGD with plain momentum, as in the paper.
        lr: Learning rate at the start of the schedule.
        momentum: Of the gradient, where the optimizer has one.
        weight_decay: L2 penalty; decoupled in ``adamw`` and the like.
        betas: Decay rates of Adam and the like; null is the optimizer's own default.
        clip_grad: Largest norm of the gradient; null does not clip.
    """

    name: str = "momentum"
    lr: Positive
    momentum: Fraction = 0.9
    weight_decay: NotNegative = 0.0
    betas: Annotated[list[Fraction], Field(min_length=2, max_length=2)] | None = None
    clip_grad: Positive | None = None


class ScheduleSection(_Section):
    """How long, and how the learning rate falls.

    Attributes:
        name: ``steps`` multiplies by ``decay_rate`` at each of ``milestones``; ``linear`` and ``cosine`` fall to
            ``min_lr`` over the run; ``constant`` stays.
        epochs: Length of the run.
        milestones: Epochs at which ``steps`` steps.
        decay_rate: Factor of each step.
        min_lr: Learning rate at the end, for ``linear`` and ``cosine``.
        warmup_epochs: Epochs in which the learning rate rises from 0 to ``lr``.
    """

    name: Literal["steps", "linear", "cosine", "constant"]
    epochs: Count
    milestones: list[Count] = []
    decay_rate: Annotated[Number, Field(gt=0, le=1)] = 0.1
    min_lr: NotNegative = 0.0
    warmup_epochs: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _values_go_with_the_name(self) -> "ScheduleSection":
        if (self.name == "steps") != bool(self.milestones):
            raise ValueError("'steps' needs milestones, and only 'steps' takes them")
        if self.min_lr and self.name not in ("linear", "cosine"):
            raise ValueError("only 'linear' and 'cosine' take min_lr")
        return self


class EmaSection(_Section):
    """A moving average of the weights beside them; it is what is exported.

    Attributes:
        decay: Share of the average that stays at each step.
        warmup: Begin with a smaller decay, so that the random start is soon forgotten.
    """

    decay: Annotated[Number, Field(gt=0, lt=1)]
    warmup: bool = True


class Recipe(_Section):
    """Everything about a training run.

    Attributes:
        model: Which network.
        data: What it learns from.
        preprocessing: How an image becomes a tensor.
        augmentation: What varies from epoch to epoch.
        regularization: What keeps it from learning the training images by heart.
        optimizer: How weights move.
        schedule: How long, and how the learning rate falls.
        ema: A moving average of the weights; null is none.
        batch_size: Images per step, over all processes.
        accumulation: Parts of a step's images that go through one after the other, to save memory.
        sync_bn: Take the statistics of batch norm over the images of all processes, not of each; on GPUs.
        precision: ``bf16`` and ``fp16`` run the forward pass under autocast, ``fp16`` with a gradient scaler.
        channels_last: Memory layout of images and weights; faster on most machines.
        seed: Of the initial weights, the order of the images, their augmentation, and everything else that is drawn.
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
        """Return a hash of the values in effect, whatever order, comments and spelled-out defaults the file has.

        Defaults are left out, so that a key which a later version adds does not change the hash of older recipes. A
        default, once released, therefore never changes.
        """
        return hashlib.sha256(json.dumps(self.model_dump(exclude_defaults=True), sort_keys=True).encode()).hexdigest()

    def differences(self, other: "Recipe") -> list[str]:
        """Return the keys whose values differ, each as ``key: value here, value there``."""
        return [f"{key}: {here}, {there}" for key, (here, there) in self.differing(other).items()]

    def differing(self, other: "Recipe") -> dict[str, tuple[Any, Any]]:
        """Return the values that differ, here and there, by key; None where there is no such key."""
        here, there = _flatten(self.model_dump()), _flatten(other.model_dump())
        keys = [*here, *(key for key in there if key not in here)]
        return {key: (here.get(key), there.get(key)) for key in keys if here.get(key) != there.get(key)}

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
        raise _first_mistake(error, Recipe, path, tree, overrides) from None


@dataclass
class RecipeSummary:
    """One line on a recipe.

    Attributes:
        name: What it is found by.
        title: The first line of its header.
        model: Name of the model.
        data: Name of the data set.
        epochs: Length of the run.
        batch_size: Images per step.
        sha256: Hash of the values in effect.
        file: Where it is.
    """

    name: str
    title: str
    model: str
    data: str
    epochs: int
    batch_size: int
    sha256: str
    file: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)


def describe_recipes() -> list[RecipeSummary]:
    """Return a line on each of the shipped recipes."""
    summaries = []
    for name, path in list_recipes().items():
        plan = load_recipe(path)
        title = path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ").strip()
        summaries.append(
            RecipeSummary(
                name, title, plan.model.name, plan.data.name, plan.schedule.epochs, plan.batch_size, plan.sha256(),
                str(path),
            )
        )  # fmt: skip
    return summaries


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
    """Return the name of a recipe, good for a folder: the shipped one's, or that of the file without ``.yaml``."""
    path = find_recipe(recipe)
    own = path.stem if path.stem.strip(".") else "recipe"
    return next((name for name, shipped in list_recipes().items() if shipped.samefile(path)), own)


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
    """Refuse a key that stands in a section twice, of which YAML would take the last.

    Raises:
        WavezooError: If there is one.
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
                    raise WavezooError(f"{path}:{key.start_mark.line + 1}: key '{name}' stands here a second time")
                keys.add(name)
                pending.append(value)
        elif isinstance(node, yaml.SequenceNode):
            pending.extend(node.value)


def _first_mistake(
    error: ValidationError, schema: type[BaseModel], path: Path, tree: yaml.Node, overrides: Sequence[str]
) -> WavezooError:
    """Return the error for the first of the mistakes in a recipe, with file and line, or the override, and its key.

    Args:
        error: What validation found.
        schema: What a recipe has to be.
        path: The file.
        tree: Its nodes, which know their lines.
        overrides: Values in place of the file's.
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
        annotation: Any = section.model_fields[part].annotation
        section = next((a for a in get_args(annotation) if a is not type(None)), annotation)  # of "EmaSection | None"
    return list(section.model_fields)
