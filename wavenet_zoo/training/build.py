"""Everything that a training run consists of, built from its recipe: data, model, optimizer and what goes with them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timm.data import Mixup
from timm.scheduler.scheduler import Scheduler
from timm.utils import ModelEmaV3
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from wavenet_zoo.data.classes import match_classes
from wavenet_zoo.data.loaders import evaluation_loader, training_loader
from wavenet_zoo.data.open import is_named, open_data
from wavenet_zoo.data.preprocessing import Preprocessing, evaluation_transform, training_transform
from wavenet_zoo.data.sources import FolderImages, ImageSource
from wavenet_zoo.data.workers import default_workers
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.models import set_form
from wavenet_zoo.recipes import Recipe, load_recipe
from wavenet_zoo.runtime.distributed import Distributed
from wavenet_zoo.runtime.environment import package_versions
from wavenet_zoo.training.optim import build_ema, build_mixup, build_optimizer, build_scheduler
from wavenet_zoo.weights.loading import Weights, build_model, load_model
from wavenet_zoo.weights.metadata import WeightsMetadata

__all__ = ["Setup", "check_recipe", "prepare"]


@dataclass
class Setup:
    """What :func:`prepare` builds.

    Attributes:
        plan: The recipe.
        processes: This process and the others.
        training: Images to learn from.
        validation: Images that are evaluated after every epoch.
        train_loader: Batches of one process, a step in ``plan.accumulation`` parts.
        val_loader: Batches of this process's share.
        model: The network, on its device.
        forward: The same behind torch.compile and DistributedDataParallel, where these are asked for.
        ema: Moving average of the weights, or None.
        optimizer: Over the parameters of ``model``.
        scheduler: The learning rate as a function of the step.
        scaler: Of the gradients, in effect with fp16 alone.
        mixup: Mixup and cutmix, or None.
        steps_per_epoch: Optimizer steps.
        metadata: What the weights will say of themselves.
        beginning: The weights that it begins with; None where they are random.
    """

    plan: Recipe
    distributed: Distributed
    training: ImageSource
    validation: ImageSource
    train_loader: DataLoader
    val_loader: DataLoader
    model: Any
    forward: Any
    ema: ModelEmaV3 | None
    optimizer: torch.optim.Optimizer
    scheduler: Scheduler
    scaler: torch.amp.GradScaler
    mixup: Mixup | None
    steps_per_epoch: int
    metadata: WeightsMetadata
    beginning: Weights | None

    @property
    def exported(self) -> nn.Module:
        """The network whose weights the run is for: the moving average where there is one."""
        return self.ema.module if self.ema is not None else self.model

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.plan.channels_last else torch.contiguous_format

    def autocast(self) -> Any:
        """Return the context of a forward pass."""
        precision = self.plan.precision
        dtype = torch.float16 if precision == "fp16" else torch.bfloat16
        return torch.autocast(self.processes.device.type, dtype, enabled=precision != "fp32")


def prepare(
    plan: Recipe,
    name: str,
    data: str | Path | None,
    distributed: Distributed,
    workers: int | None,
    compile: bool,
    form: str,
    note: Callable[[str], None],
) -> Setup:
    """Build everything that a recipe asks for.

    Args:
        plan: The recipe.
        name: Its name, for the record.
        data: Data set in place of the recipe's.
        processes: This process and the others.
        workers: Decoding processes of each process.
        compile: Put the model behind torch.compile.
        form: How WaveletNet's units compute, ``dense`` or ``factored``.
        note: Called with a line on the data and its preprocessing.

    Raises:
        WavezooError: If parts of the recipe do not go together, or the data is not right.
    """
    parts = plan.accumulation * processes.world_size
    if plan.batch_size % parts:
        raise WavezooError(
            f"batch_size {plan.batch_size} cannot be divided into {plan.accumulation} parts (accumulation) for each "
            f"of {processes.world_size} processes",
            f"--set batch_size={plan.batch_size // parts * parts or parts}, or another number of processes",
        )
    if plan.sync_bn and processes.device.type != "cuda":
        raise WavezooError("sync_bn works on CUDA devices alone", "--set sync_bn=false")
    mixing = plan.augmentation.mixup or plan.augmentation.cutmix
    if mixing and (plan.batch_size // parts) % 2:
        raise WavezooError(
            f"mixup and cutmix pair images, and {plan.batch_size // parts} per process and part is an odd number",
            "another batch_size, or accumulation",
        )
    training, validation = _open_splits(plan, data, processes)
    if len(training.targets) < plan.batch_size:
        raise WavezooError(
            f"{training.name}: its {len(training.targets)} training images do not fill one batch of {plan.batch_size}",
            f"--set batch_size={len(training.targets)}",
        )
    classes = list(training.classes)
    class_indices = match_classes(validation.classes, classes, len(classes))
    preprocessing = Preprocessing.from_recipe(plan.preprocessing)
    note(f"data: {training.name}, {len(training.targets)} images to learn from, {len(validation.targets)} to validate")
    note(f"preprocessing: {preprocessing}")

    model, beginning = _initial_model(plan, classes)
    if beginning is not None:
        note(f"weights to begin with: {beginning.describe()}")
    set_form(model, form)
    if plan.sync_bn:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    device = processes.device
    model = model.to(device).to(memory_format=torch.channels_last if plan.channels_last else torch.contiguous_format)
    forward = torch.compile(model) if compile else model
    if processes.world_size > 1:
        forward = DistributedDataParallel(
            forward,
            device_ids=[device.index] if device.type == "cuda" else None,
            # keeps gradients in the groups they begin with: regrouped after the first step, they would be added up in
            # another order, and a run that goes on would differ in the last bits
            find_unused_parameters=device.type == "cpu" or torch.are_deterministic_algorithms_enabled(),
        )

    workers = default_workers(training.in_memory, processes.local_world_size) if workers is None else workers
    pin, shard = device.type == "cuda", {"rank": processes.rank, "world_size": processes.world_size}
    train_loader = training_loader(
        training,
        training_transform(preprocessing, plan.augmentation),
        plan.batch_size,
        plan.seed,
        workers,
        pin,
        accumulation=plan.accumulation,
        **shard,
    )
    batch_size = plan.batch_size // parts
    val_loader = evaluation_loader(
        validation, evaluation_transform(preprocessing), class_indices, batch_size, workers, pin, **shard
    )
    steps_per_epoch = len(training.targets) // plan.batch_size
    optimizer = build_optimizer(plan, model)
    return Setup(
        plan=plan,
        processes=processes,
        training=training,
        validation=validation,
        train_loader=train_loader,
        val_loader=val_loader,
        model=model,
        forward=forward,
        ema=build_ema(plan, model),
        optimizer=optimizer,
        scheduler=build_scheduler(plan, optimizer, steps_per_epoch),
        scaler=torch.amp.GradScaler(device.type, enabled=plan.precision == "fp16"),
        mixup=build_mixup(plan, len(classes)),
        steps_per_epoch=steps_per_epoch,
        metadata=WeightsMetadata(
            model=plan.model.name,
            model_kwargs=plan.model.kwargs,
            classes=classes,
            data=_data_label(plan, data, training),
            data_fingerprint=training.fingerprint(),
            validation_fingerprint=validation.fingerprint(),
            preprocessing=preprocessing,
            recipe=name,
            recipe_sha256=plan.sha256(),
            seed=plan.seed,
            variant="ema" if plan.ema else "raw",
            versions=package_versions(),
        ),
        beginning=beginning,
    )


def check_recipe(recipe: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Build what a recipe asks for, as far as that goes without data.

    Returns:
        Model, number of parameters and hash.

    Raises:
        WavezooError: If a key or value is not valid, or model, optimizer, schedule or augmentation cannot be built.
    """
    plan = load_recipe(recipe, overrides)
    model = build_model(plan.model.name, _model_kwargs(plan), device="meta")
    if plan.model.initial_weights_of is not None:
        build_model(plan.model.name, plan.model.initial_weights_of, device="meta")
    if plan.model.pretrained is not None:
        _pretrained_model(plan)
    build_scheduler(plan, build_optimizer(plan, model), steps_per_epoch=1)
    training_transform(Preprocessing.from_recipe(plan.preprocessing), plan.augmentation)
    params = sum(parameter.numel() for parameter in model.parameters())
    return {"model": plan.model.name, "params": params, "sha256": plan.sha256()}


def _initial_model(plan: Recipe, classes: list[str]) -> tuple[nn.Module, Weights | None]:
    """Return the network that a run begins with, and the weights that it comes with, if any."""
    if plan.model.pretrained is not None:
        model, weights = _pretrained_model(plan)
        if weights.classes != classes:
            torch.manual_seed(plan.seed)
            model.reset_classifier(len(classes))
        return model, weights
    torch.manual_seed(plan.seed)
    model = build_model(plan.model.name, _model_kwargs(plan), num_classes=len(classes))
    if plan.model.initial_weights_of is not None:
        torch.manual_seed(plan.seed)
        other = build_model(plan.model.name, plan.model.initial_weights_of, num_classes=len(classes)).state_dict()
        own = model.state_dict()
        alike = {key: value for key, value in other.items() if key in own and own[key].shape == value.shape}
        model.load_state_dict({**own, **alike})
    return model, None


def _pretrained_model(plan: Recipe) -> tuple[Any, Weights]:
    model, weights = load_model(plan.model.name, plan.model.pretrained, _model_kwargs(plan))
    trained_with = {key: value for key, value in weights.model_kwargs.items() if key not in _model_kwargs(plan)}
    if trained_with:
        raise WavezooError(
            f"{weights.name}: trained with {trained_with}, of which the recipe's model.kwargs say nothing",
            "write them there",
        )
    return model, weights


def _model_kwargs(plan: Recipe) -> dict[str, Any]:
    drops = {"drop_rate": plan.regularization.dropout, "drop_path_rate": plan.regularization.drop_path}
    return {**{key: value for key, value in drops.items() if value}, **plan.model.kwargs}


def _open_splits(plan: Recipe, data: str | Path | None, distributed: Distributed) -> tuple[ImageSource, ImageSource]:
    if data is None and not is_named(plan.data.name):
        raise WavezooError(f"the recipe trains on {plan.data.name}, which has to be on this machine", "pass --data DIR")
    where = data if data is not None else plan.data.name
    with processes.rank_zero_first(is_named(str(where))):
        training, validation = open_data(where, plan.data.train), open_data(where, plan.data.validation)
    if isinstance(training, FolderImages) and isinstance(validation, FolderImages) and training.root == validation.root:
        raise WavezooError(
            f"{training.root}: training needs two parts", f"a folder that holds {plan.data.train}/ and val/ or test/"
        )
    return training, validation


def _data_label(plan: Recipe, data: str | Path | None, training: ImageSource) -> str:
    """Return what to call the data with the weights: no path of this machine."""
    if data is None or not is_named(plan.data.name):
        return plan.data.name
    return training.name if is_named(str(data)) else Path(data).resolve().name
