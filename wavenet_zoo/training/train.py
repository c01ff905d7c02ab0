"""Train a model by a recipe: in one process or several, resumable at any step."""

import contextlib
import itertools
import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from torch import nn

from wavenet_zoo.data.loaders import persistent_workers
from wavenet_zoo.data.preprocessing import Preprocessing
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.evaluation.metrics import Scores, evaluate_loader, score
from wavenet_zoo.runtime.distributed import init_distributed
from wavenet_zoo.runtime.environment import describe_environment, deterministic_algorithms
from wavenet_zoo.runtime.files import sha256_of, write_atomically
from wavenet_zoo.runtime.progress import Progress
from wavenet_zoo.runtime.records import write_json
from wavenet_zoo.runtime.seeds import preserve_rng_state
from wavenet_zoo.training.build import build_training, log_data
from wavenet_zoo.training.curves import plot_curves
from wavenet_zoo.training.images import hash_training_images
from wavenet_zoo.training.optim import learning_rate
from wavenet_zoo.training.records import EpochRecord, TrainingRun
from wavenet_zoo.training.run_dir import lock_run_dir, run_record
from wavenet_zoo.training.settings import resolve_precision, run_settings
from wavenet_zoo.training.signals import watch_signals
from wavenet_zoo.training.step import MicroBatches, train_step
from wavenet_zoo.training.tensorboard import check_tensorboard, open_tensorboard
from wavenet_zoo.training.trainer import Trainer, best_epoch, diverged, start_or_resume
from wavenet_zoo.weights.files import weights_bytes

__all__ = ["train"]

logger = logging.getLogger(__name__)

LOG_EVERY_ON_GPU = 20  # steps; reading a loss synchronizes with the GPU


def train(
    recipe_path: str | Path,
    data: str | Path | None = None,
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    *,
    workers: int | None = None,
    device: str = "auto",
    compile: bool | None = None,
    form: str | None = None,
    deterministic: bool | None = None,
    cache_images: bool | None = None,
    checkpoint_minutes: float = 10.0,
    allow_world_size_change: bool = False,
    tensorboard: bool = False,
    progress: bool = False,
) -> TrainingRun:
    """Train a model by a recipe, or resume a run.

    The folder of the run contains ``recipe.yaml`` (every value), ``run.json`` (data, versions, machine),
    ``images.safetensors`` (a hash of every training and validation image),
    ``steps.jsonl`` (loss and learning rate of every step), ``log.jsonl`` and ``log.csv`` (one record per epoch),
    ``last.pt``, ``previous.pt`` and ``best.pt`` (checkpoints), and at the end ``model.safetensors``, ``curve.png`` and
    ``result.json``.

    Called again with the same folder, it resumes from the last checkpoint, also within an epoch. On CPUs the result is
    then bit for bit that of an uninterrupted run.

    Args:
        recipe_path: A YAML file, the name of a shipped recipe, or the folder of a run, which is resumed with its data
            and settings.
        data: Data set; overrides the recipe's. A name, or a folder with ``train/`` and ``val/`` or ``test/``; training
            images are enough if ``data.validation`` is a fraction.
        out: Folder of the run. Default: ``runs/`` and the recipe's name with the overridden values, for example
            ``runs/digits-seed=1``.
        overrides: Overrides of the recipe's values, each ``section.key=value``.
        workers: Loader workers. Default: one per available CPU, at most 8; 0 for images in memory.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        compile: Compile the model with torch.compile.
        form: How WaveletNet's units compute. ``dense`` composes DFWT and WConv into one convolution at every step,
            ``factored`` computes them one after the other. Weights and gradients are equal up to rounding.
        deterministic: Use deterministic algorithms on GPUs, which may be slower.
        cache_images: Decode all images once, keep them in the memory of the device and augment them there.
        checkpoint_minutes: Save a checkpoint after every epoch, and after this time within an epoch.
        allow_world_size_change: Resume with a different number of processes.
        tensorboard: Write TensorBoard events to ``tensorboard/`` in the folder.
        progress: Show progress on stderr.

    Raises:
        WavezooError: If the recipe, the data or the folder is invalid, the loss is not finite, or a signal stopped the
            run after a checkpoint.
    """
    if not checkpoint_minutes >= 0:  # nan too
        raise WavezooError(f"--checkpoint-minutes {checkpoint_minutes}: must be 0 or more")
    settings = run_settings(recipe_path, data, out, overrides, compile, form, deterministic, cache_images)
    run_dir = settings.run_dir
    if tensorboard:
        check_tensorboard()
    with contextlib.ExitStack() as stack:
        stack.enter_context(preserve_rng_state())
        distributed = stack.enter_context(init_distributed(device))
        progress = progress and distributed.is_rank_zero
        if distributed.is_rank_zero:
            stack.enter_context(lock_run_dir(run_dir))
        stack.enter_context(deterministic_algorithms(settings.deterministic))
        settings = resolve_precision(settings, distributed.device)
        recipe = settings.recipe
        training = build_training(settings, distributed, workers=workers, progress=progress)
        record = run_record(training, settings)
        hashes = hash_training_images(training, progress)
        state, finished = start_or_resume(run_dir, training, record, hashes, allow_world_size_change)
        if finished is not None:
            return finished
        log_data(training)
        stop_request = stack.enter_context(watch_signals(announce=progress))
        stack.enter_context(persistent_workers(training.train_loader))
        images = recipe.schedule.epochs * training.steps_per_epoch * recipe.batch_size
        done = state.total_steps * recipe.batch_size
        bar = stack.enter_context(Progress(settings.name, images, enabled=progress, done=done))
        events_dir = run_dir if tensorboard and distributed.is_rank_zero else None
        board = stack.enter_context(open_tensorboard(events_dir, state.total_steps))
        trainer = Trainer(run_dir, training, state, stop_request, checkpoint_minutes, bar, board)
        _train(trainer)
        return _export(trainer)


def _train(trainer: Trainer) -> None:
    """Train the remaining epochs."""
    training, state, epochs = trainer.training, trainer.state, trainer.training.recipe.schedule.epochs
    while state.epoch <= epochs:
        epoch = f"epoch {state.epoch}/{epochs}"
        trainer.progress.advance(0, description=epoch)
        images_per_second = _train_epoch(trainer)
        metrics = _validate(trainer, training.exported)
        record = {
            "epoch": state.epoch,
            "step": state.total_steps,
            "lr": state.lr,
            "train_loss": state.loss_sum / training.steps_per_epoch,
            "loss": metrics.loss,
            "top1": metrics.top1,
            "top5": metrics.top5,
            "train_images_per_second": images_per_second,
        }
        if training.ema is not None:
            raw = _validate(trainer, training.model)
            record |= {"raw_loss": raw.loss, "raw_top1": raw.top1}
        trainer.end_epoch(record)
        trainer.progress.say(
            f"{epoch}  lr {record['lr']:.4g}  training loss {record['train_loss']:.4f}  "
            f"validation loss {metrics.loss:.4f}  top-1 {metrics.top1:.2f} %"
        )


def _train_epoch(trainer: Trainer) -> float:
    """Take the remaining steps of the epoch; return the throughput in images per second."""
    training, state, optimizer = trainer.training, trainer.state, trainer.training.optimizer
    log_every = 1 if training.distributed.device.type == "cpu" else LOG_EVERY_ON_GPU
    training.train_mode()
    training.train_loader.batch_sampler.start(state.epoch, state.step)
    if state.step == 0:
        state.lr = learning_rate(optimizer)
    first_step, started = state.step, time.perf_counter()
    batches = MicroBatches(training.train_loader)
    while state.step < training.steps_per_epoch:
        lr = learning_rate(optimizer)
        loss = train_step(training, itertools.islice(batches, training.recipe.accumulation), state.total_steps)
        trainer.end_step(lr, loss)
        if state.step % log_every == 0 or state.step == training.steps_per_epoch:
            trainer.log_steps(waiting=batches.waiting_seconds / (time.perf_counter() - started))
        trainer.checkpoint_or_stop()
    images = (state.step - first_step) * training.recipe.batch_size
    return images / max(time.perf_counter() - started, 1e-9)


def _validate(trainer: Trainer, model: nn.Module) -> Scores:
    """Evaluate a model on the validation images."""
    training = trainer.training
    training.distributed.broadcast_buffers(model)
    done = itertools.count(1)

    def after_batch() -> None:
        trainer.progress.advance(0, f"validating {next(done)}/{len(training.val_loader)}")
        trainer.stop_if_requested()

    metrics = evaluate_loader(
        model,
        training.val_loader,
        training.val_images,
        Preprocessing.from_recipe(training.recipe.preprocessing),
        training.distributed.device,
        precision=training.recipe.precision,
        distributed=training.distributed,
        after_batch=after_batch,
    )
    scores = score(metrics.predictions["all"])
    if not math.isfinite(scores.loss):
        raise diverged("the validation loss is not finite", trainer.state.epoch, trainer.state.total_steps)
    return scores


def _export(trainer: Trainer) -> TrainingRun:
    """Write the weights, the training curves and the result of a finished run."""
    training, state, run_dir = trainer.training, trainer.state, trainer.run_dir
    weights, is_rank_zero = run_dir / "model.safetensors", training.distributed.is_rank_zero
    if is_rank_zero:
        write_atomically(weights, weights_bytes(training.exported.state_dict(), training.metadata))
        try:
            metadata = training.metadata
            plot_curves(run_dir / "curve.png", state.history, training.recipe, str(metadata.recipe), str(metadata.data))
        except Exception as error:  # the result does not depend on it
            logger.warning("%s: not drawn: %s", run_dir / "curve.png", next(iter(str(error).splitlines()), error))
    training.distributed.barrier()
    result = TrainingRun(
        out=str(run_dir),
        model=training.recipe.model.name,
        recipe=str(training.metadata.recipe),
        recipe_sha256=training.recipe.sha256(),
        weights=str(weights),
        weights_sha256=sha256_of(weights) if is_rank_zero else "",
        epochs=training.recipe.schedule.epochs,
        last=cast(EpochRecord, state.history[-1]),
        best=cast(EpochRecord, best_epoch(state.history)),
        seconds=state.seconds,
        resumed=state.resumed,
        environment=describe_environment(training.distributed.device),
    )
    if is_rank_zero:
        write_json(run_dir / "result.json", result.to_dict())
    return result
