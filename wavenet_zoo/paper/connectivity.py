"""Which channels of a WaveletNet's units see which: by the layers' definition, and once more by gradient."""

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wavenet_zoo.errors import INTERNAL_FAILURE, WavezooError
from wavenet_zoo.layers import WConv2d
from wavenet_zoo.layers import connectivity as layer_connectivity
from wavenet_zoo.models import WaveletNet, WaveletNetUnit
from wavenet_zoo.runtime.figures import check_figure_path
from wavenet_zoo.weights.loading import build_model

__all__ = ["Adjacency", "Connectivity", "UnitConnectivity", "adjacency_by_gradient", "connectivity"]

PROBES = 3  # random inputs; a pair that ReLU6 hides from one of them shows in another
PROBE_SIZE = 4


@dataclass
class Adjacency:
    """What of an adjacency matrix A fits on a line.

    Attributes:
        outputs: Rows of A.
        inputs: Columns of A.
        connected: Entries that are not zero.
        share: ``connected / (outputs * inputs)``.
        full: Every output sees every input.
        claim: Entries that the paper's formula gives; None where it has none. For WConv Claim 6.2 in its general form,
            ``D D' (k + 3) / 2^(k + 2)``; for DFWT one entry per column and band, ``D (k + 1)``.
        matrix: A, integers 0 and 1, (outputs, inputs); left out of JSON.
    """

    outputs: int
    inputs: int
    connected: int
    share: float
    full: bool
    claim: int | None
    matrix: torch.Tensor = field(repr=False)

    @classmethod
    def of(cls, matrix: torch.Tensor, claim: int | None = None) -> "Adjacency":
        """Describe a matrix of 0 and 1."""
        outputs, inputs = matrix.shape
        connected = int(matrix.sum())
        pairs = outputs * inputs
        return cls(outputs, inputs, connected, connected / pairs, connected == pairs, claim, matrix)


@dataclass
class UnitConnectivity:
    """The adjacencies of one unit.

    Attributes:
        unit: Its path in the model.
        depths: Depths in use of first WConv (None at expansion 1), DFWT and last WConv.
        shortcut: The unit's input is added to its output.
        wconv: Of the last WConv alone.
        dfwt: Of the DFWT alone.
        projection: Of both, from the expanded channels to the output.
        whole: Of the unit, from its input to its output, shortcut included.
    """

    unit: str
    depths: tuple[int | None, int, int]
    shortcut: bool
    wconv: Adjacency
    dfwt: Adjacency
    projection: Adjacency
    whole: Adjacency


@dataclass
class Connectivity:
    """The result of :func:`connectivity`.

    Attributes:
        model: Name of the model.
        model_kwargs: Its arguments.
        units: One entry for each unit, in order.
        findings: What the matrices say about the paper's claim, in sentences.
    """

    model: str
    model_kwargs: dict[str, Any]
    units: list[UnitConnectivity]
    findings: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values without the matrices, for JSON."""
        values = asdict(self)
        for unit in values["units"]:
            for part in ("wconv", "dfwt", "projection", "whole"):
                del unit[part]["matrix"]
        return values


def connectivity(
    model: str, *, model_kwargs: Mapping[str, Any] | None = None, plot: str | Path | None = None
) -> Connectivity:
    """Find out which channels are connected in every unit of a WaveletNet.

    Every matrix is computed twice: from the layers' definition, multiplied along the unit, and from the gradient of a
    unit with random weights, which knows nothing of how it is made. The two have to agree.

    Args:
        model: Name of a WaveletNet.
        model_kwargs: Arguments for the model, ``{"use_dfwt": False}`` for example.
        plot: Picture of the matrices to write, after the paper's equations (8) and (9); the suffix says its format.

    Raises:
        WavezooError: If the model is not a WaveletNet, or definition and gradient do not agree.

    Source: paper, section 3.1, Definition 6.1, Claim 6.2, Theorem 6.3.
    """
    if plot is not None:
        check_figure_path(Path(plot))
    torch.manual_seed(0)
    module = build_model(model, model_kwargs)
    if not isinstance(module, WaveletNet):
        raise WavezooError(f"{model} is not a WaveletNet, whose units this is about", "wavezoo list")
    units: list[UnitConnectivity] = []
    alike: dict[str, UnitConnectivity] = {}  # units that differ in their weights alone
    for path, unit in module.named_modules():
        if not isinstance(unit, WaveletNetUnit):
            continue
        kind = f"{unit!r} {unit.has_skip}"
        if kind not in alike:
            alike[kind] = _describe_unit(path, unit)
        units.append(UnitConnectivity(**{**vars(alike[kind]), "unit": path}))
    result = Connectivity(model, dict(model_kwargs or {}), units, _findings(units))
    if plot is not None:
        from wavenet_zoo.paper.matrix_plot import plot_connectivity

        plot_connectivity(Path(plot), result)
    return result


def adjacency_by_gradient(module: nn.Module, channels: int) -> torch.Tensor:
    """Return which outputs of a module react to which of its inputs, (C', C) of 0 and 1.

    Args:
        module: Takes (B, C, H, W); a copy of it is put into eval mode.
        channels: C.
    """
    module = copy.deepcopy(module).eval()
    generator = torch.Generator().manual_seed(0)
    reacts = torch.zeros(1, 1, dtype=torch.bool)
    for _ in range(PROBES):
        x = torch.randn(1, channels, PROBE_SIZE, PROBE_SIZE, generator=generator)
        x = 0.1 * x  # where ReLU6 does not saturate
        with torch.no_grad():
            outputs = module(x).shape[1]
        copies = x.repeat(outputs, 1, 1, 1).requires_grad_()  # of which the i-th shows what output i reacts to
        y = module(copies).diagonal().sum()
        (gradient,) = torch.autograd.grad(y, copies)
        reacts = reacts | gradient.ne(0).flatten(2).any(-1)
    return reacts.long()


def _describe_unit(path: str, unit: WaveletNetUnit) -> UnitConnectivity:
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
                f"{path}: the adjacency of its {name} by definition is not the one by gradient",
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
        f"From input to output, {wholes} of {total} units are.",
    ]
    dense_first = [unit for unit in units if unit.depths[0] == 0]
    if any(unit.whole.full and not unit.projection.full for unit in dense_first):
        findings.append(
            "Where κ1 = 0 the first 1x1 convolution is dense: it alone connects every input to every output, with or "
            "without DFWT. What DFWT restores there is the connection of every expanded channel to every output."
        )
    elif dense_first:
        findings.append(
            "Where κ1 = 0 the first 1x1 convolution is dense, so that these units would be fully connected from input "
            "to output without DFWT too; what DFWT connects is the expanded channels with the output."
        )
    return findings
