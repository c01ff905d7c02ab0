"""Tables 2, 5, 6 and 7: networks with parameters, MACs and error."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from wavenet_zoo.complexity import PAPER_CONVENTION, Complexity, count
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.models import WaveletNet
from wavenet_zoo.models.peers import resnet50_v1
from wavenet_zoo.paper.measured import RunGroup
from wavenet_zoo.paper.published import REMARKS, SYSTEMS, PublishedSystem, printed_value
from wavenet_zoo.paper.table import Column, PaperTable
from wavenet_zoo.runtime.results import Result
from wavenet_zoo.weights.loading import build_model

__all__ = ["MAX_UNEXPLAINED_DIFFERENCE", "PEER_COLUMNS", "Peer", "count_model", "list_peers", "system_table"]

MAX_UNEXPLAINED_DIFFERENCE = 2.0  # percent between printed and counted figure; more needs a reason in REMARKS
BASELINE, ORIGINAL = "mobilenetv2_100", "waveletnet_x1"
CIFAR10 = re.compile(r"cifar-?10(?!0)", re.IGNORECASE)

PEER_COLUMNS = (
    Column("model", "model"),
    Column("title", "in the paper"),
    Column("table", "table"),
    Column("input_size", "input", "shape"),
    Column("params_paper", "params, paper"),
    Column("params", "params", "count"),
    Column("params_difference", "difference", "percent"),
    Column("macs_paper", "MACs, paper"),
    Column("macs", "MACs", "count"),
    Column("macs_difference", "difference", "percent"),
)

CAPTIONS = {
    2: "Networks on CIFAR-10",
    5: "Networks on ImageNet",
    6: "WaveletNet at several widths on ImageNet",
    7: "WaveletNet at several depths κ on ImageNet",
}


@dataclass
class Peer(Result):
    """A network that the paper compares with.

    Attributes:
        model: Name in timm.
        title: Name in the paper.
        table: Number of the table.
        input_size: (C, H, W).
        params: Parameters; None if the model requires an extra that is not installed, which ``remark`` then states.
        params_paper: Parameters as printed.
        params_difference: Counted relative to printed, in percent.
        macs: Standard count of MACs.
        macs_paper: MACs as printed.
        macs_difference: Counted relative to printed, in percent.
        remark: Why they differ, and further information.
    """

    model: str
    title: str
    table: int
    input_size: list[int] | None
    params: int | None
    params_paper: str | None
    params_difference: float | None
    macs: int | None
    macs_paper: str | None
    macs_difference: float | None
    remark: str | None


@cache
def count_model(model: str) -> Complexity:
    """Count a model with its default arguments; ResNet-50 as in its paper, with the stride in the first 1x1."""
    return count(resnet50_v1(device="meta") if model == "resnet50" else model)


def list_peers() -> list[Peer]:
    """Return the networks of Tables 2 and 5 except WaveletNet."""
    peers = []
    for system in SYSTEMS:
        if system.table in (2, 5) and not system.model.startswith("waveletnet"):
            row = _complexity_columns(system.model, system.params, system.macs)
            peers.append(
                Peer(
                    model=system.model,
                    title=system.title,
                    table=system.table,
                    **{key: row[key] for key in Peer.__dataclass_fields__ if key in row},
                )
            )
    return peers


def system_table(number: int, measured: Sequence[RunGroup]) -> PaperTable:
    """Build Table 2, 5, 6 or 7."""
    if number != 2:
        measured = [group for group in measured if not CIFAR10.search(group.data)]
    rows = [row for system in SYSTEMS if system.table == number for row in _system_rows(system, measured)]
    if number == 2:
        rows += [_measured_row("WaveletNet, small", group) for group in measured if _is_small(group)]
    if number == 7:
        rows += [_measured_row("MobileNetV2 (κ = 0)" if group.model == BASELINE else "WaveletNet, changed", group)
                 for group in measured if _is_compared_with_depths(group)]  # fmt: skip
    data = "CIFAR-10" if number == 2 else "ImageNet"
    notes = [
        f"Parameters and MACs are counted from the model. Printed errors are on {data}.",
        "The paper prints no MACs in this table." if number == 2 else f"The paper's convention: {PAPER_CONVENTION}.",
    ]
    return PaperTable(number, CAPTIONS[number], _columns(number), rows, notes)


def _columns(number: int) -> list[Column]:
    with_macs, with_adds = number != 2, number in (6, 7)
    columns = (
        (Column("system", "network"), True),
        (Column("model", "model"), True),
        (Column("params_paper", "params, paper"), True),
        (Column("params", "params", "count"), True),
        (Column("params_difference", "difference", "percent"), True),
        (Column("macs_paper", "MACs, paper"), with_macs),
        (Column("macs", "MACs", "count"), True),
        (Column("macs_difference", "difference", "percent"), with_macs),
        (Column("macs_paper_convention", "MACs, paper's convention", "count"), with_macs),
        (Column("macs_as_printed", "rounded"), with_macs),
        (Column("dfwt_adds", "DFWT additions", "count"), with_adds),
        (Column("error_paper", "error %, paper", "decimal", 2 if number == 2 else 1), True),
        (Column("error", "error %, measured"), True),
        (Column("measured_on", "measured on"), True),
    )
    return [column for column, shown in columns if shown]


def _system_rows(system: PublishedSystem, measured: Sequence[RunGroup]) -> list[dict[str, Any]]:
    """Return the printed row with the first measured error, and one row per further error."""
    groups: list[RunGroup | None] = [group for group in measured if _has_network(group, system.model)]
    first, *others = groups or [None]
    complexity = _complexity_columns(system.model, system.params, system.macs)
    row = {"system": system.title, "model": system.model, **complexity, "error_paper": system.error}
    counted = {"system": "", "model": system.model, **_complexity_columns(system.model)}
    return [{**row, **_error_columns(first)}, *({**counted, **_error_columns(group)} for group in others)]


def _measured_row(title: str, group: RunGroup) -> dict[str, Any]:
    complexity = _complexity_columns(group.model, model_kwargs=group.model_kwargs)
    return {"system": title, "model": group.title(), **complexity, **_error_columns(group)}


def _complexity_columns(
    model: str, params: str | None = None, macs: str | None = None, model_kwargs: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return counted and printed figures, and why they differ."""
    remarks = []
    try:
        cost = count(model, model_kwargs=model_kwargs) if model_kwargs else count_model(model)
    except WavezooError as error:  # a missing extra
        cost = None
        remarks.append(str(error))
    counted = {} if cost is None else cost.to_dict()
    by_convention = counted.get("macs_paper_convention")
    for key, name, printed in (("params", "params", params), ("macs", "MACs", macs)):
        if printed is not None and (model, key) in REMARKS:
            remarks.append(f"{name}: {REMARKS[model, key]}")
    if (model, "note") in REMARKS:
        remarks.append(REMARKS[model, "note"])
    return {
        "params_paper": params,
        "params": counted.get("params"),
        "params_difference": _difference(params, counted.get("params")),
        "macs_paper": macs,
        "macs": counted.get("macs"),
        "macs_difference": _difference(macs, counted.get("macs")),
        "macs_paper_convention": by_convention,
        "macs_as_printed": None if macs is None or by_convention is None else _as_printed(by_convention, macs),
        "dfwt_adds": counted.get("dfwt_adds"),
        "input_size": counted.get("input_size"),
        "remark": "; ".join(remarks) or None,
    }


def _error_columns(group: RunGroup | None) -> dict[str, Any]:
    return {
        "error": "not measured" if group is None else str(group.error),
        "measured_on": None if group is None else group.describe(),
        "training": None if group is None else group.training(),
        "measured": None if group is None else group.to_dict(),
    }


def _difference(printed: str | None, counted: int | None) -> float | None:
    if printed is None or counted is None:
        return None
    return 100 * (counted / printed_value(printed) - 1)


def _as_printed(value: int, printed: str) -> str:
    """Return ``value`` with the unit and the decimals of ``printed``."""
    decimals = len(printed[:-1].partition(".")[2])
    return f"{value / printed_value('1' + printed[-1]):.{decimals}f}{printed[-1]}"


def _is_small(group: RunGroup) -> bool:
    """Whether the runs are of a small variant of the paper's network, on CIFAR-10."""
    small = group.model.startswith("waveletnet_cifar") and group.model != "waveletnet_cifar_m24"
    return bool(small and not group.model_kwargs and CIFAR10.search(group.data))


def _is_compared_with_depths(group: RunGroup) -> bool:
    """Whether Table 7 lists the runs besides the printed rows."""
    if group.model == BASELINE:
        return True
    return group.model == ORIGINAL and not any(_has_network(group, s.model) for s in SYSTEMS if s.table == 7)


def _has_network(group: RunGroup, model: str) -> bool:
    """Whether the runs are of the network that ``model`` builds, maybe under another name."""
    if group.model == model and not group.model_kwargs:
        return True
    if not group.model.startswith("waveletnet") or not model.startswith("waveletnet"):
        return False
    return _structure(group.model, json.dumps(group.model_kwargs)) == _structure(model, "{}")


@cache
def _structure(model: str, model_kwargs: str) -> str:
    network = build_model(model, json.loads(model_kwargs), device="meta")
    return repr(network) if isinstance(network, WaveletNet) else model
