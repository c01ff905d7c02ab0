"""Output of commands: data on stdout, everything else on stderr."""

import json
import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from wavenet_zoo.cli._options import DEBUG
from wavenet_zoo.errors import one_line
from wavenet_zoo.runtime.launch import reporting_rank

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Output", "facts", "table"]

PIPE_WIDTH = 200  # columns of a table that is not written to a terminal


class Output:
    """Output of one command. In distributed runs only rank 0 prints.

    Args:
        as_json: Print the result as JSON.
        quiet: Hide progress and messages.
    """

    def __init__(self, as_json: bool, quiet: bool):
        context = click.get_current_context(silent=True)
        debug = context is not None and context.meta.get(DEBUG, False)
        self.as_json = as_json
        self.is_rank_zero = reporting_rank() == 0
        self.quiet = quiet or not self.is_rank_zero
        _configure_logging(logging.ERROR if self.quiet else logging.DEBUG if debug else logging.INFO)

    @property
    def progress(self) -> bool:
        """Whether to show progress."""
        return not self.quiet

    def info(self, line: str) -> None:
        """Print a message on stderr."""
        logging.getLogger("wavenet_zoo.cli").info(line)

    def json(self, value: Any) -> None:
        """Print the result as JSON."""
        if self.is_rank_zero:
            click.echo(json.dumps(value, indent=2))

    def text(self, text: str) -> None:
        """Print a result that is text."""
        if self.is_rank_zero:
            click.echo(text, nl=False)

    def show(self, *parts: "RenderableType") -> None:
        """Print the result as tables and lists."""
        if not self.is_rank_zero:
            return
        from rich.console import Console
        from rich.table import Table

        class PlainConsole(Console):
            def on_broken_pipe(self) -> None:
                raise BrokenPipeError  # rich would exit with 1, the code of a failure

        def console(width: int | None) -> Console:
            return PlainConsole(width=width, markup=False, highlight=False, emoji=False)

        screen = console(None if sys.stdout.isatty() else PIPE_WIDTH)
        for part in parts:
            if isinstance(part, Table) and part.box:  # a long line is better than a truncated number
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
    """Return a table. Columns named in ``text`` are left-aligned, the others right-aligned."""
    from rich import box
    from rich.table import Table

    grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for column in columns:
        grid.add_column(column, justify="left" if column in text else "right", no_wrap=True)
    for row in rows:
        grid.add_row(*row)
    return grid


class _StderrHandler(logging.Handler):
    """Prints messages on stderr, one line each."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = f"{record.levelname.lower()}: " if record.levelno != logging.INFO else ""
        click.echo(prefix + one_line(record.getMessage()), err=True)


def _configure_logging(level: int) -> None:
    """Send the package's messages to stderr; replaces the handler of an earlier command in this process."""
    logger = logging.getLogger("wavenet_zoo")
    logger.handlers = [handler for handler in logger.handlers if not isinstance(handler, _StderrHandler)]
    logger.addHandler(_StderrHandler())
    logger.setLevel(level)
