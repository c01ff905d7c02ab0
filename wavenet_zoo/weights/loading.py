"""Load a model with weights: from a tag, a file, or at random."""

import inspect
import json
import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from huggingface_hub import hf_hub_download
from timm.models import (
    get_arch_pretrained_cfgs,
    get_pretrained_cfg,
    is_model,
    list_models,
    split_model_name_tag,
)

from wavenet_zoo.data.classes import imagenet_classes
from wavenet_zoo.data.image_hashes import ImageHashes
from wavenet_zoo.errors import WavezooError, did_you_mean
from wavenet_zoo.models import WEIGHTS_FILE, check_hash, check_reachable, read_manifest
from wavenet_zoo.recipes import check_model_kwargs
from wavenet_zoo.runtime.seeds import preserve_rng_state
from wavenet_zoo.weights.files import read_weights_file
from wavenet_zoo.weights.images import find_image_hashes
from wavenet_zoo.weights.locations import HUB, is_location, locate, timm_metadata
from wavenet_zoo.weights.manifest import ManifestEntry, find_entry
from wavenet_zoo.weights.metadata import WeightsMetadata

__all__ = [
    "Weights",
    "build_model",
    "check_model_name",
    "fetch_weights",
    "load_model",
    "pretrained_tags",
]

RANDOM_SEED = 0


@dataclass
class Weights:
    """Weights of a model, as every result records them.

    Attributes:
        name: ``architecture.tag``, the path of a file, ``hf-hub:ORG/NAME``, or ``random``.
        kind: ``tag``, ``file``, ``random``, or ``module`` for a module that was passed with its weights.
        metadata: Their metadata.
        sha256: Hash of their file; None without one.
        results: Results that the manifest states, by data set and split.
        images: Hashes of the images that they were trained and validated on; None if unknown.
    """

    name: str
    kind: Literal["tag", "file", "random", "module"]
    metadata: WeightsMetadata
    sha256: str | None = None
    results: dict[str, Any] = field(default_factory=dict)
    images: ImageHashes | None = None

    def describe(self) -> str:
        """Return a one-line description."""
        if self.kind == "random":
            return f"none: random weights (seed {RANDOM_SEED}), so the accuracy is that of chance"
        variant = ", EMA" if self.metadata.variant == "ema" else ""
        digest = f", sha256 {self.sha256[:12]}" if self.sha256 else ""
        trained = f", trained on {self.metadata.data}" if self.metadata.data else ""
        return f"{self.name}{variant}{trained}{digest}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, with the metadata's keys on the same level."""
        metadata = self.metadata.model_dump(mode="json")
        first = {"name": self.name, "kind": self.kind, "sha256": self.sha256}
        return {**first, **{key: metadata[key] for key in _RECORDED}, "results": self.results}


_RECORDED = (
    "variant",
    "model_kwargs",
    "data",
    "data_fingerprint",
    "validation_fingerprint",
    "classes",
    "preprocessing",
    "recipe",
    "recipe_sha256",
    "git",
)


def check_model_name(model: str) -> tuple[str, str]:
    """Split ``architecture.tag`` and check both.

    Raises:
        WavezooError: If the model or the tag does not exist, with the closest names.
    """
    architecture, tag = split_model_name_tag(model)
    if not is_model(architecture):
        ours = list_models("waveletnet_*")
        hint = did_you_mean(model, ours) or did_you_mean(model, list_models(), "see 'wavezoo list'")
        raise WavezooError(f"unknown model '{model}'", hint)
    tags = [name for name in get_arch_pretrained_cfgs(architecture) if name != architecture]
    if tag and f"{architecture}.{tag}" not in tags:
        raise _unknown_tag(architecture, tag, tags)
    return architecture, tag


def pretrained_tags(architecture: str) -> list[str]:
    """Return the tags of the weights of an architecture, the default first."""
    cfgs = get_arch_pretrained_cfgs(architecture)
    tags = [name.partition(".")[2] for name, cfg in cfgs.items() if cfg.has_weights]
    return [tag for tag in tags if tag] or (["default"] if tags else [])


def build_model(model: str, model_kwargs: Mapping[str, Any] | None = None, **kwargs: Any) -> Any:
    """Create a timm model: a module with ``num_classes`` and ``pretrained_cfg``.

    Args:
        model: Name, with or without a tag.
        model_kwargs: Model arguments of the user.
        **kwargs: Arguments of ``timm.create_model``.

    Raises:
        WavezooError: If the name is unknown or the model refuses an argument.
    """
    check_model_name(model)
    check_model_kwargs(model_kwargs or {}, model, rgb=False)
    try:
        return timm.create_model(model, **{**kwargs, **(model_kwargs or {})})
    except ImportError as error:  # the message names the missing extra
        raise WavezooError(str(error)) from error
    except Exception as error:  # a constructor raises any type for an argument of another type
        if not model_kwargs:
            raise
        if kwargs.get("pretrained"):
            build_model(model, model_kwargs, device="meta")
            raise  # it can be built: the weights are the cause
        arguments = ", ".join(f"{key}={reprlib.repr(value)}" for key, value in model_kwargs.items())
        valid = inspect.signature(type(timm.create_model(model, device="meta"))).parameters
        unknown = [key for key in model_kwargs if key not in valid]
        hint = did_you_mean(unknown[0], valid) if unknown else ""
        reason = str(error) if isinstance(error, (TypeError, ValueError)) else f"{type(error).__name__}: {error}"
        raise WavezooError(f"{model} cannot be built with {arguments}: {reason}", hint) from error


def load_model(
    model: str,
    weights: str | Path | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    variant: Literal["raw", "ema"] | None = None,
) -> tuple[Any, Weights]:
    """Build a model with its weights.

    Args:
        model: Name of any timm model, with or without a tag.
        weights: A tag, a file (safetensors or a training checkpoint), a run folder, ``local-dir:DIR`` or
            ``hf-hub:ORG/NAME``, or ``none`` for random weights. Default: the model's pretrained weights.
        model_kwargs: Model arguments. Those in the metadata of the weights are applied first.
        variant: ``raw`` or ``ema`` weights of a training checkpoint. Default: ``ema`` if the checkpoint has both.

    Returns:
        The model, and its weights' description.

    Raises:
        WavezooError: If the weights do not exist, are damaged or unsafe, or belong to another architecture.
    """
    architecture, tag = check_model_name(model)
    check_model_kwargs(model_kwargs or {}, model)
    if weights is not None and str(weights) == "none":
        return _random_model(model, model_kwargs)
    if weights is None or _is_tag(architecture, str(weights)):
        if weights is not None:
            tag = str(weights).removeprefix(f"{architecture}.")
        built, known = _pretrained_model(architecture, tag, model_kwargs)
    else:
        if not is_location(str(weights)) and Path(weights).name == str(weights) and Path(weights).suffix == "":
            raise _unknown_tag(architecture, str(weights), pretrained_tags(architecture))
        built, known = _model_from_file(architecture, locate(str(weights)), model_kwargs, variant)
        if str(weights).startswith(HUB):
            known = replace(known, name=str(weights))
    in_weights = built.pretrained_cfg["num_classes"]
    if built.num_classes != in_weights:  # timm would silently initialize the classifier at random
        raise WavezooError(
            f"{known.name}: num_classes={built.num_classes}, but the weights have {in_weights} classes",
            "remove num_classes, or train a classifier for these classes",
        )
    classes = known.metadata.classes
    if classes is not None and len(classes) != built.num_classes:
        raise WavezooError(
            f"{known.name}: invalid metadata: classes: {len(classes)} class names for {built.num_classes} outputs",
            "download or convert the file again",
        )
    return built, known


def _random_model(model: str, model_kwargs: Mapping[str, Any] | None) -> tuple[Any, Weights]:
    with preserve_rng_state():
        torch.manual_seed(RANDOM_SEED)
        built = build_model(model, model_kwargs)
    metadata = WeightsMetadata(model=model.partition(".")[0], model_kwargs=_as_json(model_kwargs or {}))
    return built, Weights("random", "random", metadata)


def _pretrained_model(architecture: str, tag: str, model_kwargs: Mapping[str, Any] | None) -> tuple[Any, Weights]:
    tags = pretrained_tags(architecture)
    if not tags:
        raise WavezooError(
            f"no pretrained weights exist for {architecture}",
            "pass --weights FILE, or --weights none for random weights",
        )
    tag = tag or tags[0]
    name = architecture if tag == "default" else f"{architecture}.{tag}"
    if name in read_manifest():
        entry = find_entry(name)
        built, weights = _model_from_file(architecture, fetch_weights(entry), model_kwargs)
        return built, replace(weights, name=name, kind="tag", results=entry.results)
    hub_id = get_pretrained_cfg(name).hf_hub_id
    if hub_id:
        try:
            advice = "check the connection, or pass --weights FILE"
            check_reachable(name, f"{hub_id}{architecture}.{tag}" if hub_id == "timm/" else hub_id, advice=advice)
        except RuntimeError as error:
            raise WavezooError(str(error)) from error
    try:
        built = build_model(name, model_kwargs, pretrained=True)
    except WavezooError:
        raise
    except Exception as error:  # timm and the Hub raise many types when a download fails
        if model_kwargs and "loading state_dict" in str(error):
            arguments = ", ".join(f"{key}={value!r}" for key, value in model_kwargs.items())
            raise WavezooError(
                f"{name}: its weights do not match {arguments}", "remove it, or use --weights none"
            ) from error
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WavezooError(
            f"{name}: the weights cannot be downloaded: {reason}", "check the connection, or pass --weights FILE"
        ) from error
    classes = imagenet_classes(built.num_classes)
    metadata = WeightsMetadata(model=architecture, model_kwargs=_as_json(model_kwargs or {}), classes=classes)
    return built, Weights(name, "tag", metadata)


def fetch_weights(entry: ManifestEntry, cache_dir: str | None = None) -> Path:
    """Return the weights file of a manifest entry, downloaded from the Hub if necessary, after checking its hash.

    Raises:
        WavezooError: If the file is missing, cannot be downloaded, or its hash does not match.
    """
    try:
        if entry.path is not None:
            path = Path(entry.path)
            if not path.is_file():
                raise WavezooError(f"{path}: the weights of {entry.name} are missing", "reinstall wavenet_zoo")
            check_hash(path, entry.sha256, "changed or damaged after installation: reinstall wavenet_zoo")
            return path
        check_reachable(entry.name, entry.source, cache_dir)
        repo, _, revision = entry.source.partition("@")
        path = Path(hf_hub_download(repo, WEIGHTS_FILE, revision=revision or None, cache_dir=cache_dir))
        check_hash(path, entry.sha256, f"damaged download: remove {path.resolve()} and try again")
    except WavezooError:
        raise
    except Exception as error:  # the Hub raises many types
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WavezooError(f"{entry.name}: {reason}") from error
    return path


def _model_from_file(
    architecture: str, path: Path, model_kwargs: Mapping[str, Any] | None, variant: str | None = None
) -> tuple[Any, Weights]:
    file = read_weights_file(path, variant)
    if variant is not None and file.variant != variant:
        raise WavezooError(f"{path}: contains no {'moving average' if variant == 'ema' else 'raw weights'}")
    metadata = file.metadata or timm_metadata(path) or WeightsMetadata(model=architecture)
    if metadata.model != architecture:
        raise WavezooError(f"{path}: weights of {metadata.model}, not of {architecture}", f"use {metadata.model}")
    kwargs = {**metadata.model_kwargs, **(model_kwargs or {})}
    built = _build_with(architecture, path, file.tensors, kwargs)
    if metadata.preprocessing is not None:
        built.pretrained_cfg.update(asdict(metadata.preprocessing))
    metadata = metadata.model_copy(update={"model_kwargs": _as_json(kwargs), "variant": file.variant})
    return built, Weights(str(path), "file", metadata, sha256=file.sha256, images=find_image_hashes(path, metadata))


def _build_with(architecture: str, path: Path, state_dict: dict[str, torch.Tensor], kwargs: Mapping[str, Any]) -> Any:
    overlay: dict[str, Any] = {"state_dict": state_dict}
    classifier = get_pretrained_cfg(architecture).classifier
    head = state_dict.get(f"{classifier}.weight") if isinstance(classifier, str) else None
    if head is not None and head.ndim:
        overlay["num_classes"] = head.shape[0]
    try:
        built = build_model(architecture, kwargs, pretrained=True, pretrained_cfg_overlay=overlay)
    except WavezooError:
        raise
    except Exception as error:  # timm's filters raise any type for unexpected tensors
        reference = build_model(architecture, kwargs, **{k: v for k, v in overlay.items() if k == "num_classes"})
        difference = _first_differences(reference.state_dict(), state_dict)
        raise WavezooError(f"{path}: not weights of {architecture}: {difference or error}") from error
    built.pretrained_cfg.pop("state_dict", None)
    for key, value in built.state_dict().items():
        if value.is_floating_point() and key in state_dict and not state_dict[key].is_floating_point():
            kind = str(state_dict[key].dtype).removeprefix("torch.")
            raise WavezooError(
                f"{path}: tensor {key} is of type {kind}, but the model has floats", "save it as float32"
            )
    return built


def _as_json(model_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return model arguments as JSON stores them: tuples as lists, objects by their representation."""
    values: dict[str, Any] = json.loads(json.dumps(dict(model_kwargs), default=repr))
    return values


def _first_differences(model: Mapping[str, torch.Tensor], file: Mapping[str, torch.Tensor]) -> str:
    shapes = [
        f"{key} has shape {tuple(file[key].shape)} in the file and {tuple(value.shape)} in the model"
        for key, value in model.items()
        if key in file and file[key].shape != value.shape
    ]
    missing = [f"{key} is missing" for key in model if key not in file]
    unexpected = [f"{key} is not in the model" for key in file if key not in model]
    differences = shapes[:2] + missing[:1] + unexpected[:1]
    total = len(shapes) + len(missing) + len(unexpected)
    return "; ".join(differences) + (f" ({total} tensors differ)" if total > len(differences) else "")


def _is_tag(architecture: str, weights: str) -> bool:
    return weights.removeprefix(f"{architecture}.") in pretrained_tags(architecture)


def _unknown_tag(architecture: str, tag: str, tags: list[str]) -> WavezooError:
    names = [name.removeprefix(f"{architecture}.") for name in tags]
    hint = did_you_mean(
        tag, names, f"its tags: {', '.join(names)}" if names else f"no weights exist for {architecture}"
    )
    return WavezooError(f"{architecture} has no weights '{tag}'", hint)
