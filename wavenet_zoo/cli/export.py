"""``wavezoo export``."""

from typing import Any

import click

from wavenet_zoo.cli._command import Command
from wavenet_zoo.cli._complete import complete_models
from wavenet_zoo.cli._options import (
    data_option,
    form_option,
    model_kwargs_option,
    output_options,
    size_option,
    weights_option,
)
from wavenet_zoo.cli._output import Output, facts


@click.command(
    name="export",
    cls=Command,
    short_help="Export a model to ONNX, torch.export or ExecuTorch.",
    examples=[
        "wavezoo export waveletnet_cifar_m1 --to onnx",
        "wavezoo export waveletnet_x1 --to executorch --form halves --out x1.pte",
        "wavezoo export waveletnet_x1 --to onnx --form forms.json  # a file of wavezoo bench --save-forms",
        "wavezoo export mobilenetv2_100 --to pt2 --data imagenet/val --json",
    ],
)
@click.argument("model", shell_complete=complete_models)
@click.option("--to", type=click.Choice(["onnx", "pt2", "executorch"]), required=True, help="Format of the file.")
@click.option("--out", metavar="FILE", help="File to write.  [default: the model's name with the format's suffix]")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@weights_option
@form_option()
@size_option()
@data_option("Images for the comparison.", default="crops of a photograph")
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
    model_kwargs: dict[str, Any],
    as_json: bool,
    quiet: bool,
) -> None:
    """Fold MODEL, a timm model, a run folder or a weights file, and write it as a file for another engine.

    The file has a dynamic batch size and contains preprocessing and class names. It is written only if its logits on
    real images equal those of the network. Evaluate it with "wavezoo eval FILE".
    """
    from wavenet_zoo import export

    output = Output(as_json, quiet)
    result = export(
        model,
        to,
        out,
        weights,
        form=form or "dense",
        size=size,
        data=data,
        model_kwargs=model_kwargs,
        overwrite=force,
        progress=output.progress,
    )
    if as_json:
        output.json(result.to_dict())
        return
    output.show(
        facts(
            [
                ("file", f"{result.file}, {result.bytes / 1e6:.1f} MB, sha256 {result.sha256[:12]}"),
                ("model", result.model),
                ("weights", result.weights),
                ("form", result.form),
                ("input", f"images, (B, C, H, W) of float32: {result.preprocessing}"),
                ("compared", f"logits differ by at most {result.largest_difference:.1e} on {result.compared_on}"),
                (
                    "evaluate",
                    f"wavezoo eval {result.file}, with --data DIR unless the weights are for a named data set",
                ),
            ]
        )
    )
