"""Connectivity of a WaveletNet's units: which outputs depend on which inputs, by definition and by gradient."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from wavenet_zoo.errors import INTERNAL_FAILURE, WavezooError
from wavenet_zoo.layers import WConv2d
from wavenet_zoo.layers import connectivity as layer_connectivity
from wavenet_zoo.models import WaveletNet, WaveletNetUnit
from wavenet_zoo.runtime.results import NOT_IN_JSON, Result
from wavenet_zoo.weights.loading import load_model

__all__ = ["Adjacency", "Connectivity", "UnitConnectivity", "adjacency_by_gradient", "connectivity"]

PROBES = 3  # random inputs, as ReLU6 can zero the gradient of a connected pair for one of them
PROBE_SIZE = 4


@dataclass
class Adjacency:
    """An adjacency matrix A and its counts.

    Attributes:
        outputs: Rows of A.
        inputs: Columns of A.
        connected: Number of nonzero entries.
        share: ``connected / (outputs * inputs)``.
        full: Whether every output depends on every input.
        claim: Number of nonzero entries by the paper's formula; None without a formula. For WConv it is Claim 6.2 in
            its general form, ``D D' (k + 3) / 2^(k + 2)``; for DFWT one entry per column and band, ``D (k + 1)``.
        matrix: A, integers 0 and 1, (outputs, inputs).
    """

    outputs: int
    inputs: int
    connected: int
    share: float
    full: bool
    claim: int | None
    matrix: torch.Tensor = field(repr=False, metadata=NOT_IN_JSON)

    @classmethod
    def of(cls, matrix: torch.Tensor, claim: int | None = None) -> "Adjacency":
        """Count the entries of a matrix of 0 and 1."""
        outputs, inputs = matrix.shape
        connected = int(matrix.sum())
        pairs = outputs * inputs
        return cls(outputs, inputs, connected, connected / pairs, connected == pairs, claim, matrix)


@dataclass
class UnitConnectivity:
    """The adjacencies of one unit.

    Attributes:
        unit: Path of the unit in the model.
        depths: Depths of the first WConv (None at expansion 1), DFWT and the last WConv.
        shortcut: Whether the unit adds its input to its output.
        wconv: The last WConv.
        dfwt: The DFWT.
        projection: The last WConv after DFWT, from the expanded channels to the output.
        whole: The unit from input to output, shortcut included.
    """

    unit: str
    depths: tuple[int | None, int, int]
    shortcut: bool
    wconv: Adjacency
    dfwt: Adjacency
    projection: Adjacency
    whole: Adjacency


@dataclass
class Connectivity(Result):
    """Result of :func:`connectivity`.

    Attributes:
        model: Name of the model.
        model_kwargs: Model arguments.
        units: One entry per unit, in order.
        findings: Conclusions about the paper's claim, one sentence each.
    """

    model: str
    model_kwargs: dict[str, Any]
    units: list[UnitConnectivity]
    findings: list[str]


def connectivity(model: str, *, model_kwargs: Mapping[str, Any] | None = None) -> Connectivity:
    """Compute which channels are connected in every unit of a WaveletNet.

    Every matrix is computed twice, and both results must be equal: from the definition of the layers, multiplied along
    the unit, and from the gradient of a unit with random weights, which does not depend on that definition.

    Args:
        model: Name of a WaveletNet.
        model_kwargs: Model arguments, for example ``{"use_dfwt": False}``.

    Raises:
        WavezooError: If the model is not a WaveletNet, or definition and gradient disagree.

    Source: paper, section 3.1, Definition 6.1, Claim 6.2, Theorem 6.3.
    """
    module, _ = load_model(model, "none", model_kwargs)
    if not isinstance(module, WaveletNet):
        raise WavezooError(f"{model} is not a WaveletNet", "see 'wavezoo list' for the WaveletNets")
    units: list[UnitConnectivity] = []
    computed: dict[str, UnitConnectivity] = {}  # by structure: units that differ only in their weights are equal
    for path, unit in module.named_modules():
        if not isinstance(unit, WaveletNetUnit):
            continue
        structure = f"{unit!r} {unit.has_skip}"
        if structure not in computed:
            computed[structure] = _compute_unit(path, unit)
        units.append(replace(computed[structure], unit=path))
    return Connectivity(model, dict(model_kwargs or {}), units, _findings(units))


def adjacency_by_gradient(module: nn.Module, channels: int) -> torch.Tensor:
    """Return which outputs of a module have a nonzero gradient to which inputs, (C', C) of 0 and 1.

    Args:
        module: Maps (B, C, H, W) to (B, C', H', W'). It is copied, and the copy evaluated in eval mode.
        channels: C.
    """
    module = copy.deepcopy(module).eval()
    generator = torch.Generator().manual_seed(0)
    connected = torch.zeros(1, 1, dtype=torch.bool)
    for _ in range(PROBES):
        x = torch.randn(1, channels, PROBE_SIZE, PROBE_SIZE, generator=generator)
        x = 0.1 * x  # small, so that ReLU6 does not saturate
        with torch.no_grad():
            outputs = module(x).shape[1]
        copies = x.repeat(outputs, 1, 1, 1).requires_grad_()  # copy i receives the gradient of output i
        y = module(copies).diagonal().sum()
        (gradient,) = torch.autograd.grad(y, copies)
        connected = connected | gradient.ne(0).flatten(2).any(-1)
    return connected.long()


def _compute_unit(path: str, unit: WaveletNetUnit) -> UnitConnectivity:
    wconv, dfwt = layer_connectivity(unit.conv_pwl), layer_connectivity(unit.dfwt)
    projection = (wconv @ dfwt).ne(0).long()
    expansion = unit.conv_pw if isinstance(unit.conv_pw, WConv2d) else None
    whole = projection @ layer_connectivity(expansion) if expansion else projection  # depthwise: the identity
    if unit.has_skip:
        whole = whole + torch.eye(len(whole)).long()
    whole = whole.ne(0).long()

    checks = {
        "WConv": (wconv, unit.conv_pwl),
        "DFWT": (dfwt, unit.dfwt),
        "WConv after DFWT": (projection, nn.Sequential(unit.dfwt, unit.conv_pwl)),
        "unit": (whole, unit),
    }
    for name, (definition, module) in checks.items():
        if not torch.equal(definition, adjacency_by_gradient(module, definition.shape[1])):
            raise WavezooError(
                f"{path}: the adjacency of the {name} by definition differs from that by gradient",
                exit_code=INTERNAL_FAILURE,
            )
    depth, channels = unit.conv_pwl.depth, unit.conv_pwl.in_channels
    return UnitConnectivity(
        unit=path,
        depths=(expansion.depth if expansion else None, unit.dfwt.depth, depth),
        shortcut=unit.has_skip,
        wconv=Adjacency.of(wconv, channels * unit.conv_pwl.out_channels * (depth + 3) // 2 ** (depth + 2)),
        dfwt=Adjacency.of(dfwt, channels * (unit.dfwt.depth + 1)),
        projection=Adjacency.of(projection),
        whole=Adjacency.of(whole),
    )


def _findings(units: list[UnitConnectivity]) -> list[str]:
    total = len(units)
    projections = sum(unit.projection.full for unit in units)
    wholes = sum(unit.whole.full for unit in units)
    findings = [
        f"From the expanded channels to the output (WConv after DFWT), {projections} of {total} units are fully "
        "connected.",
        f"From input to output, {wholes} of {total} units are fully connected.",
    ]
    dense_first = [unit for unit in units if unit.depths[0] == 0]
    if any(unit.whole.full and not unit.projection.full for unit in dense_first):
        findings.append(
            "At κ1 = 0 the first 1x1 convolution is dense and by itself connects every input to every output, with or "
            "without DFWT. DFWT restores the connection of every expanded channel to every output."
        )
    elif dense_first:
        findings.append(
            "At κ1 = 0 the first 1x1 convolution is dense, so these units are fully connected from input to output "
            "also without DFWT; DFWT connects every expanded channel to every output."
        )
    return findings
