"""The state of a run: its checkpoints, its logs, when it stops, and where it resumes."""

import logging
import math
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from wavenet_zoo.data.image_hashes import ImageHashes
from wavenet_zoo.errors import DIVERGED, WavezooError
from wavenet_zoo.runtime.files import sha256_of
from wavenet_zoo.runtime.progress import Progress
from wavenet_zoo.runtime.records import read_record
from wavenet_zoo.training.build import Training
from wavenet_zoo.training.checkpoint import GENERATIONS, load_last, save_best, save_last
from wavenet_zoo.training.images import record_images
from wavenet_zoo.training.records import RunRecord, TrainingRun
from wavenet_zoo.training.run_dir import NEW_RUN_HINT, StepLog, check_same_run, restore_recipe, start_run, write_log
from wavenet_zoo.training.signals import StopRequest, stopped
from wavenet_zoo.training.tensorboard import TensorBoard

__all__ = ["TrainState", "Trainer", "best_epoch", "diverged", "start_or_resume"]

logger = logging.getLogger(__name__)


@dataclass
class TrainState:
    """Progress of a run. A checkpoint stores it with the weights and the optimizer.

    Attributes:
        epoch: Current epoch, from 1.
        step: Optimizer steps taken in the current epoch.
        total_steps: Optimizer steps taken.
        lr: Learning rate of the first step of the epoch.
        loss_sum: Sum of the losses of the epoch's steps.
        seconds: Time taken, over all parts of the run.
        history: One record per finished epoch.
        resumed: One record per resume: checkpoint, step, and what had changed.
    """

    epoch: int = 1
    step: int = 0
    total_steps: int = 0
    lr: float = 0.0
    loss_sum: float = 0.0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    resumed: list[dict[str, Any]] = field(default_factory=list)


class Trainer:
    """Logs and saves a run, and stops it when a signal was received.

    Args:
        run_dir: Folder of the run.
        training: Model, optimizer and data.
        state: Progress of the run.
        stop_request: Signal received by this process.
        checkpoint_minutes: Time between checkpoints within an epoch.
        progress: Progress bar.
        tensorboard: TensorBoard events.
    """

    def __init__(
        self,
        run_dir: Path,
        training: Training,
        state: TrainState,
        stop_request: StopRequest,
        checkpoint_minutes: float,
        progress: Progress,
        tensorboard: TensorBoard,
    ):
        self.run_dir = run_dir
        self.training = training
        self.distributed = training.distributed
        self.state = state
        self.stop_request = stop_request
        self.checkpoint_seconds = checkpoint_minutes * 60
        self.progress = progress
        self.tensorboard = tensorboard
        self.step_log = StepLog(run_dir, state.total_steps) if self.distributed.is_rank_zero else None
        self._losses: list[tuple[int, float, torch.Tensor]] = []  # not logged yet
        self._clock = self._saved_at = time.perf_counter()

    def end_step(self, lr: float, loss: torch.Tensor) -> None:
        """Count a step and keep its loss for :meth:`log_steps`."""
        self.state.step += 1
        self.state.total_steps += 1
        self._losses.append((self.state.total_steps, lr, loss))

    def log_steps(self, waiting: float = 0.0) -> None:
        """Log the losses of the steps since the last call, averaged over the processes.

        Args:
            waiting: Fraction of the epoch's time spent waiting for data.

        Raises:
            WavezooError: If a loss is not finite.
        """
        if not self._losses:
            return
        losses = torch.stack([loss for *_, loss in self._losses]).double().cpu()
        means = (self.distributed.all_reduce_sum(losses) / self.distributed.world_size).tolist()
        records = [
            {"step": step, "epoch": self.state.epoch, "lr": lr, "loss": mean}
            for (step, lr, _), mean in zip(self._losses, means)
        ]
        self._losses.clear()
        for record in records:
            if not math.isfinite(record["loss"]):
                raise diverged(f"the training loss is {record['loss']}", self.state.epoch, record["step"])
            self.state.loss_sum += record["loss"]
        if self.step_log is not None:
            self.step_log.append(records)
        self.tensorboard.add_steps(records)
        last = records[-1]
        self.progress.advance(
            len(records) * self.training.recipe.batch_size,
            f"loss {last['loss']:.3f}  lr {last['lr']:.4g}  waiting for data {waiting:.0%}",
        )

    def checkpoint_or_stop(self) -> None:
        """Save a checkpoint if one is due. Stop the run if any of its processes received a signal."""
        due = time.perf_counter() - self._saved_at >= self.checkpoint_seconds
        request = self.distributed.all_reduce_max(self.stop_request.signal or int(due))
        if request:
            self.save()
        if request > 1:
            self._stop(request)

    def stop_if_requested(self) -> None:
        """Stop the run between two validation batches. The validation is repeated when the run resumes."""
        request = self.distributed.all_reduce_max(self.stop_request.signal)
        if request:
            self.save()
            self._stop(request)

    def end_epoch(self, record: dict[str, Any]) -> None:
        """Append the record of an epoch to the logs, and save checkpoints."""
        state = self.state
        state.history.append({**record, "seconds": self._count_seconds()})
        self.training.metadata.epoch = state.epoch
        state.epoch, state.step, state.loss_sum = state.epoch + 1, 0, 0.0
        self._check_finite()
        if self.distributed.is_rank_zero and state.history[-1] is best_epoch(state.history):
            save_best(self.run_dir, self._checkpoint())
        self.save()
        if self.distributed.is_rank_zero:
            write_log(self.run_dir, state.history)
        self.tensorboard.add_epoch(state.history[-1])

    def save(self) -> None:
        """Write ``last.pt``.

        Raises:
            WavezooError: If weights are not finite. The previous checkpoint is then kept.
        """
        self.log_steps()
        self._count_seconds()
        self._check_finite()
        if self.distributed.is_rank_zero:
            save_last(self.run_dir, self._checkpoint())
        self._saved_at = time.perf_counter()

    def _check_finite(self) -> None:
        for model in {self.training.model, self.training.exported}:
            weights = model.state_dict().values()
            if not all(tensor.isfinite().all() for tensor in weights if tensor.is_floating_point()):
                raise diverged("weights are not finite", self.state.epoch, self.state.total_steps)

    def _checkpoint(self) -> dict[str, Any]:
        training = self.training
        checkpoint = {
            "state_dict": training.model.state_dict(),  # the key that timm reads
            "optimizer": training.optimizer.state_dict(),
            "scaler": training.scaler.state_dict(),
            "position": asdict(self.state),
            "metadata": training.metadata.model_dump(mode="json"),
        }
        if training.ema is not None:
            checkpoint["state_dict_ema"] = training.ema.module.state_dict()
        return checkpoint

    def _count_seconds(self) -> float:
        now = time.perf_counter()
        self.state.seconds += now - self._clock
        self._clock = now
        return self.state.seconds

    def _stop(self, signal: int) -> None:
        steps = f"step {self.state.step} of {self.training.steps_per_epoch}"
        raise stopped(signal, f"in epoch {self.state.epoch}, {steps}; checkpoint saved in {self.run_dir}")


def start_or_resume(
    run_dir: Path, training: Training, record: RunRecord, images: ImageHashes, allow_world_size_change: bool
) -> tuple[TrainState, TrainingRun | None]:
    """Start a new run, or load weights, optimizer and progress of the run in the folder.

    Args:
        run_dir: Folder of the run, locked by rank 0.
        training: Model and optimizer to load the checkpoint into.
        record: Record of this call.
        images: Hashes of the images of this call.
        allow_world_size_change: Resume with a different world size.

    Returns:
        Progress of the run, and its result if it is finished.

    Raises:
        WavezooError: If the folder contains another run, or no undamaged checkpoint.
    """
    found: tuple[dict[str, Any], str] | None = None
    finished, changes = None, []
    if training.distributed.is_rank_zero:
        if (run_dir / "run.json").exists():
            changes = check_same_run(run_dir, training.recipe, record, allow_world_size_change)
            record_images(run_dir, images, new=False)
            finished = _finished_run(run_dir)
            if finished is None:
                found = load_last(run_dir)
                restore_recipe(run_dir, training.recipe)
                if found is None:
                    logger.info("run: %s, starting again: it has no checkpoint yet", run_dir)
        else:
            record_images(run_dir, images, new=True)
            start_run(run_dir, training.recipe, record)
            logger.info("run: %s", run_dir)
    found, finished, changes = training.distributed.broadcast((found, finished, changes))
    if found is None:
        return TrainState(), finished
    checkpoint, file = found
    state = _load_checkpoint(checkpoint, run_dir / file, training)
    state.resumed.append({"from": file, "step": state.total_steps, "changes": changes})
    logger.info(
        "run: %s, resuming epoch %d after step %d of %d", run_dir, state.epoch, state.step, training.steps_per_epoch
    )
    if changes:
        logger.info("changed since the run started: %s; the result may differ from that of an uninterrupted run",
                    "; ".join(changes))  # fmt: skip
    return state, None


def _finished_run(run_dir: Path) -> TrainingRun | None:
    """Return the result of a finished run; None if there is none, or a checkpoint is to restore damaged files.

    Raises:
        WavezooError: If a file is damaged and the checkpoints are missing.
    """
    weights, result = run_dir / "model.safetensors", run_dir / "result.json"
    if not result.exists():
        return None
    try:
        finished = read_record(result, TrainingRun, NEW_RUN_HINT)
        if not weights.exists():
            raise WavezooError(f"{weights}: is missing", NEW_RUN_HINT)
        if sha256_of(weights) != finished.weights_sha256:
            raise WavezooError(f"{weights}: is damaged: hash mismatch with {result.name}", NEW_RUN_HINT)
    except WavezooError as error:
        if not any((run_dir / name).exists() for name in GENERATIONS):
            raise WavezooError(f"{error.message}, and the checkpoints are missing", error.hint) from error
        logger.warning("%s; it is written again from the last checkpoint", error.message)
        return None
    logger.info("%s: this run is finished; use another --out for a new run", run_dir)
    return replace(finished, out=str(run_dir), weights=str(weights))  # the folder may have been moved


def best_epoch(history: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the first record with the highest top-1."""
    return max(history, key=lambda record: record["top1"])


def diverged(what: str, epoch: int, step: int) -> WavezooError:
    """Return the error that ends a run with values that are not finite."""
    return WavezooError(
        f"{what} in epoch {epoch}, step {step}; the last good checkpoint is kept",
        "lower optimizer.lr, or set schedule.warmup_epochs or optimizer.clip_grad",
        exit_code=DIVERGED,
    )


def _load_checkpoint(checkpoint: dict[str, Any], path: Path, training: Training) -> TrainState:
    version = None
    try:
        version = checkpoint["metadata"]["versions"].get("wavenet_zoo")
        if checkpoint["metadata"]["recipe_sha256"] != training.recipe.sha256():
            raise WavezooError(f"{path}: belongs to another run", NEW_RUN_HINT)
        state = TrainState(**checkpoint["position"])
        _check_position(state, training)
        training.model.load_state_dict(checkpoint["state_dict"])
        training.optimizer.load_state_dict(checkpoint["optimizer"])
        training.scaler.load_state_dict(checkpoint["scaler"])
        if training.ema is not None:
            training.ema.module.load_state_dict(checkpoint["state_dict_ema"])
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        reason = f"missing key {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise WavezooError(
            f"{path}: does not match the model and optimizer: {reason}",
            f"resume with version {version}, which wrote it, or start a new run with another --out",
        ) from error
    training.scheduler.step_update(state.total_steps)
    training.metadata.epoch = state.epoch - 1
    return state


def _check_position(state: TrainState, training: Training) -> None:
    """Check that the numbers of a checkpoint agree.

    Raises:
        ValueError: If they do not.
    """
    steps, epochs = training.steps_per_epoch, training.recipe.schedule.epochs
    valid = (
        1 <= state.epoch <= epochs + 1
        and 0 <= state.step <= steps
        and state.total_steps > 0
        and state.total_steps == (state.epoch - 1) * steps + state.step
        and len(state.history) == state.epoch - 1
    )
    if not valid:
        raise ValueError(f"epoch {state.epoch}, step {state.step}, {len(state.history)} finished epochs")
