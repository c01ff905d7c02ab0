"""``wavezoo table``."""

from pathlib import Path

import click

from wavenet_zoo.cli._command import Command
from wavenet_zoo.cli._options import output_options, plot_option
from wavenet_zoo.cli._output import Output, facts, table

OPTIONAL = (  # columns that a narrow terminal hides first
    "rounded", "MACs, paper's convention", "DFWT additions", "difference", "model", "measured on", "initial weights",
    "original, paper", "no DFWT, paper", "fp32 weights, MB", "images/s, ONNX Runtime", "MACs, paper", "params, paper",
    "epochs", "params",
)  # fmt: skip


@click.command(
    name="table",
    cls=Command,
    short_help="Reproduce a table of the paper, measured beside printed.",
    examples=[
        "wavezoo table 5",
        "wavezoo table 3 --runs runs/ablate/digits --plot table_3.png",
        "wavezoo table models --format markdown",
        "wavezoo table --check README.md --check docs/tables.md",
    ],
)
@click.argument(
    "number",
    type=click.Choice([*"1234567", "measured", "models", "depth", "pairs"]),
    required=False,
    metavar="[NUMBER]",
)
@click.option(
    "--format", "form", type=click.Choice(["table", "markdown", "csv"]), default="table", show_default=True,
    help="Output format.",
)  # fmt: skip
@plot_option
@click.option("--runs", multiple=True, metavar="DIR", help="Include the finished runs below DIR. May be repeated.")
@click.option("--check", multiple=True, metavar="FILE", help="Check the marked tables of a document. May be repeated.")
@click.option("--update", multiple=True, metavar="FILE", help="Update the tables of a document. May be repeated.")
@output_options
def command(
    number: str | None,
    form: str,
    plot: str | None,
    runs: tuple[str, ...],
    check: tuple[str, ...],
    update: tuple[str, ...],
    as_json: bool,
    quiet: bool,
) -> None:
    """Reproduce Table NUMBER of the paper; 'measured' lists all finished runs, 'models' the main models, 'depth' the
    gain of DFWT by depth, 'pairs' the networks that were compared image by image.

    Printed figures are listed beside those counted from the model, with a reason for every difference above 2 %, and
    printed errors beside measured ones, with data set, recipe and seeds (--json adds the hashes of the weights).

    In a document, a table starts with "<!-- wavezoo table 6 -->" and ends with "<!-- /wavezoo table 6 -->". --check
    exits with 3 if one differs from the output of this command.
    """
    output = Output(as_json, quiet)
    if check or update:
        if number is not None or plot or runs:
            raise click.UsageError("--check and --update cannot be combined with NUMBER, --plot or --runs")
        _documents(output, check, update)
        return
    if number is None:
        raise click.UsageError("missing NUMBER: 1 to 7, measured, models, depth or pairs")
    from wavenet_zoo import table as reproduce_table
    from wavenet_zoo.paper.plots import check_table_plot, plot_table
    from wavenet_zoo.paper.table import cells, parse_number, remarks_of, to_csv, to_markdown

    if plot:
        check_table_plot(Path(plot), parse_number(number))
    result = reproduce_table(parse_number(number), runs=runs)

    def show() -> None:
        if as_json:
            output.json(result.to_dict())
        elif form == "table":
            titles = [column.title for column in result.columns]
            text = [column.title for column in result.columns if column.kind == "text"]
            output.show(
                facts([(result.title, result.caption)]),
                table(titles, cells(result.columns, result.rows), text=text, optional=OPTIONAL),
                facts([(f"[{i}]", remark) for i, remark in enumerate(remarks_of(result.rows), 1)]),
                facts([("", note) for note in result.notes]),
            )
        else:
            output.text(to_markdown(result) if form == "markdown" else to_csv(result))

    def draw() -> None:
        plot_table(Path(str(plot)), result)
        output.info(f"figure: {plot}")

    output.deliver(show, *([draw] if plot else []))


def _documents(output: Output, check: tuple[str, ...], update: tuple[str, ...]) -> None:
    from wavenet_zoo.paper.documents import check_tables, update_tables

    changed = {document: update_tables(document) for document in update}
    for document, numbers in changed.items():
        output.info(f"{document}: updated tables: {', '.join(map(str, numbers)) or 'none'}")
    for document in check:
        check_tables(document)
        output.info(f"{document}: tables are up to date")
    if output.as_json:
        output.json({"updated": changed, "checked": list(check)})
