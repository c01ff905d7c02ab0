"""Stopping in good order: a signal sets a flag, the loop looks at it, saves, and only then ends."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from wavenet_zoo.errors import INTERRUPTED, TERMINATED, WavezooError

__all__ = ["Interruption", "Stopped", "watch_signals"]

CODES = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: TERMINATED}


class Stopped(WavezooError):
    """A run was asked to stop, has saved, and can go on from there."""


class Interruption:
    """The signal that asked for an end, or 0."""

    signal = 0

    @staticmethod
    def stopped(number: int, where: str) -> Stopped:
        """Return the error that ends a run after ``number``, with its exit code."""
        word = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[signal.Signals(number)]
        return Stopped(f"{word} {where}", "the same command goes on from there", CODES[signal.Signals(number)])


@contextlib.contextmanager
def watch_signals(announce: bool) -> Iterator[Interruption]:
    """Catch Ctrl-C and SIGTERM inside; a second one is obeyed at once.

    Under torchrun one Ctrl-C comes twice, from the terminal and from torchrun; there, further ones are passed over.

    Args:
        announce: Say on stderr that a signal was seen.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    previous = {number: signal.getsignal(number) for number in CODES}
    under_torchrun = "TORCHELASTIC_RUN_ID" in os.environ

    def handle(number: int, frame: FrameType | None) -> None:
        if interruption.signal and not under_torchrun:
            signal.signal(number, previous[signal.Signals(number)])
            signal.raise_signal(number)
        elif not interruption.signal and announce:
            again = "" if under_torchrun else "; once more stops at once, without"
            with contextlib.suppress(OSError):  # nobody reads it any more
                os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"\nsaving before the end{again}\n".encode())
        interruption.signal = number

    for number, handler in previous.items():
        if handler is not signal.SIG_IGN:  # a shell's background job does not hear Ctrl-C
            signal.signal(number, handle)
    try:
        yield interruption
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
