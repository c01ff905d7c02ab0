"""What there is: models with their cost and weights, and one model's architecture by stage."""

import inspect
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from timm import list_models as timm_list_models
from timm.models import get_pretrained_cfg, model_entrypoint

from wavenet_zoo.complexity import Complexity, count
from wavenet_zoo.data.preprocessing import Preprocessing, preprocessing_of
from wavenet_zoo.errors import WavezooError, did_you_mean
from wavenet_zoo.models import WaveletNet, checkpoints_folder, read_manifest
from wavenet_zoo.runtime.progress import Progress
from wavenet_zoo.weights.loading import build_model, check_model_name, pretrained_tags

__all__ = ["ModelInfo", "ModelSummary", "Stage", "info", "list_models"]


@dataclass
class ModelSummary:
    """One line of :func:`list_models`.

    Attributes:
        model: Name of the model.
        params: Parameters.
        macs: Standard count, at the model's own input size.
        input_size: (C, H, W).
        weights: Tags under which weights exist, the default one first.
    """

    model: str
    params: int
    macs: int
    input_size: list[int]
    weights: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)


@dataclass
class Stage:
    """One row of an architecture, as in the paper's Table 4.

    Attributes:
        input: Shape of the input.
        operator: What it does.
        channels: Output channels.
        repeat: Number of units.
        stride: Of the first unit.
        expansion: Expansion t of the first unit; None where there is none.
        kappas: Depths in use of (first WConv, DFWT, last WConv), each as (smallest, largest) over the units; None
            where there is none.
        params: Parameters.
        macs: Standard count.
    """

    input: list[int]
    operator: str
    channels: int
    repeat: int
    stride: int
    expansion: float | None
    kappas: list[list[int] | None] | None
    params: int
    macs: int


@dataclass
class ModelInfo:
    """The result of :func:`info`.

    Attributes:
        model: Name of the model.
        description: First line of its documentation.
        complexity: Its counts.
        stages: Its architecture.
        preprocessing: How its pretrained configuration wants images.
        weights: For each tag, where the weights come from and what was measured.
    """

    model: str
    description: str
    complexity: Complexity
    stages: list[Stage]
    preprocessing: Preprocessing
    weights: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)


def list_models(pattern: str | None = None, *, progress: bool = False) -> list[ModelSummary]:
    """List models with their cost.

    Args:
        pattern: A name with wildcards, over all of timm's models; by default this project's own.
        progress: Show progress on stderr.

    Raises:
        WavezooError: If no model matches.
    """
    names = timm_list_models(pattern) if pattern else timm_list_models(module="waveletnet")
    if pattern and not names:
        hint = did_you_mean(pattern, timm_list_models(), "wildcards help: 'wavezoo list \"waveletnet*\"'")
        raise WavezooError(f"no model matches '{pattern}'", hint)
    summaries = []
    with Progress("counting", len(names), "models", enabled=progress and len(names) > 20) as bar:
        for name in names:
            cost = count(name)
            summaries.append(ModelSummary(name, cost.params, cost.macs, cost.input_size, pretrained_tags(name)))
            bar.advance(1)
    return summaries


def info(model: str, *, model_kwargs: Mapping[str, Any] | None = None) -> ModelInfo:
    """Describe one model: architecture by stage, preprocessing, weights.

    Args:
        model: Name of any timm model, with or without a tag.
        model_kwargs: Arguments for the model.

    Raises:
        WavezooError: If there is no such model.
    """
    architecture, tag = check_model_name(model)
    module = build_model(model, model_kwargs, device="meta")
    cost = count(model, depth=2, model_kwargs=model_kwargs)
    stages = _waveletnet_stages(module, cost) if isinstance(module, WaveletNet) else _other_stages(cost)
    cost.modules = []
    return ModelInfo(
        model=model,
        description=(inspect.getdoc(model_entrypoint(architecture)) or "").partition("\n")[0].strip(),
        complexity=cost,
        stages=stages,
        preprocessing=preprocessing_of(module),
        weights=[_describe_weights(architecture, name) for name in pretrained_tags(architecture) if tag in ("", name)],
    )


def _describe_weights(architecture: str, tag: str) -> dict[str, Any]:
    name = architecture if tag == "default" else f"{architecture}.{tag}"
    entry = read_manifest().get(name)
    if entry is not None:
        keys = ("sha256", "size", "data", "recipe", "results", "versions", "license")
        shipped = checkpoints_folder() is not None and Path(entry.get("path", "")).parent == checkpoints_folder()
        origin = "shipped with wavenet_zoo" if shipped else entry.get("path") or f"hf-hub:{entry['hub']}"
        return {"name": name, "origin": origin, **{key: entry[key] for key in keys}}
    cfg = get_pretrained_cfg(name)
    return {"name": name, "origin": f"hf-hub:{cfg.hf_hub_id}" if cfg.hf_hub_id else cfg.url or cfg.file}


def _waveletnet_stages(model: WaveletNet, cost: Complexity) -> list[Stage]:
    by_name = {module.name: module for module in cost.modules}
    shape = cost.input_size
    stages = []

    def add(paths: list[str], operator: str, **details: Any) -> None:
        nonlocal shape
        parts = [by_name[path] for path in paths]
        output = parts[-1].output_shape
        stages.append(
            Stage(
                input=shape,
                operator=operator,
                channels=output[0],
                repeat=details.get("repeat", 1),
                stride=details.get("stride", 1),
                expansion=details.get("expansion"),
                kappas=details.get("kappas"),
                params=sum(part.params for part in parts),
                macs=sum(part.macs for part in parts),
            )
        )
        shape = output

    add(["conv_stem", "bn1"], "conv 3x3", stride=model.conv_stem.stride[0])
    for i, stage in enumerate(model.blocks):
        units: list[Any] = list(stage.children())
        first = units[0]
        depths = [
            [unit.conv_pw.depth for unit in units if hasattr(unit.conv_pw, "depth")],
            [unit.dfwt.depth for unit in units],
            [unit.conv_pwl.depth for unit in units],
        ]
        inputs = first.conv_pw.in_channels if hasattr(first.conv_pw, "depth") else first.conv_dw.in_channels
        add(
            [f"blocks.{i}"],
            "unit",
            repeat=len(units),
            stride=first.stride,
            expansion=first.conv_dw.in_channels / inputs,
            kappas=[[min(d), max(d)] if d else None for d in depths],
        )
    if "conv_head" in by_name and by_name["conv_head"].params:
        add(["conv_head", "bn2"], "conv 1x1")
    add(["global_pool"], "average pool")
    add(["classifier"], "linear")
    return stages


def _other_stages(cost: Complexity) -> list[Stage]:
    stages = []
    shape = cost.input_size
    for module in cost.modules:
        if "." not in module.name:
            stages.append(
                Stage(shape, f"{module.name} ({module.kind})", module.output_shape[0], 1, 1, None, None,
                      module.params, module.macs)
            )  # fmt: skip
            shape = module.output_shape
    return stages
