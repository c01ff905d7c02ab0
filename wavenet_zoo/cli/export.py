"""``wavezoo export``."""

from typing import Any

import click

from wavenet_zoo.cli._options import model_kwargs_option, output_options
from wavenet_zoo.cli._output import Output, facts


@click.command(name="export", short_help="Write a model as a file for another engine.")
@click.argument("model")
@click.option("--to", type=click.Choice(["onnx", "pt2", "executorch"]), required=True, help="Format of the file.")
@click.option("--out", metavar="FILE", help="The file.  [default: the model's name with the format's suffix]")
@click.option(
    "--weights", metavar="FILE|TAG|none", help="Weights; none for random ones.  [default: the pretrained ones]"
)
@click.option(
    "--form", default="dense", show_default=True, metavar="FORM|FILE",
    help="factored, dense, split, split2, split3, halves; auto, measured here; or a file of 'bench --save-forms'.",
)  # fmt: skip
@click.option("--size", type=click.IntRange(min=1), metavar="N", help="Side of the input in pixels.")
@click.option("--data", metavar="DIR|NAME", help="Compare on images of this data.  [default: pieces of a photograph]")
@model_kwargs_option
@output_options
def command(
    model: str,
    to: str,
    out: str | None,
    weights: str | None,
    form: str,
    size: int | None,
    data: str | None,
    model_kwargs: dict[str, Any],
    as_json: bool,
    quiet: bool,
) -> None:
    """Write MODEL, batch norms and DFWT folded, as a file for another engine.

    The file takes any number of images and holds preprocessing and class names. It is run on real images, and kept only
    where its logits are those of the network: "wavezoo eval FILE --data ..." evaluates it.
    """
    from wavenet_zoo import export

    output = Output(as_json, quiet)
    result = export(
        model, to, out, weights, form=form, size=size, data=data, model_kwargs=model_kwargs, progress=output.progress
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
                ("compared", f"logits differ by {result.largest_difference:.1e} at most, on {result.compared_on}"),
                ("evaluate", f"wavezoo eval {result.file} --data DIR"),
            ]
        )
    )
