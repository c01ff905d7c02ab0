"""``wavezoo bench``."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wavenet_zoo.cli._command import Command
from wavenet_zoo.cli._complete import complete_models
from wavenet_zoo.cli._options import (
    DATA_HELP,
    data_option,
    fold_option,
    form_option,
    model_kwargs_option,
    output_options,
    plot_option,
    size_option,
)
from wavenet_zoo.cli._output import Output, facts

if TYPE_CHECKING:
    from wavenet_zoo.deployment.bench import Benchmark
    from wavenet_zoo.edge.table import EdgeTable

EVALUATION_OPTIONS = ("data", "limit", "split")  # require --accuracy


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
    short_help="Measure models and exported files against a baseline.",
    examples=[
        "wavezoo bench waveletnet_x1 --against mobilenetv2_100 --form factored,dense,auto --floor",
        "wavezoo bench waveletnet_x1 mobilenetv2_100 x1.onnx x1-int8.onnx x1.pte --threads 1,2 --memory",
        "wavezoo bench x1.onnx x1-int8.onnx x1.pte --accuracy --data tiny-imagenet-200 --plot edge.png",
        "wavezoo bench waveletnet_x1 --engine onnxruntime --batch 1 --save-forms forms.json",
        "wavezoo bench waveletnet_x1 mobilenetv2_100 --no-fold --plot bench.png",
        "wavezoo bench waveletnet_x1 --device cuda --engine torch,cudagraph --precision bf16",
        "wavezoo bench waveletnet_cifar_m2 --train --batch 64 --csv",
    ],
)
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, shell_complete=complete_models)
@click.option(
    "--against", metavar="MODEL", help="Baseline.  [default: the first MODEL; as timm builds it unless it is a file]"
)
@click.option(
    "--engine", "engines", default="torch", show_default=True, callback=_parse_words, metavar="NAME,...",
    help="Engines of models: torch, compile, onnxruntime, openvino, executorch; cudagraph on CUDA.",
)  # fmt: skip
@click.option(
    "--batch", "batches", callback=_parse_integers, metavar="N,...",
    help="Batch sizes.  [default: 1,16, or 64 with --train, or 1 with --accuracy]",
)  # fmt: skip
@click.option(
    "--threads", callback=_parse_integers, metavar="N,...",
    help="Numbers of threads of each engine.  [default: torch's]",
)  # fmt: skip
@form_option("auto; dense with --accuracy")
@fold_option
@click.option("--train", is_flag=True, help="Measure a training step, not folded, instead of inference.")
@size_option("that of the files, or of the baseline")
@click.option(
    "--seconds", type=click.FloatRange(min=0), default=3, show_default=True, metavar="N",
    help="Time to measure each of them.",
)  # fmt: skip
@click.option(
    "--device", type=click.Choice(["cpu", "cuda", "mps"]), default="cpu", show_default=True, help="Device of models."
)
@click.option(
    "--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True, help="Precision of models."
)
@click.option("--floor", is_flag=True, help="Measure the baseline without its projections too.")
@click.option("--memory", is_flag=True, help="Measure peak memory and load time too, each in its own process.")
@click.option("--accuracy", is_flag=True, help="Add size, top-1, memory and load time: the edge table.")
@data_option(f"With --accuracy: {DATA_HELP}")
@click.option("--split", default="val", show_default=True, help="With --accuracy: split of the data, as in eval.")
@click.option("--limit", metavar="N|FRACTION", help="With --accuracy: evaluate N images, or a fraction.")
@click.option("--save-forms", metavar="FILE", help="Write the forms that auto chose, for --form FILE.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the result as CSV.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print the result as a table in Markdown.")
@plot_option
@model_kwargs_option
@output_options
@click.pass_context
def command(
    ctx: click.Context,
    models: tuple[str, ...],
    against: str | None,
    batches: list[int] | None,
    form: str | None,
    memory: bool,
    accuracy: bool,
    data: str | None,
    split: str,
    limit: str | None,
    save_forms: str | None,
    as_csv: bool,
    as_markdown: bool,
    plot: str | None,
    model_kwargs: dict[str, Any],
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Measure MODELs: time per run, and its ratio to that of a baseline.

    A MODEL is a timm model, a run folder, a weights file, or a file of 'wavezoo export', which runs in its own engine.

    At each batch size and number of threads all of them alternate, a few runs each in turn, so that a machine that
    slows down slows all of them. The ratio is the median over the rounds, with its quartiles. Images are random, and
    so are the weights of models that are given by name.

    --accuracy evaluates each MODEL with its weights too, and compares its top-1 with that of the baseline on the same
    images. A file's size includes the files that belong to it.

    --form, --engine, --batch and --threads take comma-separated lists.
    """
    from wavenet_zoo import bench, edge_table
    from wavenet_zoo.runtime.figures import check_figure_path
    from wavenet_zoo.runtime.files import check_writable

    if as_json + as_csv + as_markdown > 1:
        raise click.UsageError("--json, --csv and --markdown cannot be combined")
    forms = _split(form) if form else None
    _check_accuracy(ctx, accuracy, model_kwargs)
    if save_forms:
        one_each = (len(models), len(options["engines"]), len(batches or []), len(options["threads"] or [0]))
        default = (forms or ["auto"], options["fold"], options["train"], accuracy) == (["auto"], True, False, False)
        if one_each != (1, 1, 1, 1) or not default:
            raise click.UsageError("--save-forms requires one model, one engine, one batch size and --form auto")
        check_writable(Path(save_forms))
    if plot:
        check_figure_path(Path(plot))
    output = Output(as_json, quiet)
    options.update(progress=output.progress)
    saves: list[Callable[[], None]] = []
    if accuracy:
        del options["train"]
        given = {"batches": batches, "forms": forms}
        options.update({name: value for name, value in given.items() if value is not None})
        table = edge_table(models, data, against, limit=limit, split=split, **options)
        if plot:
            saves.append(lambda: _draw_edge_table(output, Path(plot), table))
        output.deliver(lambda: _print(output, table, as_csv, as_markdown), *saves)
        return
    result = bench(
        models, against, batches=batches, forms=forms, memory=memory, model_kwargs=model_kwargs, **options
    )  # fmt: skip
    if save_forms:
        saves.append(lambda: _write_forms(output, Path(save_forms), result))
    if plot:
        saves.append(lambda: _draw(output, Path(plot), result))
    output.deliver(lambda: _print(output, result, as_csv, as_markdown), *saves)


def _check_accuracy(ctx: click.Context, accuracy: bool, model_kwargs: dict[str, Any]) -> None:
    """Check that the options of an evaluation have an effect, and that all others do."""
    if accuracy and ctx.params["train"]:
        raise click.UsageError("--accuracy and --train cannot be combined")
    if accuracy and model_kwargs:
        raise click.UsageError("--model-kwargs cannot be combined with --accuracy: weights have their own")
    for name in () if accuracy else EVALUATION_OPTIONS:
        if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name} requires --accuracy")


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


def _draw_edge_table(output: Output, path: Path, result: "EdgeTable") -> None:
    from wavenet_zoo.edge.plot import plot_edge_table

    plot_edge_table(path, result)
    output.info(f"figure: {path}")


def _print(output: Output, result: "Benchmark | EdgeTable", as_csv: bool, as_markdown: bool) -> None:
    from wavenet_zoo.cli._bench_tables import describe, edge_rows, measured_rows
    from wavenet_zoo.edge.table import EdgeTable

    edge = isinstance(result, EdgeTable)
    table = edge_rows(result.rows) if edge else measured_rows(result.rows)
    if output.as_json:
        output.json(result.to_dict())
    elif as_csv:
        _print_csv(output, result)
    elif as_markdown:
        output.text(table.to_markdown())
    elif isinstance(result, EdgeTable):
        of = f" of {result.limit['of']:,}" if result.limit else ""
        accuracy = f"top-1 among {result.among} classes on {result.images:,}{of} images of {result.data}"
        output.show(table.render(), facts([("accuracy", accuracy)]), describe(result, "inference"))
    else:
        output.show(table.render(), describe(result, result.task))


def _print_csv(output: Output, result: "Benchmark | EdgeTable") -> None:
    from wavenet_zoo.runtime.records import to_csv

    rows = [_flat(row) for row in result.to_dict()["rows"]]
    output.text(to_csv(list(rows[0]), (list(row.values()) for row in rows)))


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a row without its forms; an interval becomes two values."""
    values: dict[str, Any] = {}
    for key, value in row.items():
        if key.endswith("interval"):
            low, high = value or (None, None)
            values |= {f"{key}_low": low, f"{key}_high": high}
        elif key != "forms":
            values[key] = value
    return values
