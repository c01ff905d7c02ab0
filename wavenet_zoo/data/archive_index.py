"""A cache of what the headers of tar files say: reading 40,000 headers takes a second or more at every start.

A file in the user's cache folder holds the index of all archives of a data set. An index is used only for the version
that wrote it and for the very file: same path, size, and times of modification and change. Whatever is wrong with the
cache, the headers are read instead.
"""

import contextlib
import hashlib
import json
import logging
import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from wavenet_zoo import __version__
from wavenet_zoo.data.sources import file_stamp
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.files import cache_folder, read_regular_file, write_atomically

__all__ = ["cached_index"]

logger = logging.getLogger(__name__)

READER = f"{__version__} 1"  # increase the number when readers of archives give other rows
MAX_BYTES = 2**30
MAX_FILES = 64  # data sets; 10 MB for the 1.3 million images of ImageNet
DIGEST_BYTES = 32

Row = tuple[Any, ...]  # of text and integers


def cached_index(kind: str, archives: Sequence[Path], read: Callable[[Path], Iterable[Row]]) -> list[list[Row]]:
    """Return ``read(archive)`` for every archive, from the cache if the archive did not change since.

    Args:
        kind: What ``read`` reads, as a part of the key.
        archives: Tar files of one data set.
        read: Reads an archive. All rows must have the same number of fields: text or integers.

    Raises:
        WavezooError: What ``read`` raises; errors are not cached.
    """
    keys = [_key(kind, archive) for archive in archives]
    paths = "\0".join([kind, *(os.fspath(archive.absolute()) for archive in archives)])
    name = hashlib.sha256(paths.encode(errors="surrogateescape")).hexdigest()[:32]
    try:
        file = cache_folder() / "archives" / name
    except WavezooError as error:  # no home folder
        logger.debug("the index of archives is not cached: %s", error)
        return [list(read(archive)) for archive in archives]
    cached = _load(file)
    index = [cached[key] if key in cached else list(read(archive)) for key, archive in zip(keys, archives)]
    current = {key: rows for key, rows in zip(keys, index) if key is not None}
    if not current.keys() <= cached.keys():
        _store(file, current)
    return index


def _key(kind: str, archive: Path) -> str | None:
    """Return text that changes with the archive or its reader; None if the archive cannot be cached."""
    stamp = file_stamp(archive)
    if stamp is None:
        return None
    try:
        changed = archive.stat().st_ctime_ns  # a copy may have the same size, and keep the time of modification
    except OSError:
        return None
    return f"{READER}\0{kind}\0{os.fsdecode(stamp)} {changed}"


def _load(file: Path) -> dict[str | None, list[Row]]:
    try:
        content = read_regular_file(file, MAX_BYTES)
        digest, packed = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
        if hashlib.sha256(packed).digest() != digest:
            raise ValueError("checksum mismatch")
        return {key: list(zip(*columns)) for key, columns in json.loads(zlib.decompress(packed)).items()}
    except (OSError, ValueError, AttributeError, TypeError, zlib.error) as error:
        logger.debug("%s: no index of archives: %s", file, error)
        return {}


def _store(file: Path, index: dict[str, list[Row]]) -> None:
    columns = {key: list(zip(*rows)) for key, rows in index.items()}  # JSON parses columns in half the time of rows
    packed = zlib.compress(json.dumps(columns).encode(), level=1)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, hashlib.sha256(packed).digest() + packed)
        _remove_oldest(file.parent)
    except (OSError, WavezooError) as error:
        logger.debug("the index of archives is not cached: %s", error)


def _remove_oldest(folder: Path) -> None:
    files = []
    for file in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # removed by another process
            files.append((file.stat().st_mtime_ns, file))
    for _, file in sorted(files)[:-MAX_FILES]:
        file.unlink(missing_ok=True)
