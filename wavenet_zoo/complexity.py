"""Counts of a model: parameters, MACs, activations and the additions of DFWT, without weights or data."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import torch
from timm.data import resolve_model_data_config
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from wavenet_zoo.data.preprocessing import check_size
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.layers import DFWT
from wavenet_zoo.models import WaveletNet
from wavenet_zoo.runtime.results import Result
from wavenet_zoo.weights.loading import build_model, load_model
from wavenet_zoo.weights.locations import is_location, resolve_model

__all__ = ["PAPER_CONVENTION", "Complexity", "ModuleComplexity", "count"]

PAPER_CONVENTION = "convolutions without the classifier, depthwise convolutions at their input resolution"


@dataclass
class ModuleComplexity:
    """Counts of one module for one image, submodules included.

    Attributes:
        name: Name of the module in the model, ``blocks.0.0.conv_dw`` for example.
        kind: Class of the module.
        output_shape: Shape of the output without the batch dimension, (C, H, W) for a feature map.
        params: Number of parameters.
        macs: Multiply-accumulate operations of convolutions and matrix products.
        activations: Output elements of convolutions and matrix products.
        dfwt_adds: Additions and subtractions of DFWT.
    """

    name: str
    kind: str
    output_shape: list[int]
    params: int
    macs: int
    activations: int
    dfwt_adds: int


@dataclass
class Complexity(Result):
    """The result of :func:`count`: counts for one image.

    Attributes:
        model: Name of the model.
        input_size: Shape of the image, (C, H, W).
        params: Number of parameters.
        macs: Multiply-accumulate operations of convolutions and matrix products, at their output resolution.
        macs_paper_convention: MACs as the paper counts them (Table 1): convolutions without the classifier, depthwise
            convolutions at their input resolution. None for a model that is not a WaveletNet.
        dfwt_adds: Additions and subtractions of DFWT, which has no multiplications.
        activations: Output elements of convolutions and matrix products.
        modules: Counts of the modules that ``per_layer`` or ``depth`` selects, in the order of the forward pass.
    """

    model: str
    input_size: list[int]
    params: int
    macs: int
    macs_paper_convention: int | None
    dfwt_adds: int
    activations: int
    modules: list[ModuleComplexity] = field(default_factory=list)


def count(
    model: str | nn.Module,
    size: int | None = None,
    *,
    per_layer: bool = False,
    depth: int | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
) -> Complexity:
    """Count parameters, MACs, activations and the additions of DFWT for one image.

    The model runs once on the meta device, without weights or data. MACs are half of what ``torch.utils.flop_counter``
    counts at the dispatcher, so functional calls are included. It does not count additions; those of DFWT follow from
    its definition.

    Args:
        model: Name of a timm model; its weights, see :func:`wavenet_zoo.weights.locations.resolve_model`; or a module,
            which is copied and not modified.
        size: Side of the image in pixels. Default: the model's.
        per_layer: List every layer with its own counts, without those of its submodules: the list sums to the total.
        depth: List the modules up to this depth of nesting, submodules included. Overrides ``per_layer``.
        model_kwargs: Model arguments, ``{"kappas": (0, 5, 5)}`` for example.

    Raises:
        WavezooError: If the model does not exist, or does not support the size.
    """
    if size is not None:
        check_size(size)
    if isinstance(model, str) and is_location(model):
        name, weights = resolve_model(model)
        module = load_model(name, weights, model_kwargs)[0].to("meta").eval()
    elif isinstance(model, str):
        with torch.device("meta"):
            name, module = model, build_model(model, model_kwargs).eval()
    else:
        name, module = type(model).__name__, copy.deepcopy(model).to("meta", torch.float32).eval()
    channels, height, width = resolve_model_data_config(module)["input_size"]
    channels = (model_kwargs or {}).get("in_chans", channels)
    if size is not None:
        height = width = size
    macs, paper, activations = (FlopCounterMode(display=False, custom_mapping=m) for m in (None, _PAPER, _ACTIVATIONS))
    shapes: dict[str, list[int]] = {}
    adds: dict[str, int] = {}
    _record_outputs(module, shapes, adds)
    module.requires_grad_(False)  # the counter's gradient hooks fail where parameters are inputs of a module
    try:
        with torch.no_grad(), macs, paper, activations:
            module(torch.empty(1, channels, height, width, device="meta"))
    except Exception as error:  # whatever the layers raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WavezooError(
            f"{name} does not support images of {height} x {width} px: {reason}", "use another size"
        ) from error

    modules = [
        ModuleComplexity(
            name=path,
            kind=type(submodule).__name__,
            output_shape=shapes[path],
            params=_params(submodule),
            macs=_counted(macs, module, path) // 2,
            activations=_counted(activations, module, path),
            dfwt_adds=sum(n for p, n in adds.items() if _is_inside(p, path)),
        )
        for path, submodule in module.named_modules()
        if path in shapes
    ]
    if depth is not None:
        modules = [m for m in modules if m.name and m.name.count(".") < depth]
    else:
        modules = _layers(modules) if per_layer else []
    return Complexity(
        model=name,
        input_size=[channels, height, width],
        params=_params(module),
        macs=macs.get_total_flops() // 2,
        macs_paper_convention=paper.get_total_flops() if isinstance(module, WaveletNet) else None,
        dfwt_adds=sum(adds.values()),
        activations=activations.get_total_flops(),
        modules=modules,
    )


def _layers(modules: list[ModuleComplexity]) -> list[ModuleComplexity]:
    """Subtract the counts of the submodules from every module, and keep the modules with counts of their own."""
    layers = []
    for module in modules:
        inside = [m for m in modules if m is not module and _is_inside(m.name, module.name)]
        direct = [m for m in inside if not any(_is_inside(m.name, o.name) for o in inside if o is not m)]
        own = replace(
            module,
            name=module.name or "(model)",
            params=module.params - sum(m.params for m in direct),
            macs=module.macs - sum(m.macs for m in direct),
            activations=module.activations - sum(m.activations for m in direct),
            dfwt_adds=module.dfwt_adds - sum(m.dfwt_adds for m in direct),
        )
        if own.params or own.macs or own.activations or own.dfwt_adds:
            layers.append(own)
    return layers


def _is_inside(path: str, parent: str) -> bool:
    return not parent or path == parent or path.startswith(f"{parent}.")


def _params(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _counted(counter: FlopCounterMode, root: nn.Module, path: str) -> int:
    key = f"{type(root).__name__}.{path}" if path else "Global"
    return sum(counter.flop_counts[key].values()) if key in counter.flop_counts else 0


def _record_outputs(root: nn.Module, shapes: dict[str, list[int]], adds: dict[str, int]) -> None:
    """Register hooks that record output shapes in ``shapes`` and the additions of every DFWT in ``adds``."""

    def record(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor):
                shapes[path] = list(output.shape[1:])
                if isinstance(module, DFWT):
                    adds[path] = module.adds_per_pixel * prod(output.shape[2:])

        return hook

    for path, module in root.named_modules():
        module.register_forward_hook(record(path))


def _paper_convolution(
    x_shape: Any, w_shape: Any, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool,
    output_padding: Any, groups: int, out_shape: Any = None, **_: Any,
) -> int:  # fmt: skip
    depthwise = groups > 1 and groups == x_shape[1]
    return prod(w_shape) * prod((x_shape if depthwise else out_shape)[2:])


def _zero(*_: Any, **__: Any) -> int:
    return 0


def _outputs(*_: Any, out_shape: Any = None, **__: Any) -> int:
    return prod(out_shape)


_aten = torch.ops.aten
_PRODUCTS = (_aten.mm, _aten.addmm, _aten.bmm, _aten.baddbmm)
_PAPER = {_aten.convolution: _paper_convolution, **dict.fromkeys(_PRODUCTS, _zero)}
_ACTIVATIONS = {_aten.convolution: _outputs, **dict.fromkeys(_PRODUCTS, _outputs)}
