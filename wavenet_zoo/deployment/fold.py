"""Fold batch norms into convolutions, and WaveletNet's units into one of their inference forms."""

import copy
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch.fx
from timm.layers import Conv2dSame
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from wavenet_zoo.errors import WavezooError, did_you_mean
from wavenet_zoo.models import UNIT_FORMS, FoldedUnit, HalvedUnit, WaveletNetUnit

__all__ = ["UNIT_FORMS", "fold", "forms_of", "units_of"]


def fold(model: nn.Module, forms: str | Mapping[str, str] = "dense") -> Any:
    """Return a folded copy of a network for inference. Its outputs are equal up to rounding.

    Every batch norm that follows a convolution is folded into it, in any timm model that torch.fx can trace. In other
    models batch norms are kept. WaveletNet's units are replaced by their inference form.

    Args:
        model: A network with its weights. It is not changed.
        forms: One of :data:`UNIT_FORMS` for all units, or a form by name of the unit. Default of each unit: ``dense``.

    Raises:
        WavezooError: If a form or a unit does not exist.
    """
    names = units_of(model)
    chosen = dict.fromkeys(names, forms) if isinstance(forms, str) else {**dict.fromkeys(names, "dense"), **forms}
    for name, form in chosen.items():
        if name not in names:
            raise WavezooError(f"the model has no unit '{name}'", did_you_mean(name, names))
        if form not in UNIT_FORMS:
            raise WavezooError(f"unknown form '{form}'", did_you_mean(form, UNIT_FORMS, f"use {', '.join(UNIT_FORMS)}"))
    folded = copy.deepcopy(model).eval()
    for name, form in chosen.items():
        _replace(folded, name, folded.get_submodule(name).fuse(form))  # type: ignore[operator]
    for conv_name, norm_name in _convolutions_before_norms(folded):
        conv, norm = folded.get_submodule(conv_name), folded.get_submodule(norm_name)
        _replace(folded, conv_name, fuse_conv_bn_eval(conv, norm))  # type: ignore[type-var, arg-type]
        _replace(folded, norm_name, getattr(norm, "act", nn.Identity()))  # timm's norm layers contain their activation
    return folded


def units_of(model: nn.Module) -> list[str]:
    """Return the names of WaveletNet's units, in the order of the network."""
    return [name for name, module in model.named_modules() if isinstance(module, WaveletNetUnit)]


def forms_of(model: nn.Module) -> dict[str, str]:
    """Return the form of each folded unit of a network, by name."""
    return {name: module.form for name, module in model.named_modules() if isinstance(module, FoldedUnit | HalvedUnit)}


class _LayerTracer(torch.fx.Tracer):
    """Traces a network down to convolutions, normalizations and folded units."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        layers = nn.Conv2d | _BatchNorm | FoldedUnit | HalvedUnit
        return isinstance(module, layers) or super().is_leaf_module(module, name)


def _convolutions_before_norms(model: nn.Module) -> list[tuple[str, str]]:
    """Return pairs (convolution, batch norm), each called once, where only the norm uses the convolution's output."""
    if not any(isinstance(module, _BatchNorm) for module in model.modules()):
        return []  # not traced: the engine of an exported file may crash on a tracer's values
    try:
        graph = _LayerTracer().trace(model)
    except Exception:  # a forward pass may raise any type on a tracer's values
        return []
    calls = [node for node in graph.nodes if node.op == "call_module"]
    call_counts = Counter(node.target for node in calls)
    pairs = []
    for node in calls:
        norm = model.get_submodule(node.target)
        before: Any = node.args[0] if node.args else None
        if not isinstance(norm, _BatchNorm) or norm.running_mean is None or getattr(before, "op", "") != "call_module":
            continue
        conv = model.get_submodule(before.target)
        foldable = type(conv) in (nn.Conv2d, Conv2dSame)  # subclasses may transform their weights
        if foldable and len(before.users) == 1 and call_counts[before.target] == call_counts[node.target] == 1:
            pairs.append((before.target, node.target))
    return pairs


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
