"""Dry run: open all data, build everything and take a few training steps, without writing files."""

import itertools
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from wavenet_zoo.data.decoding import ImageError
from wavenet_zoo.data.loaders import batches
from wavenet_zoo.data.preprocessing import Preprocessing, normalize
from wavenet_zoo.data.sources import FolderImages, ImageSource, read_error
from wavenet_zoo.data.splits import describe_split
from wavenet_zoo.data.subsets import SubsetImages
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.distributed import init_distributed
from wavenet_zoo.runtime.environment import describe_environment, synchronize
from wavenet_zoo.runtime.progress import Progress
from wavenet_zoo.runtime.results import Result
from wavenet_zoo.runtime.seeds import preserve_rng_state
from wavenet_zoo.training.build import Training, build_training, log_data
from wavenet_zoo.training.images import hash_training_images
from wavenet_zoo.training.run_dir import check_run_dir, check_same_run, run_record
from wavenet_zoo.training.settings import RunSettings, resolve_precision, run_settings
from wavenet_zoo.training.step import MicroBatches, train_step

__all__ = ["DryRun", "dry_run"]

TIMED_STEPS = 3  # after one warm-up step


@dataclass
class DryRun(Result):
    """Result of :func:`dry_run`.

    Attributes:
        model: Name of the model.
        params: Number of parameters, with a classifier for the data's classes.
        recipe: Name of the recipe.
        recipe_sha256: Hash of the recipe's values.
        training_images: Number of training images. All of them can be opened.
        validation_images: Number of validation images. All of them can be opened.
        classes: Number of classes.
        batch_size: Images per step, over all processes.
        processes: World size.
        accumulation: Micro-batches per step.
        input_shape: Shape of a micro-batch of one process, (B, C, H, W).
        output_shape: Shape of its logits, (B, num_classes).
        loss: Training loss of the first step.
        steps_per_epoch: Optimizer steps per epoch.
        epochs: Number of epochs.
        memory_bytes: Peak memory of the process, or of its tensors on a GPU; 0 if unknown.
        seconds_per_step: Mean time of a step.
        validation_seconds: Estimated time of one validation.
        estimated_seconds: Estimated time of the run.
        folder_state: What the folder of the run contains.
        environment: Versions, commit and machine.
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


def dry_run(
    recipe_path: str | Path,
    data: str | Path | None = None,
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    *,
    workers: int | None = None,
    device: str = "auto",
    compile: bool | None = None,
    form: str | None = None,
    cache_images: bool | None = None,
    progress: bool = False,
) -> DryRun:
    """Check a training run and estimate its time: the steps are those of :func:`wavenet_zoo.train`.

    Every image file is opened, which reads its header. The images of the first steps are decoded. No file is written.

    Args:
        recipe_path: A YAML file, the name of a shipped recipe, or the folder of a run.
        data: Data set; overrides the recipe's.
        out: Folder of the run.
        overrides: Overrides of the recipe's values.
        workers: Loader workers.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        compile: Compile the model with torch.compile.
        form: ``dense`` or ``factored``, as in :func:`wavenet_zoo.train`.
        cache_images: Keep decoded images in the memory of the device, as in :func:`wavenet_zoo.train`.
        progress: Show progress on stderr.

    Raises:
        WavezooError: If the recipe, the data or the folder is invalid, or an image cannot be opened.
    """
    settings = run_settings(recipe_path, data, out, overrides, compile, form, None, cache_images)
    with preserve_rng_state(), init_distributed(device) as distributed:
        settings = resolve_precision(settings, distributed.device)
        recipe = settings.recipe
        training = build_training(settings, distributed, workers=workers, progress=progress)
        log_data(training)
        folder_state = _folder_state(training, settings)
        for images in (training.train_images, training.val_images):
            _open_every_image(images, progress and distributed.is_rank_zero)
        hash_training_images(training, progress)  # the run finds them in the cache
        input_shape, loss, seconds_per_step = _time_steps(training)
        validation_seconds = _time_validation(training)
        epochs = recipe.schedule.epochs
        classes = len(training.train_images.classes)
        return DryRun(
            model=recipe.model.name,
            params=sum(parameter.numel() for parameter in training.model.parameters()),
            recipe=settings.name,
            recipe_sha256=recipe.sha256(),
            training_images=len(training.train_images.targets),
            validation_images=len(training.val_images.targets),
            classes=classes,
            batch_size=recipe.batch_size,
            processes=distributed.world_size,
            accumulation=recipe.accumulation,
            input_shape=input_shape,
            output_shape=[input_shape[0], classes],
            loss=loss,
            steps_per_epoch=training.steps_per_epoch,
            epochs=epochs,
            memory_bytes=_peak_memory(distributed.device),
            seconds_per_step=seconds_per_step,
            validation_seconds=validation_seconds,
            estimated_seconds=epochs * (training.steps_per_epoch * seconds_per_step + validation_seconds),
            folder_state=folder_state,
            environment=describe_environment(distributed.device),
        )


def _time_steps(training: Training) -> tuple[list[int], float, float]:
    """Return the shape of the images, the loss of the first step, and the mean time of the steps after it."""
    device, accumulation = training.distributed.device, training.recipe.accumulation
    training.train_mode()
    training.train_loader.batch_sampler.start(epoch=1)
    timed = min(TIMED_STEPS, training.steps_per_epoch - 1)
    with batches(training.train_loader) as iterator:
        micro_batches = MicroBatches(iterator)
        started = time.perf_counter()
        loss = train_step(training, itertools.islice(micro_batches, accumulation), 0).item()
        shape = micro_batches.last_shape
        if timed:
            started = time.perf_counter()
        for step in range(1, 1 + timed):
            train_step(training, itertools.islice(micro_batches, accumulation), step)
    synchronize(device)
    return shape, loss, (time.perf_counter() - started) / max(timed, 1)


@torch.inference_mode()
def _time_validation(training: Training) -> float:
    """Return the time of one validation, extrapolated from its first batches."""
    training.model.eval()
    device = training.distributed.device
    preprocessing = Preprocessing.from_recipe(training.recipe.preprocessing)
    done, started = 0, time.perf_counter()
    with batches(training.val_loader) as iterator:
        for number, (images, _, indices) in enumerate(iterator):
            with training.autocast():
                training.model(normalize(images.to(device), preprocessing))
            synchronize(device)
            done += len(indices)
            if number == 0 and len(training.val_loader) > 1:  # warm-up
                started, done = time.perf_counter(), 0
            if number == TIMED_STEPS:
                break
    models = 1 if training.ema is None else 2
    return models * (time.perf_counter() - started) * len(training.val_loader.sampler) / done


def _open_every_image(source: ImageSource, progress: bool) -> None:
    indices: Sequence[int] = range(len(source.targets))
    folder = source
    if isinstance(source, SubsetImages):
        folder, indices = source.source, source.indices
    if not isinstance(folder, FolderImages):
        return

    def reason_of(index: int) -> str:
        try:
            folder.check(index)
        except ImageError as error:
            return str(error)
        except (OSError, MemoryError) as error:
            raise read_error(folder, index, error) from error
        return ""

    title = f"opening images of {describe_split(source.split)}"
    with Progress(title, len(indices), enabled=progress) as bar, ThreadPoolExecutor(4) as pool:
        for index, reason in zip(indices, pool.map(reason_of, indices)):
            if reason:
                raise WavezooError(f"{folder.describe(index)}: {reason}", "replace or remove the image")
            bar.advance(1)


def _folder_state(training: Training, settings: RunSettings) -> str:
    run_dir = settings.run_dir
    if run_dir.exists():
        check_run_dir(run_dir)
    if not (run_dir / "run.json").exists():
        return f"{run_dir}: new run"
    check_same_run(run_dir, training.recipe, run_record(training, settings), allow_world_size_change=True)
    if (run_dir / "result.json").exists():
        return f"{run_dir}: contains this run, finished"
    return f"{run_dir}: contains this run, which would resume"


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
