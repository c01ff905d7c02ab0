"""Writing files so that a reader finds the old one or the new one, never half of either."""

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from wavenet_zoo.errors import INTERNAL_FAILURE, WavezooError

__all__ = ["cannot_be_written", "check_writable", "sha256_of", "write_atomically"]


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` beside ``path``, force it to the disk and rename it into place, with the umask's permissions.

    Raises:
        WavezooError: If the file cannot be written; what was at ``path`` is then still there.
    """
    path = path.resolve()  # a link stays one, and what it points to is replaced
    if path.exists() and not path.is_file():
        raise WavezooError(f"{path}: is not a regular file, so it will not be replaced")
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
        raise cannot_be_written(path, error, len(content)) from error
    except BaseException:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise


def cannot_be_written(path: Path, error: OSError, size: int) -> WavezooError:
    """Return the error for a file that could not be written, on a full disk with what was needed and what is free.

    Args:
        path: The file.
        error: What the system said.
        size: Bytes that were to be written.
    """
    reason = error.strerror or str(error)
    if error.errno == errno.ENOSPC:
        with contextlib.suppress(OSError):
            reason += f" (needed {size:,} bytes, free {shutil.disk_usage(path.parent).free:,})"
    return WavezooError(f"{path}: cannot be written: {reason}", exit_code=INTERNAL_FAILURE)


def check_writable(path: Path | None) -> None:
    """Find out before the work, and not after it, that a file could not be written.

    Raises:
        WavezooError: If the folder of ``path`` is missing, or it cannot be written to.
    """
    if path is None:
        return
    if not path.parent.is_dir():
        raise WavezooError(f"{path}: its folder does not exist", f"mkdir -p {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise WavezooError(f"{path}: may not be written")


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
