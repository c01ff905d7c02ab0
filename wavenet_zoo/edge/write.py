"""Write the files of an export, so that none of them is half-written or silently replaced."""

import contextlib
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
        WavezooError: If a file cannot be written.
    """
    stem = path.name.removesuffix(file_format.suffix)
    if file_format.is_folder:
        _write_folder(path, {suffix.partition("/")[2]: content for suffix, content in files.items()})
        write_atomically(sidecar_path(path), sidecar)
        return
    named = files[file_format.suffix]
    for suffix, content in files.items():
        if suffix != file_format.suffix:
            write_atomically(path.with_name(stem + suffix), content)
    write_atomically(sidecar_path(path), sidecar)
    write_atomically(path, named)


def _write_folder(path: Path, files: Files) -> None:
    """Write a folder beside ``path`` and rename it; a folder that exists is removed after the new one is complete."""
    temporary = None
    try:
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name[:60]}.", suffix=".tmp"))
        for name, content in files.items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            (temporary / name).write_bytes(content)
        temporary.chmod(0o755)
        if path.exists():
            previous = temporary.with_suffix(".old")
            path.replace(previous)
            temporary.replace(path)
            shutil.rmtree(previous)
        else:
            temporary.replace(path)
    except OSError as error:
        raise write_error(path, error, sum(len(content) for content in files.values())) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                shutil.rmtree(temporary)
