"""``wavezoo list``."""

import click

from wavenet_zoo.cli._command import Command
from wavenet_zoo.cli._options import output_options
from wavenet_zoo.cli._output import Output, facts, table


@click.command(
    name="list",
    cls=Command,
    short_help="List models with parameters, MACs and weights.",
    examples=[
        "wavezoo list",
        'wavezoo list "mobilenetv2*"  # models of timm',
        "wavezoo list --peers --json",
    ],
)
@click.argument("pattern", required=False)
@click.option("--peers", is_flag=True, help="List the paper's baselines: measured and published figures.")
@output_options
def command(pattern: str | None, peers: bool, as_json: bool, quiet: bool) -> None:
    """List models with parameters, MACs and weights.

    Without PATTERN it lists the WaveletNets. PATTERN is a name with wildcards, for all models of timm.
    """
    from wavenet_zoo import list_models

    output = Output(as_json, quiet)
    if peers:
        if pattern:
            raise click.UsageError("--peers lists all baselines and does not accept a PATTERN")
        _show_peers(output)
        return
    models = list_models(pattern, progress=output.progress)
    if as_json:
        output.json([model.to_dict() for model in models])
        return
    rows = [
        (m.model, f"{m.params:,}", f"{m.macs:,}", "x".join(map(str, m.input_size)), ", ".join(m.weights) or "-")
        for m in models
    ]
    output.show(table(["model", "params", "MACs", "input", "weights"], rows, text=["model", "weights"]))


def _show_peers(output: Output) -> None:
    from wavenet_zoo.paper.formats import cells, remarks_of
    from wavenet_zoo.paper.system_tables import PEER_COLUMNS, list_peers

    rows = [peer.to_dict() for peer in list_peers()]
    if output.as_json:
        output.json(rows)
        return
    output.show(
        table([column.title for column in PEER_COLUMNS], cells(PEER_COLUMNS, rows), text=["model", "in the paper"]),
        facts([(f"[{i}]", remark) for i, remark in enumerate(remarks_of(rows), 1)]),
    )
