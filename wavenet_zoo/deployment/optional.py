"""Optional dependencies: the error for a missing one, and their messages and environment variables."""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

from wavenet_zoo.errors import WavezooError, install_hint

__all__ = ["invalid_file", "missing_extra", "quiet_libraries", "quiet_native_code"]


def missing_extra(extra: str, error: ImportError) -> WavezooError:
    """Return the error for an optional dependency that is not installed."""
    return WavezooError(f"{error.name or error} is not installed", install_hint(extra))


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Hide warnings and log messages of other libraries, and restore the environment variables and the logging that
    they configure.
    """
    disabled, environ = logging.root.manager.disable, dict(os.environ)
    handlers, level, logger_class = list(logging.root.handlers), logging.root.level, logging.getLoggerClass()
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
        logging.setLoggerClass(logger_class)
        for name in set(os.environ) - set(environ):
            del os.environ[name]
        os.environ.update(environ)


@contextlib.contextmanager
def quiet_native_code() -> Iterator[None]:
    """Hide what :func:`quiet_libraries` does, and what C and C++ code prints to the file descriptor of stderr."""
    with quiet_libraries(), Path(os.devnull).open("w") as null, contextlib.ExitStack() as restored:
        with contextlib.suppress(OSError):  # stderr is closed
            saved = os.dup(2)
            restored.callback(os.close, saved)
            restored.callback(os.dup2, saved, 2)
            os.dup2(null.fileno(), 2)
        yield


def invalid_file(path: Path, what: str, error: Exception) -> WavezooError:
    """Return the error for a file that its engine refuses: ``what`` is "ONNX file" for example."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return WavezooError(f"{path}: is not a valid {what}: {reason}", "export the model again")
