"""``wavezoo list``."""

import click

from wavenet_zoo.cli._options import output_options
from wavenet_zoo.cli._output import Output, facts, table


@click.command(name="list")
@click.argument("pattern", required=False)
@click.option("--peers", is_flag=True, help="List the systems that the paper compares with, measured beside printed.")
@output_options
def command(pattern: str | None, peers: bool, as_json: bool, quiet: bool) -> None:
    """List models with parameters, MACs and weights.

    Without PATTERN: this project's models. PATTERN is a name with wildcards over all of timm's: "mobilenetv2*".
    """
    from wavenet_zoo import list_models

    output = Output(as_json, quiet)
    if peers:
        if pattern:
            raise click.UsageError("--peers lists all systems that the paper compares with: no PATTERN")
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
    from wavenet_zoo.evidence.system_tables import list_peers

    peers = list_peers()
    if output.as_json:
        output.json([peer.to_dict() for peer in peers])
        return
    rows, remarks = [], []
    for peer in peers:
        mark = ""
        if peer.remark:
            if peer.remark not in remarks:
                remarks.append(peer.remark)
            mark = f" [{remarks.index(peer.remark) + 1}]"
        rows.append(
            (f"{peer.model}{mark}", peer.title, str(peer.table), _size(peer.input_size),
             peer.params_paper or "-", _count(peer.params), _percent(peer.params_difference),
             peer.macs_paper or "-", _count(peer.macs), _percent(peer.macs_difference))
        )  # fmt: skip
    columns = ["model", "in the paper", "table", "input", "params, paper", "params", "difference", "MACs, paper",
               "MACs", "difference"]  # fmt: skip
    output.show(
        table(columns, rows, text=["model", "in the paper"]),
        facts([(f"[{i}]", remark) for i, remark in enumerate(remarks, 1)]),
    )


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{round(value, 1) + 0:+.1f} %"


def _size(shape: list[int] | None) -> str:
    return "-" if shape is None else "x".join(map(str, shape))
