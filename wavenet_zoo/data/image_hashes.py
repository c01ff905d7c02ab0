"""Hashes of the contents of images, to count the images that two data sets share."""

import contextlib
import functools
import hashlib
import logging
import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from wavenet_zoo.data.sources import ImageSource
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.distributed import SINGLE_PROCESS, Distributed
from wavenet_zoo.runtime.files import cache_folder, read_regular_file, write_atomically
from wavenet_zoo.runtime.progress import Progress

__all__ = ["IMAGES_FILE", "UNREADABLE", "ImageHashes", "hash_images", "read_image_hashes"]

logger = logging.getLogger(__name__)

IMAGES_FILE = "images.safetensors"  # beside the weights of a run
CHUNK = 1000  # images between two updates of the cache
MAX_BYTES = 2**30
UNREADABLE = 0  # hash of an image that cannot be read


@dataclass
class ImageHashes:
    """Hashes of the images that weights were trained and validated on: 63 bits of the SHA-256 of each image.

    Attributes:
        training: Hashes of the training images, sorted, uint64.
        validation: Hashes of the validation images, sorted, uint64.
        fingerprints: Fingerprints of the two sets, see :meth:`~.sources.ImageSource.fingerprint`.
    """

    training: np.ndarray
    validation: np.ndarray
    fingerprints: dict[str, str] = field(default_factory=dict)

    def count(self, hashes: np.ndarray) -> dict[str, int]:
        """Return how many of ``hashes`` are of ``training`` and how many of ``validation`` images."""
        return {
            "training": int(np.isin(hashes, self.training).sum()),
            "validation": int(np.isin(hashes, self.validation).sum()),
        }

    def to_bytes(self) -> bytes:
        """Return the content of :data:`IMAGES_FILE`. Equal sets give equal bytes."""
        tensors = {"training": self.training, "validation": self.validation}
        return safetensors.numpy.save(tensors, {"fingerprints": "\n".join(self.fingerprints.values())})

    def write(self, path: Path) -> None:
        """Write :data:`IMAGES_FILE`, atomically."""
        write_atomically(path, self.to_bytes())


def read_image_hashes(path: Path) -> ImageHashes:
    """Read a file of :meth:`ImageHashes.write`.

    Raises:
        WavezooError: If it cannot be read, is damaged, or has other content.
    """
    hint = "remove the file; which images the weights were trained on is then unknown"
    try:
        content = read_regular_file(path, MAX_BYTES)
        tensors = safetensors.numpy.load(content)
        training, validation = tensors["training"], tensors["validation"]
        with safetensors.safe_open(path, "np") as file:
            names = (file.metadata() or {})["fingerprints"].split("\n")
    except OSError as error:
        raise WavezooError(f"{path}: cannot be read: {error.strerror}", hint) from error
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise WavezooError(f"{path}: is not a file of image hashes: {error}", hint) from error
    if any(array.dtype != np.uint64 or array.ndim != 1 for array in (training, validation)) or len(names) != 2:
        raise WavezooError(f"{path}: is not a file of image hashes", hint)
    return ImageHashes(training, validation, dict(zip(("training", "validation"), names)))


def hash_images(
    source: ImageSource, *, threads: int = 1, distributed: Distributed = SINGLE_PROCESS, progress: bool = False
) -> np.ndarray:
    """Return a hash of the content of every image, in order: uint64 of shape (N,).

    Hashes of files are cached in the user's cache folder by path, size and modification time. Each process hashes a
    share of the images and gets the hashes of all. An image that cannot be read has the hash 0.

    Args:
        source: The images.
        threads: Number of threads of this process.
        distributed: Process group.
        progress: Show progress on stderr.
    """
    count = len(source.targets)
    share = range(distributed.rank, count, distributed.world_size)
    hashes = np.zeros(count, np.uint64)
    with (
        _Cache.open() as cache,
        ThreadPoolExecutor(threads) as pool,
        Progress("hashing images", len(share), enabled=progress and distributed.is_rank_zero) as bar,
    ):
        for start in range(0, len(share), CHUNK):
            indices = share[start : start + CHUNK]
            stamps = {i: _hash(stamp) for i in indices if (stamp := source.stamp(i)) is not None}
            cached = cache.get(list(stamps.values()))
            missing = [i for i in indices if stamps.get(i) not in cached]
            computed = dict(zip(missing, pool.map(functools.partial(_hash_image, source), missing)))
            for i in indices:
                hashes[i] = computed[i] if i in computed else cached[stamps[i]]
            cache.add({stamps[i]: value for i, value in computed.items() if i in stamps and value != UNREADABLE})
            bar.advance(len(indices))
    return sum(distributed.all_gather(hashes))  # the shares are disjoint


def _hash(content: bytes) -> int:
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "little") >> 1  # SQLite's integers have 63 bits


def _hash_image(source: ImageSource, index: int) -> int:
    try:
        return _hash(source.content(index))
    except OSError:
        return UNREADABLE


class _Cache:
    """Hash of an image by the hash of its path, size and modification time, in a database of the user.

    Args:
        connection: The database; None if it cannot be used, so that nothing is cached.
    """

    def __init__(self, connection: sqlite3.Connection | None):
        self.connection = connection

    @classmethod
    @contextlib.contextmanager
    def open(cls) -> Iterator["_Cache"]:
        """Open the database of the user and close it on exit."""
        connection = None
        try:
            folder = cache_folder()
            folder.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(folder / "image-hashes.sqlite", timeout=10)
            connection.execute("CREATE TABLE IF NOT EXISTS hashes (stamp INTEGER PRIMARY KEY, hash INTEGER NOT NULL)")
        except (sqlite3.Error, OSError, WavezooError) as error:  # WavezooError: no home folder
            logger.debug("image hashes are not cached: %s", error)
            if connection is not None:
                connection.close()
            connection = None
        cache = cls(connection)
        try:
            yield cache
        finally:
            if cache.connection is not None:
                cache.connection.close()

    def get(self, stamps: Sequence[int]) -> dict[int | None, int]:
        """Return the cached hashes, by stamp."""
        found: dict[int | None, int] = {}
        if self.connection is None:
            return found
        try:
            for start in range(0, len(stamps), 500):  # SQLite limits the number of parameters
                part = stamps[start : start + 500]
                query = f"SELECT stamp, hash FROM hashes WHERE stamp IN ({','.join('?' * len(part))})"
                found.update(self.connection.execute(query, part))
        except sqlite3.Error as error:
            self._disable(error)
        return found

    def add(self, hashes: dict[int, int]) -> None:
        """Store hashes by stamp."""
        try:
            if self.connection and hashes:
                with self.connection:
                    self.connection.executemany("INSERT OR REPLACE INTO hashes VALUES (?, ?)", hashes.items())
        except sqlite3.Error as error:
            self._disable(error)

    def _disable(self, error: sqlite3.Error) -> None:
        logger.debug("image hashes are not cached: %s", error)
        if self.connection is not None:
            self.connection.close()
        self.connection = None
