"""Does the gain of DFWT grow with depth? The gaps of measured pairs by the depth M of WaveletNet for CIFAR-10."""

import json
import math
import re
from collections.abc import Sequence

from wavenet_zoo.paper.ablation_table import PRINTED_MODEL, pair_groups, paired_errors
from wavenet_zoo.paper.measured import RunGroup, count_epochs
from wavenet_zoo.paper.published import ABLATIONS
from wavenet_zoo.paper.statistics import Estimate, difference_interval
from wavenet_zoo.paper.table import Column, PaperTable

__all__ = ["depth_table"]

CIFAR_MODEL = re.compile(r"waveletnet_cifar_m(\d+)")
STANDARD_ERRORS = 2  # by which two gaps must differ, see results/README.md
COLUMNS = (
    Column("depth", "M", "count"),
    Column("pairs", "pairs", "count"),
    Column("original", "error %, DFWT"),
    Column("no_dfwt", "error %, no DFWT"),
    Column("gap", "gap, measured"),
    Column("interval", "95 % interval of the gap"),
    Column("gap_paper", "gap, paper", "decimal"),
)


def depth_table(measured: Sequence[RunGroup]) -> PaperTable:
    """Build the table of the gaps by depth, from the protocol that was measured at the most depths."""
    protocols: dict[str, list[tuple[int, RunGroup, RunGroup]]] = {}
    for original, changed in pair_groups(measured):
        match = CIFAR_MODEL.fullmatch(original.title())  # with the paper's depths: without model arguments
        if match:
            values = original.recipe_values.model_dump(exclude={"seed", "model"})
            protocols.setdefault(json.dumps([values, original.data, original.cache_images]), []).append(
                (int(match[1]), original, changed)
            )
    most: list[tuple[int, RunGroup, RunGroup]] = max(protocols.values(), key=len) if protocols else []
    groups = sorted(most, key=lambda group: group[0])
    rows, gaps = [], {}
    for depth, original, changed in groups:
        seeds, with_dfwt, without, gap = paired_errors(original, changed)
        gaps[depth] = gap
        rows.append(
            {
                "depth": depth,
                "pairs": len(seeds),
                "original": str(with_dfwt),
                "no_dfwt": str(without),
                "gap": str(gap),
                "interval": gap.describe_interval(),
                "gap_values": gap.values,
                "gap_paper": None,
                "remark": None,
            }
        )
    printed = ABLATIONS["no_dfwt"]
    rows.append(
        {
            "depth": int(PRINTED_MODEL.rpartition("m")[2]),
            "original": f"{printed.original} (paper)",
            "no_dfwt": f"{printed.changed} (paper)",
            "gap_paper": printed.gap,
            "remark": None,
        }
    )
    notes = []
    if groups:
        first = groups[0][1]
        notes.append(
            f"Measured on {first.data}, {count_epochs(first.epochs)}: mean over the seeds ± its standard error, and "
            "the interval of the gap by Student's t. The paper trains on CIFAR-10, 164 epochs by its schedule."
        )
        notes.append(_verdict(gaps))
    return PaperTable("depth", "Gap between the errors without and with DFWT, by depth", list(COLUMNS), rows, notes)


def _verdict(gaps: dict[int, Estimate]) -> str:
    """Compare the gap of the smallest depth with that of the largest one that has several pairs."""
    repeated = [depth for depth, gap in gaps.items() if gap.standard_error is not None]
    if len(repeated) < 2:
        return "Undecided: two depths with several pairs are required."
    low, high = repeated[0], repeated[-1]
    difference = gaps[high].mean - gaps[low].mean
    error = math.hypot(*(gaps[depth].standard_error or 0.0 for depth in (low, high)))
    if abs(difference) <= STANDARD_ERRORS * error:
        verdict = "undecided"
    else:
        verdict = "the gap grows with depth" if difference > 0 else "the gap shrinks with depth"
    ends = difference_interval(gaps[low], gaps[high])
    interval = "" if ends is None else f" The 95 % interval by Welch's t is {ends[0]:+.2f} to {ends[1]:+.2f}."
    return (
        f"From M = {low} to M = {high} the gap changes by {difference:+.2f} ± {error:.2f} points: {verdict}, by the "
        f"rule of {STANDARD_ERRORS} standard errors that was written before the runs (results/README.md).{interval}"
    )
