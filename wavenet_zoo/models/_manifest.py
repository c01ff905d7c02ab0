"""The list of weights: what ``checkpoints/manifest.json`` says, and timm's pretrained configuration made from it."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, Dict, Optional

__all__ = ["SCHEMA", "checkpoints_folder", "pretrained_cfg", "read_manifest"]

SCHEMA = "wavenet_zoo.checkpoints/1"


def checkpoints_folder() -> Optional[Path]:
    """Return the folder of shipped weights: inside the installed package, or beside it in a checkout; None without."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "_shipped" / "checkpoints", package.parent / "checkpoints"):
        if (folder / "manifest.json").is_file():
            return folder
    return None


@lru_cache(maxsize=1)
def read_manifest() -> Dict[str, Dict[str, Any]]:
    """Return the shipped checkpoints by name (``architecture.tag``), each with its ``path``; none without manifest."""
    folder = checkpoints_folder()
    if folder is None:
        return {}
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        return {}  # somebody else's manifest.json beside a copied models/ folder
    return {entry["name"]: {**entry, "path": str(folder / entry["file"])} for entry in manifest["checkpoints"]}


def pretrained_cfg(entry: Dict[str, Any]) -> Dict[str, Any]:
    """Return the fields of timm's PretrainedCfg that a manifest entry decides."""
    preprocessing = entry["preprocessing"]
    return {
        "file": entry["path"],
        "num_classes": len(entry["classes"]),
        "label_names": tuple(entry["classes"]),
        "license": entry["license"],
        "description": entry["description"],
        **{key: tuple(value) if isinstance(value, list) else value for key, value in preprocessing.items()},
    }
