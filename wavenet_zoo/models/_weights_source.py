"""Where pretrained weights come from: whether they can be had, said at once, and whether they are the right ones."""

import hashlib
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Callable, Dict, Optional

import torch.nn as nn
from huggingface_hub import constants, hf_hub_url, try_to_load_from_cache
from timm.models import build_model_with_cfg
from timm.models._builder import resolve_pretrained_cfg

from ._manifest import COLLECTION, read_manifest

__all__ = ["WEIGHTS_FILE", "build_with_checked_weights", "cached_file", "check_hash", "check_reachable"]

WEIGHTS_FILE = "model.safetensors"
SECONDS_TO_ANSWER = 3.0  # the Hub's own client goes on trying for most of a minute


def build_with_checked_weights(
    builder: Callable[..., nn.Module],
    variant: str,
    pretrained: bool,
    cfg: Dict[str, Any],
    filter_fn: Callable[..., Dict[str, Any]] = lambda state_dict, model: state_dict,
    **kwargs: Any,
) -> Any:
    """Build a model as ``build_model_with_cfg`` does, its weights hashed and a Hub out of reach found out at once.

    Without ``pretrained`` and a tag, and with a state dict of the caller's own, the model is that of its architecture,
    with the classes and the image size that go with it, whatever weights there are.

    Args:
        builder: Makes the model.
        variant: Name of the architecture.
        pretrained: Load weights.
        cfg: Pretrained configuration of the architecture without weights.
        filter_fn: Makes a state dict fit.
        **kwargs: For ``build_model_with_cfg``.

    Raises:
        RuntimeError: If the weights are missing, cannot be reached, or are not those that the manifest lists.
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
    advice: str = f"connect, or put them into a folder that {COLLECTION} names",
) -> None:
    """Make sure that weights on the Hub are in the cache, or that the Hub answers.

    Args:
        name: Of the weights, for the message.
        hub_id: ``ORG/NAME`` or ``ORG/NAME@REVISION``.
        cache_dir: In place of the Hub's own cache.
        advice: What to do where it does not answer.

    Raises:
        RuntimeError: If neither is so.
    """
    if cached_file(hub_id, cache_dir) is not None:
        return
    if constants.HF_HUB_OFFLINE:
        raise RuntimeError(
            f"{name}: its weights are on the Hub at {hub_id}, which HF_HUB_OFFLINE switches off ({advice})"
        )
    repo, _, revision = hub_id.partition("@")
    request = urllib.request.Request(hf_hub_url(repo, WEIGHTS_FILE, revision=revision or None), method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=SECONDS_TO_ANSWER).close()
    except urllib.error.HTTPError:
        pass  # it answers; what it says is for its own client to tell
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise RuntimeError(
            f"{name}: its weights are at {constants.ENDPOINT}/{hub_id}, which cannot be reached: {reason} ({advice})"
        ) from error


def check_hash(path: Path, sha256: str, advice: str) -> None:
    """Make sure that a file is the one that was listed.

    Raises:
        RuntimeError: If it is not, with what to do.
    """
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    if digest.hexdigest() != sha256:
        raise RuntimeError(f"{path}: is not the file that was published, its sha256 is another ({advice})")


def cached_file(hub_id: str, cache_dir: Optional[str] = None) -> Optional[Path]:
    """Return the weights file in the Hub's cache, or None."""
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
            raise RuntimeError(f"{cfg.file}: the weights of {name} are missing (install wavenet_zoo again)")
    elif cfg.hf_hub_id:
        check_reachable(name, cfg.hf_hub_id, kwargs.get("cache_dir"))


def _check_loaded(variant: str, cfg: Dict[str, Any], cache_dir: Optional[str]) -> None:
    """Hash what has just been read: against the manifest, or against the name that the Hub's cache gave it."""
    if cfg.get("state_dict") is not None or cfg.get("source") == "local-dir":
        return
    entry = read_manifest().get(f"{variant}.{cfg.get('tag')}", {})
    if cfg.get("file") and cfg.get("source") != "hf-hub":
        if cfg["file"] == entry.get("path"):
            check_hash(Path(cfg["file"]), entry["sha256"], "it was changed or damaged: install it again")
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
            listed = blob.name  # its sha256; what came through Xet lies elsewhere, under a hash of Xet's own
        if listed is not None:
            check_hash(path, listed, f"damaged on the way: remove {blob} and load it again")
