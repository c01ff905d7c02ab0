"""Optional dependencies: the error for a missing one, and silence for what they log."""

import contextlib
import logging
from collections.abc import Iterator

from wavenet_zoo.errors import WavezooError

__all__ = ["missing_extra", "quiet_loggers"]


def missing_extra(extra: str, error: ImportError) -> WavezooError:
    """Return the error for an optional dependency that is not installed."""
    return WavezooError(f"{error.name or error} is not installed", f"pip install 'wavenet_zoo[{extra}]'")


@contextlib.contextmanager
def quiet_loggers() -> Iterator[None]:
    """Hide warnings and messages that other libraries log. Errors are raised in any case."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(previous)
