"""Build everything that a training run consists of from its recipe: data, model, optimizer, schedule."""

import contextlib
import functools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timm.data import Mixup
from timm.scheduler.scheduler import Scheduler
from timm.utils import ModelEmaV3
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from wavenet_zoo.data.agreement import check_same_images
from wavenet_zoo.data.cached_images import cached_evaluation_loader, cached_training_loader
from wavenet_zoo.data.loaders import BatchLoader, evaluation_loader, training_loader
from wavenet_zoo.data.open import is_named
from wavenet_zoo.data.preprocessing import Preprocessing, evaluation_transform, normalize, training_transform
from wavenet_zoo.data.sources import ImageSource
from wavenet_zoo.data.splits import describe_split
from wavenet_zoo.data.workers import default_workers
from wavenet_zoo.deployment.forms import check_unfolded_form
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.models import set_form
from wavenet_zoo.recipes import InvalidRecipe, Mistake, Recipe, load_recipe
from wavenet_zoo.runtime.distributed import Distributed
from wavenet_zoo.runtime.environment import git_state, package_versions
from wavenet_zoo.training.freeze import freeze_backbone, train_mode
from wavenet_zoo.training.optim import build_ema, build_mixup, build_optimizer, build_scheduler
from wavenet_zoo.training.settings import RunSettings
from wavenet_zoo.training.splits import check_outside, data_name, match_validation_classes, open_splits
from wavenet_zoo.training.trial import check_compiler, check_forward
from wavenet_zoo.weights.loading import Weights, build_model, load_model
from wavenet_zoo.weights.metadata import WeightsMetadata

__all__ = ["Training", "build_training", "check_recipe", "log_data"]

logger = logging.getLogger(__name__)


@dataclass
class Training:
    """Result of :func:`build_training`.

    Attributes:
        recipe: The recipe.
        distributed: Process group.
        train_images: Training images.
        val_images: Validation images, evaluated after every epoch.
        train_loader: Micro-batches of this process, ``recipe.accumulation`` per step.
        val_loader: Validation batches of this process's share.
        model: The network, on its device.
        forward: The model, wrapped by torch.compile and DistributedDataParallel if they are used.
        ema: Moving average of the weights; None if the recipe has none.
        optimizer: Optimizer of the parameters of ``model``.
        scheduler: Learning rate as a function of the step.
        scaler: Gradient scaler, enabled with fp16 only.
        mixup: Mixup and cutmix; None if the recipe has neither.
        steps_per_epoch: Optimizer steps per epoch.
        metadata: Metadata of the weights to be trained.
        initial_weights: Pretrained weights that the run starts from; None for random ones.
    """

    recipe: Recipe
    distributed: Distributed
    train_images: ImageSource
    val_images: ImageSource
    train_loader: BatchLoader
    val_loader: BatchLoader
    model: Any
    forward: Any
    ema: ModelEmaV3 | None
    optimizer: torch.optim.Optimizer
    scheduler: Scheduler
    scaler: torch.amp.GradScaler
    mixup: Mixup | None
    steps_per_epoch: int
    metadata: WeightsMetadata
    initial_weights: Weights | None

    @property
    def exported(self) -> nn.Module:
        """The network whose weights are exported: the moving average if the recipe has one."""
        return self.ema.module if self.ema is not None else self.model

    @property
    def memory_format(self) -> torch.memory_format:
        """Memory format of images and weights."""
        return torch.channels_last if self.recipe.channels_last else torch.contiguous_format

    @functools.cached_property
    def preprocessing(self) -> Preprocessing:
        """How an image becomes a tensor."""
        return Preprocessing.from_recipe(self.recipe.preprocessing)

    def prepare(self, images: torch.Tensor) -> torch.Tensor:
        """Return the images (B, C, H, W) of a batch on the device, normalized if they have 8 bits."""
        images = images.to(self.distributed.device, non_blocking=True)
        if images.dtype == torch.uint8:
            images = normalize(images, self.preprocessing)
        return images.to(memory_format=self.memory_format)

    def train_mode(self) -> None:
        """Set the model to training mode, without the backbone if the recipe freezes it."""
        train_mode(self.model, self.recipe.optimizer.freeze_backbone)

    def autocast(self) -> Any:
        """Return the autocast context of a forward pass."""
        precision = self.recipe.precision
        dtype = torch.float16 if precision == "fp16" else torch.bfloat16
        return torch.autocast(self.distributed.device.type, dtype, enabled=precision != "fp32")


def build_training(
    settings: RunSettings, distributed: Distributed, *, workers: int | None = None, progress: bool = False
) -> Training:
    """Build data, model, optimizer and schedule of a run, and check that the network can take a step.

    Args:
        settings: Recipe, data and options of the run.
        distributed: Process group.
        workers: Loader workers of each process. Default: see :func:`wavenet_zoo.data.workers.default_workers`.
        progress: Show the progress of decoding on stderr, with ``settings.cache_images``.

    Raises:
        WavezooError: If values of the recipe are incompatible, the data is missing or invalid, or the processes have
            different recipes or data.
    """
    recipe, data, compile, form = settings.recipe, settings.data, settings.compile, settings.form
    check_unfolded_form(form, "for training")
    _check_batch_size(recipe, distributed)
    data_kind = "a name" if is_named(settings.data_location) else "a folder"
    distributed.check_equal(recipe=recipe.sha256(), data=data_kind, options=f"compile {compile}, form {form}")
    train_images, val_images = open_splits(recipe, data, distributed)
    for images in (train_images, val_images):
        check_outside(images, settings.run_dir)
    if len(train_images.targets) < recipe.batch_size:
        raise WavezooError(
            f"{train_images.name}: batch_size is {recipe.batch_size}, but there are only "
            f"{len(train_images.targets)} training images",
            f"--set batch_size={len(train_images.targets)}",
        )
    classes = list(train_images.classes)
    class_indices = match_validation_classes(val_images, classes)
    preprocessing = Preprocessing.from_recipe(recipe.preprocessing)
    check_same_images(distributed, training=train_images, validation=val_images)
    model, initial_weights = _initial_model(recipe, classes)
    distributed.check_equal(initial_weights=str(initial_weights and initial_weights.sha256))
    set_form(model, form)
    if recipe.sync_bn:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    if recipe.optimizer.freeze_backbone:
        freeze_backbone(model)
    device = distributed.device
    memory_format = torch.channels_last if recipe.channels_last else torch.contiguous_format
    model = model.to(device).to(memory_format=memory_format)
    micro_batch_size = recipe.batch_size // (recipe.accumulation * distributed.world_size)
    if compile:
        check_compiler(device)
    forward = torch.compile(model) if compile else model
    if distributed.world_size > 1:
        forward = DistributedDataParallel(
            forward,
            device_ids=[device.index] if device.type == "cuda" else None,
            # keeps the initial gradient buckets: rebuilt after the first step, they would sum gradients in another
            # order, and a resumed run would differ in the last bits
            find_unused_parameters=device.type == "cpu" or torch.are_deterministic_algorithms_enabled(),
        )

    workers = default_workers(train_images.in_memory, distributed.local_world_size) if workers is None else workers
    pin_memory = device.type == "cuda"
    shard = {"rank": distributed.rank, "world_size": distributed.world_size}
    train_loader: BatchLoader
    val_loader: BatchLoader
    if settings.cache_images:
        train_loader = cached_training_loader(
            train_images,
            preprocessing,
            recipe.augmentation,
            recipe.batch_size,
            recipe.seed,
            workers,
            device,
            accumulation=recipe.accumulation,
            progress=progress,
            **shard,
        )
        val_loader = cached_evaluation_loader(
            val_images, preprocessing, class_indices, micro_batch_size, workers, device, progress=progress, **shard
        )
    else:
        train_loader = training_loader(
            train_images,
            training_transform(preprocessing, recipe.augmentation, normalized=recipe.augmentation.random_erasing > 0),
            recipe.batch_size,
            recipe.seed,
            workers,
            pin_memory,
            accumulation=recipe.accumulation,
            **shard,
        )
        val_loader = evaluation_loader(
            val_images,
            evaluation_transform(preprocessing, normalized=False),
            class_indices,
            micro_batch_size,
            workers,
            pin_memory,
            **shard,
        )
    steps_per_epoch = len(train_images.targets) // recipe.batch_size
    optimizer = build_optimizer(recipe, model)
    metadata = WeightsMetadata(
        model=recipe.model.name,
        model_kwargs=recipe.model.kwargs,
        classes=classes,
        data=data_name(recipe, data, train_images),
        data_fingerprint=train_images.fingerprint(),
        validation_fingerprint=val_images.fingerprint(),
        preprocessing=preprocessing,
        recipe=settings.name,
        recipe_sha256=recipe.sha256(),
        seed=recipe.seed,
        variant="ema" if recipe.ema else "raw",
        versions=package_versions(),
        git=git_state(),
    )
    training = Training(
        recipe=recipe,
        distributed=distributed,
        train_images=train_images,
        val_images=val_images,
        train_loader=train_loader,
        val_loader=val_loader,
        model=model,
        forward=forward,
        ema=build_ema(recipe, model),
        optimizer=optimizer,
        scheduler=build_scheduler(recipe, optimizer, steps_per_epoch),
        scaler=torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16"),
        mixup=build_mixup(recipe, len(classes)),
        steps_per_epoch=steps_per_epoch,
        metadata=metadata,
        initial_weights=initial_weights,
    )
    check_forward(model, recipe, micro_batch_size, len(classes), training.autocast())
    return training


def log_data(training: Training) -> None:
    """Log what a run trains on, and the weights that it starts from."""
    counts = (len(training.train_images.targets), len(training.val_images.targets))
    validation = training.recipe.data.validation
    held_out = f": {describe_split(str(validation))}, held out" if isinstance(validation, float) else ""
    logger.info(
        "data: %s, %s training images, %s validation images%s",
        training.train_images.name, *map("{:,}".format, counts), held_out,
    )  # fmt: skip
    logger.info("preprocessing: %s", training.metadata.preprocessing)
    if training.initial_weights is not None:
        logger.info("initial weights: %s", training.initial_weights.describe())


def check_recipe(recipe_path: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Check a recipe without data: build its model, optimizer, schedule and augmentation.

    Returns:
        Name of the model, number of parameters and hash of the recipe.

    Raises:
        InvalidRecipe: If a key or value is invalid, or a part cannot be built. It lists all mistakes.
        WavezooError: If the recipe is missing or not YAML.
    """
    recipe = load_recipe(recipe_path, overrides)
    mistakes: list[Mistake] = []

    @contextlib.contextmanager
    def checking(key: str) -> Iterator[None]:
        try:
            yield
        except WavezooError as error:
            mistakes.append(Mistake(key, error.message, error.hint))

    model: nn.Module = nn.Linear(1, 1, device="meta")  # for the optimizer, if the network cannot be built
    with checking("model"):
        model = build_model(recipe.model.name, _model_kwargs(recipe), device="meta")
        if recipe.model.initial_weights_of is not None:
            build_model(recipe.model.name, recipe.model.initial_weights_of, device="meta")
        if recipe.model.pretrained is not None:
            _pretrained_model(recipe)
    with checking("optimizer"):
        if recipe.optimizer.freeze_backbone and not mistakes:
            freeze_backbone(model)
        build_scheduler(recipe, build_optimizer(recipe, model), steps_per_epoch=1)
    with checking("augmentation"):
        training_transform(Preprocessing.from_recipe(recipe.preprocessing), recipe.augmentation)
    if mistakes:
        raise InvalidRecipe(mistakes, recipe_path, overrides)
    params = sum(parameter.numel() for parameter in model.parameters())
    return {"model": recipe.model.name, "params": params, "sha256": recipe.sha256()}


def _check_batch_size(recipe: Recipe, distributed: Distributed) -> None:
    parts = recipe.accumulation * distributed.world_size
    if recipe.batch_size % parts:
        raise WavezooError(
            f"batch_size {recipe.batch_size} is not divisible by accumulation {recipe.accumulation} x world size "
            f"{distributed.world_size}",
            f"--set batch_size={recipe.batch_size // parts * parts or parts}, or change the number of processes",
        )
    if recipe.sync_bn and distributed.device.type != "cuda":
        raise WavezooError("sync_bn is supported on CUDA devices only", "--set sync_bn=false")
    mixing = recipe.augmentation.mixup or recipe.augmentation.cutmix
    if mixing and (recipe.batch_size // parts) % 2:
        raise WavezooError(
            f"mixup and cutmix require an even number of images per process and part, got {recipe.batch_size // parts}",
            "change batch_size or accumulation",
        )


def _initial_model(recipe: Recipe, classes: list[str]) -> tuple[nn.Module, Weights | None]:
    """Return the initial network, and the pretrained weights that it starts from, if any."""
    if recipe.model.pretrained is not None:
        model, weights = _pretrained_model(recipe)
        if weights.metadata.classes != classes:
            torch.manual_seed(recipe.seed)
            model.reset_classifier(len(classes))
        return model, weights
    torch.manual_seed(recipe.seed)
    model = build_model(recipe.model.name, _model_kwargs(recipe), num_classes=len(classes))
    if recipe.model.initial_weights_of is not None:
        torch.manual_seed(recipe.seed)
        reference = build_model(recipe.model.name, recipe.model.initial_weights_of, num_classes=len(classes))
        own = model.state_dict()
        shared = {
            key: value
            for key, value in reference.state_dict().items()
            if key in own and own[key].shape == value.shape
        }  # fmt: skip
        model.load_state_dict({**own, **shared})
    return model, None


def _pretrained_model(recipe: Recipe) -> tuple[Any, Weights]:
    try:
        model, weights = load_model(recipe.model.name, recipe.model.pretrained, _model_kwargs(recipe))
    except WavezooError as error:
        message, hint = (_name_recipe_key(text) for text in (error.message, error.hint))
        raise WavezooError(message, hint, error.exit_code) from error
    missing = {k: v for k, v in weights.metadata.model_kwargs.items() if k not in _model_kwargs(recipe)}
    if missing:
        raise WavezooError(
            f"{weights.name}: trained with {missing}, which are missing in the recipe's model.kwargs",
            "add them to model.kwargs",
        )
    return model, weights


def _name_recipe_key(text: str) -> str:
    """Replace the option for weights, which commands that train do not have, by the key of a recipe."""
    text = text.replace("pass --weights FILE", "--set model.pretrained=FILE")
    return text.replace("--weights none", "--set model.pretrained=null")


def _model_kwargs(recipe: Recipe) -> dict[str, Any]:
    drops = {"drop_rate": recipe.regularization.dropout, "drop_path_rate": recipe.regularization.drop_path}
    return {**{key: value for key, value in drops.items() if value}, **recipe.model.kwargs}
