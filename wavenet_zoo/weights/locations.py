"""Weights by location: a run folder, a file, ``local-dir:DIR`` or ``hf-hub:ORG/NAME``."""

import stat
from pathlib import Path

from huggingface_hub import hf_hub_download
from timm.data import resolve_data_config
from timm.models import get_arch_pretrained_cfgs, is_model, split_model_name_tag

from wavenet_zoo.errors import WavezooError
from wavenet_zoo.models import WEIGHTS_FILE, check_reachable
from wavenet_zoo.runtime.files import expand
from wavenet_zoo.runtime.records import read_json
from wavenet_zoo.weights.files import read_weights_file
from wavenet_zoo.weights.metadata import WeightsMetadata, parse_metadata

__all__ = ["HUB", "is_location", "locate", "resolve_model", "timm_metadata"]

HUB, LOCAL = "hf-hub:", "local-dir:"  # timm's names of a model on the Hub and in a folder
CONFIG_FILE = "config.json"
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")


def resolve_model(model: str, weights: str | Path | None = None) -> tuple[str, str | Path | None]:
    """Return the name of a model and its weights, for a model that may be given by its weights alone.

    Args:
        model: Name of a timm model, or its weights: a run folder, a weights file, ``local-dir:DIR`` or
            ``hf-hub:ORG/NAME``.
        weights: A tag, a file or a folder, if ``model`` is a name.

    Returns:
        Name and weights, for :func:`~.loading.load_model`. A name is returned as it is.

    Raises:
        WavezooError: If the weights do not exist, or have no metadata that names their architecture.
    """
    if not is_location(model):
        return model, weights
    if weights is not None:
        raise WavezooError(f"{model}: has its own weights, so --weights {weights} cannot be used", "pass one of them")
    path = locate(model)
    metadata = read_weights_file(path).metadata or timm_metadata(path)
    if metadata is None:
        raise WavezooError(
            f"{path}: has no metadata that names its model", f"pass the model's name and --weights {path}"
        )
    return metadata.model, model


def is_location(model: str) -> bool:
    """Return whether a model is given by its weights: a run folder, a file, ``local-dir:DIR`` or ``hf-hub:ORG/NAME``.

    A model of timm has priority over a file or folder of the same name.
    """
    if model.startswith((HUB, LOCAL)):
        return True
    architecture, tag = split_model_name_tag(model)
    if is_model(architecture) and (not tag or model in get_arch_pretrained_cfgs(architecture)):
        return False
    return model.endswith(SUFFIXES) or (model != "" and _mode(expand(model)) is not None)


def locate(weights: str) -> Path:
    """Return the path of the weights file that a path, ``local-dir:DIR`` or ``hf-hub:ORG/NAME`` names.

    Raises:
        WavezooError: If it does not exist, or cannot be downloaded.
    """
    if weights.startswith(HUB):
        return _download(weights)
    path = expand(weights.removeprefix(LOCAL))
    mode = _mode(path)
    if mode is None:
        raise WavezooError(f"{path}: weights file not found")
    if not stat.S_ISDIR(mode):
        return path
    if _mode(path / WEIGHTS_FILE) is None:
        raise WavezooError(f"{path}: is a folder without {WEIGHTS_FILE}", "pass a run folder, or a weights file")
    return path / WEIGHTS_FILE


def _mode(path: Path) -> int | None:
    """Return the mode of a file or folder, or None if the path does not exist or cannot exist."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError):  # a name that is too long, or contains a null character
        return None


def _download(name: str) -> Path:
    """Return the weights file of ``hf-hub:ORG/NAME@REVISION``, downloaded with its configuration if necessary."""
    hub_id = name.removeprefix(HUB)
    repo, _, revision = hub_id.partition("@")
    try:
        check_reachable(name, hub_id, advice="check the name and the connection")
        hf_hub_download(repo, CONFIG_FILE, revision=revision or None)
        return Path(hf_hub_download(repo, WEIGHTS_FILE, revision=revision or None))
    except Exception as error:  # the Hub raises many types
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WavezooError(f"{name}: {reason}" if not reason.startswith(name) else reason) from error


def timm_metadata(path: Path) -> WeightsMetadata | None:
    """Return metadata from timm's ``config.json`` beside a weights file of another tool, or None without one.

    Raises:
        WavezooError: If it is invalid.
    """
    config_path = path.parent / CONFIG_FILE
    if path.name != WEIGHTS_FILE or not config_path.is_file():
        return None
    config = read_json(config_path)
    cfg = config.get("pretrained_cfg")
    if not isinstance(config.get("architecture"), str) or not isinstance(cfg, dict):
        return None
    try:
        preprocessing = resolve_data_config(pretrained_cfg=cfg)
    except Exception as error:  # any type, for values of another type
        raise WavezooError(f"{config_path}: invalid pretrained_cfg: {error!r}") from error
    values = {
        "model": config["architecture"],
        "model_kwargs": config.get("model_args") or {},
        "classes": cfg.get("label_names"),
        "preprocessing": preprocessing,
    }
    return parse_metadata(config_path, values, WeightsMetadata)
