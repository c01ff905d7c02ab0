"""``wavezoo bench``."""

import csv
import sys
from typing import TYPE_CHECKING, Any

import click

from wavenet_zoo.cli._options import model_kwargs_option, output_options, plot_option
from wavenet_zoo.cli._output import Output, facts, table

if TYPE_CHECKING:
    from wavenet_zoo.deployment.bench import Benchmark

COLUMNS = ("engine", "batch", "model", "form", "median, ms", "p90, ms", "images/s", "ratio", "quartiles", "rounds")


def _words(ctx: click.Context, parameter: click.Parameter, value: str | None) -> list[str] | None:
    return [word.strip() for word in value.split(",") if word.strip()] if value is not None else None


def _numbers(ctx: click.Context, parameter: click.Parameter, value: str) -> list[int]:
    try:
        return [int(word) for word in value.split(",")]
    except ValueError:
        raise click.BadParameter(f"'{value}' is not a list of numbers, 1,16 for example") from None


@click.command(name="bench", short_help="Measure how fast models are here, against a reference.")
@click.argument("models", nargs=-1, required=True)
@click.option("--against", metavar="MODEL", help="Reference, folded.  [default: the first MODEL plain, in NCHW]")
@click.option(
    "--engine", "engines", default="torch", show_default=True, callback=_words, metavar="NAME,...",
    help="Out of torch, compile, onnxruntime, openvino, executorch.",
)  # fmt: skip
@click.option("--batch", "batches", default="1,16", show_default=True, callback=_numbers, metavar="N,...")
@click.option(
    "--form", "forms", callback=_words, metavar="FORM,...",
    help="Out of plain, factored, dense, split, split2, split3, halves; auto, measured unit by unit; or a json file.  "
    "[default: auto; with --train factored,dense]",
)  # fmt: skip
@click.option("--train", is_flag=True, help="Measure a training step in place of inference.")
@click.option("--size", type=click.IntRange(min=1), metavar="N", help="Side of the input in pixels.")
@click.option(
    "--seconds", type=click.FloatRange(min=0), default=3, show_default=True, help="How long to measure each network."
)
@click.option("--save-forms", metavar="FILE", help="Write what auto has picked, for --form FILE and wavezoo export.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the result as CSV.")
@plot_option
@model_kwargs_option
@output_options
def command(
    models: tuple[str, ...],
    against: str | None,
    engines: list[str],
    batches: list[int],
    forms: list[str] | None,
    train: bool,
    size: int | None,
    seconds: float,
    save_forms: str | None,
    as_csv: bool,
    plot: str | None,
    model_kwargs: dict[str, Any],
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure MODELS, any of timm's, on the CPU: time per run, and its ratio to a reference's.

    All networks of an engine and batch size take turns, so that a machine that slows down slows them all; the ratio is
    the median over the rounds, with its quartiles. Weights and images are random.
    """
    from wavenet_zoo import bench

    if as_json and as_csv:
        raise click.UsageError("--json or --csv, not both")
    output = Output(as_json, quiet)
    result = bench(
        models, against, engines=engines, batches=batches, forms=forms, train=train, size=size, seconds=seconds,
        model_kwargs=model_kwargs, save_forms_to=save_forms, plot=plot, progress=output.progress, note=output.note,
    )  # fmt: skip
    if plot:
        output.info(f"figure: {plot}")
    if as_json:
        output.json(result.to_dict())
    elif as_csv:
        _print_csv(result)
    else:
        _show(output, result)


def _show(output: Output, result: "Benchmark") -> None:
    rows = [
        (
            row.engine,
            str(row.batch_size),
            row.model,
            row.form,
            f"{row.median_ms:.2f}",
            f"{row.p90_ms:.2f}",
            f"{row.images_per_second:,.1f}",
            f"{row.ratio:.3f}",
            f"{row.ratio_low:.3f} to {row.ratio_high:.3f}",
            str(row.rounds),
        )
        for row in result.rows
    ]
    versions = {**result.environment["versions"], **result.versions}
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    output.show(
        table(COLUMNS, rows, text=["engine", "model", "form"]),
        facts(
            [
                ("measured", f"{result.task}, {result.rows[0].size} px, {result.threads} threads"),
                ("ratio", f"to {result.against}, in the same engine at the same batch size, round by round"),
                ("versions", named),
            ]
        ),
    )


def _print_csv(result: "Benchmark") -> None:
    rows = [{key: value for key, value in row.items() if key != "forms"} for row in result.to_dict()["rows"]]
    writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
