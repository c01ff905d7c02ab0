"""stdout is data, stderr is everything else."""

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

PIPE_WIDTH = 200  # columns where there is no terminal to ask: nothing is cut


class Output:
    """Where a command puts what it has to say.

    Args:
        as_json: The result goes out as JSON.
        quiet: Notes and progress are left out.
    """

    def __init__(self, as_json: bool, quiet: bool):
        self.as_json = as_json
        self.quiet = quiet

    @property
    def progress(self) -> bool:
        return not self.quiet

    def note(self, line: str) -> None:
        """Say something on stderr."""
        if not self.quiet:
            click.echo(line, err=True)

    def json(self, value: Any) -> None:
        """Print the result as JSON."""
        click.echo(json.dumps(value, indent=2))

    def show(self, *parts: "RenderableType") -> None:
        """Print the result for a person."""
        console = _console()
        for part in parts:
            console.print(part)


def facts(rows: Sequence[tuple[str, str]]) -> "RenderableType":
    """Return a list of names and values."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(name, value)
    return grid


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> "RenderableType":
    """Return a table whose first ``left`` columns are text and whose others are numbers."""
    from rich import box
    from rich.table import Table

    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(columns):
        grid.add_column(column, justify="left" if i < left else "right", overflow="fold")
    for row in rows:
        grid.add_row(*row)
    return grid


def _console() -> "Console":
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False, markup=False, emoji=False)
