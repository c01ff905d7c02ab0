"""Atomic files: a reader finds the old content or the new content, never a part of either."""

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import BinaryIO

from wavenet_zoo.errors import INTERNAL_FAILURE, WavezooError

__all__ = [
    "cache_folder",
    "check_writable",
    "expand",
    "open_regular_file",
    "read_regular_file",
    "sha256_of",
    "write_atomically",
    "write_error",
]

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


def expand(path: str | Path) -> Path:
    """Replace ``~`` and ``~user`` at the start of a path, and check that it can be the path of a file.

    Raises:
        WavezooError: If the user or the home folder is unknown, or the system does not accept the path.
    """
    try:
        expanded = Path(path).expanduser()
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            expanded.lstat()
        return expanded
    except ValueError:
        raise WavezooError(f"{path}: is not a path: it contains a NUL byte") from None
    except OSError as error:  # a name is too long
        raise WavezooError(f"{path}: cannot be opened: {error.strerror}") from None
    except RuntimeError:
        raise WavezooError(f"{path}: the home folder of this user is unknown", "pass the path without ~") from None


def open_regular_file(path: str | Path, limit: int) -> BinaryIO:
    """Open a file that may be of any kind or size: pipes and devices are not read, and the size is checked first.

    Args:
        path: The file.
        limit: Maximum size in bytes.

    Raises:
        OSError: If the file is missing, is not a regular file, exceeds the limit, or cannot be opened. ``strerror``
            says what is wrong.
    """
    # without O_NONBLOCK, opening a named pipe waits for a writer
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError:  # a null character
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(path)) from None
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, _not_regular(status), str(path))
        if status.st_size > limit:
            raise OSError(errno.EFBIG, f"has {status.st_size:,} bytes, the limit is {limit:,}", str(path))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_regular_file(path: str | Path, limit: int) -> bytes:
    """Read a file of :func:`open_regular_file`.

    Raises:
        OSError: If it cannot be opened or read.
    """
    with open_regular_file(path, limit) as file:
        size = os.fstat(file.fileno()).st_size
        return file.read(min(size + 2**20, limit))  # read() reserves what it is asked for


def write_atomically(path: Path, content: bytes) -> None:
    """Write a temporary file beside ``path``, sync it, and rename it to ``path``.

    A replaced file keeps its mode and owner; a new one has the umask's permissions.

    Raises:
        WavezooError: If the file cannot be written. The previous content of ``path`` is then unchanged.
    """
    temporary = None
    try:
        target, replaced = _find_target(path)
        temporary = _create_beside(target)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _set_permissions(temporary, replaced)
        temporary.replace(target)
        _sync_folder(target.parent)
    except BaseException as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise write_error(path, error, len(content)) from error
        raise


def cache_folder() -> Path:
    """Return the folder for cached data: ``$WAVEZOO_CACHE``, default: ``wavenet_zoo`` in the user's cache folder."""
    if folder := os.environ.get("WAVEZOO_CACHE"):
        return Path(folder)
    return expand(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "wavenet_zoo"


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


def check_writable(path: Path | None, append: bool = False) -> None:
    """Check before the work that :func:`write_atomically` can write a file after it.

    Args:
        path: The file; None for none.
        append: Whether an existing file is appended to, not replaced.

    Raises:
        WavezooError: If the file is not a regular file, is read-only or is where stdout is written, its name is too
            long, its folder does not exist, or no file can be created there.
    """
    if path is None:
        return
    try:
        target, replaced = _find_target(path)
        if not target.parent.is_dir():
            linked = f" ({target.parent}, by a link)" if path.is_symlink() else ""
            raise WavezooError(f"{path}: its folder does not exist{linked}", f"mkdir -p {target.parent}")
        if replaced is not None and not os.access(target, os.W_OK):
            raise WavezooError(f"{path}: is not writable")
        if replaced is not None and any(os.path.samestat(replaced, stream) for stream in _streams()):
            raise WavezooError(f"{path}: stdout or stderr is written to this file", "pass another file")
        if replaced is None or not append:
            _try_to_write_beside(target)
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise write_error(path, error, 1) from error
        raise WavezooError(f"{path}: is not writable: {error.strerror}") from error


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _find_target(path: Path) -> tuple[Path, os.stat_result | None]:
    """Return the file that ``path`` names, after links, and its status if it exists; it must be a regular file."""
    target = Path(os.path.realpath(path))  # a link is kept and its target replaced
    try:
        status = target.stat()
    except FileNotFoundError:
        return target, None
    if not stat.S_ISREG(status.st_mode):
        raise WavezooError(f"{path}: {_not_regular(status)}, so it cannot be replaced")
    return target, status


def _not_regular(status: os.stat_result) -> str:
    return f"is {KINDS.get(stat.S_IFMT(status.st_mode), 'special')}, not a regular file"


def _create_beside(target: Path) -> Path:
    # 60 characters: the name of a temporary file is not longer than a file system allows, 255 bytes
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:60]}.", suffix=".tmp")
    os.close(handle)
    return Path(name)


def _try_to_write_beside(target: Path) -> None:
    trial = _create_beside(target)
    try:
        trial.write_bytes(b"x")  # a full disk may still have room for an empty file
    finally:
        trial.unlink(missing_ok=True)


def _set_permissions(file: Path, replaced: os.stat_result | None) -> None:
    if replaced is None:
        file.chmod(0o666 & ~_umask())
        return
    if hasattr(os, "chown"):
        with contextlib.suppress(OSError):  # only root may give a file to another user
            os.chown(file, replaced.st_uid, replaced.st_gid)
    file.chmod(replaced.st_mode & 0o777)


def _streams() -> list[os.stat_result]:
    found = []
    for number in (1, 2):
        with contextlib.suppress(OSError):  # closed
            found.append(os.fstat(number))
    return found


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
