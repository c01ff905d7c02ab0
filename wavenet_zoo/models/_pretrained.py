"""Pretrained weights: timm's pretrained configurations of the manifest's entries, and checked loading."""

import hashlib
import os
import re
from pathlib import Path
from typing import Any, Callable, Dict, Optional

import torch.nn as nn
from huggingface_hub import constants, get_session, hf_hub_url, try_to_load_from_cache
from timm.models import build_model_with_cfg
from timm.models._builder import resolve_pretrained_cfg

try:
    from ..runtime.manifest import read_manifest
except ModuleNotFoundError as error:
    if not str(error.name).endswith(".runtime"):
        raise

    # a copy of this folder in another project, without a manifest
    def read_manifest() -> Dict[str, Dict[str, Any]]:  # type: ignore[misc]
        """Return no entries."""
        return {}


__all__ = [
    "WEIGHTS_FILE",
    "build_with_checked_weights",
    "cached_file",
    "check_hash",
    "check_reachable",
    "read_manifest",
    "with_weights",
]

PREPROCESSING = ("input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std")
WEIGHTS_FILE = "model.safetensors"
HUB_TIMEOUT = 3.0  # seconds; the Hub client retries for most of a minute


def with_weights(cfgs: Dict[str, Dict[str, Any]]) -> Dict[str, Dict[str, Any]]:
    """Return the pretrained configurations of a model family, with one for every entry of the manifest.

    Args:
        cfgs: Configuration of every architecture, without weights, by name.
    """
    tagged = {
        name: {**cfgs[name.split(".")[0]], **pretrained_cfg(entry)}
        for name, entry in read_manifest().items()
        if name.split(".")[0] in cfgs
    }
    have = {name.split(".")[0] for name in tagged}
    return {**tagged, **{name: cfg for name, cfg in cfgs.items() if name not in have}}


def pretrained_cfg(entry: Dict[str, Any]) -> Dict[str, Any]:
    """Return the fields of timm's PretrainedCfg that a manifest entry sets."""
    preprocessing = {key: entry["preprocessing"][key] for key in PREPROCESSING}
    source = {"hf_hub_id": entry["hub"]} if entry.get("hub") else {"file": entry["path"]}
    return {
        **source,
        "num_classes": len(entry["classes"]),
        "label_names": tuple(entry["classes"]),
        "license": entry["license"],
        "description": entry["description"],
        **{key: tuple(value) if isinstance(value, list) else value for key, value in preprocessing.items()},
    }


def build_with_checked_weights(
    builder: Callable[..., nn.Module],
    variant: str,
    pretrained: bool,
    cfg: Dict[str, Any],
    filter_fn: Callable[..., Dict[str, Any]] = lambda state_dict, model: state_dict,
    **kwargs: Any,
) -> Any:
    """Build a model with ``build_model_with_cfg``, and check the hash of its weights.

    If the Hub cannot be reached, this fails at once instead of after the retries of its client. Without ``pretrained``
    and without a tag, or with a state dict of the caller, the model has the classes and input size of its
    architecture, not those of available weights.

    Args:
        builder: Builds the model.
        variant: Name of the architecture.
        pretrained: Load weights.
        cfg: Pretrained configuration of the architecture, without weights.
        filter_fn: Converts a state dict for the model.
        **kwargs: Arguments of ``build_model_with_cfg``.

    Raises:
        RuntimeError: If the weights are missing, cannot be downloaded, or do not match their hash.
    """
    own_weights = "state_dict" in (kwargs.get("pretrained_cfg_overlay") or {})
    if (not pretrained or own_weights) and kwargs.get("pretrained_cfg") is None:
        kwargs["pretrained_cfg"] = cfg
    if pretrained:
        _check_source(variant, kwargs)

    def checked(state_dict: Dict[str, Any], model: nn.Module) -> Dict[str, Any]:
        cfg: Any = model.pretrained_cfg
        _check_loaded(variant, cfg, kwargs.get("cache_dir"))
        return filter_fn(state_dict, model)

    return build_model_with_cfg(builder, variant, pretrained, pretrained_filter_fn=checked, **kwargs)


def check_reachable(
    name: str,
    hub_id: str,
    cache_dir: Optional[str] = None,
    advice: str = "check the connection, or copy them to a folder that WAVEZOO_CHECKPOINTS names",
) -> None:
    """Check that weights on the Hub are in its cache, or that the Hub can be reached.

    Args:
        name: Name of the weights, for the message.
        hub_id: ``ORG/NAME`` or ``ORG/NAME@REVISION``.
        cache_dir: Overrides the Hub's cache.
        advice: What the user can do if the Hub cannot be reached.

    Raises:
        RuntimeError: If they are not cached and the Hub cannot be reached.
    """
    if cached_file(hub_id, cache_dir) is not None:
        return
    if constants.HF_HUB_OFFLINE:
        raise RuntimeError(f"{name}: its weights are on the Hub at {hub_id}, but HF_HUB_OFFLINE is set ({advice})")
    repo, _, revision = hub_id.partition("@")
    url = hf_hub_url(repo, WEIGHTS_FILE, revision=revision or None)
    try:
        # the client's own session, so that proxies and certificates are the same; any answer will do
        get_session().head(url, timeout=_hub_timeout(), follow_redirects=False)
    except Exception as error:  # the network library depends on the version of huggingface_hub
        reason = str(error).strip() or type(error).__name__
        raise RuntimeError(
            f"{name}: its weights are at {constants.ENDPOINT}/{hub_id}, which cannot be reached: {reason} ({advice})"
        ) from error


def _hub_timeout() -> float:
    """Return how long to wait for the Hub: the user's time, if it is longer."""
    return max(HUB_TIMEOUT, constants.HF_HUB_ETAG_TIMEOUT if "HF_HUB_ETAG_TIMEOUT" in os.environ else 0)


def check_hash(path: Path, sha256: str, advice: str) -> None:
    """Check the hash of a file.

    Args:
        path: The file.
        sha256: Expected hash.
        advice: What the user can do if it differs.

    Raises:
        RuntimeError: If it differs.
    """
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    found = digest.hexdigest()
    if found != sha256:
        raise RuntimeError(f"{path}: hash mismatch: sha256 {found[:12]}, expected {sha256[:12]} ({advice})")


def cached_file(hub_id: str, cache_dir: Optional[str] = None) -> Optional[Path]:
    """Return the file of weights in the Hub's cache, or None."""
    repo, _, revision = hub_id.partition("@")
    found = try_to_load_from_cache(repo, WEIGHTS_FILE, cache_dir=cache_dir, revision=revision or None)
    return Path(found) if isinstance(found, str) else None


def _check_source(variant: str, kwargs: Dict[str, Any]) -> None:
    cfg = resolve_pretrained_cfg(variant, kwargs.get("pretrained_cfg"), kwargs.get("pretrained_cfg_overlay"))
    name = f"{variant}.{cfg.tag}" if cfg.tag else variant
    if cfg.state_dict is not None or cfg.source == "local-dir":
        return
    if cfg.file and cfg.source != "hf-hub":
        if not Path(cfg.file).is_file():
            raise RuntimeError(f"{cfg.file}: the weights of {name} are missing (reinstall wavenet_zoo)")
    elif cfg.hf_hub_id:
        check_reachable(name, cfg.hf_hub_id, kwargs.get("cache_dir"))


def _check_loaded(variant: str, cfg: Dict[str, Any], cache_dir: Optional[str]) -> None:
    """Check the hash of loaded weights: that of the manifest, or that in the name of a file in the Hub's cache."""
    if cfg.get("state_dict") is not None or cfg.get("source") == "local-dir":
        return
    entry = read_manifest().get(f"{variant}.{cfg.get('tag')}", {})
    if cfg.get("file") and cfg.get("source") != "hf-hub":
        if cfg["file"] == entry.get("path"):
            check_hash(
                Path(cfg["file"]), entry["sha256"], "changed or damaged after installation: reinstall wavenet_zoo"
            )
    elif cfg.get("hf_hub_id"):
        path = cached_file(cfg["hf_hub_id"], cache_dir)
        if path is None:
            return
        blob = path.resolve()
        listed = entry.get("sha256") if entry.get("hub") == cfg["hf_hub_id"] else None
        if (
            listed is None
            and re.fullmatch("[0-9a-f]{64}", blob.name)
            and blob.parent.parent.name.startswith("models--")
        ):
            listed = blob.name  # its sha256; files downloaded with Xet have a different name
        if listed is not None:
            check_hash(path, listed, f"damaged download: remove {blob} and try again")
