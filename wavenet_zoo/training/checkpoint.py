"""Checkpoints of a run: the last two, each verified by its SHA-256.

``last.pt`` is replaced atomically, and the file that it replaces becomes ``previous.pt``. ``checkpoints.json`` lists
the hashes of both, and that of the next checkpoint before it is written, so that every complete file is listed at any
time. Checkpoints contain tensors and plain values only.
"""

import contextlib
import hashlib
import io
import json
import logging
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.files import sha256_of, write_atomically
from wavenet_zoo.runtime.records import write_json

__all__ = ["load_last", "save_best", "save_last"]

logger = logging.getLogger(__name__)

GENERATIONS = ("last.pt", "previous.pt")
HASHES = "checkpoints.json"


def save_last(run_dir: Path, checkpoint: dict[str, Any]) -> None:
    """Write ``last.pt``; the file that it replaces becomes ``previous.pt``.

    Args:
        run_dir: Folder of the run.
        checkpoint: Tensors, numbers, strings, and lists and dictionaries of them.
    """
    content = _to_bytes(checkpoint)
    last, previous = (run_dir / name for name in GENERATIONS)
    present = [sha256_of(path) for path in (last, previous) if path.exists()]
    listed = [hashlib.sha256(content).hexdigest(), *(digest for digest in _listed(run_dir) if digest in present)]
    write_json(run_dir / HASHES, {"sha256": listed})
    if last.exists():
        link = run_dir / ".previous.pt.tmp"  # a hard link, so that last.pt is never missing
        with contextlib.suppress(OSError):  # a file system without hard links keeps one checkpoint
            link.unlink(missing_ok=True)
            os.link(last, link)
            link.replace(previous)
    write_atomically(last, content)


def save_best(run_dir: Path, checkpoint: dict[str, Any]) -> None:
    """Write ``best.pt`` atomically."""
    write_atomically(run_dir / "best.pt", _to_bytes(checkpoint))


def load_last(run_dir: Path) -> tuple[dict[str, Any], str] | None:
    """Load the newest undamaged checkpoint.

    Returns:
        The checkpoint and its file name; None if none has been written yet.

    Raises:
        WavezooError: If all checkpoints are damaged.
    """
    reasons = []
    listed = _listed(run_dir)
    for name in GENERATIONS:
        path = run_dir / name
        if not path.exists():
            continue
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() not in listed:
            reasons.append(f"{path} is damaged: hash mismatch with {HASHES}")
            continue
        try:
            checkpoint = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
            reasons.append(f"{path} cannot be loaded: {str(error).splitlines()[0]}")
            continue
        if reasons:
            logger.warning("%s; resuming from the previous checkpoint, %s", reasons[0], path)
        return checkpoint, name
    if reasons:
        raise WavezooError("; ".join(reasons), "start a new run in another folder with --out")
    return None


def _to_bytes(checkpoint: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    return buffer.getvalue()


def _listed(run_dir: Path) -> list[str]:
    try:
        return list(json.loads((run_dir / HASHES).read_text(encoding="utf-8"))["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return []
