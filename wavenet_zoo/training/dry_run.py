"""Trying a run out: everything is opened and built, a few batches go through, nothing is written."""

import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from wavenet_zoo.data.decoding import DECODE_ERRORS, open_image
from wavenet_zoo.data.loaders import UNREADABLE, batches, decode_error
from wavenet_zoo.data.sources import FolderImages, ImageSource
from wavenet_zoo.recipes import load_recipe, recipe_name
from wavenet_zoo.runtime.distributed import Distributed, init_distributed
from wavenet_zoo.runtime.environment import describe_environment, synchronize
from wavenet_zoo.runtime.progress import Progress
from wavenet_zoo.training.build import Setup, prepare
from wavenet_zoo.training.run_dir import check_run_dir, check_same_run, describe_run

__all__ = ["DryRun", "dry_run"]

TIMED_STEPS = 3  # after one that warms up


@dataclass
class DryRun:
    """The result of :func:`dry_run`.

    Attributes:
        model: Name of the model.
        params: Its parameters, with a classifier for the data's classes.
        recipe: Name of the recipe.
        recipe_sha256: Hash of the values in effect.
        training_images: Images to learn from, all of which can be opened.
        validation_images: Images to validate on, likewise.
        classes: Number of classes.
        batch_size: Images per step, over all processes.
        processes: How many share them.
        accumulation: Parts of a step.
        input_shape: (B, C, H, W) of one part in one process.
        output_shape: (B, classes).
        loss: Of the first batch, before any step.
        steps_per_epoch: Optimizer steps.
        epochs: Length of the run.
        memory_bytes: Most memory that the process, or on a GPU its tensors, had; 0 where that cannot be known.
        seconds_per_step: Mean of a few steps.
        validation_seconds: Estimate for one validation.
        estimated_seconds: Estimate for the run.
        folder_state: What ``--out`` holds, and so what would happen.
        environment: Versions and machine.
    """

    model: str
    params: int
    recipe: str
    recipe_sha256: str
    training_images: int
    validation_images: int
    classes: int
    batch_size: int
    processes: int
    accumulation: int
    input_shape: list[int]
    output_shape: list[int]
    loss: float
    steps_per_epoch: int
    epochs: int
    memory_bytes: int
    seconds_per_step: float
    validation_seconds: float
    estimated_seconds: float
    folder_state: str
    environment: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values, for JSON."""
        return asdict(self)


def dry_run(
    recipe: str | Path,
    data: str | Path | None = None,
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    *,
    workers: int | None = None,
    device: str = "auto",
    compile: bool = False,
    form: str = "dense",
    progress: bool = False,
    note: Callable[[str], None] = lambda line: None,
) -> DryRun:
    """Do what :func:`wavenet_zoo.train` would do first, and a few steps of it, without writing anything.

    Every image file is opened, which reads its header; those of the first batches are decoded.

    Args:
        recipe: A YAML file, or the name of a shipped recipe.
        data: Data set in place of the recipe's.
        out: Folder that the run would have.
        overrides: Values in place of the recipe's.
        workers: Decoding processes.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        compile: Put the model behind torch.compile.
        form: ``dense`` or ``factored``, as for :func:`wavenet_zoo.train`.
        progress: Show progress on stderr.
        note: Called with a line on what was decided.

    Raises:
        WavezooError: If recipe, data or folder are not right, or an image cannot be opened.
    """
    plan = load_recipe(recipe, overrides)
    name = recipe_name(recipe)
    folder = Path(out) if out is not None else Path("runs") / name
    with init_distributed(device) as processes:
        say = note if processes.is_rank_zero else lambda line: None
        setup = prepare(plan, name, data, processes, workers, compile, form, say)
        state = _folder_state(folder, setup, processes, compile, form)
        for source in (setup.training, setup.validation):
            _open_every_image(source, progress and processes.is_rank_zero)
        shapes, loss, seconds_per_step = _try_steps(setup)
        validation_seconds = _try_validation(setup)
        epochs = plan.schedule.epochs
        return DryRun(
            model=plan.model.name,
            params=sum(parameter.numel() for parameter in setup.model.parameters()),
            recipe=name,
            recipe_sha256=plan.sha256(),
            training_images=len(setup.training.targets),
            validation_images=len(setup.validation.targets),
            classes=len(setup.training.classes),
            batch_size=plan.batch_size,
            processes=processes.world_size,
            accumulation=plan.accumulation,
            input_shape=shapes[0],
            output_shape=shapes[1],
            loss=loss,
            steps_per_epoch=setup.steps_per_epoch,
            epochs=epochs,
            memory_bytes=_peak_memory(processes),
            seconds_per_step=seconds_per_step,
            validation_seconds=validation_seconds,
            estimated_seconds=epochs * (setup.steps_per_epoch * seconds_per_step + validation_seconds),
            folder_state=state,
            environment=describe_environment(processes.device),
        )


def _try_steps(setup: Setup) -> tuple[tuple[list[int], list[int]], float, float]:
    device, parts = setup.processes.device, setup.plan.accumulation
    setup.model.train()
    setup.train_loader.batch_sampler.start(epoch=1)  # type: ignore[union-attr]
    first, started = None, time.perf_counter()
    steps = min(TIMED_STEPS, setup.steps_per_epoch - 1)
    with batches(setup.train_loader) as iterator:
        for number, (images, labels, indices) in enumerate(iterator):
            if (labels == UNREADABLE).any():
                bad = indices[labels == UNREADABLE][0].item()
                raise decode_error(setup.training, bad, "replace or remove the image")
            targets = labels.to(device)
            images = images.to(device, memory_format=setup.memory_format)
            if setup.mixup is not None:
                images, targets = setup.mixup(images, targets)
            with setup.autocast():
                logits = setup.forward(images)
            loss = F.cross_entropy(logits.float(), targets)
            setup.scaler.scale(loss / parts).backward()
            if first is None:
                first = (list(images.shape), list(logits.shape)), loss.item()
            if (number + 1) % parts == 0:
                setup.scaler.step(setup.optimizer)
                setup.scaler.update()
                setup.optimizer.zero_grad()
            if number + 1 == parts and steps:
                synchronize(device)
                started = time.perf_counter()
            if number + 1 == parts * (1 + steps):
                break
    synchronize(device)
    assert first is not None  # prepare() has made sure of one whole batch
    return *first, (time.perf_counter() - started) / max(steps, 1)


@torch.inference_mode()
def _try_validation(setup: Setup) -> float:
    """Return how long one validation takes, from its first batches."""
    setup.model.eval()
    done, started = 0, time.perf_counter()
    with batches(setup.val_loader) as iterator:
        for number, (images, _, indices) in enumerate(iterator):
            images = images.to(setup.processes.device, memory_format=setup.memory_format)
            with setup.autocast():
                setup.model(images)
            synchronize(setup.processes.device)
            done += len(indices)
            if number == 0 and len(setup.val_loader) > 1:  # it only warms up
                started, done = time.perf_counter(), 0
            if number == TIMED_STEPS:
                break
    models = 1 if setup.ema is None else 2
    return models * (time.perf_counter() - started) * len(setup.val_loader.sampler) / done  # type: ignore[arg-type]


def _open_every_image(source: ImageSource, progress: bool) -> None:
    if not isinstance(source, FolderImages):
        return

    def can_be_opened(index: int) -> bool:
        try:
            with open_image(source.files[index]):
                return True
        except DECODE_ERRORS:
            return False

    count = len(source.files)
    with Progress(f"opening {source.split} images", count, enabled=progress) as bar, ThreadPoolExecutor(4) as pool:
        for index, good in enumerate(pool.map(can_be_opened, range(count))):
            if not good:
                raise decode_error(source, index, "replace or remove the image")
            bar.advance(1)


def _folder_state(folder: Path, setup: Setup, distributed: Distributed, compile: bool, form: str) -> str:
    if folder.exists():
        check_run_dir(folder)
    if not (folder / "run.json").exists():
        return f"{folder}: a new run would begin there"
    check_same_run(folder, setup.plan, describe_run(setup, compile, form, deterministic=False), inexact=True)
    if (folder / "result.json").exists():
        return f"{folder}: holds this run, finished"
    return f"{folder}: holds this run; it would go on"


def _peak_memory(distributed: Distributed) -> int:
    if processes.device.type == "cuda":
        return torch.cuda.max_memory_allocated(processes.device)
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
