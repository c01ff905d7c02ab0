"""``wavezoo weights``."""

from typing import Any, Literal

import click

from wavenet_zoo.cli._options import output_options
from wavenet_zoo.cli._output import Output, facts, table
from wavenet_zoo.errors import BELOW_THRESHOLD


@click.group(name="weights", short_help="List, verify, download and convert weights.")
def command() -> None:
    """List, verify, download and convert weights.

    They are those of the package's manifest, and those in a folder of the same form that WAVEZOO_CHECKPOINTS names.
    """


@command.command(name="list")
@output_options
def list_(as_json: bool, quiet: bool) -> None:
    """List the weights that there are."""
    from wavenet_zoo.zoo.collection import list_weights

    output = Output(as_json, quiet)
    entries = list_weights()
    if as_json:
        output.json([entry.to_dict() for entry in entries])
        return
    rows = [
        (e.name, e.data, _results(e.results), f"{e.size:,}", e.sha256[:12], "yes" if e.here else "no", e.source)
        for e in entries
    ]
    columns = ["weights", "data", "top-1 %", "bytes", "sha256", "here", "source"]
    output.show(table(columns, rows, text=["weights", "data", "sha256", "here", "source"]))


@command.command()
@click.argument("names", nargs=-1)
@click.option(
    "--data",
    metavar="DIR",
    multiple=True,
    help="Images to evaluate on, for weights that state results on them; may be repeated.",
)
@output_options
@click.pass_context
def verify(ctx: click.Context, names: tuple[str, ...], data: tuple[str, ...], as_json: bool, quiet: bool) -> None:
    """Hash the weights NAMES, by default all, and evaluate them again.

    Every count has to be what the manifest states; exit code 3 where one is not.
    """
    from wavenet_zoo.zoo.collection import verify_weights

    output = Output(as_json, quiet)
    checked = verify_weights(names, data, progress=output.progress)
    if as_json:
        output.json([entry.to_dict() for entry in checked])
    else:
        output.show(facts([(entry.state, f"{entry.name}: {entry.detail}") for entry in checked]))
    if any(entry.state == "failed" for entry in checked):
        ctx.exit(BELOW_THRESHOLD)


@command.command()
@click.argument("name")
@click.option("--out", metavar="FILE|DIR", help="Copy them there.  [default: the Hub's cache]")
@output_options
def download(name: str, out: str | None, as_json: bool, quiet: bool) -> None:
    """Fetch the weights NAME, hashed on arrival, and print where they are."""
    from wavenet_zoo.zoo.collection import download_weights

    output = Output(as_json, quiet)
    path = str(download_weights(name, out))
    output.json({"name": name, "file": path}) if as_json else output.text(f"{path}\n")


@command.command()
@click.argument("model")
@click.argument("checkpoint")
@click.argument("out")
@click.option("--variant", type=click.Choice(["raw", "ema"]), help="Which.  [default: the average where there is one]")
@output_options
def convert(
    model: str, checkpoint: str, out: str, variant: Literal["raw", "ema"] | None, as_json: bool, quiet: bool
) -> None:
    """Write the weights of MODEL in a training CHECKPOINT to OUT, a safetensors file.

    Where the run kept a moving average of the weights it is that which is written; the command says which.
    """
    from wavenet_zoo.zoo.collection import convert_weights

    output = Output(as_json, quiet)
    lines: list[str] = []
    path = convert_weights(model, checkpoint, out, variant, lines.append)
    output.json({"file": str(path), "weights": lines[0]}) if as_json else output.text(f"{lines[0]}\n")


def _results(results: dict[str, Any]) -> str:
    return ", ".join(f"{result['top1']:.2f} ({name})" for name, result in results.items()) or "-"
