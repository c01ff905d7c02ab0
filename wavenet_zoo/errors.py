"""The error that users see, exit codes, and suggestions for misspelled names."""

from collections.abc import Iterable
from difflib import get_close_matches

OK = 0
INTERNAL_FAILURE = 1
BAD_INPUT = 2
BELOW_THRESHOLD = 3
DIVERGED = 4
INTERRUPTED = 130
CLOSED_PIPE = 141
TERMINATED = 143


class WavezooError(Exception):
    """An error that the user can fix.

    Args:
        message: What is wrong, in one line, with the file, key or model.
        hint: What to do about it; empty if there is nothing to add.
        exit_code: Exit code of the command. Default: 2, for usage, configuration and data.
    """

    def __init__(self, message: str, hint: str = "", exit_code: int = BAD_INPUT):
        super().__init__(message)
        self.message = one_line(message)
        self.hint = one_line(hint)
        self.exit_code = exit_code

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


def one_line(text: str) -> str:
    """Return ``text`` in one line and without control characters, which names from untrusted files may contain."""
    return "".join(c if c.isprintable() else " " if c.isspace() else ascii(c)[1:-1] for c in text)


def did_you_mean(name: str, valid: Iterable[str], otherwise: str = "") -> str:
    """Return ``did you mean 'a' or 'b'?`` with the valid names closest to ``name``; ``otherwise`` if none is close."""
    matches = get_close_matches(name, list(valid), n=3, cutoff=0.6)
    return f"did you mean {' or '.join(repr(match) for match in matches)}?" if matches else otherwise
