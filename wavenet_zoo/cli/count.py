"""``wavezoo count``."""

from typing import Any

import click

from wavenet_zoo.cli._command import Command
from wavenet_zoo.cli._complete import complete_models
from wavenet_zoo.cli._options import model_kwargs_option, output_options, size_option
from wavenet_zoo.cli._output import Output, facts, table


@click.command(
    name="count",
    cls=Command,
    short_help="Count parameters, MACs and activations of a model.",
    examples=[
        "wavezoo count waveletnet_x1",
        "wavezoo count waveletnet_x1 --model-kwargs kappas=0,0,0  # MobileNetV2",
        "wavezoo count mobilenetv2_100 --size 192 --depth 2",
    ],
)
@click.argument("model", shell_complete=complete_models)
@size_option(default="that of the model")
@click.option("--per-layer", is_flag=True, help="List every layer.")
@click.option("--depth", type=click.IntRange(min=1), metavar="N", help="List modules down to this depth.")
@model_kwargs_option
@output_options
def command(
    model: str,
    size: int | None,
    per_layer: bool,
    depth: int | None,
    model_kwargs: dict[str, Any],
    as_json: bool,
    quiet: bool,
) -> None:
    """Count parameters, MACs, activations and additions of DFWT of MODEL, a timm model or a run folder.

    Weights and data are not needed. A MAC is a multiplication with its addition.
    """
    from wavenet_zoo import count
    from wavenet_zoo.complexity import PAPER_CONVENTION

    output = Output(as_json, quiet)
    cost = count(model, size, per_layer=per_layer, depth=depth, model_kwargs=model_kwargs)
    if as_json:
        output.json(cost.to_dict())
        return
    rows = [("model", f"{cost.model} at {' x '.join(map(str, cost.input_size))}"), ("params", f"{cost.params:,}")]
    rows.append(("MACs", f"{cost.macs:,}"))
    if cost.macs_paper_convention is not None:
        rows.append(("MACs, paper's convention", f"{cost.macs_paper_convention:,}  ({PAPER_CONVENTION})"))
        rows.append(("DFWT additions", f"{cost.dfwt_adds:,}"))
    rows.append(("activations", f"{cost.activations:,}"))
    if cost.modules:
        lines = [
            (m.name, m.kind, "x".join(map(str, m.output_shape)), *(f"{n:,}" for n in _numbers(m)))
            for m in cost.modules
            if any(_numbers(m))
        ]
        columns = ["module", "kind", "output", "params", "MACs", "activations", "DFWT additions"]
        output.show(table(columns, lines, text=columns[:3]))
    output.show(facts(rows))


def _numbers(module: Any) -> tuple[int, ...]:
    return module.params, module.macs, module.activations, module.dfwt_adds
