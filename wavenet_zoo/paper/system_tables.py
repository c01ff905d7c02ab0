"""Tables 2, 5, 6 and 7: systems with parameters, MACs and error."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from wavenet_zoo.complexity import PAPER_CONVENTION, Complexity, count
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.models import WaveletNet
from wavenet_zoo.models.peers import resnet50_v1
from wavenet_zoo.paper.measured import Measured
from wavenet_zoo.paper.published import REMARKS, SYSTEMS, printed_value
from wavenet_zoo.paper.tables import Column, PaperTable
from wavenet_zoo.weights.loading import build_model

__all__ = ["NOTABLE", "PEER_COLUMNS", "Peer", "list_peers", "system_table"]

NOTABLE = 2.0  # percent by which paper and model may differ without a reason

MOBILENETV2, PLAIN = "mobilenetv2_100", "waveletnet_x1"

ON_CIFAR10 = re.compile(r"cifar-?10(?!0)", re.IGNORECASE)

CONVENTION = (
    Column("macs_paper_convention", "MACs, paper's convention", "count"),
    Column("macs_as_printed", "rounded"),
)

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
    2: "Systems on CIFAR-10",
    5: "Systems on ImageNet",
    6: "WaveletNet at several widths on ImageNet",
    7: "WaveletNet at several depths κ on ImageNet",
}


@dataclass
class Peer:
    """A system that the paper compares with.

    Attributes:
        model: Name in timm.
        title: Name in the paper.
        table: The table that it is in.
        input_size: (C, H, W).
        params: Parameters; None where the model cannot be built here, as ``remark`` then says.
        params_paper: As printed.
        params_difference: Measured against printed, in percent.
        macs: Standard count.
        macs_paper: As printed.
        macs_difference: Measured against printed, in percent.
        remark: Why they differ, and what else to know.
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

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)


def list_peers() -> list[Peer]:
    """Return the systems of Tables 2 and 5 other than WaveletNet."""
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


def system_table(number: int, measured: Sequence[Measured]) -> PaperTable:
    """Make Table 2, 5, 6 or 7."""
    rows = []
    if number != 2:
        measured = [own for own in measured if not ON_CIFAR10.search(own.data)]
    for system in SYSTEMS:
        if system.table != number:
            continue
        complexity = _complexity_columns(system.model, system.params, system.macs)
        row = {"system": system.title, "model": system.model, **complexity, "error_paper": system.error}
        own = [m for m in measured if _is_of(m, system.model)]
        rows.append({**row, **_error_columns(own[0] if own else None)})
        counted = _complexity_columns(system.model)
        rows += [{"system": "", "model": system.model, **counted, **_error_columns(more)} for more in own[1:]]
    if number == 2:  # the small forms of the paper's network
        for more in measured:
            small = more.model.startswith("waveletnet_cifar") and more.model != "waveletnet_cifar_m24"
            if small and not more.model_kwargs and ON_CIFAR10.search(more.data):
                complexity = _complexity_columns(more.model)
                rows.append({"system": "WaveletNet, small", "model": more.model, **complexity, **_error_columns(more)})
    if number == 7:  # what the depths are compared with
        for more in measured:
            if more.model == MOBILENETV2 or (more.model == PLAIN and not _is_listed(more, number)):
                title = "MobileNetV2 (κ = 0)" if more.model == MOBILENETV2 else "WaveletNet, changed"
                complexity = _complexity_columns(more.model, model_kwargs=more.model_kwargs)
                rows.append({"system": title, "model": more.title(), **complexity, **_error_columns(more)})
    columns = [
        Column("system", "system"),
        Column("model", "model"),
        Column("params_paper", "params, paper"),
        Column("params", "params", "count"),
        Column("params_difference", "difference", "percent"),
        *([] if number == 2 else [Column("macs_paper", "MACs, paper")]),
        Column("macs", "MACs", "count"),
        *([] if number == 2 else [Column("macs_difference", "difference", "percent")]),
        *([] if number == 2 else CONVENTION),
        *([Column("dfwt_adds", "DFWT additions", "count")] if number in (6, 7) else []),
        Column("error_paper", "error %, paper", "error", 2 if number == 2 else 1),
        Column("error", "error %, measured"),
        Column("measured_on", "measured on"),
    ]
    notes = ["Parameters and MACs are counted from the model. Paper's errors are on "
             + ("CIFAR-10." if number == 2 else "ImageNet.")]  # fmt: skip
    notes.append("The paper prints no MACs here." if number == 2 else f"The paper's convention: {PAPER_CONVENTION}.")
    return PaperTable(number, CAPTIONS[number], columns, rows, notes)


def _complexity_columns(
    model: str, params: str | None = None, macs: str | None = None, model_kwargs: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return what is counted beside what is printed."""
    remarks = []
    try:
        cost = count(model, model_kwargs=model_kwargs) if model_kwargs else _count(model)
    except WavezooError as error:  # an extra that is not installed
        cost = None
        remarks.append(str(error))
    counted = {} if cost is None else cost.to_dict()
    by_convention = counted.get("macs_paper_convention")
    row: dict[str, Any] = {
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
    }
    for key, paper in (("params", params), ("macs", macs)):
        if paper is not None and (model, key) in REMARKS:
            remarks.append(f"{'MACs' if key == 'macs' else key}: {REMARKS[model, key]}")
    if (model, "note") in REMARKS:
        remarks.append(REMARKS[model, "note"])
    row["remark"] = "; ".join(remarks) or None
    return row


def _error_columns(own: Measured | None) -> dict[str, Any]:
    return {
        "error": "not measured" if own is None else str(own.error),
        "measured_on": None if own is None else own.describe(),
        "measured": None if own is None else own.to_dict(),
    }


def _difference(paper: str | None, measured: int | None) -> float | None:
    if paper is None or measured is None:
        return None
    return 100 * (measured / printed_value(paper) - 1)


def _as_printed(value: int, printed: str) -> str:
    """Return ``value`` with the unit and the decimals of ``printed``."""
    decimals = len(printed[:-1].partition(".")[2])
    return f"{value / printed_value('1' + printed[-1]):.{decimals}f}{printed[-1]}"


@cache
def _count(model: str) -> Complexity:
    return count(resnet50_v1(device="meta") if model == "resnet50" else model)


def _is_listed(own: Measured, number: int) -> bool:
    return any(_is_of(own, system.model) for system in SYSTEMS if system.table == number)


def _is_of(own: Measured, model: str) -> bool:
    """Say whether a run is of the very network that a name stands for."""
    if own.model == model and not own.model_kwargs:
        return True
    if not own.model.startswith("waveletnet") or not model.startswith("waveletnet"):
        return False
    return _structure(own.model, **own.model_kwargs) == _structure(model)


def _structure(model: str, **kwargs: Any) -> str:
    network = build_model(model, kwargs, device="meta")
    return repr(network) if isinstance(network, WaveletNet) else model
