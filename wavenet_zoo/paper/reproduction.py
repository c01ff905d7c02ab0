"""Reproduce a table of the paper from nothing: train every run that it requires, and fill it."""

import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wavenet_zoo.errors import INTERNAL_FAILURE, WavezooError
from wavenet_zoo.paper.measured import group_runs, read_runs
from wavenet_zoo.paper.scales import Row, Scale, load_scale
from wavenet_zoo.paper.table import PaperTable
from wavenet_zoo.paper.tables import build_table
from wavenet_zoo.paper.training_runs import PlannedRun, train_runs
from wavenet_zoo.recipes import load_recipe
from wavenet_zoo.runtime.launch import read_launch
from wavenet_zoo.runtime.records import read_record
from wavenet_zoo.runtime.results import Result
from wavenet_zoo.training.records import TrainingRun

__all__ = ["Reproduction", "ReproductionRun", "plan_reproduction", "reproduce"]

logger = logging.getLogger(__name__)


@dataclass
class ReproductionRun(Result):
    """A run of a reproduction.

    Attributes:
        name: Name of the row.
        seed: Seed of the run.
        recipe: Recipe.
        overrides: Overrides of the recipe's values.
        out: Folder of the run.
        epochs: Number of epochs.
        finished_epochs: Number of finished epochs.
        error: Top-1 error in percent after the last epoch; None before.
        seconds: Estimated time that remains; None if it was not estimated.
        memory_bytes: Estimated peak memory; None if it was not estimated.
    """

    name: str
    seed: int
    recipe: str
    overrides: list[str]
    out: str
    epochs: int
    finished_epochs: int
    error: float | None = None
    seconds: float | None = None
    memory_bytes: int | None = None

    @property
    def state(self) -> str:
        """``finished``, ``epoch 3 of 10`` or ``not started``."""
        if self.error is not None:
            return "finished"
        current = min(self.finished_epochs + 1, self.epochs)
        return f"epoch {current} of {self.epochs}" if Path(self.out).exists() else "not started"


@dataclass
class Reproduction(Result):
    """Result of :func:`reproduce` and :func:`plan_reproduction`.

    Attributes:
        table: Number of the table.
        scale: Name of the scale.
        title: First line of its header.
        runs: The runs, in the order of training.
        shard: Part of the runs that this call trains, ``1/2`` for example; None for all.
        out: Folder of the runs.
        filled: The table with the errors of all finished runs in the folder; None if none is finished.
    """

    table: int
    scale: str
    title: str
    runs: list[ReproductionRun]
    shard: str | None
    out: str
    filled: PaperTable | None = None

    @property
    def seconds(self) -> float:
        """Estimated time that remains."""
        return sum(run.seconds or 0 for run in self.runs)


def reproduce(
    table: int,
    scale: str | Path = "small",
    data: str | Path | None = None,
    out: str | Path | None = None,
    *,
    seeds: int | None = None,
    only: Sequence[str] = (),
    shard: tuple[int, int] = (1, 1),
    workers: int | None = None,
    device: str = "auto",
    cache_images: bool = False,
    progress: bool = False,
) -> Reproduction:
    """Train every run that a table of the paper requires at a scale, and fill the table.

    Runs are trained seed by seed, so that complete rows exist at any time, and stored in ``out/ROW/seedN``. Called
    again, finished runs are reused and a stopped one is resumed. Tables that share a row share its runs.

    Args:
        table: 2, 3, 5, 6 or 7.
        scale: A YAML file, see :func:`wavenet_zoo.paper.scales.load_scale`, or the name of a shipped scale.
        data: Data set; overrides that of the recipes.
        out: Folder of the runs. Default: ``runs/reproduce/`` and the name of the scale.
        seeds: Number of runs per row. Default: that of the scale.
        only: Names of the rows to train. Default: all.
        shard: (i, n): train every n-th run, starting at the i-th, on one of n machines. The table is filled with the
            finished runs of all.
        workers: Loader workers.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        cache_images: Keep decoded images in the memory of the device, as in :func:`wavenet_zoo.train`.
        progress: Show progress on stderr.

    Raises:
        WavezooError: If the scale is invalid or does not have the table, or training fails or is stopped.

    Source: paper, section 5, Tables 2, 3, 5, 6 and 7.
    """
    loaded, every, plans, folder = _plan(table, scale, out, seeds, only, shard)
    for _ in train_runs(
        plans, data, workers=workers, device=device, cache_images=cache_images, progress=progress
    ):  # fmt: skip
        pass
    return _result(table, loaded, every, plans, shard, folder)


def plan_reproduction(
    table: int,
    scale: str | Path = "small",
    data: str | Path | None = None,
    out: str | Path | None = None,
    *,
    seeds: int | None = None,
    only: Sequence[str] = (),
    shard: tuple[int, int] = (1, 1),
    workers: int | None = None,
    device: str = "auto",
    cache_images: bool = False,
) -> Reproduction:
    """List the runs of :func:`reproduce` with their state, and estimate time and memory by a dry run of each row.

    Args:
        table: 2, 3, 5, 6 or 7.
        scale: A YAML file, or the name of a shipped scale.
        data: Data set; overrides that of the recipes.
        out: Folder of the runs.
        seeds: Number of runs per row.
        only: Names of the rows to train.
        shard: (i, n): every n-th run, starting at the i-th.
        workers: Loader workers.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        cache_images: Keep decoded images in the memory of the device.

    Raises:
        WavezooError: If the scale is invalid or does not have the table, or a dry run fails.
    """
    if read_launch().world_size > 1:
        raise WavezooError("--dry-run estimates the time of a single process", "run it without torchrun")
    loaded, every, plans, folder = _plan(table, scale, out, seeds, only, shard)
    result = _result(table, loaded, every, plans, shard, folder)
    estimates: dict[str, dict[str, Any]] = {}
    for run, plan in zip(result.runs, plans):
        if run.error is None and plan.name not in estimates:
            logger.info("dry run: %s", plan.name)
            estimates[plan.name] = _dry_run(plan, data, workers, device, cache_images)
    for run in result.runs:
        if run.error is None:
            estimate = estimates[run.name]
            run.seconds = estimate["estimated_seconds"] * (1 - run.finished_epochs / run.epochs)
            run.memory_bytes = estimate["memory_bytes"]
    return result


def _plan(
    table: int, scale: str | Path, out: str | Path | None, seeds: int | None, only: Sequence[str],
    shard: tuple[int, int],
) -> tuple[Scale, list[PlannedRun], list[PlannedRun], Path]:  # fmt: skip
    """Return the scale, all runs of the table, those of the shard, and their folder."""
    loaded = load_scale(scale)
    rows = [row if seeds is None else replace(row, seeds=seeds) for row in loaded.rows(table, only)]
    folder = Path(out) if out is not None else Path("runs") / "reproduce" / loaded.name
    index, count = shard
    if not 1 <= index <= count:
        raise WavezooError(f"--shard {index}/{count}: expected a number from 1 to {count}", "for example --shard 1/2")
    every = [_planned(row, number, folder) for number in range(max(row.seeds for row in rows)) for row in rows
             if number < row.seeds]  # fmt: skip
    if index > len(every):
        raise WavezooError(f"--shard {index}/{count}: there are only {len(every)} runs")
    return loaded, every, every[index - 1 :: count], folder


def _planned(row: Row, number: int, folder: Path) -> PlannedRun:
    seed = row.load().seed + number
    return PlannedRun(row.name, row.name, seed, row.recipe, row.overrides, folder / row.name / f"seed{seed}")


def _result(
    table: int, scale: Scale, every: Sequence[PlannedRun], plans: Sequence[PlannedRun], shard: tuple[int, int],
    folder: Path,
) -> Reproduction:  # fmt: skip
    """Describe the runs of a shard, and fill the table with all finished runs, those of other shards too."""
    runs = [_describe(plan) for plan in plans]
    finished = [plan.out for plan in every if (plan.out / "result.json").is_file()]
    filled = build_table(table, group_runs(read_runs(finished))) if finished else None
    part = None if shard == (1, 1) else f"{shard[0]}/{shard[1]}"
    return Reproduction(table, scale.name, scale.title, runs, part, str(folder), filled)


def _describe(plan: PlannedRun) -> ReproductionRun:
    run = ReproductionRun(
        name=plan.name,
        seed=plan.seed,
        recipe=str(plan.recipe),
        overrides=list(plan.overrides),
        out=str(plan.out),
        epochs=load_recipe(plan.recipe, plan.overrides).schedule.epochs,
        finished_epochs=0,
    )
    if (plan.out / "result.json").is_file():
        result = read_record(plan.out / "result.json", TrainingRun, f"copy the run again, or remove {plan.out}")
        run.error, run.finished_epochs = 100 - result.last["top1"], run.epochs
    elif (plan.out / "log.jsonl").is_file():
        run.finished_epochs = len((plan.out / "log.jsonl").read_bytes().splitlines())
    return run


def _dry_run(
    plan: PlannedRun, data: str | Path | None, workers: int | None, device: str, cache_images: bool
) -> dict[str, Any]:
    """Estimate time and memory of a run, in a process of its own: the peak memory of a process only grows."""
    command = [sys.executable, "-m", "wavenet_zoo", "train", str(plan.recipe), "--dry-run", "--json", "--quiet"]
    command += ["--out", str(plan.out)]
    command += ["--device", device, *(word for value in plan.values for word in ("--set", value))]
    if data is not None:
        command += ["--data", str(data)]
    if cache_images:
        command.append("--cache-images")
    if workers is not None:
        command += ["--workers", str(workers)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        message = (run.stderr.strip().splitlines() or ["it ended without a message"])[-1].removeprefix("error: ")
        raise WavezooError(
            f"{plan.name}: {message}", exit_code=run.returncode if run.returncode > 0 else INTERNAL_FAILURE
        )
    estimate: dict[str, Any] = json.loads(run.stdout)
    return estimate
