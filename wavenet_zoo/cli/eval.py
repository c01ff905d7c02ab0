"""``wavezoo eval``."""

import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wavenet_zoo.cli._command import Command
from wavenet_zoo.cli._complete import complete_models
from wavenet_zoo.cli._evaluation import describe_evaluation, summarize, table_of_classes
from wavenet_zoo.cli._options import check_outputs, evaluation_options, output_options, report_options, weights_option
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
@click.option(
    "--min-top1", type=click.FloatRange(0, 100), metavar="PERCENT", help="Exit with code 3 if top-1 is lower."
)
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
    _check_options(options, save_json, append_csv, again)
    expanded = expand_models(models, options["weights"])
    is_single = len(expanded) == 1
    if options["per_class"] and not (is_single or as_json or save_json):
        raise WavezooError("--per-class: is shown for one model", "pass --json or --save-json for several")
    check_writable(save_json)
    writers = _writers(output, _file_names(expanded), options)
    contains = _contained_in(append_csv, again)
    only_csv = not writers and save_json is None and min_top1 is None  # what else is requested needs the evaluation
    skip = contains if only_csv else lambda identity: False
    results: dict[str, Evaluation] = {}
    failed: list[FailedEvaluation] = []
    skipped: list[SkippedEvaluation] = []
    evaluations = evaluate_models(expanded, skip=skip, progress=output.progress, **options)
    for model, outcome in zip(expanded, evaluations):
        if isinstance(outcome, FailedEvaluation):
            if is_single:
                raise outcome.exception
            click.echo(f"error: {outcome.model}: {outcome.error}", err=True)
            failed.append(outcome)
            continue
        if isinstance(outcome, SkippedEvaluation):
            output.info(f"{outcome.model}: skipped, {append_csv} contains this evaluation (--again repeats it)")
            skipped.append(outcome)
            continue
        results[model] = outcome
        saves = [partial(write, model, outcome) for write in writers]
        if append_csv and not contains(identity(outcome)):
            saves.append(partial(append_row, append_csv, outcome.to_row()))
        if is_single:
            saves += [partial(write_json, save_json, outcome.to_dict())] if save_json else []
            output.deliver(partial(_show, output, outcome), *saves)
        else:
            output.deliver(lambda: None, *saves)
            outcome.predictions = outcome.source = None  # type: ignore[assignment]  # many would fill the memory
    if not is_single or skipped:
        parts = {"results": results.values(), "failed": failed, "skipped": skipped}
        every = {name: [outcome.to_dict() for outcome in part] for name, part in parts.items()}
        table = [summarize(results)] if results else []
        show = partial(output.json, every) if as_json else partial(output.show, *table)
        output.deliver(show, *([partial(write_json, save_json, every)] if save_json else []))
    below = [model for model, result in results.items() if min_top1 is not None and result.top1 < min_top1]
    for model in below:
        output.info(f"{model}: top-1 {results[model].top1:.4f} % is below --min-top1 {min_top1:g}")
    if failed or below:
        ctx.exit(BAD_INPUT if failed else BELOW_THRESHOLD)


def _check_options(options: dict[str, Any], save_json: Path | None, append_csv: Path | None, again: bool) -> None:
    """Check that options have an effect, and that files are different.

    Raises:
        WavezooError: If not.
    """
    if again and not append_csv:
        raise WavezooError("--again requires --append-csv", "remove it: without a CSV file nothing is skipped")
    if options["no_images"] and not options["report"]:
        raise WavezooError("--no-images requires --report", "remove it, or pass --report FILE.html")
    for option, path in (("--save-json", save_json), ("--append-csv", append_csv)):
        if path and PLACEHOLDER in str(path):
            raise WavezooError(f"{option} {path}: is one file for all models", f"remove {PLACEHOLDER} from its name")
    files = {option: options[option] for option in ("save_predictions", "confusion", "report")}
    check_outputs(save_json=save_json, append_csv=append_csv, **files)


def _file_names(models: Sequence[str]) -> dict[str, str]:
    """Return what replaces the placeholder for each model: the name of the model or file, or the path if necessary."""
    from wavenet_zoo.data.classes import unique_names

    short = {model: Path(model).name for model in models}
    names = {m: name if list(short.values()).count(name) == 1 else m for m, name in short.items()}
    safe = {model: re.sub(r"[^\w.-]+", "_", name).strip("._") or "model" for model, name in names.items()}
    return dict(zip(models, unique_names(list(safe.values()))))


def _writers(
    output: Output, names: Mapping[str, str], options: dict[str, Any]
) -> "list[Callable[[str, Evaluation], None]]":
    """Check the files to write for each model, and return what writes them."""
    images = not options.pop("no_images")
    writers: list[Callable[[str, Evaluation], None]] = []
    for option in ("save_predictions", "confusion", "report"):
        path = options.pop(option)
        if path is None:
            continue
        if len(names) > 1 and PLACEHOLDER not in path.name:
            raise WavezooError(
                f"--{option.replace('_', '-')} {path}: several models would write the same file",
                f"put {PLACEHOLDER} into its name",
            )
        write = _checked_writer(option, path, images)

        def write_for(model: str, result: "Evaluation", path: Path = path, write: Any = write) -> None:
            target = path.with_name(path.name.replace(PLACEHOLDER, names[model]))
            write(target, result)
            output.info(f"written: {target}")

        writers.append(write_for)
    return writers


def _contained_in(path: Path | None, again: bool) -> Callable[[Mapping[str, Any]], bool]:
    """Check a results CSV, and return what tells whether it contains an evaluation; ``again`` ignores its rows."""
    from wavenet_zoo.evaluation.result import row_columns, same_evaluation
    from wavenet_zoo.runtime.records import as_csv_text, check_append_csv, read_csv

    if path is None:
        return lambda identity: False
    check_append_csv(path, row_columns())

    def contains(identity: Mapping[str, Any]) -> bool:
        rows = read_csv(path) if path.exists() and not again else []  # read again: it grows, also by other commands
        return any(same_evaluation(as_csv_text(identity), row) for row in rows)

    return contains


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


def _show(output: Output, result: "Evaluation") -> None:
    if output.as_json:
        output.json(result.to_dict())
        return
    if result.per_class:
        output.show(table_of_classes(result.per_class))
    output.show(describe_evaluation(result))
