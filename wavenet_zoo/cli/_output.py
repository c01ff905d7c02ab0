"""stdout is data, stderr is everything else."""

import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import RenderableType

PIPE_WIDTH = 200  # columns where there is no terminal to ask: nothing is cut


class Output:
    """Where a command puts what it has to say.

    Args:
        as_json: The result goes out as JSON.
        quiet: Notes and progress are left out.

    Of several processes, started by torchrun, the first one speaks and writes.
    """

    def __init__(self, as_json: bool, quiet: bool):
        self.as_json = as_json
        self.is_main = os.environ.get("RANK", "0") == "0"
        self.quiet = quiet or not self.is_main

    @property
    def progress(self) -> bool:
        return not self.quiet

    def note(self, line: str) -> None:
        """Say something on stderr."""
        if not self.quiet:
            click.echo(line, err=True)

    def json(self, value: Any) -> None:
        """Print the result as JSON."""
        if self.is_main:
            click.echo(json.dumps(value, indent=2))

    def text(self, text: str) -> None:
        """Print a result that is text already."""
        if self.is_main:
            click.echo(text, nl=False)

    def show(self, *parts: "RenderableType") -> None:
        """Print the result for a person."""
        if not self.is_main:
            return
        from rich.console import Console
        from rich.table import Table

        class PlainConsole(Console):
            def on_broken_pipe(self) -> None:
                raise BrokenPipeError  # rich would exit with 1, as after a failure

        def console(width: int | None) -> Console:
            return PlainConsole(width=width, markup=False, highlight=False, emoji=False)

        screen = console(None if sys.stdout.isatty() else PIPE_WIDTH)
        for part in parts:
            if isinstance(part, Table) and part.box:  # half a number is worse than a line that is too long
                natural = screen.measure(part, options=screen.options.update(max_width=1000)).maximum
                console(max(screen.width, natural)).print(part)
            else:
                screen.print(part)


def facts(rows: Sequence[tuple[str, str]]) -> "RenderableType":
    """Return a list of names and values."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(name, value)
    return grid


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], text: Sequence[str]) -> "RenderableType":
    """Return a table; the columns named in ``text`` are set left, the others, numbers, right."""
    from rich import box
    from rich.table import Table

    grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for column in columns:
        grid.add_column(column, justify="left" if column in text else "right", no_wrap=True)
    for row in rows:
        grid.add_row(*row)
    return grid
