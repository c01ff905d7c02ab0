"""Output of commands: data on stdout, everything else on stderr."""

import json
import logging
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from wavenet_zoo.cli._options import DEBUG
from wavenet_zoo.errors import one_line
from wavenet_zoo.runtime.launch import reporting_rank

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Facts", "Output", "Table", "facts", "table"]

MIN_WIDTH = 20
TEXT_WIDTH = 16  # least width of a column of text
TITLE_WIDTH = 8  # least width of a title that is wrapped
UNLIMITED = 10_000  # not a terminal


class Output:
    """Output of one command. In distributed runs only rank 0 prints.

    Args:
        as_json: Print the result as JSON.
        quiet: Hide progress and messages; warnings are shown.
    """

    def __init__(self, as_json: bool, quiet: bool):
        context = click.get_current_context(silent=True)
        debug = context is not None and context.meta.get(DEBUG, False)
        self.as_json = as_json
        self.is_rank_zero = reporting_rank() == 0
        self.quiet = quiet or not self.is_rank_zero
        usual = logging.WARNING if self.quiet else logging.DEBUG if debug else logging.INFO
        _configure_logging(usual if self.is_rank_zero else logging.ERROR)

    @property
    def progress(self) -> bool:
        """Whether to show progress."""
        return not self.quiet

    def info(self, line: str) -> None:
        """Print a message on stderr."""
        logging.getLogger("wavenet_zoo.cli").info(line)

    def json(self, value: Any) -> None:
        """Print the result as JSON."""
        self._write(json.dumps(value, indent=2) + "\n")  # non-ASCII and control characters are escaped

    def text(self, text: str) -> None:
        """Print a result that is text."""
        self._write("".join(part if part in "\n\t" else _printable(part) for part in re.split(r"([\n\t])", text)))

    def show(self, *parts: "Facts | Table") -> None:
        """Print the result as tables and lists, as wide as the terminal; elsewhere as wide as they are."""
        from rich.console import Console

        adapt = sys.stdout.isatty() or "COLUMNS" in os.environ
        columns = shutil.get_terminal_size((0, 0)).columns if adapt else 0
        width = max(columns, MIN_WIDTH) if columns else UNLIMITED
        console = Console(width=width, markup=False, highlight=False, emoji=False)
        with console.capture() as captured:
            for part in parts:
                console.print(part.render(width))
        self._write("\n".join(line.rstrip() for line in captured.get().split("\n")))

    def deliver(self, show: Callable[[], None], *saves: Callable[[], None]) -> None:
        """Write the files of a result, then print it. Each is tried even if another fails.

        Args:
            show: Prints the result.
            saves: Each writes a file; in distributed runs only rank 0 does.

        Raises:
            Exception: If one failed: the error of the first.
        """
        errors: list[Exception] = []
        for step in (*saves, show) if self.is_rank_zero else ():
            try:
                step()
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def _write(self, text: str) -> None:
        if self.is_rank_zero:
            click.echo(text, nl=False, color=True)


@dataclass(frozen=True)
class Facts:
    """Names and values, one a line."""

    rows: Sequence[tuple[str, str]]

    def render(self, width: int) -> "RenderableType":
        """Return the lines for a screen of ``width`` columns. Long values are wrapped."""
        from rich.table import Table

        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="bold", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, value in self.rows:
            grid.add_row(_printable(name), _printable(value))
        return grid


@dataclass(frozen=True)
class Table:
    """A table. Numbers are never cut: where it is too wide, text is wrapped and columns are hidden.

    Args:
        columns: Titles.
        rows: Cells of every row.
        text: Titles of the columns that are text: left-aligned and wrapped.
        optional: Titles of the columns to hide first, in this order; then the others, from the right.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    text: Sequence[str]
    optional: Sequence[str]

    def render(self, width: int) -> "RenderableType":
        """Return the table for a screen of ``width`` columns."""
        from rich import box
        from rich.cells import cell_len
        from rich.console import Group
        from rich.table import Table as RichTable

        titles = [_printable(title) for title in self.columns]
        rows = [[_printable(cell) for cell in row] for row in self.rows]
        cells = [max((cell_len(row[i]) for row in rows), default=0) for i in range(len(titles))]
        widths = [max(cell_len(title), cell) for title, cell in zip(titles, cells)]
        shown, hidden = list(range(len(titles))), []
        if _total(widths) > width:
            titles = [_wrap(title, cell) for title, cell in zip(titles, cells)]
            natural = [max(cell, *map(cell_len, title.split("\n"))) for title, cell in zip(titles, cells)]
            least = [
                min(size, max(TEXT_WIDTH, width // 2 if i == 0 else 0)) if self.columns[i] in self.text else size
                for i, size in enumerate(natural)
            ]
            order = [[i for i in shown[1:] if self.columns[i] == title] for title in self.optional]
            order += [[i] for i in reversed(shown[1:])]
            while _total(least[i] for i in shown) > width and order:
                hidden += [i for i in order[0] if i in shown]
                shown = [i for i in shown if i not in order[0]]
                del order[0]
            widths = least
            for i in shown:
                spare = width - _total(widths[j] for j in shown)
                widths[i] = max(min(natural[i], widths[i] + spare), 1)
        grid = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
        for i in shown:
            justify: Any = "left" if self.columns[i] in self.text else "right"
            grid.add_column(titles[i], justify=justify, width=widths[i], overflow="fold")
        for row in rows:
            grid.add_row(*(row[i] for i in shown))
        if not hidden:
            return grid
        names = "; ".join(dict.fromkeys(_printable(self.columns[i]) for i in sorted(hidden)))
        return Group(grid, f"hidden columns: {names} (widen the terminal, or use --json)")


def facts(rows: Sequence[tuple[str, str]]) -> Facts:
    """Return a list of names and values."""
    return Facts(rows)


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], text: Sequence[str], optional: Sequence[str] = ()
) -> Table:
    """Return a table.

    Args:
        columns: Titles.
        rows: Cells of every row.
        text: Titles of the columns that are text; the others are numbers.
        optional: Titles of the columns to hide first on a narrow terminal.
    """
    return Table(columns, rows, text, optional)


def _printable(text: str) -> str:
    """Return text, for example a name from an untrusted file, as the terminal or the file of stdout can show it."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return one_line(text).encode(encoding, "backslashreplace").decode(encoding)


def _total(widths: Iterable[int]) -> int:
    return sum(width + 2 for width in widths) - 1


def _wrap(title: str, width: int) -> str:
    """Wrap a title to the width of the cells below it."""
    return textwrap.fill(title, max(width, TITLE_WIDTH, *map(len, title.split())))


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
