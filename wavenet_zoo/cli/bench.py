"""``wavezoo bench``."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wavenet_zoo.cli._command import Command
from wavenet_zoo.cli._complete import complete_models
from wavenet_zoo.cli._options import (
    fold_option,
    form_option,
    model_kwargs_option,
    output_options,
    plot_option,
    size_option,
)
from wavenet_zoo.cli._output import Output, facts, table

if TYPE_CHECKING:
    from wavenet_zoo.deployment.bench import Benchmark

COLUMNS = ("engine", "batch", "model", "form", "median, ms", "p90, ms", "images/s", "ratio", "quartiles", "rounds")


def _parse_words(ctx: click.Context, parameter: click.Parameter, value: str) -> list[str]:
    return _split(value)


def _split(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _parse_integers(ctx: click.Context, parameter: click.Parameter, value: str | None) -> list[int] | None:
    try:
        return [int(word) for word in value.split(",")] if value is not None else None
    except ValueError:
        raise click.BadParameter(f"'{value}' is not a list of integers such as 1,16") from None


@click.command(
    name="bench",
    cls=Command,
    short_help="Measure the throughput of models against a baseline.",
    examples=[
        "wavezoo bench waveletnet_x1 --against mobilenetv2_100 --form factored,dense,auto",
        "wavezoo bench waveletnet_x1 --engine onnxruntime --batch 1 --save-forms forms.json",
        "wavezoo bench waveletnet_x1 mobilenetv2_100 --no-fold --plot bench.png",
        "wavezoo bench waveletnet_cifar_m2 --train --batch 64 --csv",
    ],
)
@click.argument("models", nargs=-1, required=True, shell_complete=complete_models)
@click.option("--against", metavar="MODEL", help="Baseline.  [default: the first MODEL as timm builds it, NCHW]")
@click.option(
    "--engine", "engines", default="torch", show_default=True, callback=_parse_words, metavar="NAME,...",
    help="Engines: torch, compile, onnxruntime, openvino, executorch.",
)  # fmt: skip
@click.option(
    "--batch", "batches", callback=_parse_integers, metavar="N,...",
    help="Batch sizes.  [default: 1,16, or 64 with --train]",
)  # fmt: skip
@form_option("auto, or factored,dense without folding")
@fold_option
@click.option("--train", is_flag=True, help="Measure a training step, not folded, instead of inference.")
@size_option("that of the baseline")
@click.option(
    "--seconds", type=click.FloatRange(min=0), default=3, show_default=True, metavar="N",
    help="Time to measure each network.",
)  # fmt: skip
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Threads of each engine.  [default: torch's]")
@click.option("--save-forms", metavar="FILE", help="Write the forms that auto chose, for --form FILE.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the result as CSV.")
@plot_option
@model_kwargs_option
@output_options
def command(
    models: tuple[str, ...],
    against: str | None,
    engines: list[str],
    batches: list[int] | None,
    form: str | None,
    fold: bool,
    train: bool,
    size: int | None,
    seconds: float,
    threads: int | None,
    save_forms: str | None,
    as_csv: bool,
    plot: str | None,
    model_kwargs: dict[str, Any],
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure MODELS, timm models or run folders, on the CPU: time per run, and its ratio to that of a baseline.

    In each engine, at each batch size, all networks alternate, so that a machine that slows down slows all of them. The
    ratio is the median over the rounds, with its quartiles. Weights and images are random.

    --form, --engine and --batch take comma-separated lists.
    """
    from wavenet_zoo import bench
    from wavenet_zoo.runtime.figures import check_figure_path
    from wavenet_zoo.runtime.files import check_writable

    if as_json and as_csv:
        raise click.UsageError("--json and --csv cannot be combined")
    forms = _split(form) if form else None
    if save_forms:
        if (len(models), len(engines), len(batches or []), forms or ["auto"], fold, train) != (
            1,
            1,
            1,
            ["auto"],
            True,
            False,
        ):
            raise click.UsageError("--save-forms requires one model, one engine, one batch size and --form auto")
        check_writable(Path(save_forms))
    if plot:
        check_figure_path(Path(plot))
    output = Output(as_json, quiet)
    result = bench(
        models,
        against,
        engines=engines,
        batches=batches,
        forms=forms,
        fold=fold,
        train=train,
        size=size,
        seconds=seconds,
        threads=threads,
        model_kwargs=model_kwargs,
        progress=output.progress,
    )
    saves: list[Callable[[], None]] = []
    if save_forms:
        saves.append(lambda: _write_forms(output, Path(save_forms), result))
    if plot:
        saves.append(lambda: _draw(output, Path(plot), result))
    output.deliver(lambda: _print(output, result, as_csv), *saves)


def _write_forms(output: Output, path: Path, result: "Benchmark") -> None:
    from wavenet_zoo.deployment.forms import save_forms

    row = next(row for row in result.rows if row.form == "auto")
    measured_on = {"model": row.model, "engine": row.engine, "batch_size": row.batch_size, "size": row.size}
    save_forms(path, row.forms, {**measured_on, "environment": result.environment})
    output.info(f"forms: {path}")


def _draw(output: Output, path: Path, result: "Benchmark") -> None:
    from wavenet_zoo.deployment.plots import plot_benchmark

    plot_benchmark(path, result)
    output.info(f"figure: {path}")


def _print(output: Output, result: "Benchmark", as_csv: bool) -> None:
    if output.as_json:
        output.json(result.to_dict())
    elif as_csv:
        _print_csv(output, result)
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
    baseline = result.rows[0]
    as_built = " (as timm builds it: not folded, NCHW)" if baseline.form == "plain" else ""
    folding = "" if any(row.folded for row in result.rows) else ", not folded"
    threads = f"{result.threads} thread{'s' * (result.threads != 1)}"
    versions = {**result.environment["versions"], **result.versions}
    output.show(
        table(COLUMNS, rows, text=["engine", "model", "form"], optional=["rounds", "p90, ms", "quartiles"]),
        facts(
            [
                ("measured", f"{result.task}{folding}, {baseline.size} px, {threads}"),
                ("baseline", f"{result.against}{as_built}"),
                ("ratio", "to the baseline in the same engine at the same batch size, round by round"),
                ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
            ]
        ),
    )


def _print_csv(output: Output, result: "Benchmark") -> None:
    from wavenet_zoo.runtime.records import to_csv

    rows = [{key: value for key, value in row.items() if key != "forms"} for row in result.to_dict()["rows"]]
    output.text(to_csv(list(rows[0]), (list(row.values()) for row in rows)))
