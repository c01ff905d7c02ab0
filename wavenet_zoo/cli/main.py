"""``wavezoo``: runs a command, and reports an error as one line and an exit code."""

import contextlib
import importlib
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

import click

from wavenet_zoo import __version__
from wavenet_zoo.cli._command import Group
from wavenet_zoo.errors import (
    BAD_INPUT,
    CLOSED_PIPE,
    INTERNAL_FAILURE,
    INTERRUPTED,
    OK,
    TERMINATED,
    WavezooError,
    one_line,
)
from wavenet_zoo.runtime.launch import reporting_rank

# each is in the file of its name
COMMANDS = (
    "list", "info", "count", "recipe", "train", "eval", "bench", "export", "ablate", "connectivity", "table", "publish",
    "weights",
)  # fmt: skip


NO_ARGUMENTS: Any = getattr(click.exceptions, "NoArgsIsHelpError", ())  # click 8.1 prints the help itself


class _Terminated(BaseException):
    """Raised on SIGTERM, so that open files are closed."""


class LazyGroup(Group):
    """The group of all commands. It imports the file of a command when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"wavenet_zoo.cli.{cmd_name}").command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command. It ends silently when the reader of stdout has closed the pipe."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # not in main(), where click reports a failure
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python's flush at exit fails again
            ctx.exit(CLOSED_PIPE)

    def main(self, args: Sequence[str] | None = None, *other: Any, **options: Any) -> Any:
        """Run a command and exit with its code."""
        arguments = list(sys.argv[1:] if args is None else args)
        options["standalone_mode"] = False
        _ignore_closed_stderr()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # an ASCII locale loses a character, not the result
        try:
            with _sigterm_raises():
                code = super().main(arguments, *other, **options)
                sys.stdout.flush()
        except (KeyboardInterrupt, click.Abort):
            code = _say("interrupted", exit_code=INTERRUPTED)
        except _Terminated:
            code = _say("terminated", exit_code=TERMINATED)
        except NO_ARGUMENTS as error:
            click.echo(error.ctx.get_help() if error.ctx else "")
            code = OK
        except Exception as error:
            if "--debug" in arguments or os.environ.get("WAVEZOO_DEBUG"):
                traceback.print_exc()
            code = _report(error)
        sys.exit(code if isinstance(code, int) else OK)


class _Stderr(io.FileIO):
    """Stderr that discards messages when its reader has closed the pipe."""

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except BrokenPipeError:
            return len(content)


def _ignore_closed_stderr() -> None:
    stderr = sys.stderr
    if isinstance(stderr, io.TextIOWrapper) and not isinstance(getattr(stderr.buffer, "raw", None), _Stderr):
        raw = _Stderr(stderr.fileno(), "w", closefd=False)
        sys.stderr = io.TextIOWrapper(io.BufferedWriter(raw), stderr.encoding, "replace", line_buffering=True)


def _report(error: Exception) -> int:
    if isinstance(error, WavezooError):
        stopped = error.exit_code in (INTERRUPTED, TERMINATED)  # requested, not an error
        return _say(error.message if stopped else f"error: {error.message}", error.hint, error.exit_code)
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else "wavezoo"
        return _say(f"error: {error.format_message()}", f"see '{path} --help'", BAD_INPUT)
    if isinstance(error, click.ClickException):
        return _say(f"error: {error.format_message()}", exit_code=error.exit_code)
    return _say(
        f"internal error: {type(error).__name__}: {error}",
        "run with --debug for the traceback",
        INTERNAL_FAILURE,
    )


def _say(line: str, hint: str = "", exit_code: int = INTERNAL_FAILURE) -> int:
    text = one_line(" ".join(f"{line} ({hint})".split() if hint else line.split()))
    rank = reporting_rank()
    click.echo(f"[rank {rank}] {text}" if rank else text, err=True)
    return exit_code


@contextlib.contextmanager
def _sigterm_raises() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def raise_terminated(number: int, frame: FrameType | None) -> None:
        raise _Terminated

    previous = signal.signal(signal.SIGTERM, raise_terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@click.group(
    cls=LazyGroup,
    examples=[
        "wavezoo eval waveletnet_cifar_m1",
        "wavezoo train digits",
        "wavezoo export waveletnet_cifar_m1 --to onnx",
        "wavezoo table 6",
    ],
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 success, 1 internal error, 2 invalid usage, configuration or data, 3 below a threshold, "
    "4 training diverged, 130 and 143 interrupted.",
)
@click.version_option(__version__, prog_name="wavezoo")
def cli() -> None:
    """WaveletNet in timm: evaluate, train, export and reproduce the paper."""
