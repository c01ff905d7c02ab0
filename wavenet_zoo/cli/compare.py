"""``wavezoo compare``."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wavenet_zoo.cli._command import Command
from wavenet_zoo.cli._complete import complete_models
from wavenet_zoo.cli._options import evaluation_options, output_options, plot_option, report_options, weights_option
from wavenet_zoo.cli._output import Facts, Output, facts, table
from wavenet_zoo.errors import BELOW_THRESHOLD, WavezooError

if TYPE_CHECKING:
    from wavenet_zoo.evaluation.compare import Comparison, Pair


@click.command(
    name="compare",
    cls=Command,
    short_help="Compare models on the same images.",
    examples=[
        "wavezoo compare mobilenetv2_100 mobilenetv2_110d --data imagenet/val",
        "wavezoo compare waveletnet_x1.onnx x1-int8.onnx --data tiny-imagenet-200 --max-drop 0.5",
        "wavezoo compare runs/a runs/b runs/c --data images/val --plot differences.png",
        "wavezoo compare a.csv b.csv --json  # files of wavezoo eval --save-predictions",
    ],
)
@click.argument("models", metavar="MODEL MODEL...", nargs=-1, required=True, shell_complete=complete_models)
@weights_option
@evaluation_options
@click.option(
    "--classes", type=click.IntRange(min=0), default=5, show_default=True, metavar="N",
    help="Show the N classes in which each model differs most from the first.",
)  # fmt: skip
@click.option(
    "--max-drop", type=click.FloatRange(min=0), metavar="POINTS",
    help="Exit with code 3 if the upper end of the interval of a model's loss in top-1 is larger.",
)  # fmt: skip
@plot_option
@report_options
@output_options
@click.pass_context
def command(
    ctx: click.Context,
    models: tuple[str, ...],
    data: str | None,
    classes: int,
    max_drop: float | None,
    plot: str | None,
    report: Path | None,
    no_images: bool,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Compare the top-1 accuracy of models on the same images. The first is the baseline.

    A MODEL is a timm model, a run folder, a weights file, a file of 'wavezoo export', hf-hub:ORG/NAME, local-dir:DIR,
    or a csv, jsonl or parquet file of 'wavezoo eval --save-predictions'.

    Each pair gets the difference with its 95 % interval, and the p-value of McNemar's exact test, by the images that
    only one of both models gets right. With more than two models, Holm's correction accounts for the number of pairs.
    --max-drop compares the upper end of the interval of the loss: a model passes only if the images show that it has
    not lost more.
    """
    from wavenet_zoo import compare
    from wavenet_zoo.evaluation.comparison_plot import plot_comparison
    from wavenet_zoo.evaluation.comparison_report import check_report_path, write_comparison_report
    from wavenet_zoo.runtime.figures import check_figure_path

    output = Output(as_json, quiet)
    _check_options(ctx, models, no_images and report is None)
    if plot:
        check_figure_path(Path(plot))
    if report:
        check_report_path(report)
    result = compare(models, data, progress=output.progress, **options)

    def draw() -> None:
        plot_comparison(Path(str(plot)), result, max_drop)
        output.info(f"figure: {plot}")

    def show() -> None:
        if as_json:
            output.json(result.to_dict())
        else:
            _show(output, result, classes)

    saves = [draw] if plot else []
    if report:
        repeat = shlex.join(["wavezoo", *sys.argv[1:]])
        saves.append(lambda: write_comparison_report(report, result, command=repeat, images=not no_images))
        saves.append(lambda: output.info(f"written: {report}"))
    output.deliver(show, *saves)
    dropped = [pair for pair in result.baseline_pairs if max_drop is not None and pair.possible_drop > max_drop]
    for pair in dropped:
        output.info(
            f"{pair.b} may have lost {pair.possible_drop:.2f} points of top-1 against {pair.a}, the upper end of the "
            f"95 % interval: more than --max-drop {max_drop:g}"
        )
    if dropped:
        ctx.exit(BELOW_THRESHOLD)


def _check_options(ctx: click.Context, models: tuple[str, ...], images_without_report: bool) -> None:
    """Check that the options have an effect.

    Raises:
        WavezooError: If not: options of an evaluation have none on saved predictions.
    """
    from wavenet_zoo.evaluation.saved_predictions import is_predictions_file

    if images_without_report:
        raise WavezooError("--no-images requires --report", "remove it, or pass --report FILE.html")
    if not all(map(is_predictions_file, models)):
        return
    of_the_result = {"models", "classes", "max_drop", "plot", "report", "no_images", "as_json", "quiet"}
    for parameter in ctx.command.params:
        is_given = ctx.get_parameter_source(str(parameter.name)) is click.core.ParameterSource.COMMANDLINE
        if is_given and parameter.expose_value and parameter.name not in of_the_result:
            raise WavezooError(f"{parameter.opts[0]} has no effect on saved predictions", "remove it")


def _describe_data(result: "Comparison") -> Facts:
    """Return what the models were evaluated on, and which of them have seen it."""
    from wavenet_zoo.evaluation.overlap import describe_overlap

    rows = [("images", f"{result.images:,}")]
    evaluated = [(model.name, model.evaluation) for model in result.models if model.evaluation is not None]
    for _, evaluation in evaluated[:1]:
        data, limit, label_set = evaluation.data, evaluation.limit, evaluation.label_set
        rows = [("data", f"{data['name']}: {result.images:,} images of {data['classes']:,} classes")]
        if limit:
            rows.append(("limit", f"limited evaluation of {limit['images']:,} of {limit['of']:,} images"))
        if label_set:
            rows.append(("label set", label_set["description"]))
    for name, evaluation in evaluated:
        if evaluation.weights["kind"] != "random":
            rows.append(("seen", f"by {name}: {describe_overlap(evaluation.data)}"))
    return facts(rows)


def _show(output: Output, result: "Comparison", classes: int) -> None:
    from wavenet_zoo.evaluation.paired import format_p

    models = [
        (m.name, m.weights, f"{m.top1:.2f}", _interval(m.interval), f"{m.correct:,}", f"{result.images:,}")
        for m in result.models
    ]
    several = len(result.pairs) > 1
    pairs = [
        (
            pair.a,
            pair.b,
            f"{pair.difference:+.2f}",
            _interval(pair.interval, sign="+"),
            *(format_p(p).removeprefix("p = ") for p in ([pair.p, pair.p_holm] if several else [pair.p])),
            f"{pair.agreement:.1f}",
            f"{pair.only_a:,}",
            f"{pair.only_b:,}",
        )
        for pair in result.pairs
    ]
    holm = ["p, Holm"] if several else []
    titles = [
        "A", "B", "B - A, points", "95 % interval", "p", *holm, "agree, %", "only A correct", "only B correct",
    ]  # fmt: skip
    output.show(
        _describe_data(result),
        facts([("", "")]),
        table(
            ["model", "weights", "top-1, %", "95 % interval", "correct", "images"], models,
            text=["model", "weights"], optional=["weights", "images"],
        ),
        facts([("", "")]),
        table(titles, pairs, text=["A", "B"], optional=["agree, %"]),
    )  # fmt: skip
    for i, pair in enumerate(result.baseline_pairs, 1):
        rows = [
            (c.name, f"{c.images:,}", f"{c.correct[0]:,}", f"{c.correct[i]:,}", f"{c.correct[i] - c.correct[0]:+,}")
            for c in result.most_different_classes(i, classes)
        ]
        if rows:
            titles = [f"class, B is {pair.b}", "images", "A correct", "B correct", "difference"]
            output.show(facts([("", "")]), table(titles, rows, text=titles[:1]))
    output.show(facts([("", ""), *(_conclusion(pair, len(result.pairs)) for pair in result.baseline_pairs)]))


def _conclusion(pair: "Pair", pairs: int) -> tuple[str, str]:
    """Return what a pair shows, in words."""
    from wavenet_zoo.evaluation.paired import format_p

    corrected = f" after Holm's correction for {pairs} pairs" if pairs > 1 else ""
    if pair.is_significant:
        found = f"top-1 is {'higher' if pair.difference > 0 else 'lower'} by {abs(pair.difference):.2f} points"
    else:
        found = "no significant difference in top-1"
    interval = f"95 % interval {_interval(pair.interval, sign='+')} points"
    return f"{pair.b} against {pair.a}", f"{found}; {interval}; {format_p(pair.p_holm)}{corrected}"


def _interval(bounds: tuple[float, float], sign: str = "") -> str:
    return f"{bounds[0]:{sign}.2f} to {bounds[1]:{sign}.2f}"
