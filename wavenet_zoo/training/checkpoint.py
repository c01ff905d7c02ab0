"""Checkpoints of a run: the last two, each verified by its SHA-256.

``last.pt`` is replaced atomically, and the file that it replaces becomes ``previous.pt`` afterwards, so that two
complete checkpoints exist at any time, also during a save. ``checkpoints.json`` lists the hashes of both, and that of
the next checkpoint before it is written, so that every complete file is listed at any time. Checkpoints contain tensors
and plain values only.
"""

import hashlib
import io
import logging
import os
import pickle
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import torch

from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.files import sha256_of, write_atomically, write_error
from wavenet_zoo.runtime.records import read_json, write_json

__all__ = ["GENERATIONS", "load_last", "save_best", "save_last"]

logger = logging.getLogger(__name__)

GENERATIONS = ("last.pt", "previous.pt")
HASHES = "checkpoints.json"
WRITTEN_AFTER_A_CHECKPOINT = ("log.jsonl", "log.csv", "result.json")
DIGEST = re.compile("[0-9a-f]{64}")
HINT = "start a new run in another folder with --out"


def save_last(run_dir: Path, checkpoint: dict[str, Any]) -> None:
    """Write ``last.pt``; the file that it replaces becomes ``previous.pt``.

    Args:
        run_dir: Folder of the run.
        checkpoint: Tensors, numbers, strings, and lists and dictionaries of them.
    """
    content = _to_bytes(checkpoint)
    last, previous = (run_dir / name for name in GENERATIONS)
    listed = _listed(run_dir)
    kept = [_verified_digest(path, listed) for path in (last, previous) if path.exists()]
    digests = [hashlib.sha256(content).hexdigest(), *(digest for digest in kept if digest)]
    write_json(run_dir / HASHES, {"sha256": digests})
    if not last.exists():
        write_atomically(last, content)
        return
    replaced = run_dir / ".previous.pt.tmp"
    try:
        _duplicate(last, replaced)
        write_atomically(last, content)
        replaced.replace(previous)
    finally:
        replaced.unlink(missing_ok=True)


def save_best(run_dir: Path, checkpoint: dict[str, Any]) -> None:
    """Write ``best.pt`` atomically."""
    write_atomically(run_dir / "best.pt", _to_bytes(checkpoint))


def load_last(run_dir: Path) -> tuple[dict[str, Any], str] | None:
    """Load the newest undamaged checkpoint. A warning says which newer one is damaged or missing.

    Without a valid ``checkpoints.json``, checkpoints are verified by the CRC-32 of their tensors.

    Returns:
        The checkpoint and its file name; None if none has been written yet.

    Raises:
        WavezooError: If all checkpoints are damaged, or missing although the run has written some.
    """
    reasons = []
    listed = _listed(run_dir)
    if not any((run_dir / name).exists() for name in GENERATIONS):
        if len(listed or ()) > 1 or any((run_dir / name).exists() for name in WRITTEN_AFTER_A_CHECKPOINT):
            raise WavezooError(f"{run_dir}: its checkpoints, {' and '.join(GENERATIONS)}, are missing", HINT)
        return None
    if listed is None:
        logger.warning("%s is missing or damaged: checkpoints are verified by their CRC-32", run_dir / HASHES)
    for name in GENERATIONS:
        path = run_dir / name
        if not path.exists():
            reasons.append(f"{path} is missing")
            continue
        try:
            if _verified_digest(path, listed) is None:
                mismatch = "CRC-32 mismatch" if listed is None else f"hash mismatch with {HASHES}"
                reasons.append(f"{path} is damaged: {mismatch}")
                continue
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, zipfile.BadZipFile) as error:
            reasons.append(f"{path} cannot be loaded: {next(iter(str(error).splitlines()), type(error).__name__)}")
            continue
        if reasons:
            logger.warning("%s; resuming from the previous checkpoint, %s", reasons[0], path)
        return checkpoint, name
    raise WavezooError("; ".join(reasons), HINT)


def _to_bytes(checkpoint: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    return buffer.getvalue()


def _duplicate(path: Path, target: Path) -> None:
    """Make ``target`` a second name of a file, or a copy on a file system without hard links."""
    target.unlink(missing_ok=True)
    try:
        os.link(path, target)
    except OSError:
        try:
            shutil.copyfile(path, target)
        except OSError as error:
            raise write_error(target, error, path.stat().st_size) from error


def _listed(run_dir: Path) -> list[str] | None:
    """Return the hashes in ``checkpoints.json``; None if it is missing or damaged."""
    try:
        digests = read_json(run_dir / HASHES).get("sha256")
    except WavezooError:
        return None
    valid = isinstance(digests, list) and all(isinstance(text, str) and DIGEST.fullmatch(text) for text in digests)
    return digests if valid else None


def _verified_digest(path: Path, listed: list[str] | None) -> str | None:
    """Return the SHA-256 of a checkpoint if it is listed, or, without a list, if the CRC-32 of every part matches."""
    digest = sha256_of(path)
    if listed is not None:
        return digest if digest in listed else None
    try:
        with zipfile.ZipFile(path) as archive:
            return digest if archive.testzip() is None else None
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError):
        return None
