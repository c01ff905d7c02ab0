"""``wavezoo connectivity``."""

from typing import TYPE_CHECKING, Any

import click

from wavenet_zoo.cli._options import model_kwargs_option, output_options, plot_option
from wavenet_zoo.cli._output import Output, facts, table

if TYPE_CHECKING:
    from wavenet_zoo.paper.connectivity import Adjacency, UnitConnectivity


@click.command(name="connectivity", short_help="Show which channels of a WaveletNet's units see which.")
@click.argument("model")
@click.option("--no-dfwt", is_flag=True, help="Leave the DFWT out: short for --model-kwargs use_dfwt=False.")
@model_kwargs_option
@plot_option
@output_options
def command(
    model: str, no_dfwt: bool, model_kwargs: dict[str, Any], plot: str | None, as_json: bool, quiet: bool
) -> None:
    """Show which channels of the units of MODEL see which: the paper's argument for DFWT.

    Of every unit: the last WConv (D expanded channels to D' outputs), the DFWT before it, the product of both, and the
    unit from its input to its output. Each matrix is computed from the definition of the layers and again by gradient,
    and the two have to agree. Non-zeros of WConv stand beside Claim 6.2, D D' (κ + 3) / 2^(κ + 2).
    """
    from wavenet_zoo import connectivity

    output = Output(as_json, quiet)
    result = connectivity(model, model_kwargs={**model_kwargs, **({"use_dfwt": False} if no_dfwt else {})}, plot=plot)
    if as_json:
        output.json(result.to_dict())
        return
    columns = ["unit", "D", "D'", "κ1", "κ2", "κ3", "WConv", "Claim 6.2", "D D'", "DFWT", "WConv·DFWT", "whole unit"]
    output.show(table(columns, [_row(unit) for unit in result.units], text=["unit"]))
    output.show(facts([("", line) for line in [*result.findings, "By definition and by gradient: the same matrices."]]))
    if plot:
        output.info(f"picture: {plot}")


def _row(unit: "UnitConnectivity") -> list[str]:
    wconv = unit.wconv
    numbers = (wconv.connected, wconv.claim, wconv.outputs * wconv.inputs, unit.dfwt.connected)
    return [
        unit.unit,
        str(wconv.inputs),
        str(wconv.outputs),
        *("-" if depth is None else str(depth) for depth in unit.depths),
        *(f"{number:,}" for number in numbers),
        _share(unit.projection),
        _share(unit.whole),
    ]


def _share(adjacency: "Adjacency") -> str:
    return "full" if adjacency.full else f"{adjacency.share:.2%}"
