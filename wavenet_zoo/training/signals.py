"""Signals: SIGINT and SIGTERM set a flag; the training loop saves a checkpoint and stops."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from wavenet_zoo.errors import INTERRUPTED, TERMINATED, WavezooError

__all__ = ["StopRequest", "Stopped", "stopped", "watch_signals"]

EXIT_CODES = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: TERMINATED}
WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class Stopped(WavezooError):
    """Raised when a run has saved a checkpoint and stops because of a signal."""


class StopRequest:
    """The signal that asks a run to stop; 0 if none was received."""

    signal = 0


def stopped(number: int, detail: str) -> Stopped:
    """Return the error that ends a run after signal ``number``, with its exit code."""
    received = signal.Signals(number)
    return Stopped(f"{WORDS[received]} {detail}", "run the same command to resume", EXIT_CODES[received])


@contextlib.contextmanager
def watch_signals(announce: bool) -> Iterator[StopRequest]:
    """Catch SIGINT and SIGTERM in the body. A second signal has its usual effect.

    Under torchrun Ctrl-C arrives twice, from the terminal and from torchrun, so further signals are ignored there.

    Args:
        announce: Whether to acknowledge a signal on stderr.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    previous = {number: signal.getsignal(number) for number in EXIT_CODES}
    under_torchrun = "TORCHELASTIC_RUN_ID" in os.environ

    def handle(number: int, frame: FrameType | None) -> None:
        if request.signal and not under_torchrun:
            signal.signal(number, previous[signal.Signals(number)])
            signal.raise_signal(number)
        elif not request.signal and announce and sys.__stderr__:  # else 2 may be the descriptor of another file
            again = "" if under_torchrun else "; repeat the signal to stop immediately, without a checkpoint"
            message = f"\nsaving a checkpoint, then stopping{again}\n"
            with contextlib.suppress(OSError):  # the reader of stderr has closed the pipe
                os.write(sys.__stderr__.fileno(), message.encode())
        request.signal = number

    for number, handler in previous.items():
        if handler is not signal.SIG_IGN:  # a background job of a shell ignores SIGINT
            signal.signal(number, handle)
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
