"""``wavezoo predict``."""

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wavenet_zoo.cli._command import Command
from wavenet_zoo.cli._complete import complete_models
from wavenet_zoo.cli._options import inference_options, output_options, weights_option
from wavenet_zoo.cli._output import Facts, Output, Table, facts, table
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.launch import reporting_rank

if TYPE_CHECKING:
    from wavenet_zoo.evaluation.predict import PredictionResult

TOP = 5
DETAILED_IMAGES = 10  # images of which a table shows TOP classes; of more it shows the best


@click.command(
    name="predict",
    cls=Command,
    short_help="Predict the classes of images.",
    examples=[
        "wavezoo predict mobilenetv2_100 photo.jpg",
        "wavezoo predict waveletnet_x1 photos --save predictions.csv",
        "wavezoo predict waveletnet_x1.onnx 'photos/**/*.png' --top 1 --json",
        "find photos -name '*.jpg' -mtime -1 | wavezoo predict waveletnet_x1 -",
        "wavezoo predict waveletnet_x1 photos --features --save features.parquet",
    ],
)
@click.argument("model", shell_complete=complete_models)
@click.argument("images", metavar="IMAGE|DIR|GLOB...", nargs=-1, required=True, type=click.Path())
@weights_option
@click.option(
    "--top", type=click.IntRange(min=1), metavar="K",
    help=f"Classes per image.  [default: {TOP}; in a table of more than {DETAILED_IMAGES} images 1]",
)  # fmt: skip
@click.option(
    "--save", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Write a row per image instead of a table: a csv, jsonl or parquet file.",
)  # fmt: skip
@click.option("--features", is_flag=True, help="With --save: write pooled features instead of classes.")
@inference_options
@output_options
def command(
    model: str,
    images: tuple[str, ...],
    top: int | None,
    save: Path | None,
    features: bool,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Predict the classes of images with MODEL, which is any that 'wavezoo eval' accepts, preprocessed as there.

    Images are files, folders with all their subfolders, wildcards in quotes ('photos/**/*.jpg'), or - for a list of
    them on stdin, one per line. Each file is predicted once, also if several arguments name it. In folders and
    wildcards, hidden files are ignored, and files that are not images are counted. By default each worker gets at least
    64 images, so that few images start none.
    """
    from wavenet_zoo import predict
    from wavenet_zoo.data.decoding import IMAGE_EXTENSIONS
    from wavenet_zoo.evaluation.tables import check_table_path, write_table

    output = Output(as_json, quiet)
    if model.lower().endswith(IMAGE_EXTENSIONS):
        raise WavezooError(f"{model}: is an image, not a model", "pass the model first: wavezoo predict MODEL IMAGE...")
    if features and save is None:
        raise WavezooError("--features requires a file", "pass --save FILE.csv, .jsonl or .parquet")
    if features and top is not None:
        raise WavezooError("--top cannot be combined with --features", "pass one of them")
    if save is not None:
        check_table_path(save)
    result = predict(model, _with_stdin(images), top=top or TOP, features=features, progress=output.progress, **options)
    writers = []
    if save is not None:
        writers.append(lambda: write_table(save, result.to_columns(flat_features=save.suffix == ".csv")))
    output.deliver(partial(_show, output, result, top, save), *writers)


def _with_stdin(arguments: tuple[str, ...]) -> list[str]:
    """Replace ``-`` by the lines of stdin, which only rank 0 reads: the processes of torchrun share it."""
    paths: list[str] = []
    for argument in arguments:
        if argument != "-":
            paths.append(argument)
        elif reporting_rank() == 0 and sys.stdin is not None:
            lines = sys.stdin.buffer.read().split(b"\n")
            paths += [os.fsdecode(line) for line in (line.removesuffix(b"\r") for line in lines) if line]
    return paths


def _show(output: Output, result: "PredictionResult", top: int | None, save: Path | None) -> None:
    if output.as_json:
        output.json(result.to_dict())
        return
    parts: list[Facts | Table] = []
    if save is None:
        parts.append(_tabulate(result, top or (TOP if result.images <= DETAILED_IMAGES else 1)))
    output.show(*parts, _describe(result, save))


def _tabulate(result: "PredictionResult", top: int) -> Table:
    """Return a row for each of the best classes of every image, with the path in the first."""
    best = [
        (image["path"] if k == 0 else "", c) for image in result.predictions for k, c in enumerate(image["top"][:top])
    ]
    named = any(c["name"] != c["class"] for _, c in best)
    rows = [
        [path, c["class"], *([_first_lemma(c)] if named else []), f"{100 * c['probability']:.2f}"] for path, c in best
    ]
    columns = ["image", "class", "name"] if named else ["image", "class"]
    return table([*columns, "probability, %"], rows, text=columns, optional=["class"] if named else [])


def _first_lemma(prediction: dict[str, Any]) -> str:
    name: str = prediction["name"]
    return name if name == prediction["class"] else name.partition(",")[0]


def _describe(result: "PredictionResult", save: Path | None) -> Facts:
    rows = [
        ("model", result.model),
        ("weights", result.weights["description"]),
        ("preprocessing", result.preprocessing["description"]),
        (
            "throughput",
            f"{result.images_per_second:,.1f} images/s on {result.environment['device']}, with decoding",
        ),
    ]
    if result.skipped:
        rows.append(("skipped", f"{len(result.skipped):,} images that cannot be decoded: {', '.join(result.skipped)}"))
    if save is not None:
        what = f"{result.feature_dim:,} features" if result.feature_dim else f"{result.top:,} classes"
        rows.append(("saved", f"{what} of {result.images:,} images in {save}"))
    return facts(rows)
