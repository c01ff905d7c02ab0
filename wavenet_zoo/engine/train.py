"""Training: one recipe, one process, from random weights to a safetensors file."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import timm.optim
import torch
import torch.nn.functional as F
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler import Scheduler
from torch import nn
from torch.utils.data import DataLoader

from wavenet_zoo.data.catalog import NAMED_DATA, open_data
from wavenet_zoo.data.classes import match_classes
from wavenet_zoo.data.loaders import (
    UNREADABLE,
    default_workers,
    evaluation_loader,
    lasting_workers,
    training_loader,
    unreadable_image,
)
from wavenet_zoo.data.preprocessing import Preprocessing, evaluation_transform, training_transform
from wavenet_zoo.data.sources import FolderImages, ImageSource
from wavenet_zoo.engine.checkpoint import save_checkpoint
from wavenet_zoo.engine.curves import plot_curves
from wavenet_zoo.engine.environment import choose_device, describe_environment, package_versions
from wavenet_zoo.engine.results import append_csv, append_jsonl, write_json
from wavenet_zoo.engine.tally import count_correct
from wavenet_zoo.errors import INTERNAL_FAILURE, WavezooError, did_you_mean
from wavenet_zoo.files import sha256_of, write_atomically
from wavenet_zoo.progress import Progress
from wavenet_zoo.recipes import Recipe, load_recipe, recipe_name
from wavenet_zoo.weights import WeightsMetadata, build_model, weights_bytes

__all__ = ["TrainingRun", "train"]


@dataclass
class TrainingRun:
    """The result of :func:`train`.

    Attributes:
        out: Folder of the run.
        model: Name of the model.
        recipe: Name of the recipe.
        recipe_sha256: Hash of every value in effect.
        weights: The safetensors file: the weights of the last epoch.
        weights_sha256: Its hash.
        epochs: Epochs trained.
        last: Record of the last epoch.
        best: Record of the epoch with the highest top-1 on the validation split.
        seconds: Time taken, validation included.
        environment: Versions and machine.
    """

    out: str
    model: str
    recipe: str
    recipe_sha256: str
    weights: str
    weights_sha256: str
    epochs: int
    last: dict[str, Any]
    best: dict[str, Any]
    seconds: float
    environment: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values, for JSON."""
        return asdict(self)


def train(
    recipe: str | Path,
    data: str | Path | None = None,
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    *,
    workers: int | None = None,
    device: str = "auto",
    progress: bool = False,
    note: Callable[[str], None] = lambda line: None,
) -> TrainingRun:
    """Train a model by a recipe.

    The folder of the run holds ``recipe.yaml`` (every value in effect), ``log.jsonl`` and ``log.csv`` (one record per
    epoch), ``last.pt`` and ``best.pt`` (checkpoints), and at the end ``model.safetensors`` (the last epoch's weights),
    ``curve.png`` and ``result.json``.

    Args:
        recipe: A YAML file, or the name of a shipped recipe.
        data: Data set in place of the recipe's: a name, or a folder that holds ``train/`` and ``val/`` (or ``test/``).
        out: Folder of the run; by default ``runs/`` and the recipe's name.
        overrides: Values in place of the recipe's, each ``section.key=value``.
        workers: Decoding processes; by default one per core, none for images that are in memory.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        progress: Show progress on stderr.
        note: Called with a line on what was decided.

    Raises:
        WavezooError: If the recipe, the data or the folder is not right, or the loss is no longer finite.
    """
    # ------------------------------------------------------------------------------------------------- recipe and data
    plan = load_recipe(recipe, overrides)
    name = recipe_name(recipe)
    target = choose_device(device)
    training, validation = _open_splits(plan, data)
    classes = list(training.classes)
    class_indices = match_classes(validation.classes, classes, len(classes))
    preprocessing = Preprocessing.from_recipe(plan.preprocessing)
    note(f"data: {training.name}, {len(training.targets)} images to learn from, {len(validation.targets)} to validate")
    note(f"preprocessing: {preprocessing}")

    # --------------------------------------------------------------------------------- model, optimizer and schedule
    torch.manual_seed(plan.seed)
    model = build_model(plan.model.name, plan.model.kwargs, num_classes=len(classes))
    model = model.to(target).to(memory_format=_memory_format(plan))
    train_workers = default_workers(training) if workers is None else workers
    pin = target.type == "cuda"
    train_loader = training_loader(
        training, training_transform(preprocessing, plan.augmentation), plan.batch_size, plan.seed, train_workers, pin
    )
    val_loader = evaluation_loader(
        validation, evaluation_transform(preprocessing), class_indices, plan.batch_size, train_workers, pin
    )
    optimizer = _make_optimizer(plan, model)
    scheduler = _make_scheduler(plan, optimizer, len(train_loader))

    # -------------------------------------------------------------------------------------------------- output folder
    folder = _make_folder(Path(out) if out is not None else Path("runs") / name)
    note(f"run: {folder}, where last.pt is written after every epoch")
    metadata = WeightsMetadata(
        model=plan.model.name,
        model_kwargs=plan.model.kwargs,
        classes=classes,
        data=_data_label(plan, data),
        data_fingerprint=training.fingerprint(),
        preprocessing=preprocessing,
        recipe=name,
        recipe_sha256=plan.sha256(),
        seed=plan.seed,
        versions=package_versions(),
    )
    write_atomically(folder / "recipe.yaml", plan.to_yaml().encode())

    # ----------------------------------------------------------------------------------------------------- train loop
    history: list[dict[str, Any]] = []
    step = 0
    started = time.perf_counter()
    images_per_epoch = len(train_loader) * (train_loader.batch_size or 1)
    total = plan.schedule.epochs * images_per_epoch
    with lasting_workers(train_loader), Progress(name, total, enabled=progress) as bar:
        for epoch in range(1, plan.schedule.epochs + 1):
            bar.advance(0, description=f"epoch {epoch}/{plan.schedule.epochs}")
            lr = optimizer.param_groups[0]["lr"]
            epoch_started = time.perf_counter()
            train_loss, step = _train_epoch(
                model, train_loader, training, optimizer, scheduler, target, plan, epoch, step, bar
            )
            train_seconds = time.perf_counter() - epoch_started
            tally = count_correct(model, val_loader, validation, len(classes), target, precision=plan.precision)
            record = {
                "epoch": epoch,
                "step": step,
                "lr": lr,
                "train_loss": train_loss,
                "loss": tally.loss,
                "top1": tally.top1,
                "top5": tally.top5,
                "train_images_per_second": images_per_epoch / train_seconds,
                "seconds": time.perf_counter() - started,
            }
            history.append(record)
            append_jsonl(folder / "log.jsonl", record)
            append_csv(folder / "log.csv", record)
            metadata.epoch = epoch
            save_checkpoint(folder / "last.pt", model, optimizer, step, history, metadata)
            if record is _best(history):
                save_checkpoint(folder / "best.pt", model, optimizer, step, history, metadata)
            bar.say(
                f"epoch {epoch}/{plan.schedule.epochs}  lr {lr:.4g}  training loss {train_loss:.4f}  "
                f"validation loss {tally.loss:.4f}  top-1 {tally.top1:.2f} %"
            )

    # --------------------------------------------------------------------------------------------------------- export
    weights = folder / "model.safetensors"
    write_atomically(weights, weights_bytes(model.state_dict(), metadata))
    plot_curves(folder / "curve.png", history, f"{plan.model.name} on {training.name}, recipe {name}")
    run = TrainingRun(
        out=str(folder),
        model=plan.model.name,
        recipe=name,
        recipe_sha256=plan.sha256(),
        weights=str(weights),
        weights_sha256=sha256_of(weights),
        epochs=plan.schedule.epochs,
        last=history[-1],
        best=_best(history),
        seconds=time.perf_counter() - started,
        environment=describe_environment(target),
    )
    write_json(folder / "result.json", run.to_dict())
    return run


def _train_epoch(
    model: nn.Module,
    loader: DataLoader,
    source: ImageSource,
    optimizer: torch.optim.Optimizer,
    scheduler: Scheduler,
    device: torch.device,
    plan: Recipe,
    epoch: int,
    step: int,
    bar: Progress,
) -> tuple[float, int]:
    """Take one step per batch; return the mean loss of the epoch and the number of steps taken so far."""
    model.train()
    loader.sampler.epoch = epoch  # type: ignore[attr-defined]
    loss_sum = torch.zeros((), device=device)
    unreported = 0
    for batch_number, (images, labels, indices) in enumerate(loader, start=1):
        if (labels == UNREADABLE).any():
            bad = indices[labels == UNREADABLE][0].item()
            raise unreadable_image(source, bad, "replace or remove the image")
        images = images.to(device, memory_format=_memory_format(plan), non_blocking=True)
        labels = labels.to(device, non_blocking=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=plan.precision == "bf16"):
            logits = model(images)
        loss = F.cross_entropy(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        scheduler.step_update(step)
        loss_sum += loss.detach()
        unreported += len(labels)
        if device.type == "cpu" or batch_number % 20 == 0 or batch_number == len(loader):
            bar.advance(unreported, f"loss {loss.item():.3f}")  # reading the loss makes a GPU wait
            unreported = 0
    mean = loss_sum.item() / len(loader)
    if not torch.isfinite(loss_sum):
        raise WavezooError(
            f"the training loss is {mean} in epoch {epoch}, step {step}",
            "a lower optimizer.lr or some schedule.warmup_epochs may help",
            exit_code=INTERNAL_FAILURE,
        )
    return mean, step


def _open_splits(plan: Recipe, data: str | Path | None) -> tuple[ImageSource, ImageSource]:
    if data is None and plan.data.name not in NAMED_DATA:
        raise WavezooError(f"the recipe trains on {plan.data.name}, which has to be on this machine", "pass --data DIR")
    where = data if data is not None else plan.data.name
    training, validation = open_data(where, plan.data.train), open_data(where, plan.data.validation)
    if isinstance(training, FolderImages) and isinstance(validation, FolderImages) and training.root == validation.root:
        raise WavezooError(
            f"{training.root}: training needs two parts", f"a folder that holds {plan.data.train}/ and val/ or test/"
        )
    return training, validation


def _data_label(plan: Recipe, data: str | Path | None) -> str:
    """Return what to call the data with the weights: no path of this machine."""
    if data is None or plan.data.name not in NAMED_DATA:
        return plan.data.name
    return str(data) if data in NAMED_DATA else Path(data).resolve().name


def _make_folder(folder: Path) -> Path:
    if folder.is_dir() and any(folder.iterdir()):
        raise WavezooError(f"{folder}: holds something already, a run perhaps", "pass another folder with --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
        (folder / ".writable").unlink()
    except OSError as error:
        raise WavezooError(
            f"{folder}: cannot hold a run: {error.strerror}", "pass another folder with --out"
        ) from error
    return folder


def _make_optimizer(plan: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    settings = plan.optimizer
    if settings.name not in timm.optim.list_optimizers():
        hint = did_you_mean(settings.name, timm.optim.list_optimizers(), "any name of timm.optim.list_optimizers()")
        raise WavezooError(f"optimizer.name: timm has no optimizer '{settings.name}'", hint)
    return timm.optim.create_optimizer_v2(
        model, opt=settings.name, lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
    )


def _make_scheduler(plan: Recipe, optimizer: torch.optim.Optimizer, steps_per_epoch: int) -> Scheduler:
    settings = plan.schedule
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched={"steps": "multistep", "linear": "poly"}[settings.name],
        num_epochs=settings.epochs,
        decay_milestones=settings.milestones,
        decay_rate=settings.decay_rate if settings.name == "steps" else 1.0,  # the power, for "poly"
        warmup_epochs=settings.warmup_epochs,
        warmup_lr=0.0,
        step_on_epochs=False,
        updates_per_epoch=steps_per_epoch,
    )
    scheduler.step_update(0)
    return scheduler


def _memory_format(plan: Recipe) -> torch.memory_format:
    return torch.channels_last if plan.channels_last else torch.contiguous_format


def _best(history: list[dict[str, Any]]) -> dict[str, Any]:
    return max(history, key=lambda record: record["top1"])
