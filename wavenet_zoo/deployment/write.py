"""Write the files of an export, so that none of them is half-written or silently replaced."""

import errno
import os
import shutil
import tempfile
from pathlib import Path

from wavenet_zoo.deployment.formats import Files, Format
from wavenet_zoo.deployment.sidecar import sidecar_path
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.files import check_writable, write_atomically, write_error

__all__ = ["check_files_writable", "write_files"]


def check_files_writable(path: Path, file_format: Format, overwrite: bool) -> None:
    """Check before the export that its files can be written.

    Raises:
        WavezooError: If one exists and ``overwrite`` is False, or cannot be written.
    """
    stem = path.name.removesuffix(file_format.suffix)
    for file in (path, *(path.with_name(stem + suffix) for suffix in file_format.companions), sidecar_path(path)):
        if file.exists() and not overwrite:
            raise WavezooError(f"{file}: exists already", "pass --force to replace it, or --out FILE")
        if not (file_format.is_folder and file == path):
            check_writable(file)


def write_files(path: Path, file_format: Format, files: Files, sidecar: bytes) -> None:
    """Write the files of an export and its sidecar, the one that users name last.

    Args:
        path: The file that users name.
        file_format: Its format.
        files: Content by suffix.
        sidecar: Content of the sidecar.

    Raises:
        WavezooError: If a file cannot be written. Files that did not exist before are then removed.
    """
    size = sum(len(content) for content in files.values()) + len(sidecar)
    if shutil.disk_usage(path.parent).free < size:  # before one of several files is replaced
        raise write_error(path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), size)
    stem = path.name.removesuffix(file_format.suffix)
    others = {path.with_name(stem + suffix): files[suffix] for suffix in file_format.companions}
    others[sidecar_path(path)] = sidecar
    new = [file for file in others if not file.exists()]
    try:
        for file, content in others.items():
            write_atomically(file, content)
        if file_format.is_folder:
            _write_folder(path, {suffix.partition("/")[2]: content for suffix, content in files.items()})
        else:
            write_atomically(path, files[file_format.suffix])
    except BaseException:
        for file in new:
            file.unlink(missing_ok=True)
        raise


def _write_folder(path: Path, files: Files) -> None:
    """Write a folder beside ``path``, sync it, and rename it to ``path``; what it replaces is removed after that."""
    target = Path(os.path.realpath(path))  # a link is kept and its target replaced
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{path.name[:60]}.", suffix=".tmp") as temporary:
            new, previous = Path(temporary, "new"), Path(temporary, "previous")
            for name, content in files.items():
                (new / name).parent.mkdir(parents=True, exist_ok=True)
                with (new / name).open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            if target.exists():
                target.replace(previous)
            try:
                new.replace(target)
            except OSError:
                if previous.exists():
                    previous.replace(target)
                raise
    except OSError as error:
        raise write_error(path, error, sum(len(content) for content in files.values())) from error
