"""What the machine can deny the workers of a loader: checks before they start, and errors in one line."""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Listener
from pathlib import Path

from wavenet_zoo.errors import INTERNAL_FAILURE, WavezooError

__all__ = ["check_descriptors", "check_sockets", "machine_errors"]

MAX_SOCKET_NAME = 107  # bytes, the least of the systems
DESCRIPTORS, DESCRIPTORS_PER_WORKER = 16, 4  # that a loader needs at most
SECONDS_FOR_SIGNAL = 0.2
WORKERS_HINT = "use --workers 0"
WORKER_ENDED, REPEAT_HINT = "a loader worker ended", "repeat the command, with --workers 0 if it happens again"
# words in the errors of torch and the system when a loader fails, the cause, and what to do
MACHINE_ERRORS = (
    (
        ("Too many open files", "ancdata"),
        "too few file descriptors for the loader workers",
        f"raise the limit with 'ulimit -n 4096', or {WORKERS_HINT}",
    ),
    (
        ("shared memory", "/torch_", "No space left on device", "/dev/shm"),
        "no space in /dev/shm, through which the loader workers send their batches",
        f"{WORKERS_HINT}, or start the container with --ipc=host or --shm-size=1g",
    ),
    (
        ("killed by signal: Killed",),
        "a loader worker was killed, probably because memory was exhausted",
        "use fewer --workers, or a smaller --batch-size or --size",
    ),
    (
        ("allocate memory", "out of memory", "MemoryError"),
        "out of memory",
        "use a smaller --batch-size or --size, or fewer --workers",
    ),
    (
        ("Resource temporarily unavailable", "can't start new thread"),
        "too few processes or threads are allowed for the loader workers",
        f"raise the limit with 'ulimit -u', or {WORKERS_HINT}",
    ),
    (
        ("DataLoader worker (pid",),
        WORKER_ENDED,
        REPEAT_HINT,
    ),
)
# of the connection to a worker; others say the same of the connections between processes
TRANSFER_ERRORS = ((("Connection", "EOFError", "FileNotFoundError"), WORKER_ENDED, REPEAT_HINT),)


def check_sockets() -> None:
    """Check that workers can open sockets in the temporary folder. One that cannot hangs, instead of failing.

    Raises:
        WavezooError: If it cannot.
    """
    try:
        with Listener() as listener:
            # the name contains the number of a process, which may be longer in a worker
            if isinstance(listener.address, str) and len(os.fsencode(listener.address)) + 3 > MAX_SOCKET_NAME:
                raise OSError("AF_UNIX path too long")
    except OSError as error:
        reason = error.strerror or str(error)
        raise WavezooError(
            f"{tempfile.gettempdir()}: loader workers cannot create sockets in the temporary folder: {reason}",
            f"set TMPDIR to a folder with a short path and free space, or {WORKERS_HINT}",
            INTERNAL_FAILURE,
        ) from error


def check_descriptors(workers: int) -> None:
    """Check that enough file descriptors are free for workers. One that lacks some hangs, instead of failing.

    Raises:
        WavezooError: If too few are free.
    """
    with machine_errors(OSError), contextlib.ExitStack() as stack:
        for _ in range(DESCRIPTORS + workers * DESCRIPTORS_PER_WORKER if workers else 0):
            stack.enter_context(Path(os.devnull).open("rb", buffering=0))


@contextlib.contextmanager
def machine_errors(*types: type[Exception], in_transfer: bool = False) -> Iterator[None]:
    """Turn errors by which torch or the system report that the machine fails a loader into one line.

    Args:
        *types: Types of the errors.
        in_transfer: Whether the body only receives batches, so that any failed connection is one to a worker.

    Raises:
        WavezooError: For an error that contains words of :data:`MACHINE_ERRORS` or, in a transfer, of
            :data:`TRANSFER_ERRORS`.
    """
    try:
        yield
    except types as error:
        text = f"{type(error).__name__}: {error}"
        for words, cause, hint in (*MACHINE_ERRORS, *TRANSFER_ERRORS) if in_transfer else MACHINE_ERRORS:
            if any(word in text for word in words):
                with contextlib.suppress(RuntimeError):
                    time.sleep(SECONDS_FOR_SIGNAL)  # torch raises again when the signal of a worker's end arrives
                last_line = text.strip().splitlines()[-1]  # the others are the traceback of a worker
                detail = last_line.rpartition("Error:")[2].strip(". ")
                raise WavezooError(f"{cause}: {detail}" if detail else cause, hint, INTERNAL_FAILURE) from error
        raise
