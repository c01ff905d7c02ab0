"""``wavezoo train``."""

from typing import TYPE_CHECKING

import click

from wavenet_zoo.cli._options import device_option, output_options, set_option
from wavenet_zoo.cli._output import Output, facts

if TYPE_CHECKING:
    from wavenet_zoo.training.dry_run import DryRun
    from wavenet_zoo.training.train import TrainingRun


@click.command(name="train", short_help="Train a model by a recipe, or go on with a run.")
@click.argument("recipe")
@click.option(
    "--data", metavar="DIR|NAME",
    help="Data set in place of the recipe's: a folder with train/ and val/, or a name as in 'wavezoo eval'.",
)  # fmt: skip
@click.option("--out", metavar="DIR", help="Folder of the run.  [default: runs/RECIPE]")
@set_option
@click.option("--dry-run", is_flag=True, help="Send a batch through, check the data, estimate time; write nothing.")
@click.option("--workers", type=click.IntRange(min=0), help="Decoding processes.  [default: one per core]")
@click.option("--compile/--no-compile", default=False, help="Put the model behind torch.compile.  [default: no]")
@click.option(
    "--form", type=click.Choice(["dense", "factored"]), default="dense", show_default=True,
    help="How WaveletNet computes: DFWT and WConv composed into one convolution, or as the paper writes them.",
)  # fmt: skip
@click.option("--deterministic", is_flag=True, help="Let GPUs too give the same result each time, at some cost.")
@click.option(
    "--checkpoint-minutes", type=click.FloatRange(min=0), default=10, show_default=True, metavar="MINUTES",
    help="Write a checkpoint after every epoch, and so often within one.",
)  # fmt: skip
@click.option("--inexact", is_flag=True, help="Go on also with another number of processes than the run began with.")
@click.option("--tensorboard", is_flag=True, help="Write events for TensorBoard too.")
@device_option
@output_options
def command(
    recipe: str,
    data: str | None,
    out: str | None,
    overrides: tuple[str, ...],
    dry_run: bool,
    workers: int | None,
    compile: bool,
    form: str,
    deterministic: bool,
    checkpoint_minutes: float,
    inexact: bool,
    tensorboard: bool,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Train by RECIPE: a YAML file, or the name of a shipped one ("digits", see 'wavezoo recipe list').

    The folder of the run gets the recipe in effect, logs, checkpoints, model.safetensors and curve.png. Stopped by
    Ctrl-C, SIGTERM or a crash, the same command goes on where the run was. On several GPUs or machines:
    "torchrun --nproc-per-node 4 -m wavenet_zoo train RECIPE".
    """
    from wavenet_zoo import dry_run as try_out
    from wavenet_zoo import train

    output = Output(as_json, quiet)
    if dry_run:
        trial = try_out(
            recipe, data, out, overrides, workers=workers, device=device, compile=compile, form=form,
            progress=output.progress, note=output.note,
        )  # fmt: skip
        output.json(trial.to_dict()) if as_json else _show_dry_run(output, trial)
        return
    run = train(
        recipe, data, out, overrides, workers=workers, device=device, compile=compile, form=form,
        deterministic=deterministic, checkpoint_minutes=checkpoint_minutes, inexact=inexact, tensorboard=tensorboard,
        progress=output.progress, note=output.note,
    )  # fmt: skip
    output.json(run.to_dict()) if as_json else _show(output, run)


def _show(output: Output, run: "TrainingRun") -> None:
    rows = [
        ("model", run.model),
        ("recipe", f"{run.recipe}, {run.epochs} epochs in {_duration(run.seconds)}"),
        ("top-1", f"{run.last['top1']:.2f} % after the last epoch"),
        ("best", f"{run.best['top1']:.2f} % in epoch {run.best['epoch']}"),
        ("weights", f"{run.weights}, sha256 {run.weights_sha256[:12]}"),
        ("curve", f"{run.out}/curve.png"),
        ("evaluate", f"wavezoo eval {run.model} --weights {run.weights}"),
    ]
    if "raw_top1" in run.last:
        rows[2] = ("top-1", f"{rows[2][1]} (moving average; {run.last['raw_top1']:.2f} % without)")
    if run.resumed:
        rows.append(("resumed", ", ".join(f"after step {part['step']:,}" for part in run.resumed)))
    output.show(facts(rows))


def _show_dry_run(output: Output, trial: "DryRun") -> None:
    rows = [
        ("model", f"{trial.model}, {trial.params:,} parameters"),
        ("recipe", f"{trial.recipe}, sha256 {trial.recipe_sha256[:12]}"),
        ("data", f"{trial.training_images:,} + {trial.validation_images:,} images, all of which can be opened"),
        ("batch", f"{_shape(trial.input_shape)} -> {_shape(trial.output_shape)}, loss {trial.loss:.4f}"),
        ("per step", f"{trial.batch_size:,} images over {trial.processes} process(es), {trial.accumulation} part(s)"),
        ("steps", f"{trial.steps_per_epoch:,} per epoch, {trial.epochs} epochs"),
        ("memory", f"{trial.memory_bytes / 2**20:,.0f} MiB at its peak on {trial.environment['device']}"),
        (
            "time",
            f"about {_duration(trial.estimated_seconds)}: {trial.seconds_per_step:.3f} s per step, "
            f"{_duration(trial.validation_seconds)} per validation, on this machine as busy as it is now",
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
