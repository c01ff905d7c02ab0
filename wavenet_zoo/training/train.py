"""Training: a recipe, from random weights to a safetensors file, by one process or several, stopped and resumed."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from timm.utils import dispatch_clip_grad

from wavenet_zoo.data.loaders import UNREADABLE, decode_error, persistent_workers
from wavenet_zoo.evaluation.metrics import Metrics, evaluate_loader
from wavenet_zoo.recipes import load_recipe, recipe_name
from wavenet_zoo.runtime.distributed import init_distributed
from wavenet_zoo.runtime.environment import describe_environment, make_deterministic
from wavenet_zoo.runtime.files import sha256_of, write_atomically
from wavenet_zoo.runtime.progress import Progress
from wavenet_zoo.runtime.records import write_json
from wavenet_zoo.training.build import Setup, prepare
from wavenet_zoo.training.curves import plot_curves
from wavenet_zoo.training.optim import seed_step
from wavenet_zoo.training.run_dir import describe_run, lock_run_dir
from wavenet_zoo.training.signals import watch_signals
from wavenet_zoo.training.tensorboard import check_board, open_board
from wavenet_zoo.training.trainer import Run, best_epoch, diverged, start_or_resume
from wavenet_zoo.weights.files import weights_bytes

__all__ = ["TrainingRun", "train"]

STEPS_BETWEEN_REPORTS_ON_GPU = 20  # reading a loss makes a GPU wait


@dataclass
class TrainingRun:
    """The result of :func:`train`.

    Attributes:
        out: Folder of the run.
        model: Name of the model.
        recipe: Name of the recipe.
        recipe_sha256: Hash of every value in effect.
        weights: The safetensors file: the weights of the last epoch, their moving average where the recipe has one.
        weights_sha256: Its hash.
        epochs: Epochs trained.
        last: Record of the last epoch.
        best: Record of the epoch with the highest top-1 on the validation split.
        seconds: Time taken, validation included, over all parts of a run that was resumed.
        resumed: For each time that the run went on: from which file and step, and what had changed.
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
    resumed: list[dict[str, Any]]
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
    compile: bool = False,
    form: str = "dense",
    deterministic: bool = False,
    checkpoint_minutes: float = 10.0,
    inexact: bool = False,
    tensorboard: bool = False,
    progress: bool = False,
    note: Callable[[str], None] = lambda line: None,
) -> TrainingRun:
    """Train a model by a recipe, or go on with a run that was stopped.

    The folder of the run holds ``recipe.yaml`` (every value in effect), ``run.json`` (data, versions, machine),
    ``steps.jsonl`` (loss and learning rate of every step), ``log.jsonl`` and ``log.csv`` (one record per epoch),
    ``last.pt``, ``previous.pt`` and ``best.pt`` (checkpoints), and at the end ``model.safetensors`` (the last epoch's
    weights), ``curve.png`` and ``result.json``.

    Called again with the same folder it goes on from the last checkpoint, in the middle of an epoch too. On CPUs the
    outcome is then bit for bit that of a run that was never stopped.

    Args:
        recipe: A YAML file, or the name of a shipped recipe.
        data: Data set in place of the recipe's: a name, or a folder that holds ``train/`` and ``val/`` (or ``test/``).
        out: Folder of the run; by default ``runs/`` and the recipe's name.
        overrides: Values in place of the recipe's, each ``section.key=value``.
        workers: Decoding processes; by default one per core, none for images that are in memory.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        compile: Put the model behind torch.compile.
        form: How WaveletNet's units compute: ``dense`` composes DFWT and WConv into one convolution at every step,
            ``factored`` computes as the paper writes it. Weights and gradients are the same up to rounding.
        deterministic: Let GPUs too give the same result each time, at some cost.
        checkpoint_minutes: A checkpoint is written after every epoch, and after so many minutes within one.
        inexact: Go on also with another number of processes than the run was begun with.
        tensorboard: Write events for TensorBoard into the folder's ``tensorboard/``.
        progress: Show progress on stderr.
        note: Called with a line on what was decided.

    Raises:
        WavezooError: If the recipe, the data or the folder is not right, the loss is no longer finite, or a signal has
            stopped the run (its last checkpoint then holds the step that it was at).
    """
    plan = load_recipe(recipe, overrides)
    name = recipe_name(recipe)
    folder = Path(out) if out is not None else Path("runs") / name
    if tensorboard:
        check_board()
    with contextlib.ExitStack() as stack:
        processes = stack.enter_context(init_distributed(device))
        if processes.is_rank_zero:
            stack.enter_context(lock_run_dir(folder))
        else:
            progress, note = False, _say_nothing
        if deterministic:
            make_deterministic()
        setup = prepare(plan, name, data, processes, workers, compile, form, note)
        record = describe_run(setup, compile, form, deterministic)
        position, finished = start_or_resume(folder, setup, record, inexact, note)
        if finished is not None:
            return TrainingRun(**finished)
        interruption = stack.enter_context(watch_signals(announce=progress))
        stack.enter_context(persistent_workers(setup.train_loader))
        images = plan.schedule.epochs * setup.steps_per_epoch * plan.batch_size
        bar = stack.enter_context(Progress(name, images, enabled=progress, done=position.total_steps * plan.batch_size))
        board = stack.enter_context(
            open_board(folder if tensorboard and processes.is_rank_zero else None, position.total_steps)
        )
        run = Run(folder, setup, position, interruption, checkpoint_minutes, bar, board)
        return _train(run)


def _train(run: Run) -> TrainingRun:
    setup, position, folder = run.setup, run.position, run.folder
    plan, processes = setup.plan, setup.processes
    model_on_data = f"{plan.model.name} on {setup.metadata.data}, recipe {setup.metadata.recipe}"

    # ----------------------------------------------------------------------------------------------------- train loop
    while position.epoch <= plan.schedule.epochs:
        epoch = f"epoch {position.epoch}/{plan.schedule.epochs}"
        run.bar.advance(0, description=epoch)
        images_per_second = _train_epoch(run)
        tally = _validate(run, setup.exported)
        record = {
            "epoch": position.epoch,
            "step": position.total_steps,
            "lr": position.lr,
            "train_loss": position.loss_sum / setup.steps_per_epoch,
            "loss": tally.loss,
            "top1": tally.top1,
            "top5": tally.top5,
            "train_images_per_second": images_per_second,
        }
        if setup.ema is not None:
            raw = _validate(run, setup.model)
            record |= {"raw_loss": raw.loss, "raw_top1": raw.top1}
        run.end_epoch(record)
        run.bar.say(
            f"{epoch}  lr {record['lr']:.4g}  training loss {record['train_loss']:.4f}  "
            f"validation loss {tally.loss:.4f}  top-1 {tally.top1:.2f} %"
        )

    # --------------------------------------------------------------------------------------------------------- export
    weights = folder / "model.safetensors"
    if processes.is_rank_zero:
        write_atomically(weights, weights_bytes(setup.exported.state_dict(), setup.metadata))
        plot_curves(folder / "curve.png", position.history, model_on_data)
    processes.barrier()  # the others wait for the file
    result = TrainingRun(
        out=str(folder),
        model=plan.model.name,
        recipe=str(setup.metadata.recipe),
        recipe_sha256=plan.sha256(),
        weights=str(weights),
        weights_sha256=sha256_of(weights) if processes.is_rank_zero else "",
        epochs=plan.schedule.epochs,
        last=position.history[-1],
        best=best_epoch(position.history),
        seconds=position.seconds,
        resumed=position.resumed,
        environment=describe_environment(processes.device),
    )
    if processes.is_rank_zero:
        write_json(folder / "result.json", result.to_dict())
    return result


def _train_epoch(run: Run) -> float:
    """Take the steps that are left of the epoch; return images per second."""
    setup, position, device = run.setup, run.position, run.setup.processes.device
    plan, parameters = setup.plan, list(setup.model.parameters())
    smoothing = 0.0 if setup.mixup else plan.regularization.label_smoothing  # mixup smooths by itself
    setup.model.train()
    setup.train_loader.batch_sampler.start(position.epoch, position.step)  # type: ignore[union-attr]
    if position.step == 0:
        position.lr = setup.optimizer.param_groups[0]["lr"]
    report_every = 1 if device.type == "cpu" else STEPS_BETWEEN_REPORTS_ON_GPU
    loss, part, first_step = torch.zeros((), device=device), 0, position.step
    started, waited = time.perf_counter(), 0.0
    for images, labels, wait in _timed_batches(setup):
        waited += wait
        part += 1
        if part == 1:
            seed_step(plan.seed, position.total_steps, setup.processes.rank)
        images, labels = _to_device(images, labels, setup)
        targets = labels
        if setup.mixup is not None:
            images, targets = setup.mixup(images, labels)

        # --------------------------------------------------------------------------- forward, backward, part by part
        with _gradients_stay_here(setup, unless=part == plan.accumulation):
            with setup.autocast():
                logits = setup.forward(images)
            part_loss = F.cross_entropy(logits.float(), targets, label_smoothing=smoothing) / plan.accumulation
            setup.scaler.scale(part_loss).backward()
        loss += part_loss.detach()
        if part < plan.accumulation:
            continue

        # -------------------------------------------------------------------------------------------------- one step
        if plan.optimizer.clip_grad is not None:
            setup.scaler.unscale_(setup.optimizer)
            dispatch_clip_grad(parameters, value=plan.optimizer.clip_grad)
        lr = setup.optimizer.param_groups[0]["lr"]
        setup.scaler.step(setup.optimizer)
        setup.scaler.update()
        setup.optimizer.zero_grad()
        position.step += 1
        position.total_steps += 1
        setup.scheduler.step_update(position.total_steps)
        if setup.ema is not None:
            setup.ema.update(setup.model, step=position.total_steps)
        run.losses.append((position.total_steps, lr, loss))
        loss, part = torch.zeros((), device=device), 0
        if position.step % report_every == 0 or position.step == setup.steps_per_epoch:
            run.report(waited / (time.perf_counter() - started))
        run.save_or_stop_where_asked()
    images_taken = (position.step - first_step) * plan.batch_size
    return images_taken / max(time.perf_counter() - started, 1e-9)


def _validate(run: Run, model: Any) -> Metrics:
    setup = run.setup
    setup.processes.broadcast_buffers(model)
    batches = 0

    def after_batch() -> None:
        nonlocal batches
        batches += 1
        run.bar.advance(0, f"validating {batches}/{len(setup.val_loader)}")
        run.stop_where_asked()

    tally = evaluate_loader(
        model,
        setup.val_loader,
        setup.validation,
        len(setup.training.classes),
        setup.processes.device,
        precision=setup.plan.precision,
        processes=setup.processes,
        after_batch=after_batch,
    )
    if not math.isfinite(tally.loss_sum):
        raise diverged("the validation loss is not finite", run.position.epoch, run.position.total_steps)
    return tally


def _timed_batches(setup: Setup) -> Iterator[tuple[torch.Tensor, torch.Tensor, float]]:
    """Yield images, labels, and how long they took to come."""
    asked = time.perf_counter()
    for images, labels, indices in setup.train_loader:
        wait = time.perf_counter() - asked
        if (labels == UNREADABLE).any():
            bad = indices[labels == UNREADABLE][0].item()
            raise decode_error(setup.training, bad, "replace or remove the image")
        yield images, labels, wait
        asked = time.perf_counter()


def _to_device(images: torch.Tensor, labels: torch.Tensor, setup: Setup) -> tuple[torch.Tensor, torch.Tensor]:
    device = setup.processes.device
    images = images.to(device, memory_format=setup.memory_format, non_blocking=True)
    return images, labels.to(device, non_blocking=True)


def _gradients_stay_here(setup: Setup, unless: bool) -> Any:
    """Several processes add up their gradients with the last part of a step only."""
    if unless or setup.processes.world_size == 1:
        return contextlib.nullcontext()
    return setup.forward.no_sync()


def _say_nothing(line: str) -> None:
    pass
