"""A run on its way: how far it has come, what it writes, when it stops, and where it goes on."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from wavenet_zoo.errors import DIVERGED, WavezooError
from wavenet_zoo.runtime.progress import Progress
from wavenet_zoo.training.build import Setup
from wavenet_zoo.training.checkpoint import load_last, save_best, save_last
from wavenet_zoo.training.run_dir import StepLog, check_same_run, read_json, start_run, write_log
from wavenet_zoo.training.signals import Interruption
from wavenet_zoo.training.tensorboard import Board

__all__ = ["Position", "Run", "best_epoch", "diverged", "start_or_resume"]


@dataclass
class Position:
    """How far a run has come; with weights and optimizer it is all that a checkpoint holds.

    Attributes:
        epoch: The epoch under way; 1 is the first.
        step: Optimizer steps taken in it.
        total_steps: Optimizer steps taken in all.
        lr: Learning rate of the epoch's first step.
        loss_sum: Sum of the losses of the epoch's steps.
        seconds: Time taken, over all parts of the run.
        history: One record for each epoch behind.
        resumed: One record for each time that the run went on.
    """

    epoch: int = 1
    step: int = 0
    total_steps: int = 0
    lr: float = 0.0
    loss_sum: float = 0.0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    resumed: list[dict[str, Any]] = field(default_factory=list)


class Run:
    """A run on its way: where it is, what is written about it, and when it has to end."""

    def __init__(
        self,
        folder: Path,
        setup: Setup,
        position: Position,
        interruption: Interruption,
        checkpoint_minutes: float,
        bar: Progress,
        board: Board,
    ):
        self.folder = folder
        self.setup = setup
        self.position = position
        self.interruption = interruption
        self.seconds_between = checkpoint_minutes * 60
        self.bar = bar
        self.board = board
        self.losses: list[tuple[int, float, torch.Tensor]] = []  # not yet reported
        self.clock = self.saved_at = time.perf_counter()
        self.steps = StepLog(folder, position.total_steps) if setup.processes.is_rank_zero else None

    def report(self, waiting: float = 0.0) -> None:
        """Log the losses since the last report, as means over the processes; ``waiting`` is the share of data."""
        if not self.losses:
            return
        processes, position = self.setup.processes, self.position
        losses = torch.stack([loss for *_, loss in self.losses]).double().cpu()
        means = (processes.all_reduce_sum(losses) / processes.world_size).tolist()
        records = [
            {"step": step, "epoch": position.epoch, "lr": lr, "loss": mean}
            for (step, lr, _), mean in zip(self.losses, means)
        ]
        self.losses.clear()
        for record in records:
            if not math.isfinite(record["loss"]):
                raise diverged(f"the training loss is {record['loss']}", position.epoch, record["step"])
            position.loss_sum += record["loss"]
        if self.steps is not None:
            self.steps.append(records)
        self.board.add_steps(records)
        last = records[-1]
        self.bar.advance(
            len(records) * self.setup.plan.batch_size,
            f"loss {last['loss']:.3f}  lr {last['lr']:.4g}  waiting for data {waiting:.0%}",
        )

    def save_or_stop_where_asked(self) -> None:
        """Write a checkpoint where one is due; end the run where a signal came to any of its processes."""
        due = time.perf_counter() - self.saved_at >= self.seconds_between
        asked = self.setup.processes.all_reduce_max(self.interruption.signal or int(due))
        if asked:
            self.save()
        if asked > 1:
            self._stop(asked)

    def stop_where_asked(self) -> None:
        """End the run where a signal came, between two batches of a validation, which is done again then."""
        asked = self.setup.processes.all_reduce_max(self.interruption.signal)
        if asked:
            self.save()
            self._stop(asked)

    def end_epoch(self, record: dict[str, Any]) -> None:
        """Note the results of an epoch, and save."""
        position, setup = self.position, self.setup
        position.history.append({**record, "seconds": self._count_seconds()})
        setup.metadata.epoch = position.epoch
        position.epoch, position.step, position.loss_sum = position.epoch + 1, 0, 0.0
        if setup.processes.is_rank_zero and position.history[-1] is best_epoch(position.history):
            save_best(self.folder, self._checkpoint())
        self.save()
        if setup.processes.is_rank_zero:
            write_log(self.folder, position.history)
        self.board.add_epoch(position.history[-1])

    def save(self) -> None:
        """Write ``last.pt``; weights that are not finite end the run instead, and the one before stays."""
        self.report()
        self._count_seconds()
        setup, position = self.setup, self.position
        weights = setup.model.state_dict().values()
        if not all(tensor.isfinite().all() for tensor in weights if tensor.is_floating_point()):
            raise diverged("weights are not finite", position.epoch, position.total_steps)
        if setup.processes.is_rank_zero:
            save_last(self.folder, self._checkpoint())
        self.saved_at = time.perf_counter()

    def _checkpoint(self) -> dict[str, Any]:
        setup = self.setup
        checkpoint = {
            "state_dict": setup.model.state_dict(),  # where timm looks for it
            "optimizer": setup.optimizer.state_dict(),
            "scaler": setup.scaler.state_dict(),
            "position": asdict(self.position),
            "metadata": setup.metadata.model_dump(mode="json"),
        }
        if setup.ema is not None:
            checkpoint["state_dict_ema"] = setup.ema.module.state_dict()
        return checkpoint

    def _count_seconds(self) -> float:
        now = time.perf_counter()
        self.position.seconds += now - self.clock
        self.clock = now
        return self.position.seconds

    def _stop(self, signal: int) -> None:
        position = self.position
        raise self.interruption.stopped(
            signal,
            f"in epoch {position.epoch}, step {position.step} of {self.setup.steps_per_epoch}; saved in {self.folder}",
        )


def start_or_resume(
    folder: Path, setup: Setup, record: dict[str, Any], inexact: bool, note: Callable[[str], None]
) -> tuple[Position, dict[str, Any] | None]:
    """Begin a run, or find out how far it has come and load weights and optimizer.

    Args:
        folder: Folder of the run, claimed by process 0.
        setup: What the run consists of.
        record: What ``run.json`` holds, or is to hold.
        inexact: Go on also with another number of processes.
        note: Called with a line on what was found.

    Returns:
        The position, and of a finished run also its result.

    Raises:
        WavezooError: If the folder holds another run, or no checkpoint that is whole.
    """
    found: tuple[dict[str, Any], str] | None = None
    finished, changes = None, []
    if setup.processes.is_rank_zero:
        if (folder / "run.json").exists():
            changes = check_same_run(folder, setup.plan, record, inexact)
            if (folder / "result.json").exists() and (folder / "model.safetensors").exists():
                finished = read_json(folder / "result.json")
                note(f"{folder}: this run is finished; another --out begins a new one")
            else:
                found = load_last(folder, note)
        else:
            start_run(folder, setup.plan, record)
            note(f"run: {folder}")
    found, finished, changes = setup.processes.broadcast((found, finished, changes))
    if found is None:
        return Position(), finished
    checkpoint, file = found
    if checkpoint["metadata"]["recipe_sha256"] != setup.plan.sha256():
        raise WavezooError(f"{folder / file}: is of another run", "start again in another folder with --out")
    try:
        setup.model.load_state_dict(checkpoint["state_dict"])
        setup.optimizer.load_state_dict(checkpoint["optimizer"])
        setup.scaler.load_state_dict(checkpoint["scaler"])
        if setup.ema is not None:
            setup.ema.module.load_state_dict(checkpoint["state_dict_ema"])
        position = Position(**checkpoint["position"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        began_with = checkpoint["metadata"]["versions"].get("wavenet_zoo")
        raise WavezooError(
            f"{folder / file}: does not fit what wavenet_zoo builds here: {str(error).splitlines()[0]}",
            f"it was written by version {began_with}: go on with that one, or start again with another --out",
        ) from error
    setup.scheduler.step_update(position.total_steps)
    setup.metadata.epoch = position.epoch - 1
    position.resumed.append({"from": file, "step": position.total_steps, "changes": changes})
    note(f"run: {folder}, going on in epoch {position.epoch} after step {position.step} of {setup.steps_per_epoch}")
    if changes:
        note(f"since the run was begun: {'; '.join(changes)}; the result may differ from that of an uninterrupted run")
    return position, None


def best_epoch(history: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the first record with the highest top-1."""
    return max(history, key=lambda record: record["top1"])


def diverged(what: str, epoch: int, step: int) -> WavezooError:
    """Return the error that ends a run whose numbers are no longer finite."""
    return WavezooError(
        f"{what} in epoch {epoch}, step {step}; the last good checkpoint stays",
        "a lower optimizer.lr, some schedule.warmup_epochs or optimizer.clip_grad may help",
        exit_code=DIVERGED,
    )
