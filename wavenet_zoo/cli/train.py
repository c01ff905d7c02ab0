"""``wavezoo train``."""

import click

from wavenet_zoo.cli._options import device_option, output_options
from wavenet_zoo.cli._output import Output, facts


@click.command(name="train", short_help="Train a model by a recipe.")
@click.argument("recipe")
@click.option("--data", metavar="DIR|NAME", help="Data set in place of the recipe's: a folder with train/ and val/.")
@click.option("--out", metavar="DIR", help="Folder of the run.  [default: runs/RECIPE]")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE",
    help="Replace a value of the recipe, schedule.epochs=1 for example; may be repeated.",
)  # fmt: skip
@click.option("--workers", type=click.IntRange(min=0), help="Decoding processes.  [default: one per core]")
@device_option
@output_options
def command(
    recipe: str,
    data: str | None,
    out: str | None,
    overrides: tuple[str, ...],
    workers: int | None,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Train by RECIPE: a YAML file, or the name of a shipped one ("digits").

    The folder of the run gets the recipe in effect, a log, checkpoints, model.safetensors and curve.png.
    """
    from wavenet_zoo import train

    output = Output(as_json, quiet)
    run = train(
        recipe, data, out, overrides, workers=workers, device=device, progress=output.progress, note=output.note
    )
    if as_json:
        output.json(run.to_dict())
        return
    minutes, seconds = divmod(round(run.seconds), 60)
    output.show(
        facts(
            [
                ("model", run.model),
                ("recipe", f"{run.recipe}, {run.epochs} epochs in {minutes}:{seconds:02d} minutes"),
                ("top-1", f"{run.last['top1']:.2f} % after the last epoch"),
                ("best", f"{run.best['top1']:.2f} % in epoch {run.best['epoch']}"),
                ("weights", f"{run.weights}, sha256 {run.weights_sha256[:12]}"),
                ("curve", f"{run.out}/curve.png"),
                ("evaluate", f"wavezoo eval {run.model} --weights {run.weights}"),
            ]
        )
    )
