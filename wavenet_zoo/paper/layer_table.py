"""Table 1: parameters and MACs of the layers, by the paper's formulas and counted."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from wavenet_zoo.layers import WConv2d
from wavenet_zoo.paper.table import Column, PaperTable

__all__ = ["GROUPS", "LAYERS", "SIZE", "Layer", "count_layer", "layer_table"]

CHANNELS = (16, 64, 256, 1024)
GROUPS = 4
SIZE = 14  # N, the side of the feature map

_UPPER_BOUND = (
    "(κ + 1)/2^κ is an upper bound; Algorithm 1 and Claim 6.2 give (κ + 3)/2^(κ + 2), which leads to the printed 2.72M "
    "and 1.10M"
)


@dataclass(frozen=True)
class Layer:
    """A row of Table 1, with D input and D output channels.

    Attributes:
        title: Name in the paper.
        macs_formula: Formula for MACs, as printed.
        params_formula: Formula for parameters, as printed.
        params: Value of the formula for parameters at D.
        build: Builds the layer for D.
        remark: Why formula and layer differ, or None.
    """

    title: str
    macs_formula: str
    params_formula: str
    params: Callable[[int], float]
    build: Callable[[int], nn.Module]
    remark: str | None = None


def _full_depth(D: int) -> int:
    return int(math.log2(D))


LAYERS = (
    Layer("3x3 DWConv", "9 N² D'", "9 D", lambda D: 9 * D, lambda D: nn.Conv2d(D, D, 3, 1, 1, groups=D, bias=False)),
    Layer("1x1 Conv", "N² D D'", "D D'", lambda D: D * D, lambda D: nn.Conv2d(D, D, 1, bias=False)),
    Layer(
        f"1x1 GConv (g = {GROUPS})",
        "N² D D'/g",
        "D D'/g",
        lambda D: D * D / GROUPS,
        lambda D: nn.Conv2d(D, D, 1, groups=GROUPS, bias=False),
    ),
    Layer(
        "1x1 WConv (κ = 3)",
        "N² D D' (κ + 1)/2^κ",
        "D D' (κ + 1)/2^κ",
        lambda D: D * D * 4 / 8,
        lambda D: WConv2d(D, D, kappa=3),
        _UPPER_BOUND,
    ),
    Layer(
        "1x1 WConv (max κ)",
        "N² D log D'",
        "D log D'",
        lambda D: D * math.log2(D),
        lambda D: WConv2d(D, D, kappa=_full_depth(D)),
        "Claim 6.2 gives D + (D/4)(log D - 1), the count of the layer",
    ),
)


def count_layer(layer: Layer, channels: int) -> tuple[int, int]:
    """Return parameters and MACs of a layer with equal input and output channels, on N x N pixels."""
    with torch.device("meta"):
        module = layer.build(channels).requires_grad_(False)
        counter = FlopCounterMode(display=False)
        with counter:
            module(torch.empty(1, channels, SIZE, SIZE))
    return sum(parameter.numel() for parameter in module.parameters()), counter.get_total_flops() // 2


def layer_table() -> PaperTable:
    """Build Table 1."""
    rows = []
    for layer in LAYERS:
        for channels in CHANNELS:
            params, macs = count_layer(layer, channels)
            paper = round(layer.params(channels))
            rows.append(
                {
                    "layer": layer.title,
                    "params_formula": layer.params_formula,
                    "macs_formula": layer.macs_formula,
                    "channels": channels,
                    "params_paper": paper,
                    "params": params,
                    "macs_paper": paper
                    * SIZE**2,  # in every row the formula for MACs is N² times the one for parameters
                    "macs": macs,
                    "difference": 100 * (params / paper - 1),
                    "remark": layer.remark,
                }
            )
    columns = [
        Column("layer", "layer"),
        Column("macs_formula", "MACs, paper's formula"),
        Column("params_formula", "params, paper's formula"),
        Column("channels", "D = D'", "count"),
        Column("params_paper", "params, formula at D", "count"),
        Column("params", "params, counted", "count"),
        Column("macs_paper", "MACs, formula at D", "count"),
        Column("macs", "MACs, counted", "count"),
        Column("difference", "difference", "percent"),
    ]
    notes = [f"MACs at N = {SIZE}; logarithms to base 2. The paper's table does not state g; {GROUPS} divides every D."]
    return PaperTable(1, "Complexity of layers", columns, rows, notes)
