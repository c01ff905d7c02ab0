"""Models with their cost and weights, and the architecture of one model by stage."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from timm import list_models as timm_list_models
from timm.data import resolve_data_config
from timm.models import get_pretrained_cfg, model_entrypoint
from torch import nn

from wavenet_zoo.complexity import Complexity, ModuleComplexity, count
from wavenet_zoo.data.preprocessing import Preprocessing, preprocessing_of
from wavenet_zoo.errors import WavezooError, did_you_mean
from wavenet_zoo.models import WaveletNet
from wavenet_zoo.runtime.manifest import checkpoints_folder
from wavenet_zoo.runtime.progress import Progress
from wavenet_zoo.runtime.results import Result
from wavenet_zoo.weights.loading import Weights, build_model, check_model_name, load_model, pretrained_tags
from wavenet_zoo.weights.locations import is_location, resolve_model
from wavenet_zoo.weights.manifest import list_entries

__all__ = ["ModelInfo", "ModelSummary", "Stage", "info", "list_models"]


@dataclass
class ModelSummary(Result):
    """Cost of a model, as :func:`list_models` returns it.

    Attributes:
        model: Name of the model.
        params: Number of parameters.
        macs: Number of multiply-accumulates, at the model's input size.
        input_size: (C, H, W).
        weights: Tags of its pretrained weights, the default first.
    """

    model: str
    params: int
    macs: int
    input_size: list[int]
    weights: list[str]


@dataclass
class Stage:
    """One row of an architecture, as in Table 4 of the paper.

    Attributes:
        input: Shape of the input, (C, H, W).
        operator: Kind of layer.
        channels: Number of output channels.
        repeat: Number of units.
        stride: Stride of the first unit.
        expansion: Expansion t of the first unit; None for a layer without.
        kappas: Depths of (first WConv, DFWT, last WConv), each as (smallest, largest) over the units; None for a layer
            without.
        params: Number of parameters.
        macs: Number of multiply-accumulates.
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
class ModelInfo(Result):
    """Result of :func:`info`.

    Attributes:
        model: Name of the model.
        description: First line of its docstring.
        complexity: Its parameters, MACs and other counts.
        stages: Its architecture.
        preprocessing: Preprocessing of its pretrained configuration.
        weights: Origin of its pretrained weights, and what the manifest states about them.
    """

    model: str
    description: str
    complexity: Complexity
    stages: list[Stage]
    preprocessing: Preprocessing
    weights: list[dict[str, Any]]


def list_models(pattern: str | None = None, *, progress: bool = False) -> list[ModelSummary]:
    """List models with their cost.

    Args:
        pattern: Name of timm models, with wildcards. Default: all WaveletNets.
        progress: Show progress on stderr.

    Raises:
        WavezooError: If no model matches.
    """
    names = timm_list_models(pattern) if pattern else timm_list_models(module="waveletnet")
    if pattern and not names:
        hint = did_you_mean(pattern, timm_list_models(), "use wildcards, for example 'wavezoo list \"waveletnet*\"'")
        raise WavezooError(f"no model matches '{pattern}'", hint)
    summaries = []
    with Progress("counting", len(names), "models", enabled=progress and len(names) > 20) as bar:
        for name in names:
            cost = count(name)
            summaries.append(ModelSummary(name, cost.params, cost.macs, cost.input_size, pretrained_tags(name)))
            bar.advance(1)
    return summaries


def info(model: str, *, model_kwargs: Mapping[str, Any] | None = None) -> ModelInfo:
    """Describe one model: architecture by stage, preprocessing and pretrained weights.

    Args:
        model: Name of any timm model, with or without a tag; or its weights, see
            :func:`wavenet_zoo.weights.locations.resolve_model`.
        model_kwargs: Model arguments.

    Raises:
        WavezooError: If the model does not exist, or refuses an argument.
    """
    if is_location(model):
        model, location = resolve_model(model)
        architecture, _ = check_model_name(model)
        module, known = load_model(model, location, model_kwargs)
        cost = replace(count(module, depth=2), model=model)
        described = [_describe_file(known, module)]
    else:
        architecture, tag = check_model_name(model)
        module = build_model(model, model_kwargs, device="meta")
        cost = count(model, depth=2, model_kwargs=model_kwargs)
        tags = [name for name in pretrained_tags(architecture) if tag in ("", name)]
        described = [_describe_weights(architecture, name) for name in tags]
    stages = _waveletnet_stages(module, cost) if isinstance(module, WaveletNet) else _module_stages(cost)
    cost.modules = []
    return ModelInfo(
        model=model,
        description=(inspect.getdoc(model_entrypoint(architecture)) or "").partition("\n")[0].strip(),
        complexity=cost,
        stages=stages,
        preprocessing=preprocessing_of(module),
        weights=described,
    )


def _describe_file(weights: Weights, module: nn.Module) -> dict[str, Any]:
    """Return name, metadata and hash of weights that are not listed."""
    return {
        "name": weights.name,
        "origin": weights.describe().removeprefix(f"{weights.name}, "),
        "sha256": weights.sha256,
        "data": weights.metadata.data,
        "preprocessing": preprocessing_of(module).to_dict(),
    }


def _describe_weights(architecture: str, tag: str) -> dict[str, Any]:
    """Return name and origin of weights, and the facts that the manifest states."""
    name = architecture if tag == "default" else f"{architecture}.{tag}"
    entry = list_entries().get(name)
    if entry is None:
        cfg = get_pretrained_cfg(name)
        origin = f"hf-hub:{cfg.hf_hub_id}" if cfg.hf_hub_id else cfg.url or cfg.file
        preprocessing = Preprocessing.from_dict(resolve_data_config(pretrained_cfg=cfg.to_dict()), name)
        return {"name": name, "origin": origin, "preprocessing": preprocessing.to_dict()}
    is_shipped = entry.path is not None and Path(entry.path).parent == checkpoints_folder()
    return {
        "name": name,
        "origin": "shipped with wavenet_zoo" if is_shipped else entry.path or f"hf-hub:{entry.hub}",
        "sha256": entry.sha256,
        "size": entry.size,
        "data": entry.data,
        "preprocessing": entry.preprocessing.to_dict() if entry.preprocessing else None,
        "recipe": entry.recipe,
        "results": entry.results,
        "versions": entry.versions,
        "license": entry.license,
    }


def _waveletnet_stages(model: WaveletNet, cost: Complexity) -> list[Stage]:
    """Return one row for the stem, each stage of units, and each layer of the head."""
    modules = {module.name: module for module in cost.modules}
    stages: list[Stage] = []
    shape = cost.input_size

    def add(operator: str, *names: str, **details: Any) -> None:
        nonlocal shape
        stages.append(_stage(shape, operator, [modules[name] for name in names], **details))
        shape = modules[names[-1]].output_shape

    add("conv 3x3", "conv_stem", "bn1", stride=model.conv_stem.stride[0])
    for i, stage in enumerate(model.blocks):
        add("unit", f"blocks.{i}", **_unit_details(list(stage.children())))
    if "conv_head" in modules and modules["conv_head"].params:
        add("conv 1x1", "conv_head", "bn2")
    add("average pool", "global_pool")
    add("linear", "classifier")
    return stages


def _unit_details(units: list[Any]) -> dict[str, Any]:
    """Return number, stride, expansion and depths of the units of a stage."""
    first = units[0]
    depths = [
        [unit.conv_pw.depth for unit in units if hasattr(unit.conv_pw, "depth")],
        [unit.dfwt.depth for unit in units],
        [unit.conv_pwl.depth for unit in units],
    ]
    inputs = first.conv_pw.in_channels if hasattr(first.conv_pw, "depth") else first.conv_dw.in_channels
    return {
        "repeat": len(units),
        "stride": first.stride,
        "expansion": first.conv_dw.in_channels / inputs,
        "kappas": [[min(d), max(d)] if d else None for d in depths],
    }


def _module_stages(cost: Complexity) -> list[Stage]:
    """Return one row for each child of a model that is not a WaveletNet."""
    stages: list[Stage] = []
    shape = cost.input_size
    for module in cost.modules:
        if "." not in module.name:
            stages.append(_stage(shape, f"{module.name} ({module.kind})", [module]))
            shape = module.output_shape
    return stages


def _stage(
    input_shape: list[int],
    operator: str,
    modules: list[ModuleComplexity],
    *,
    repeat: int = 1,
    stride: int = 1,
    expansion: float | None = None,
    kappas: list[list[int] | None] | None = None,
) -> Stage:
    return Stage(
        input=input_shape,
        operator=operator,
        channels=modules[-1].output_shape[0],
        repeat=repeat,
        stride=stride,
        expansion=expansion,
        kappas=kappas,
        params=sum(module.params for module in modules),
        macs=sum(module.macs for module in modules),
    )
