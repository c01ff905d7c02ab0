"""``wavezoo export``."""

import shlex
from typing import TYPE_CHECKING, Any, Literal

import click

from wavenet_zoo.cli._command import Command
from wavenet_zoo.cli._complete import complete_models
from wavenet_zoo.cli._options import (
    data_option,
    form_option,
    max_drop_option,
    model_kwargs_option,
    output_options,
    size_option,
    split_option,
    weights_option,
)
from wavenet_zoo.cli._output import Output, facts

if TYPE_CHECKING:
    from wavenet_zoo.edge.export import Export


INT8_OPTIONS = {
    "calibrate": "--calibrate",
    "calibration_images": "--calibration-images",
    "max_drop": "--max-drop",
    "full_range": "--full-range",
}


@click.command(
    name="export",
    cls=Command,
    short_help="Export a model to a file for another engine, in fp32 or int8.",
    examples=[
        "wavezoo export waveletnet_cifar_m1 --to onnx",
        "wavezoo export waveletnet_x1 --to onnx --int8 --calibrate tiny-imagenet-200 --data tiny-imagenet-200",
        "wavezoo export waveletnet_x1 --to executorch --input uint8 --softmax --out x1.pte",
        "wavezoo export waveletnet_x1 --to onnx --out x1.onnx --with-example  # python x1_onnx_example.py photo.jpg",
        "wavezoo export waveletnet_x1 --to onnx --form forms.json  # a file of wavezoo bench --save-forms",
        "wavezoo export mobilenetv2_100 --to pt2 --data imagenet/val --json",
    ],
)
@click.argument("model", shell_complete=complete_models)
@click.option(
    "--to",
    type=click.Choice(["onnx", "pt2", "executorch", "openvino", "tflite", "ncnn", "coreml"]),
    required=True,
    help="Format of the file.",
)
@click.option("--out", metavar="FILE", help="File to write.  [default: the model's name with the format's suffix]")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@weights_option
@form_option()
@size_option()
@data_option("Images for the comparison; for --int8, images to evaluate.", default="crops of a photograph")
@split_option
@click.option("--int8", is_flag=True, help="Quantize weights and activations to int8.")
@click.option("--calibrate", metavar="DIR|NAME", help="Calibration data for --int8; its training images are used.")
@click.option(
    "--calibration-images", type=click.IntRange(min=1), default=256, show_default=True, metavar="N",
    help="Number of images for calibration.",
)  # fmt: skip
@max_drop_option
@click.option("--full-range", is_flag=True, help="8-bit weights for --int8 also where 7 bits are the default.")
@click.option(
    "--input", "input_dtype", type=click.Choice(["float32", "uint8"]), default="float32", show_default=True,
    help="Input: normalized (B, C, H, W), or pixels (B, H, W, C).",
)  # fmt: skip
@click.option("--softmax", is_flag=True, help="Return probabilities instead of logits.")
@click.option("--with-example", is_flag=True, help="Write programs that run the file without this package.")
@model_kwargs_option
@output_options
def command(
    model: str,
    to: str,
    out: str | None,
    force: bool,
    weights: str | None,
    form: str | None,
    size: int | None,
    data: str | None,
    split: str,
    int8: bool,
    calibrate: str | None,
    calibration_images: int,
    max_drop: float | None,
    full_range: bool,
    input_dtype: Literal["float32", "uint8"],
    softmax: bool,
    with_example: bool,
    model_kwargs: dict[str, Any],
    as_json: bool,
    quiet: bool,
) -> None:
    """Fold MODEL, a timm model, a run folder or a weights file, and write it as a file for another engine.

    NAME.json is written beside it: preprocessing, class names, input, output and hashes. An fp32 file is written only
    if its logits on real images equal those of the network; an int8 file only if it may lose at most --max-drop points
    of top-1, by the upper end of a paired 95 % interval; otherwise the exit code is 3. Evaluate a file with "wavezoo
    eval FILE".
    """
    from wavenet_zoo import export

    context = click.get_current_context()
    for name, option in INT8_OPTIONS.items():
        if not int8 and context.get_parameter_source(name) != click.core.ParameterSource.DEFAULT:
            raise click.UsageError(f"{option} requires --int8")
    output = Output(as_json, quiet)
    result = export(
        model,
        to,
        out,
        weights,
        form=form or "dense",
        size=size,
        data=data,
        split=split,
        int8=int8,
        calibrate=calibrate,
        calibration_images=calibration_images,
        max_drop=max_drop,
        full_range=full_range,
        input_dtype=input_dtype,
        softmax=softmax,
        with_example=with_example,
        model_kwargs=model_kwargs,
        overwrite=force,
        progress=output.progress,
    )
    if as_json:
        output.json(result.to_dict())
        return
    output.show(facts(_facts(result, data, split)))


def _facts(result: "Export", data: str | None, split: str) -> list[tuple[str, str]]:
    from wavenet_zoo.data.open import NAMED_DATA

    layout = "(B, H, W, C)" if result.input.layout == "NHWC" else "(B, C, H, W)"
    normalization = "the file normalizes them: " if result.input.dtype == "uint8" else ""
    images = f"{result.input.name}, {layout} of {result.input.dtype}: {normalization}{result.preprocessing}"
    words = ["wavezoo", "eval", result.file]
    if data is not None:
        words += ["--data", data, *(["--split", split] if split != "val" else [])]
    elif result.data not in NAMED_DATA:
        words += ["--data", "DIR"]
    return [
        ("file", f"{result.file}, {result.bytes / 1e6:.2f} MB"),
        *(("sha256", f"{sha256[:12]} {name}") for name, sha256 in result.files.items()),
        ("metadata", result.sidecar),
        *[("example", example) for example in result.examples],
        ("model", result.model),
        ("weights", result.weights),
        ("form", result.form),
        ("input", images),
        ("output", f"{result.output.name}, (B, classes): {result.output.kind}"),
        *_comparison(result),
        ("evaluate", shlex.join(map(str, words))),
    ]


def _comparison(result: "Export") -> list[tuple[str, str]]:
    from wavenet_zoo.deployment.formats import FORMATS

    int8, quantization = result.int8, result.quantization
    if int8 is None and result.compared_on is None:
        return [("compared", f"not compared: {FORMATS[result.to].engine} files do not run on this machine")]
    if int8 is None or quantization is None:
        difference = f"differ by at most {result.largest_difference:.1e} on {result.compared_on}"
        return [("compared", f"{result.output.kind} {difference}")]
    rows = [
        ("int8", f"{quantization.method}; weights {quantization.weights}; activations {quantization.activations}"),
        ("calibrated", f"on {quantization.images:,} images of {quantization.data}"),
        ("agreement", f"{int8.agreement:.2f} % with fp32 on {int8.held_out_images:,} held-out images"),
    ]
    if int8.images is None or int8.interval is None:
        return [*rows, ("top-1", "not evaluated")]
    low, high = int8.interval
    change = f"{int8.difference:+.2f} points, 95 % interval {low:+.2f} to {high:+.2f}"
    top1 = f"{int8.top1:.2f} % on {int8.images:,} images of {int8.data}, fp32 {int8.top1_fp32:.2f} %"
    return [*rows, ("top-1", f"{top1}: {change}")]
