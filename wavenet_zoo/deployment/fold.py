"""A network for inference: batch norms folded into convolutions, WaveletNet's units in one of their forms."""

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
    """Return a copy of a network that gives the same outputs up to rounding with fewer operations; inference only.

    Every batch norm that follows a convolution becomes part of it, in any timm model that torch.fx can trace; what it
    cannot trace stays as it is. Units of WaveletNet are folded with the DFWT in the form asked for.

    Args:
        model: A network in timm's form, with its weights.
        forms: One of :data:`UNIT_FORMS` for all units, or one for each unit by name; units not named are ``dense``.

    Raises:
        WavezooError: If there is no such form or unit.
    """
    names = units_of(model)
    chosen = dict.fromkeys(names, forms) if isinstance(forms, str) else {**dict.fromkeys(names, "dense"), **forms}
    for name, form in chosen.items():
        if name not in names:
            raise WavezooError(f"the model has no unit '{name}'", did_you_mean(name, names))
        if form not in UNIT_FORMS:
            raise WavezooError(f"no form '{form}'", did_you_mean(form, UNIT_FORMS, f"one of {', '.join(UNIT_FORMS)}"))
    folded = copy.deepcopy(model).eval()
    for name, form in chosen.items():
        _replace(folded, name, folded.get_submodule(name).fuse(form))  # type: ignore[operator]
    for conv_name, norm_name in _convolutions_before_norms(folded):
        conv, norm = folded.get_submodule(conv_name), folded.get_submodule(norm_name)
        _replace(folded, conv_name, fuse_conv_bn_eval(conv, norm))  # type: ignore[type-var, arg-type]
        _replace(folded, norm_name, getattr(norm, "act", nn.Identity()))  # timm's norm layers have their activation
    return folded


def units_of(model: nn.Module) -> list[str]:
    """Return the names of the units that have forms, in the order of the network."""
    return [name for name, module in model.named_modules() if isinstance(module, WaveletNetUnit)]


def forms_of(model: nn.Module) -> dict[str, str]:
    """Return the form that each unit of a folded network has, by name."""
    return {name: module.form for name, module in model.named_modules() if isinstance(module, FoldedUnit | HalvedUnit)}


class _LayerTracer(torch.fx.Tracer):
    """Takes convolutions, norms and folded units as they are, and sees what stands between them."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        layers = nn.Conv2d | _BatchNorm | FoldedUnit | HalvedUnit
        return isinstance(module, layers) or super().is_leaf_module(module, name)


def _convolutions_before_norms(model: nn.Module) -> list[tuple[str, str]]:
    """Return (convolution, batch norm) where the norm, used once, takes all that a convolution, used once, gives."""
    if not any(isinstance(module, _BatchNorm) for module in model.modules()):
        return []  # nor is it traced then: an engine behind an exported file may crash on a tracer's values
    try:
        graph = _LayerTracer().trace(model)
    except Exception:  # whatever a forward pass does to a tracer's values: then nothing is known of it
        return []
    calls = [node for node in graph.nodes if node.op == "call_module"]
    times = Counter(node.target for node in calls)
    pairs = []
    for node in calls:
        norm = model.get_submodule(node.target)
        before: Any = node.args[0] if node.args else None
        if not isinstance(norm, _BatchNorm) or norm.running_mean is None or getattr(before, "op", "") != "call_module":
            continue
        conv = model.get_submodule(before.target)
        plain = type(conv) in (nn.Conv2d, Conv2dSame)  # others may do something to their weights
        if plain and len(before.users) == 1 and times[before.target] == times[node.target] == 1:
            pairs.append((before.target, node.target))
    return pairs


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
