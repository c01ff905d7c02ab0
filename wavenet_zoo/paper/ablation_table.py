"""Table 3: the network with and without DFWT, the paper's errors and those of this project's own pairs of runs."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from wavenet_zoo.paper.measured import Measured
from wavenet_zoo.paper.published import ABLATIONS
from wavenet_zoo.paper.statistics import estimate
from wavenet_zoo.paper.tables import Column, PaperTable

__all__ = ["ablation_table"]

PAPERS_MODEL = "waveletnet_cifar_m24"


def ablation_table(measured: Sequence[Measured]) -> PaperTable:
    """Make Table 3: runs are a pair where they differ in ``use_dfwt`` alone, their seeds included."""
    pairs = [_row(original, changed) for original, changed in _pairs(measured)]
    published = ABLATIONS["no_dfwt"]
    paper = {"original_paper": published.original, "no_dfwt_paper": published.changed, "gap_paper": published.gap}
    of_the_paper = [row for row in pairs if row["model"] == PAPERS_MODEL] or [
        {"model": PAPERS_MODEL, "original": "not measured", "no_dfwt": "not measured", "gap": "not measured"}
    ]
    rows = [{**of_the_paper[0], **paper}, *of_the_paper[1:], *(row for row in pairs if row["model"] != PAPERS_MODEL)]
    columns = [
        Column("model", "model"),
        Column("original_paper", "original, paper", "error"),
        Column("no_dfwt_paper", "no DFWT, paper", "error"),
        Column("gap_paper", "gap, paper", "error"),
        Column("original", "original, measured"),
        Column("no_dfwt", "no DFWT, measured"),
        Column("gap", "gap, measured"),
        Column("measured_on", "measured on"),
    ]
    notes = [
        "Errors in percent. The paper's are on CIFAR-10.",
        "Measured: mean over the seeds ± its standard error; the gap is that of the pairs with the same seed.",
    ]
    return PaperTable(3, "WaveletNet with and without DFWT", columns, [{"remark": None, **row} for row in rows], notes)


def _pairs(measured: Sequence[Measured]) -> list[tuple[Measured, Measured]]:
    with_dfwt = {_apart_from_dfwt(own): own for own in measured if _uses_dfwt(own)}
    without = {_apart_from_dfwt(own): own for own in measured if not _uses_dfwt(own)}
    pairs = [(own, without[key]) for key, own in with_dfwt.items() if key in without]
    return [(own, other) for own, other in pairs if set(own.seeds) & set(other.seeds)]


def _row(original: Measured, changed: Measured) -> dict[str, Any]:
    seeds = [seed for seed in original.seeds if seed in changed.seeds]
    one, other = _by_seed(original), _by_seed(changed)
    errors, changed_errors = estimate([one[s][0] for s in seeds]), estimate([other[s][0] for s in seeds])
    gap = estimate([other[seed][0] - one[seed][0] for seed in seeds])
    pairs = [f"{one[seed][1][:12]} and {other[seed][1][:12]}" for seed in seeds]
    shown = replace(original, seeds=seeds, weights_sha256=[])
    return {
        "model": original.title(),
        "original": str(errors),
        "no_dfwt": str(changed_errors),
        "gap": str(gap),
        "measured_on": f"{shown.describe()}{', '.join(pairs)}",
        "measured": {"original": original.to_dict(), "no_dfwt": changed.to_dict(), "gaps": gap.values},
    }


def _uses_dfwt(own: Measured) -> bool:
    return bool(own.model_kwargs.get("use_dfwt", True))


def _apart_from_dfwt(own: Measured) -> str:
    values = own.plan.model_dump(exclude={"seed"})
    values["model"]["kwargs"].pop("use_dfwt", None)
    return json.dumps([values, own.data])


def _by_seed(own: Measured) -> dict[int, tuple[float, str]]:
    return {seed: (error, digest) for seed, error, digest in zip(own.seeds, own.error.values, own.weights_sha256)}
