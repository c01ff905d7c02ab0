"""``wavezoo``: runs a command, and reports an error as one line and an exit code."""

import contextlib
import errno
import importlib
import io
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any, TextIO

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
from wavenet_zoo.runtime.cpus import limit_threads
from wavenet_zoo.runtime.launch import reporting_rank

# each is in the file of its name
COMMANDS = (
    "list", "info", "count", "recipe", "train", "eval", "predict", "compare", "bench", "export", "ablate",
    "reproduce", "connectivity", "table", "publish", "weights",
)  # fmt: skip


MACHINE_ERRORS = (  # the disk, permissions and limits; any other OSError is a mistake in this program
    errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EMFILE, errno.ENAMETOOLONG, errno.ENFILE, errno.ENOMEM,
    errno.ENOSPC, errno.EPERM, errno.EROFS, errno.ESTALE,
)  # fmt: skip


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

    def main(self, args: Sequence[str] | None = None, *other: Any, **options: Any) -> Any:
        """Run a command and exit with its code."""
        arguments = list(sys.argv[1:] if args is None else args)
        options["standalone_mode"] = False
        limit_threads()
        quiet = not {"-q", "--quiet"}.isdisjoint(arguments)
        if quiet:
            os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        _prepare_streams()
        try:
            with _sigterm_raises(), _warnings_in_one_line(hidden=quiet):
                code = super().main(arguments, *other, **options)
                sys.stdout.flush()
        except (KeyboardInterrupt, click.Abort):
            code = _say("interrupted", exit_code=INTERRUPTED)
        except _Terminated:
            code = _say("terminated", exit_code=TERMINATED)
        except Exception as error:
            if "--debug" in arguments or os.environ.get("WAVEZOO_DEBUG"):
                for line in traceback.format_exc().splitlines():
                    click.echo(one_line(line), err=True)
            code = _report(error)
        with contextlib.suppress(_StdoutError):
            sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else OK)


class _StdoutError(WavezooError):
    """Raised when stdout cannot be written. Not an OSError, which click and rich treat in their own ways."""


class _Stdout(io.FileIO):
    """Stdout that reports the first failed write, and discards what follows: Python flushes it again at its exit."""

    failed = False

    def write(self, content: Any) -> int:
        if self.failed:
            return len(content)
        try:
            return super().write(content)
        except OSError as error:
            self.failed = True
            code = CLOSED_PIPE if isinstance(error, BrokenPipeError) else INTERNAL_FAILURE
            raise _StdoutError(f"stdout cannot be written: {error.strerror}", exit_code=code) from None


class _Stderr(io.FileIO):
    """Stderr that discards messages that cannot be written, for example because its reader has closed the pipe."""

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except OSError:
            return len(content)


def _prepare_streams() -> None:
    """Make stdout and stderr writable: if closed, for any character, and after their reader has ended."""
    for name, raw in (("stdout", _Stdout), ("stderr", _Stderr)):
        stream = getattr(sys, name)
        if stream is None:  # closed by the caller
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
            continue
        buffer: Any = getattr(stream, "buffer", None)
        present = getattr(buffer, "raw", buffer)  # with PYTHONUNBUFFERED the buffer is the file itself
        if isinstance(present, io.FileIO) and not isinstance(present, raw):
            stream.flush()
            by_line = name == "stderr" or stream.line_buffering or stream.write_through
            writer = io.BufferedWriter(raw(stream.fileno(), "w", closefd=False))
            stream = io.TextIOWrapper(writer, stream.encoding, "backslashreplace", line_buffering=by_line)
            setattr(sys, name, stream)


@contextlib.contextmanager
def _warnings_in_one_line(hidden: bool) -> Iterator[None]:
    """Show warnings of libraries in one line of stderr. They are not errors, whatever PYTHONWARNINGS says."""

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if not hidden:
            click.echo(f"warning: {one_line(str(message))}", err=True)

    with warnings.catch_warnings():
        if any("error" in option for option in sys.warnoptions):
            warnings.simplefilter("ignore")
        warnings.showwarning = show
        yield


def _report(error: Exception) -> int:
    debug = "run with --debug for the traceback"
    if isinstance(error, _StdoutError) and error.exit_code == CLOSED_PIPE:
        return error.exit_code  # as programs end on SIGPIPE
    if isinstance(error, WavezooError):
        stopped = error.exit_code in (INTERRUPTED, TERMINATED)  # requested, not an error
        return _say(error.message if stopped else f"error: {error.message}", error.hint, error.exit_code)
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else "wavezoo"
        message = error.format_message().rstrip(".")
        lower = message[:1].lower() + message[1:]  # as all other errors
        return _say(f"error: {lower}", f"see '{path} --help'", BAD_INPUT)
    if isinstance(error, click.ClickException):
        return _say(f"error: {error.format_message()}", exit_code=error.exit_code)
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error) or "out of memory" in str(error):
        return _say("error: out of memory", f"reduce the batch size or the image size, or {debug}")
    if isinstance(error, RecursionError):
        return _say("error: an input is nested too deep", debug)
    if isinstance(error, OSError) and error.errno in MACHINE_ERRORS:
        where = f"{error.filename}: " if error.filename is not None else ""
        code = BAD_INPUT if error.errno == errno.ENAMETOOLONG else INTERNAL_FAILURE
        return _say(f"error: {where}{error.strerror}", debug, code)
    return _say(f"internal error: {type(error).__name__}: {error}", debug)


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
