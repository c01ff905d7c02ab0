"""Table 4: the architecture of the model, compared with the printed one."""

from typing import Any

from wavenet_zoo.paper.published import ARCHITECTURE
from wavenet_zoo.paper.table import Column, PaperTable
from wavenet_zoo.zoo.catalog import Stage, info

__all__ = ["architecture_table"]

MODEL = "waveletnet_x1"
KEYS = ("input", "operator", "channels", "repeat", "stride", "kappa1", "kappa2", "kappa3")
OPERATORS = {"conv 3x3": "Conv", "unit": "block", "conv 1x1": "conv2d", "average pool": "avgpool", "linear": "conv2d"}
REASONS = {
    ("block", "kappa1"): "t = 1 in the first unit: it has no expanding convolution",
    ("conv2d", "kappa2"): "a plain convolution: depths 0 3 3 do not give the printed counts",
}


def architecture_table() -> PaperTable:
    """Build Table 4."""
    rows = []
    for stage, printed in zip(info(MODEL).stages, ARCHITECTURE, strict=True):
        row = _row(stage)
        paper = dict(zip(KEYS, printed, strict=True))
        differing = [key for key in KEYS if paper[key] not in ("-", row[key])]
        reasons = [REASONS[row["operator"], key] for key in differing if (row["operator"], key) in REASONS]
        row["paper"] = ", ".join(f"{key} {paper[key]}" for key in differing) or "the same"
        row["printed"] = paper
        row["remark"] = "; ".join(reasons) or None
        rows.append(row)
    columns = [
        Column("input", "input"),
        Column("operator", "operator"),
        Column("channels", "C"),
        Column("repeat", "repeat"),
        Column("stride", "stride"),
        Column("expansion", "t"),
        Column("kappa1", "κ1"),
        Column("kappa2", "κ2"),
        Column("kappa3", "κ3"),
        Column("params", "params", "count"),
        Column("macs", "MACs", "count"),
        Column("paper", "paper"),
    ]
    notes = ["Every row is computed from the model; the last column lists what the paper prints differently."]
    return PaperTable(4, f"Architecture for ImageNet ({MODEL})", columns, rows, notes)


def _row(stage: Stage) -> dict[str, Any]:
    channels, height, _ = stage.input if len(stage.input) == 3 else (*stage.input, 1, 1)
    depths = [
        "-" if d is None else "-".join(str(depth) for depth in sorted(set(d))) for d in stage.kappas or [None] * 3
    ]
    return {
        "input": f"{height}²x{channels}",
        "operator": OPERATORS[stage.operator],
        "channels": str(stage.channels),
        "repeat": str(stage.repeat),
        "stride": str(stage.stride),
        "expansion": "-" if stage.expansion is None else f"{stage.expansion:g}",
        **dict(zip(KEYS[5:], depths)),
        "params": stage.params,
        "macs": stage.macs,
    }
