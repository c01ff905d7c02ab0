"""``wavezoo train``."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from wavenet_zoo.cli._command import Command
from wavenet_zoo.cli._complete import complete_recipes
from wavenet_zoo.cli._options import data_option, device_option, form_option, output_options, set_option, workers_option
from wavenet_zoo.cli._output import Output, facts

if TYPE_CHECKING:
    from wavenet_zoo.training.dry_run import DryRun
    from wavenet_zoo.training.records import TrainingRun


@click.command(
    name="train",
    cls=Command,
    short_help="Train a model by a recipe, or resume a run.",
    examples=[
        "wavezoo train digits",
        "wavezoo train runs/digits",
        "wavezoo train finetune --data photos",
        "wavezoo train cifar10/waveletnet_m1 --data cifar10-jpeg --dry-run",
        "wavezoo train digits --set schedule.epochs=5 --set optimizer.lr=0.05 --out runs/short",
        "torchrun --nproc-per-node 4 -m wavenet_zoo train imagenet/waveletnet_x1 --data imagenet",
    ],
    deprecated_options={"--inexact": "--allow-world-size-change"},
)
@click.argument("recipe", metavar="RECIPE|RUN_DIR", shell_complete=complete_recipes)
@data_option("Data set: a name, or a folder with train/ and val/.", default="the recipe's")
@click.option("--out", metavar="DIR", help="Folder of the run.  [default: runs/RECIPE, with the values set]")
@set_option
@click.option("--dry-run", is_flag=True, help="Check data and memory and estimate the time; write no file.")
@workers_option
@click.option("--compile/--no-compile", default=None, help="Compile the model with torch.compile.  [default: no]")
@form_option(choices="dense (one convolution) or factored (as in the paper)")
@click.option(
    "--deterministic", is_flag=True, default=None, help="Use deterministic algorithms on GPUs, which may be slower."
)
@click.option(
    "--cache-images/--no-cache-images", default=None,
    help="Decode all images once, keep them in the memory of the device and augment them there.  [default: no]",
)  # fmt: skip
@click.option(
    "--checkpoint-minutes", type=click.FloatRange(min=0), default=10, show_default=True, metavar="MINUTES",
    help="Time between checkpoints within an epoch.",
)  # fmt: skip
@click.option("--allow-world-size-change", is_flag=True, help="Resume with a different number of processes.")
@click.option("--tensorboard", is_flag=True, help="Write TensorBoard events.")
@device_option
@output_options
def command(
    recipe: str,
    data: str | None,
    out: str | None,
    overrides: tuple[str, ...],
    dry_run: bool,
    workers: int | None,
    compile: bool | None,
    form: str | None,
    deterministic: bool | None,
    cache_images: bool | None,
    checkpoint_minutes: float,
    allow_world_size_change: bool,
    tensorboard: bool,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Train by RECIPE: a YAML file, or the name of a shipped recipe (see 'wavezoo recipe list').

    The folder of the run contains the recipe, logs, checkpoints, model.safetensors and curve.png. After Ctrl-C, SIGTERM
    or a crash, the same command resumes the run, and so does the run's folder alone as the argument, with the data and
    settings of the run. With torchrun it uses several GPUs or machines.
    """
    from wavenet_zoo import dry_run as run_dry
    from wavenet_zoo import train

    output = Output(as_json, quiet)
    if dry_run:
        trial = run_dry(
            recipe, data, out, overrides, workers=workers, device=device, compile=compile, form=form,
            cache_images=cache_images, progress=output.progress,
        )  # fmt: skip
        output.json(trial.to_dict()) if as_json else _show_dry_run(output, trial)
        return
    run = train(
        recipe, data, out, overrides, workers=workers, device=device, compile=compile, form=form,
        deterministic=deterministic, cache_images=cache_images, checkpoint_minutes=checkpoint_minutes,
        allow_world_size_change=allow_world_size_change, tensorboard=tensorboard, progress=output.progress,
    )  # fmt: skip
    output.json(run.to_dict()) if as_json else _show(output, run)


def _show(output: Output, run: "TrainingRun") -> None:
    from wavenet_zoo.training.settings import evaluation_command

    rows = [
        ("model", run.model),
        ("recipe", f"{run.recipe}, {run.epochs} epoch{'s' * (run.epochs != 1)} in {_duration(run.seconds)}"),
        ("top-1", f"{run.last['top1']:.2f} % after the last epoch"),
        ("best", f"{run.best['top1']:.2f} % in epoch {run.best['epoch']}"),
        ("weights", f"{run.weights}, of the last epoch, sha256 {run.weights_sha256[:12]}"),
    ]
    if Path(run.out, "curve.png").is_file():
        rows.append(("curve", f"{run.out}/curve.png"))
    rows.append(("evaluate", evaluation_command(run)))
    if "raw_top1" in run.last:
        rows[2] = ("top-1", f"{rows[2][1]} (EMA; {run.last['raw_top1']:.2f} % with the raw weights)")
    if run.resumed:
        rows.append(("resumed", ", ".join(f"after step {part['step']:,}" for part in run.resumed)))
    output.show(facts(rows))


def _show_dry_run(output: Output, trial: "DryRun") -> None:
    rows = [
        ("model", f"{trial.model}, {trial.params:,} parameters"),
        ("recipe", f"{trial.recipe}, sha256 {trial.recipe_sha256[:12]}"),
        ("data", f"{trial.training_images:,} + {trial.validation_images:,} images; all can be opened"),
        ("batch", f"{_shape(trial.input_shape)} -> {_shape(trial.output_shape)}, loss {trial.loss:.4f}"),
        ("step", f"{trial.batch_size:,} images, world size {trial.processes}, accumulation {trial.accumulation}"),
        ("steps", f"{trial.steps_per_epoch:,} per epoch, {trial.epochs} epoch{'s' * (trial.epochs != 1)}"),
        ("memory", f"peak {trial.memory_bytes / 2**20:,.0f} MiB on {trial.environment['device']}"),
        (
            "time",
            f"about {_duration(trial.estimated_seconds)}: {trial.seconds_per_step:.3f} s per step, "
            f"{_duration(trial.validation_seconds)} per validation, at the current load of this machine",
        ),
        ("folder", trial.folder_state),
    ]
    output.show(facts(rows))


def _shape(shape: list[int]) -> str:
    return " x ".join(map(str, shape))


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d} hours" if hours else f"{minutes}:{seconds:02d} minutes"
