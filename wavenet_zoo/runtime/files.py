"""Atomic files: a reader finds the old content or the new content, never a part of either."""

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

from wavenet_zoo.errors import INTERNAL_FAILURE, WavezooError

__all__ = ["check_writable", "read_regular_file", "sha256_of", "write_atomically", "write_error"]

KINDS = {stat.S_IFIFO: "a named pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFSOCK: "a socket"}


def read_regular_file(path: str | Path, limit: int) -> bytes:
    """Read a file that may be of any kind or size: pipes and devices are not read, and the size is checked first.

    Args:
        path: The file.
        limit: Maximum size in bytes.

    Raises:
        OSError: If the file is missing, is not a regular file, exceeds the limit, or cannot be read. ``strerror`` says
            what is wrong.
    """
    # without O_NONBLOCK, opening a named pipe waits for a writer
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else KINDS.get(stat.S_IFMT(status.st_mode), "special")
            raise OSError(errno.EINVAL, f"is {kind}, not a regular file", str(path))
        if status.st_size > limit:
            raise OSError(errno.EFBIG, f"has {status.st_size:,} bytes, the limit is {limit:,}", str(path))
        return file.read(min(status.st_size + 2**20, limit))  # read() reserves what it is asked for


def write_atomically(path: Path, content: bytes) -> None:
    """Write a temporary file beside ``path``, sync it, and rename it to ``path``, with the umask's permissions.

    Raises:
        WavezooError: If the file cannot be written. The previous content of ``path`` is then unchanged.
    """
    path = path.resolve()  # a link is kept and its target replaced
    if path.exists() and not path.is_file():
        raise WavezooError(f"{path}: is not a regular file, so it cannot be replaced")
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise write_error(path, error, len(content)) from error
    except BaseException:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise


def write_error(path: Path, error: OSError, size: int) -> WavezooError:
    """Return the error for a failed write; on a full disk it states the space needed and the space free.

    Args:
        path: The file.
        error: The system's error.
        size: Number of bytes to write.
    """
    reason = error.strerror or str(error)
    if error.errno == errno.ENOSPC:
        with contextlib.suppress(OSError):
            reason += f" (needed {size:,} bytes, free {shutil.disk_usage(path.parent).free:,})"
    return WavezooError(f"{path}: cannot be written: {reason}", exit_code=INTERNAL_FAILURE)


def check_writable(path: Path | None) -> None:
    """Check before the work that a file can be written after it.

    Raises:
        WavezooError: If the folder of ``path`` does not exist or is not writable.
    """
    if path is None:
        return
    if not path.parent.is_dir():
        raise WavezooError(f"{path}: its folder does not exist", f"mkdir -p {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise WavezooError(f"{path}: is not writable")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # some file systems cannot sync a folder
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
