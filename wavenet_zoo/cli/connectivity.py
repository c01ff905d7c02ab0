"""``wavezoo connectivity``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wavenet_zoo.cli._command import Command
from wavenet_zoo.cli._complete import complete_models
from wavenet_zoo.cli._options import model_kwargs_option, output_options, plot_option
from wavenet_zoo.cli._output import Output, facts, table

if TYPE_CHECKING:
    from wavenet_zoo.paper.connectivity import Adjacency, UnitConnectivity

COLUMNS = ("unit", "D", "D'", "κ1", "κ2", "κ3", "WConv", "Claim 6.2", "D D'", "DFWT", "WConv·DFWT", "whole unit")


@click.command(
    name="connectivity",
    cls=Command,
    short_help="Show which channels of a WaveletNet's units are connected.",
    examples=[
        "wavezoo connectivity waveletnet_x1",
        "wavezoo connectivity waveletnet_x1 --no-dfwt --plot connectivity.png",
        "wavezoo connectivity waveletnet_cifar_m1 --model-kwargs kappas=3,3,3 --json",
    ],
)
@click.argument("model", shell_complete=complete_models)
@click.option("--no-dfwt", is_flag=True, help="Remove the DFWT: same as --model-kwargs use_dfwt=false.")
@model_kwargs_option
@plot_option
@output_options
def command(
    model: str, no_dfwt: bool, model_kwargs: dict[str, Any], plot: str | None, as_json: bool, quiet: bool
) -> None:
    """Show which outputs depend on which inputs in every unit of MODEL: the paper's argument for DFWT.

    For every unit: the last WConv (D expanded channels to D' outputs), the DFWT before it, their product, and the unit
    from input to output. Each matrix is computed from the definition of the layers and by gradient, and both must be
    equal. Nonzeros of WConv are listed beside Claim 6.2, D D' (κ + 3) / 2^(κ + 2).
    """
    from wavenet_zoo import connectivity
    from wavenet_zoo.paper.connectivity_figure import plot_connectivity
    from wavenet_zoo.runtime.figures import check_figure_path

    output = Output(as_json, quiet)
    if plot:
        check_figure_path(Path(plot))
    result = connectivity(model, model_kwargs={**model_kwargs, **({"use_dfwt": False} if no_dfwt else {})})

    def show() -> None:
        if as_json:
            output.json(result.to_dict())
            return
        rows = [_row(unit) for unit in result.units]
        output.show(
            table(COLUMNS, rows, text=["unit"], optional=["Claim 6.2", "D D'"]),
            facts([("", line) for line in [*result.findings, "Definition and gradient give the same matrices."]]),
        )

    def draw() -> None:
        plot_connectivity(Path(str(plot)), result)
        output.info(f"figure: {plot}")

    output.deliver(show, *([draw] if plot else []))


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
