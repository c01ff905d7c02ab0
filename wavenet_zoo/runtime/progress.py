"""Progress of long work on stderr: a bar on a terminal, a line every ten seconds elsewhere."""

import sys
import time
from collections import deque
from typing import Any

from wavenet_zoo.errors import one_line

__all__ = ["Progress"]

SECONDS_BETWEEN_LINES = 10.0
SECONDS_OF_RATE = 60.0


class Progress:
    """Reports progress; use it as a context manager.

    Args:
        description: Name of the work.
        total: Number of units.
        unit: Name of the units, plural.
        enabled: Whether to show anything.
        done: Units done before.
    """

    def __init__(self, description: str, total: int, unit: str = "images", enabled: bool = True, done: int = 0):
        self.description = one_line(description)
        self.total = total
        self.unit = unit
        self.enabled = enabled and sys.stderr is not None  # which is None if it was closed
        self.done = done
        self._last_line = time.monotonic()
        self._marks = deque([(self._last_line, done)])  # (time, units done)
        self._bar: Any = None

    def __enter__(self) -> "Progress":
        self._last_line = time.monotonic()
        self._marks = deque([(self._last_line, self.done)])
        if self.enabled and sys.stderr.isatty():
            self._bar = self._make_bar()
            self._bar.start()
            self._task = self._bar.add_task(self.description, total=self.total, completed=self.done, text="")
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, units: int, text: str = "", description: str | None = None) -> None:
        """Add ``units`` to the units done and show ``text``."""
        self.done += units
        now = time.monotonic()
        if now - self._marks[-1][0] >= 1:
            self._marks.append((now, self.done))
        while len(self._marks) > 2 and now - self._marks[1][0] >= SECONDS_OF_RATE:
            self._marks.popleft()
        self.description = one_line(description or self.description)
        if self._bar is not None:
            text = f"{one_line(text)}  {self._rate():,.0f} {self.unit}/s".strip()
            self._bar.update(self._task, completed=self.done, text=text, description=self.description)
        elif self.enabled and time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            left = (self.total - self.done) / max(self._rate(), 1e-9)
            self.say(
                f"{self.description}: {self.done}/{self.total} {self.unit}  {text}  {self._rate():,.0f} {self.unit}/s  "
                f"{int(left // 60)}:{int(left % 60):02d} left"
            )

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        if not self.enabled:
            return
        line = one_line(line)
        if self._bar is not None:
            self._bar.console.print(line, highlight=False, markup=False)
        else:
            print(line, file=sys.stderr, flush=True)

    def _rate(self) -> float:
        """Return units per second over the last minute."""
        then, done = self._marks[0]
        return (self.done - done) / max(time.monotonic() - then, 1e-9)

    @staticmethod
    def _make_bar() -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        return RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}", markup=False),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
