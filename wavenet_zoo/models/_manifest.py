"""The list of weights: what ``manifest.json`` says, and timm's pretrained configurations made from it."""

import json
import os
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any, Dict, Optional

__all__ = ["COLLECTION", "SCHEMA", "checkpoints_folder", "read_collection", "read_manifest", "with_weights"]

SCHEMA = "wavenet_zoo.checkpoints/1"
COLLECTION = "WAVEZOO_CHECKPOINTS"  # environment variable: a folder with a manifest.json of this form and its files
PREPROCESSING = ("input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std")


def checkpoints_folder() -> Optional[Path]:
    """Return the folder of shipped weights: inside the installed package, or beside it in a checkout; None without."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "_shipped" / "checkpoints", package.parent / "checkpoints"):
        if (folder / "manifest.json").is_file():
            return folder
    return None


@lru_cache(maxsize=1)
def read_manifest() -> Dict[str, Dict[str, Any]]:
    """Return the weights that there are by name (``architecture.tag``).

    The shipped ones, and those of the folder that ``WAVEZOO_CHECKPOINTS`` names, which come first where both have a
    name. An entry has its ``path`` where it is a file, ``hub`` (``ORG/NAME@REVISION``) where it is on the Hub; entries
    whose file is not there are left out, so that nothing is promised that cannot be loaded.
    """
    entries: Dict[str, Dict[str, Any]] = {}
    folder = checkpoints_folder()
    if folder is not None:
        entries.update(read_collection(folder, strict=False))
    own = os.environ.get(COLLECTION)
    if own:
        try:
            entries.update(read_collection(Path(own)))
        except (OSError, ValueError) as error:
            warnings.warn(f"{COLLECTION}={own}: left out: {error}", stacklevel=2)
    return entries


def read_collection(folder: Path, strict: bool = True) -> Dict[str, Dict[str, Any]]:
    """Return the entries of a folder's ``manifest.json`` by name.

    Args:
        folder: Holds ``manifest.json`` and the files that it names.
        strict: Refuse a manifest of another form; otherwise it counts as none.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is not a manifest, or names a file outside the folder.
    """
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        if strict:
            raise ValueError(f"manifest.json is not of the form {SCHEMA}")
        return {}  # somebody else's manifest.json beside a copied models/ folder
    if not isinstance(manifest.get("checkpoints"), list):
        raise ValueError("manifest.json has no list of checkpoints")
    entries = {}
    for entry in manifest["checkpoints"]:
        try:
            name, _, _ = entry["name"], entry["sha256"], pretrained_cfg(entry)
        except (KeyError, TypeError) as error:
            raise ValueError(f"manifest.json has an entry without {error}") from error
        if not all(isinstance(entry.get(key, ""), str) for key in ("name", "sha256", "file", "hub")):
            raise ValueError(f"manifest.json has an entry whose name, sha256, file or hub is no text: {name!r}")
        if "file" in entry:
            path = folder / entry["file"]
            if path.parent != folder:
                raise ValueError(f"manifest.json names a file outside its folder: {entry['file']}")
            if not path.is_file():
                continue
            entry = {**entry, "path": str(path)}
        entries[name] = entry
    return entries


def with_weights(cfgs: Dict[str, Dict[str, Any]]) -> Dict[str, Dict[str, Any]]:
    """Return the pretrained configurations of a family: for every entry of the manifest one with its tag.

    Args:
        cfgs: The configuration of every architecture without weights, by name.
    """
    tagged = {
        name: {**cfgs[name.split(".")[0]], **pretrained_cfg(entry)}
        for name, entry in read_manifest().items()
        if name.split(".")[0] in cfgs
    }
    have = {name.split(".")[0] for name in tagged}
    return {**tagged, **{name: cfg for name, cfg in cfgs.items() if name not in have}}


def pretrained_cfg(entry: Dict[str, Any]) -> Dict[str, Any]:
    """Return the fields of timm's PretrainedCfg that a manifest entry decides."""
    preprocessing = {key: entry["preprocessing"][key] for key in PREPROCESSING}
    source = {"hf_hub_id": entry["hub"]} if "hub" in entry else {"file": entry.get("path") or entry["file"]}
    return {
        **source,
        "num_classes": len(entry["classes"]),
        "label_names": tuple(entry["classes"]),
        "license": entry["license"],
        "description": entry["description"],
        **{key: tuple(value) if isinstance(value, list) else value for key, value in preprocessing.items()},
    }
