"""``wavezoo list``."""

import click

from wavenet_zoo.cli._options import output_options
from wavenet_zoo.cli._output import Output, table


@click.command(name="list")
@click.argument("pattern", required=False)
@output_options
def command(pattern: str | None, as_json: bool, quiet: bool) -> None:
    """List models with parameters, MACs and weights.

    Without PATTERN: this project's models. PATTERN is a name with wildcards over all of timm's: "mobilenetv2*".
    """
    from wavenet_zoo import list_models

    output = Output(as_json, quiet)
    models = list_models(pattern, progress=output.progress)
    if as_json:
        output.json([model.to_dict() for model in models])
        return
    rows = [
        (m.model, f"{m.params:,}", f"{m.macs:,}", "x".join(map(str, m.input_size)), ", ".join(m.weights) or "-")
        for m in models
    ]
    output.show(table(["model", "params", "MACs", "input", "weights"], rows, text=["model", "weights"]))
