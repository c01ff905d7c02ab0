"""``wavezoo eval``."""

import re
import shlex
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wavenet_zoo.cli._command import Command
from wavenet_zoo.cli._complete import complete_models
from wavenet_zoo.cli._evaluation import describe_evaluation, summarize, table_of_classes
from wavenet_zoo.cli._options import evaluation_options, output_options, report_options, weights_option
from wavenet_zoo.cli._output import Output
from wavenet_zoo.errors import BAD_INPUT, BELOW_THRESHOLD, WavezooError

if TYPE_CHECKING:
    from wavenet_zoo.evaluation.result import Evaluation

PLACEHOLDER = "{model}"  # in the names of files that are written for each model
FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(
    name="eval",
    cls=Command,
    short_help="Evaluate models on labelled images.",
    examples=[
        "wavezoo eval waveletnet_cifar_m1",
        "wavezoo eval waveletnet_x1 --data tiny-imagenet-200 --report x1.html",
        "wavezoo eval mobilenetv2_100 --data imagenet/val --labels real",
        "wavezoo eval 'waveletnet_*' mobilenetv2_100 --data imagenet/val --append-csv results.csv",
        "wavezoo eval waveletnet_x1.onnx --data imagenet/val --limit 5000 --json",
    ],
    deprecated_options={"--form plain": "--no-fold"},
)
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, shell_complete=complete_models)
@weights_option
@evaluation_options
@click.option("--per-class", is_flag=True, help="Show the accuracy of every class.")
@click.option("--min-top1", type=float, metavar="PERCENT", help="Exit with code 3 if top-1 is lower.")
@click.option("--save-json", type=FILE, help="Write the full result to a file.")
@click.option("--append-csv", type=FILE, help="Append the result to a CSV file, unless it is there already.")
@click.option("--again", is_flag=True, help="With --append-csv: evaluate again what the file contains.")
@click.option("--save-predictions", type=FILE, help="Write a row per image: a csv, jsonl or parquet file.")
@click.option("--confusion", type=FILE, help="Draw the confusion matrix: a png, svg or pdf file.")
@report_options
@output_options
@click.pass_context
def command(
    ctx: click.Context,
    models: tuple[str, ...],
    save_json: Path | None,
    append_csv: Path | None,
    again: bool,
    min_top1: float | None,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Evaluate models: top-1, top-5 and loss, with their uncertainty.

    A MODEL is a timm model, a wildcard for several ('waveletnet_*'), a run folder, a weights file, a file of 'wavezoo
    export', hf-hub:ORG/NAME or local-dir:DIR. If one of several models fails, the others are evaluated. Files that are
    written for each of them need {model} in their name.

    The data is a folder with one folder per class, or a folder that contains such folders in val/. Class folders that
    are named after ImageNet synsets are matched by name, also if there are fewer than 1000.
    """
    from wavenet_zoo.evaluation.result import identity
    from wavenet_zoo.evaluation.several import FailedEvaluation, SkippedEvaluation, evaluate_models, expand_models
    from wavenet_zoo.runtime.files import check_writable
    from wavenet_zoo.runtime.records import append_csv as append_row
    from wavenet_zoo.runtime.records import write_json

    output = Output(as_json, quiet)
    check_writable(save_json)
    expanded = expand_models(models, options["weights"])
    writers = _writers(len(expanded) > 1, options)
    contains = _contained_in(append_csv, again)
    only_csv = not writers and save_json is None and min_top1 is None  # what else is requested needs the evaluation
    skip = contains if only_csv else lambda identity: False
    if append_csv:
        writers.append(lambda result: None if contains(identity(result)) else append_row(append_csv, result.to_row()))
    results: list[Evaluation] = []
    failed: list[FailedEvaluation] = []
    skipped: list[SkippedEvaluation] = []
    for outcome in evaluate_models(expanded, skip=skip, progress=output.progress, **options):
        if isinstance(outcome, FailedEvaluation):
            if len(expanded) == 1:
                raise outcome.exception
            click.echo(f"error: {outcome.model}: {outcome.error}", err=True)
            failed.append(outcome)
        elif isinstance(outcome, SkippedEvaluation):
            output.info(f"{outcome.model}: skipped, {append_csv} contains this evaluation (--again repeats it)")
            skipped.append(outcome)
        elif len(expanded) == 1:
            results.append(outcome)
            saves = [partial(write, outcome) for write in writers]
            saves += [partial(write_json, save_json, outcome.to_dict())] if save_json else []
            output.deliver(partial(_show, output, outcome), *saves)
        else:
            output.deliver(lambda: None, *(partial(write, outcome) for write in writers))
            outcome.predictions = outcome.source = None  # type: ignore[assignment]  # many would fill the memory
            results.append(outcome)
    if len(expanded) > 1 or skipped:
        parts = {"results": results, "failed": failed, "skipped": skipped}
        every = {name: [outcome.to_dict() for outcome in part] for name, part in parts.items()}  # type: ignore[attr-defined]
        show = (
            partial(output.json, every) if as_json else partial(output.show, *([summarize(results)] if results else []))
        )
        output.deliver(show, *([partial(write_json, save_json, every)] if save_json else []))
    below = [result for result in results if min_top1 is not None and result.top1 < min_top1]
    for result in below:
        output.info(f"{result.model}: top-1 {result.top1:.4f} % is below --min-top1 {min_top1:g}")
    if failed or below:
        ctx.exit(BAD_INPUT if failed else BELOW_THRESHOLD)


def _writers(several: bool, options: dict[str, Any]) -> "list[Callable[[Evaluation], None]]":
    """Check the files to write for each model, and return what writes them."""
    images = not options.pop("no_images")
    writers: list[Callable[[Evaluation], None]] = []
    for option in ("save_predictions", "confusion", "report"):
        path = options.pop(option)
        if path is None:
            continue
        if several and PLACEHOLDER not in path.name:
            raise WavezooError(
                f"--{option.replace('_', '-')} {path}: several models would write the same file",
                f"put {PLACEHOLDER} into its name",
            )
        writers.append(partial(_write_for_model, path, _checked_writer(option, path, images)))
    return writers


def _contained_in(path: Path | None, again: bool) -> Callable[[Mapping[str, Any]], bool]:
    """Check a results CSV, and return what tells whether it contains an evaluation; ``again`` ignores its rows."""
    from wavenet_zoo.evaluation.result import row_columns, same_evaluation
    from wavenet_zoo.runtime.records import as_csv_text, check_append_csv, read_csv

    if path is None:
        return lambda identity: False
    check_append_csv(path, row_columns())
    rows = read_csv(path) if path.exists() and not again else []
    return lambda identity: any(same_evaluation(as_csv_text(identity), row) for row in rows)


def _checked_writer(option: str, path: Path, images: bool) -> "Callable[[Path, Evaluation], None]":
    """Check that a file can be written after the work, and return what writes it."""
    if option == "save_predictions":
        from wavenet_zoo.evaluation.saved_predictions import write_predictions
        from wavenet_zoo.evaluation.tables import check_table_path

        check_table_path(path)
        return lambda path, result: write_predictions(path, result.predictions)
    if option == "confusion":
        from wavenet_zoo.evaluation.confusion import draw_confusion
        from wavenet_zoo.runtime.figures import check_figure_path

        check_figure_path(path)
        return draw_confusion
    from wavenet_zoo.evaluation.report import check_report_path, write_report

    check_report_path(path)
    return partial(write_report, command=shlex.join(["wavezoo", *sys.argv[1:]]), images=images)


def _write_for_model(path: Path, write: "Callable[[Path, Evaluation], None]", result: "Evaluation") -> None:
    write(_for_model(path, result), result)


def _for_model(path: Path, result: "Evaluation") -> Path:
    """Return the path in which the placeholder is replaced by the weights, or by the model if these are random."""
    name = result.model if result.weights["kind"] in ("random", "module") else Path(result.weights["name"]).name
    return path.with_name(path.name.replace(PLACEHOLDER, re.sub(r"[^\w.-]", "_", name)))


def _show(output: Output, result: "Evaluation") -> None:
    if output.as_json:
        output.json(result.to_dict())
        return
    if result.per_class:
        output.show(table_of_classes(result.per_class))
    output.show(describe_evaluation(result))
