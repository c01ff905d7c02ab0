"""Table 3: the network with and without DFWT, printed errors and those of measured pairs of runs."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from wavenet_zoo.paper.measured import RunGroup
from wavenet_zoo.paper.published import ABLATIONS
from wavenet_zoo.paper.statistics import Estimate, estimate
from wavenet_zoo.paper.table import Column, PaperTable

__all__ = ["ablation_table", "pair_groups", "paired_errors"]

PRINTED_MODEL = "waveletnet_cifar_m24"
NOT_MEASURED = {"original": "not measured", "no_dfwt": "not measured", "gap": "not measured", "interval": "-"}
COLUMNS = (
    Column("model", "model"),
    Column("original_paper", "original, paper", "decimal"),
    Column("no_dfwt_paper", "no DFWT, paper", "decimal"),
    Column("gap_paper", "gap, paper", "decimal"),
    Column("original", "original, measured"),
    Column("no_dfwt", "no DFWT, measured"),
    Column("gap", "gap, measured"),
    Column("interval", "95 % interval"),
    Column("pairs", "pairs", "count"),
    Column("measured_on", "measured on"),
)


def ablation_table(measured: Sequence[RunGroup]) -> PaperTable:
    """Build Table 3 from pairs of runs that differ only in ``use_dfwt`` and have equal seeds."""
    pairs = [_row(original, changed) for original, changed in pair_groups(measured)]
    published = ABLATIONS["no_dfwt"]
    printed = {"original_paper": published.original, "no_dfwt_paper": published.changed, "gap_paper": published.gap}
    first, *same_model = [row for row in pairs if row["model"] == PRINTED_MODEL] or [
        {"model": PRINTED_MODEL, **NOT_MEASURED}
    ]
    rows = [{**first, **printed}, *same_model, *(row for row in pairs if row["model"] != PRINTED_MODEL)]
    notes = [
        "Errors in percent. Printed errors are on CIFAR-10.",
        "Measured: mean over the seeds ± its standard error; the gap is that of pairs with equal seeds, its interval "
        "by Student's t.",
    ]
    caption = "WaveletNet with and without DFWT"
    return PaperTable(3, caption, list(COLUMNS), [{"remark": None, **row} for row in rows], notes)


def pair_groups(measured: Sequence[RunGroup]) -> list[tuple[RunGroup, RunGroup]]:
    """Return the groups of runs with and without DFWT that differ in nothing else and share a seed."""
    with_dfwt = {_key_without_dfwt(group): group for group in measured if _uses_dfwt(group)}
    without_dfwt = {_key_without_dfwt(group): group for group in measured if not _uses_dfwt(group)}
    pairs = [(group, without_dfwt[key]) for key, group in with_dfwt.items() if key in without_dfwt]
    return [(original, changed) for original, changed in pairs if set(original.seeds) & set(changed.seeds)]


def paired_errors(original: RunGroup, changed: RunGroup) -> tuple[list[int], Estimate, Estimate, Estimate]:
    """Return the seeds that two groups share, the errors of both with these seeds, and the gap of the pairs."""
    before, after = _errors_by_seed(original), _errors_by_seed(changed)
    seeds = [seed for seed in original.seeds if seed in after]
    gap = estimate([after[seed] - before[seed] for seed in seeds])
    return seeds, estimate([before[seed] for seed in seeds]), estimate([after[seed] for seed in seeds]), gap


def _row(original: RunGroup, changed: RunGroup) -> dict[str, Any]:
    seeds, with_dfwt, without, gap = paired_errors(original, changed)
    return {
        "model": original.title(),
        "original": str(with_dfwt),
        "no_dfwt": str(without),
        "gap": str(gap),
        "interval": gap.describe_interval(),
        "pairs": len(seeds),
        "measured_on": replace(original, seeds=seeds).describe(),
        "training": original.training(),
        "measured": {"original": original.to_dict(), "no_dfwt": changed.to_dict(), "gaps": gap.values},
    }


def _uses_dfwt(group: RunGroup) -> bool:
    return bool(group.model_kwargs.get("use_dfwt", True))


def _key_without_dfwt(group: RunGroup) -> str:
    values = group.recipe_values.model_dump(exclude={"seed"})
    values["model"]["kwargs"].pop("use_dfwt", None)
    return json.dumps([values, group.data, group.cache_images])


def _errors_by_seed(group: RunGroup) -> dict[int, float]:
    return dict(zip(group.seeds, group.error.values))
