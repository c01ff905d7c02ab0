"""Checkpoints of a training run: the last two, each with its sha256, in tensors and plain values alone.

``last.pt`` is replaced whole or not at all, and what it replaces stays as ``previous.pt``. ``checkpoints.json`` lists
the sha256 of both, and of the next one before it is written: whenever a process is killed, every whole file is listed.
"""

import contextlib
import hashlib
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.files import sha256_of, write_atomically
from wavenet_zoo.runtime.records import write_json

__all__ = ["load_last", "save_best", "save_last"]

GENERATIONS = ("last.pt", "previous.pt")
HASHES = "checkpoints.json"


def save_last(folder: Path, checkpoint: dict[str, Any]) -> None:
    """Write ``last.pt``; what it was becomes ``previous.pt``.

    Args:
        folder: Folder of the run.
        checkpoint: Tensors, numbers, strings, and lists and dictionaries of them.
    """
    content = _to_bytes(checkpoint)
    last, previous = (folder / name for name in GENERATIONS)
    present = [sha256_of(path) for path in (last, previous) if path.exists()]
    listed = [hashlib.sha256(content).hexdigest(), *(digest for digest in _listed(folder) if digest in present)]
    write_json(folder / HASHES, {"sha256": listed})
    if last.exists():
        link = folder / ".previous.pt.tmp"  # so that last.pt is never missing
        with contextlib.suppress(OSError):  # a file system without hard links keeps one generation
            link.unlink(missing_ok=True)
            os.link(last, link)
            link.replace(previous)
    write_atomically(last, content)


def save_best(folder: Path, checkpoint: dict[str, Any]) -> None:
    """Write ``best.pt``, whole or not at all."""
    write_atomically(folder / "best.pt", _to_bytes(checkpoint))


def load_last(folder: Path, note: Callable[[str], None]) -> tuple[dict[str, Any], str] | None:
    """Return the newest checkpoint that is whole, and its file name; None where none was written yet.

    Args:
        folder: Folder of the run.
        note: Called with a line where the newest one is damaged and the one before it is taken.

    Raises:
        WavezooError: If there are checkpoints and all of them are damaged.
    """
    reasons = []
    listed = _listed(folder)
    for name in GENERATIONS:
        path = folder / name
        if not path.exists():
            continue
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() not in listed:
            reasons.append(f"{path} is damaged: its sha256 is not in {HASHES}")
            continue
        try:
            checkpoint = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
            reasons.append(f"{path} cannot be loaded: {str(error).splitlines()[0]}")
            continue
        if reasons:
            note(f"WARNING: {reasons[0]}; going on from {path}, the checkpoint before it")
        return checkpoint, name
    if reasons:
        raise WavezooError("; ".join(reasons), "start again in another folder with --out")
    return None


def _to_bytes(checkpoint: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    return buffer.getvalue()


def _listed(folder: Path) -> list[str]:
    try:
        return list(json.loads((folder / HASHES).read_text(encoding="utf-8"))["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return []
