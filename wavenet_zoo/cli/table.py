"""``wavezoo table``."""

import click

from wavenet_zoo.cli._options import output_options, plot_option
from wavenet_zoo.cli._output import Output, facts, table


@click.command(name="table", short_help="Make a table of the paper again, measured beside printed.")
@click.argument("number", type=click.Choice([*"1234567", "measured"]), required=False)
@click.option(
    "--format", "form", type=click.Choice(["table", "markdown", "csv"]), default="table", show_default=True,
    help="How to print it.",
)  # fmt: skip
@plot_option
@click.option("--runs", multiple=True, metavar="DIR", help="Show the finished runs below DIR too; may be repeated.")
@click.option("--check", multiple=True, metavar="FILE", help="Compare the marked tables of a document.")
@click.option("--update", multiple=True, metavar="FILE", help="Write the marked tables of a document anew.")
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
    """Make Table NUMBER of the paper, 1 to 7, again from real models; or list all that was measured.

    The paper's figures stand beside what is counted from the model, with a reason where the two are further apart than
    2 %, and its errors beside those that this project has measured, each with data set, recipe, seed and weights.

    A document has its tables between "<!-- wavezoo table 6 -->" and "<!-- /wavezoo table 6 -->"; --check ends with 3
    where one is not what this command prints.
    """
    output = Output(as_json, quiet)
    if check or update:
        if number is not None or plot or runs:
            raise click.UsageError("--check and --update take what the document has: no NUMBER, --plot, --runs")
        _documents(output, check, update)
        return
    if number is None:
        raise click.UsageError("which table? NUMBER is 1 to 7, or 'measured'")
    from wavenet_zoo import table as make_table
    from wavenet_zoo.paper.formats import cells, remarks_of, to_csv, to_markdown

    result = make_table("measured" if number == "measured" else int(number), runs=runs, plot=plot)
    if plot:
        output.info(f"figure: {plot}")
    if as_json:
        output.json(result.to_dict())
    elif form == "table":
        text = [column.title for column in result.columns if column.kind == "text"]
        output.show(
            facts([(result.title, result.caption)]),
            table([column.title for column in result.columns], cells(result.columns, result.rows), text=text),
            facts([(f"[{i}]", remark) for i, remark in enumerate(remarks_of(result.rows), 1)]),
            facts([("", note) for note in result.notes]),
        )
    else:
        output.text(to_markdown(result) if form == "markdown" else to_csv(result))


def _documents(output: Output, check: tuple[str, ...], update: tuple[str, ...]) -> None:
    from wavenet_zoo.paper.documents import check_tables, update_tables

    changed = {document: update_tables(document) for document in update}
    for document, numbers in changed.items():
        output.info(f"{document}: {'Table ' + ', '.join(map(str, numbers)) if numbers else 'nothing'} changed")
    for document in check:
        check_tables(document)
        output.info(f"{document}: its tables are what the command prints")
    if output.as_json:
        output.json({"updated": changed, "checked": list(check)})
