"""``wavezoo eval``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wavenet_zoo.cli._options import device_option, model_kwargs_option, output_options
from wavenet_zoo.cli._output import Output, facts, table
from wavenet_zoo.errors import BELOW_THRESHOLD

if TYPE_CHECKING:
    from wavenet_zoo.evaluation.evaluate import Evaluation

SEEN = {
    "training": "the very images that the weights learned from",
    "validation": "the images that the weights were validated on",
    "neither": "neither learned from nor validated on: other images",
}


@click.command(name="eval", short_help="Evaluate a model on labelled images.")
@click.argument("model")
@click.option(
    "--weights", metavar="FILE|TAG|none", help="Weights; none for random ones.  [default: the pretrained ones]"
)
@click.option(
    "--data",
    metavar="DIR|NAME",
    help="A folder, tar file, digits, cifar10, cifar100, hfds/NAME, wds/DIR, torch/NAME.  [default: the weights' own]",
)
@click.option("--split", default="val", show_default=True, help="Part of the data: train, val, test, or its own name.")
@click.option("--batch-size", type=click.IntRange(min=1), default=64, show_default=True)
@click.option(
    "--size", type=click.IntRange(min=1), metavar="N", help="Side of the input in pixels.  [default: the weights']"
)
@click.option("--crop-pct", type=float, help="Share of the resized image that the crop takes.")
@click.option("--interpolation", type=click.Choice(["nearest", "bilinear", "bicubic", "lanczos"]))
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True)
@click.option(
    "--form", type=click.Choice(["dense", "plain"]), default="dense", show_default=True,
    help="dense: batch norms and DFWT folded into the convolutions; plain: as written.",
)  # fmt: skip
@click.option("--workers", type=click.IntRange(min=0), help="Decoding processes.  [default: one per core]")
@click.option("--per-class", is_flag=True, help="Show the accuracy of every class.")
@click.option("--skip-bad-images", is_flag=True, help="Leave out and list images that cannot be decoded.")
@click.option("--min-top1", type=float, metavar="PERCENT", help="Exit with 3 where top-1 is lower.")
@click.option("--save-json", type=click.Path(dir_okay=False, path_type=Path), help="Write the whole result there.")
@click.option("--append-csv", type=click.Path(dir_okay=False, path_type=Path), help="Add a line with the result there.")
@model_kwargs_option
@device_option
@output_options
@click.pass_context
def command(
    ctx: click.Context,
    model: str,
    weights: str | None,
    data: str | None,
    split: str,
    batch_size: int,
    size: int | None,
    crop_pct: float | None,
    interpolation: str | None,
    precision: str,
    form: str,
    workers: int | None,
    per_class: bool,
    skip_bad_images: bool,
    min_top1: float | None,
    save_json: Path | None,
    append_csv: Path | None,
    model_kwargs: dict[str, Any],
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Evaluate MODEL, any timm model or a file of 'wavezoo export': top-1, top-5, loss.

    The data is a folder with one folder for each class, or one that holds such folders in val/; class folders named
    after ImageNet's synsets count for their class also where only some of the 1000 are there.
    """
    from wavenet_zoo import evaluate
    from wavenet_zoo.runtime.files import check_writable
    from wavenet_zoo.runtime.records import append_csv as append_row
    from wavenet_zoo.runtime.records import write_json

    output = Output(as_json, quiet)
    for path in (save_json, append_csv):
        check_writable(path)
    result = evaluate(
        model,
        weights,
        data,
        split=split,
        batch_size=batch_size,
        size=size,
        crop_pct=crop_pct,
        interpolation=interpolation,
        precision=precision,
        form=None if form == "plain" else form,
        fold=form != "plain",
        workers=workers,
        device=device,
        model_kwargs=model_kwargs,
        per_class=per_class,
        skip_bad_images=skip_bad_images,
        progress=output.progress,
    )
    if as_json:
        output.json(result.to_dict())
    else:
        _show(output, result)
    if save_json and output.is_rank_zero:
        write_json(save_json, result.to_dict())
    if append_csv and output.is_rank_zero:
        append_row(append_csv, result.to_row())
    if min_top1 is not None and result.top1 < min_top1:
        output.info(f"top-1 {result.top1:.4f} % is below the {min_top1:g} % asked for")
        ctx.exit(BELOW_THRESHOLD)


def _describe_time(result: "Evaluation") -> str:
    time = result.time
    beside = f" in {result.workers} processes beside it" if result.workers else ", part of the waiting"
    return (
        f"{result.seconds:.1f} s: model {time['model']:.1f} s, waiting for images {time['waiting']:.1f} s "
        f"(decoding {time['decoding']:.1f} s{beside})"
    )


def _show(output: Output, result: "Evaluation") -> None:
    data = result.data
    rows = [
        ("model", result.model),
        ("weights", result.weights["description"]),
        ("data", f"{data['name']}, {data['split']}: {data['images']:,} images of {data['classes']:,} classes"),
        ("preprocessing", result.preprocessing["description"]),
        ("top-1", f"{result.top1:.2f} %  ({result.correct_top1:,} of {result.images:,})"),
        ("top-5", f"{result.top5:.2f} %  ({result.correct_top5:,} of {result.images:,})"),
        ("loss", f"{result.loss:.4f}"),
        ("speed", f"{result.images_per_second:,.1f} images/s on {result.environment['device']}, decoding included"),
        ("time", _describe_time(result)),
    ]
    if data["seen"]:
        rows.insert(3, ("seen", SEEN[data["seen"]]))
    dataset = result.weights["data"] if data["seen"] == "validation" else data["name"]  # whatever its folder is called
    stated = result.weights["results"].get(f"{dataset}/{data['split']}")
    if stated:
        rows.append(
            ("manifest", f"states top-1 {stated['top1']:.2f} %  ({stated['correct_top1']:,} of {stated['images']:,})")
        )
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
