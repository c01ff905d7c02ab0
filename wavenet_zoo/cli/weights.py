"""``wavezoo weights``."""

from typing import Any, Literal

import click

from wavenet_zoo.cli._command import Command, Group
from wavenet_zoo.cli._complete import complete_models, complete_weight_names
from wavenet_zoo.cli._options import output_options
from wavenet_zoo.cli._output import Output, facts, table
from wavenet_zoo.errors import BELOW_THRESHOLD

ON_THE_HUB = ("cached", "not downloaded")
STATES = {"whole": "hash ok", "not here": "not downloaded"}  # words for values of the JSON output


@click.group(
    name="weights",
    cls=Group,
    short_help="List, verify, download and convert weights.",
    examples=["wavezoo weights list", "wavezoo weights verify --data tiny-imagenet-200 --data cifar10-jpeg"],
)
def command() -> None:
    """List, verify, download and convert weights.

    The weights are those of the package's manifest, and of the folder that WAVEZOO_CHECKPOINTS names, which has a
    manifest.json of the same form.
    """


@command.command(
    name="list",
    cls=Command,
    examples=["wavezoo weights list", "wavezoo weights list --json  # with hashes and recipes"],
)
@output_options
def list_(as_json: bool, quiet: bool) -> None:
    """List the available weights.

    State: shipped with the package, a local file of your own folder, or on the Hub: cached or not downloaded.
    """
    from wavenet_zoo.zoo.listing import list_weights

    output = Output(as_json, quiet)
    entries = list_weights()
    if as_json:
        output.json([entry.to_dict() for entry in entries])
        return
    rows = [
        (e.name, e.data or "-", _results(e.results), f"{e.size / 1e6:.1f} MB",
         f"{e.state}: {e.source}" if e.state in ON_THE_HUB else e.state)
        for e in entries
    ]  # fmt: skip
    columns = ["weights", "data", "top-1, %", "size", "state"]
    output.show(table(columns, rows, text=["weights", "data", "top-1, %", "state"]))


@command.command(
    name="verify",
    cls=Command,
    short_help="Check hashes and reproduce results.",
    examples=[
        "wavezoo weights verify",
        "wavezoo weights verify waveletnet_cifar_m1.digits",
        "wavezoo weights verify --data tiny-imagenet-200 --data cifar10-jpeg",
    ],
)
@click.argument("names", nargs=-1, shell_complete=complete_weight_names)
@click.option("--data", metavar="DIR", multiple=True,
              help="Images that results were measured on. May be repeated.")  # fmt: skip
@output_options
@click.pass_context
def verify(ctx: click.Context, names: tuple[str, ...], data: tuple[str, ...], as_json: bool, quiet: bool) -> None:
    """Check the hash of the weights NAMES (default: all), and reproduce their results.

    Every result of the manifest whose images are available is evaluated, and its counts must be equal. Exit code 3 if
    one differs.
    """
    from wavenet_zoo.zoo.collection import verify_weights

    output = Output(as_json, quiet)
    verified = verify_weights(names, data, progress=output.progress)
    if as_json:
        output.json([entry.to_dict() for entry in verified])
    else:
        output.show(facts([(STATES.get(v.state, v.state), f"{v.name}: {v.detail}") for v in verified]))
    if any(entry.state == "failed" for entry in verified):
        ctx.exit(BELOW_THRESHOLD)


@command.command(
    name="download",
    cls=Command,
    short_help="Download weights and print their path.",
    examples=[
        "wavezoo weights download waveletnet_cifar_m1.digits",
        "wavezoo weights download waveletnet_cifar_m1.digits --out weights/",
    ],
)
@click.argument("name", shell_complete=complete_weight_names)
@click.option("--out", metavar="FILE|DIR/", help="Copy them there; a slash makes a new folder.")
@output_options
def download(name: str, out: str | None, as_json: bool, quiet: bool) -> None:
    """Download the weights NAME, check their hash, and print the path of their file."""
    from wavenet_zoo.zoo.collection import download_weights

    output = Output(as_json, quiet)
    path = str(download_weights(name, out))
    output.json({"name": name, "file": path}) if as_json else output.text(f"{path}\n")


@command.command(
    name="convert",
    cls=Command,
    short_help="Convert a training checkpoint to safetensors.",
    examples=[
        "wavezoo weights convert waveletnet_cifar_m1 runs/digits/best.pt digits.safetensors",
        "wavezoo weights convert waveletnet_cifar_m1 runs/digits/best.pt digits.safetensors --variant raw",
    ],
)
@click.argument("model", shell_complete=complete_models)
@click.argument("checkpoint")
@click.argument("out")
@click.option("--variant", type=click.Choice(["raw", "ema"]),
              help="Weights to write.  [default: ema if available]")  # fmt: skip
@output_options
def convert(
    model: str, checkpoint: str, out: str, variant: Literal["raw", "ema"] | None, as_json: bool, quiet: bool
) -> None:
    """Write the weights of MODEL in a training CHECKPOINT to OUT, a safetensors file."""
    from wavenet_zoo.zoo.collection import convert_weights

    output = Output(as_json, quiet)
    converted = convert_weights(model, checkpoint, out, variant)
    output.json(converted.to_dict()) if as_json else output.text(f"{converted.weights}\n")


def _results(results: dict[str, Any]) -> str:
    return ", ".join(f"{result['top1']:.2f} ({name})" for name, result in results.items()) or "-"
