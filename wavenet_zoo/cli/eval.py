"""``wavezoo eval``."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wavenet_zoo.cli._command import Command
from wavenet_zoo.cli._complete import complete_models
from wavenet_zoo.cli._options import (
    INTERPOLATIONS,
    batch_size_option,
    data_option,
    device_option,
    fold_option,
    form_option,
    model_kwargs_option,
    output_options,
    size_option,
    weights_option,
    workers_option,
)
from wavenet_zoo.cli._output import Output, facts, table
from wavenet_zoo.errors import BELOW_THRESHOLD

if TYPE_CHECKING:
    from wavenet_zoo.evaluation.evaluate import Evaluation

DATA_HELP = "A folder, a tar file, digits, cifar10, cifar100, hfds/NAME, wds/DIR or torch/NAME."


@click.command(
    name="eval",
    cls=Command,
    short_help="Evaluate a model on labelled images.",
    examples=[
        "wavezoo eval waveletnet_cifar_m1",
        "wavezoo eval waveletnet_x1 --data tiny-imagenet-200",
        "wavezoo eval mobilenetv2_100 --data imagenet/val --append-csv results.csv",
        "wavezoo eval waveletnet_x1.onnx --data imagenet/val --json",
    ],
    deprecated_options={"--form plain": "--no-fold"},
)
@click.argument("model", shell_complete=complete_models)
@weights_option
@data_option(DATA_HELP)
@click.option("--split", default="val", show_default=True, help="Split of the data: train, val, test, or its own name.")
@batch_size_option(64)
@size_option()
@click.option("--crop-pct", type=float, help="Fraction of the resized image to crop.  [default: that of the weights]")
@click.option(
    "--interpolation", type=click.Choice(INTERPOLATIONS),
    help="Interpolation of the resize.  [default: that of the weights]",
)  # fmt: skip
@click.option(
    "--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True,
    help="Precision of the forward pass; bf16 uses autocast.",
)  # fmt: skip
@form_option(default="dense; with --no-fold factored")
@fold_option
@workers_option
@click.option("--per-class", is_flag=True, help="Show the accuracy of every class.")
@click.option("--skip-bad-images", is_flag=True, help="Skip and list images that cannot be decoded.")
@click.option("--min-top1", type=float, metavar="PERCENT", help="Exit with code 3 if top-1 is lower.")
@click.option("--save-json", type=click.Path(dir_okay=False, path_type=Path), help="Write the full result to a file.")
@click.option("--append-csv", type=click.Path(dir_okay=False, path_type=Path), help="Append the result to a CSV file.")
@model_kwargs_option
@device_option
@output_options
@click.pass_context
def command(
    ctx: click.Context,
    model: str,
    save_json: Path | None,
    append_csv: Path | None,
    min_top1: float | None,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Evaluate MODEL: top-1, top-5 and loss.

    MODEL is a timm model, a run folder, a weights file, a file of 'wavezoo export', hf-hub:ORG/NAME or local-dir:DIR.

    The data is a folder with one folder per class, or a folder that contains such folders in val/. Class folders that
    are named after ImageNet synsets are matched by name, also if there are fewer than 1000.
    """
    from wavenet_zoo import evaluate
    from wavenet_zoo.evaluation.evaluate import row_columns
    from wavenet_zoo.runtime import records
    from wavenet_zoo.runtime.files import check_writable

    output = Output(as_json, quiet)
    saves: list[Callable[[], None]] = []
    if save_json:
        check_writable(save_json)
        saves.append(lambda: records.write_json(save_json, result.to_dict()))
    if append_csv:
        records.check_append_csv(append_csv, row_columns())
        saves.append(lambda: records.append_csv(append_csv, result.to_row()))
    result = evaluate(model, progress=output.progress, **options)
    output.deliver(lambda: output.json(result.to_dict()) if as_json else _show(output, result), *saves)
    if min_top1 is not None and result.top1 < min_top1:
        output.info(f"top-1 {result.top1:.4f} % is below --min-top1 {min_top1:g}")
        ctx.exit(BELOW_THRESHOLD)


def _show(output: Output, result: "Evaluation") -> None:
    data = result.data
    is_split = data["name"].rpartition("/")[2] == data["split"]  # the folder of a split, for example imagenet/val
    split = f", {data['split']}" if data["split"] and not is_split else ""
    rows = [
        ("model", result.model),
        ("weights", result.weights["description"]),
        ("data", f"{data['name']}{split}: {data['images']:,} images of {data['classes']:,} classes"),
        ("preprocessing", result.preprocessing["description"]),
        ("top-1", f"{result.top1:.2f} %  ({result.correct_top1:,} of {result.images:,})"),
        ("top-5", f"{result.top5:.2f} %  ({result.correct_top5:,} of {result.images:,})"),
        ("loss", f"{result.loss:.4f}"),
        ("throughput", f"{result.images_per_second:,.1f} images/s on {result.environment['device']}, with decoding"),
        ("time", _describe_time(result)),
    ]
    if result.weights["kind"] != "random":
        rows.insert(3, ("seen", _describe_overlap(data)))
    is_validation = data["seen"] == "validation" and data["fingerprint"] == result.weights["validation_fingerprint"]
    dataset = result.weights["data"] if is_validation else data["name"]  # whatever its folder is called
    results = result.weights["results"]
    stated = results.get(f"{dataset}/{data['split']}")
    if stated is None and is_validation:  # the validation images may be in a folder of another name
        stated = results.get(f"{dataset}/val")
    if stated:
        counts = f"({stated['correct_top1']:,} of {stated['images']:,})"
        rows.append(("manifest", f"states top-1 {stated['top1']:.2f} %  {counts}"))
    if result.skipped:
        rows.append(("skipped", f"{len(result.skipped):,} images that cannot be decoded: {', '.join(result.skipped)}"))
    if result.per_class:
        lines = [
            (
                name,
                f"{c['images']:,}",
                f"{c['correct']:,}",
                f"{100 * c['correct'] / c['images']:.2f}" if c["images"] else "-",
            )
            for name, c in result.per_class.items()
        ]
        output.show(table(["class", "images", "correct", "top-1, %"], lines, text=["class"]))
    output.show(facts(rows))


def _describe_overlap(data: Mapping[str, Any]) -> str:
    overlap, images = data["overlap"], f"{data['images']:,}"
    if overlap is None and data["seen"]:
        return f"file names and sizes are those of the {data['seen']} images; their contents are not recorded"
    if overlap is None:
        return "unknown: the images that the weights were trained on are not recorded"
    if data["seen"] == "neither":
        return f"none of the {images} images was trained or validated on"
    words = {"training": "trained", "validation": "validated"}
    return ", ".join(
        f"{overlap[split]:,} of {images} images were {words[split]} on" for split in words if overlap[split]
    )


def _describe_time(result: "Evaluation") -> str:
    time = result.time
    where = f"in {result.workers} workers" if result.workers else "part of the waiting"
    return (
        f"{result.seconds:.1f} s: model {time['model']:.1f} s, waiting for images {time['waiting']:.1f} s "
        f"(decoding {time['decoding']:.1f} s, {where})"
    )
