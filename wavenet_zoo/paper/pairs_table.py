"""Networks that were compared image by image: paired intervals of the difference of their top-1."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from wavenet_zoo.evaluation.compare import SIGNIFICANT
from wavenet_zoo.paper.measured import RunGroup, count_epochs
from wavenet_zoo.paper.table import Column, PaperTable
from wavenet_zoo.runtime.manifest import read_manifest
from wavenet_zoo.runtime.records import read_record
from wavenet_zoo.runtime.resources import shipped_folder

__all__ = ["COMPARISON_FILE", "ComparisonRecord", "pairs_table"]

COMPARISON_FILE = "comparison.json"
COLUMNS = (
    Column("a", "A"),
    Column("b", "B"),
    Column("trained_a", "A trained on"),
    Column("trained_b", "B trained on"),
    Column("top1_a", "top-1 of A, %", "decimal"),
    Column("top1_b", "top-1 of B, %", "decimal"),
    Column("difference", "B - A, points"),
    Column("p", "p"),
    Column("result", "result"),
)


class ComparedRecord(BaseModel):
    """A network of a comparison, by the hash of its weights."""

    name: str
    weights_sha256: str
    top1: float
    correct: int


class PairRecord(BaseModel):
    """A pair of a comparison, see :class:`wavenet_zoo.evaluation.compare.Pair`."""

    a: str
    b: str
    difference: float
    interval: tuple[float, float]
    p: float
    p_holm: float
    agreement: float


class ComparisonRecord(BaseModel):
    """Content of ``comparison.json`` in ``results/``: :func:`wavenet_zoo.compare` without the paths of images."""

    question: str
    data: str
    images: int
    models: list[ComparedRecord]
    pairs: list[PairRecord]


def pairs_table(measured: Sequence[RunGroup]) -> PaperTable:
    """Build the table of all pairs of networks in the comparisons below ``results/``."""
    trained = _training_of_weights(measured)
    rows: list[dict[str, Any]] = []
    images: set[int] = set()
    for path in find_comparisons():
        record = read_record(path, ComparisonRecord, "compare the networks again")
        images.add(record.images)
        models = {model.name: model for model in record.models}
        for pair in record.pairs:
            a, b = models[pair.a], models[pair.b]
            low, high = pair.interval
            rows.append(
                {
                    "question": record.question,
                    "a": pair.a,
                    "b": pair.b,
                    "trained_a": trained.get(a.weights_sha256),
                    "trained_b": trained.get(b.weights_sha256),
                    "top1_a": a.top1,
                    "top1_b": b.top1,
                    "difference": f"{pair.difference:+.2f} ({low:+.2f} to {high:+.2f})",
                    "difference_value": pair.difference,
                    "interval": list(pair.interval),
                    "p": "< 0.0001" if pair.p_holm < 1e-4 else f"{pair.p_holm:.4f}",
                    "result": _result(pair),
                    "remark": None,
                }
            )
    notes = [
        f"Top-1 on the same {', '.join(f'{n:,}' for n in sorted(images)) or 'no'} validation images, with the 95 % "
        "interval of paired proportions and the p-value of McNemar's test, after Holm's correction for the pairs of "
        "one comparison. One run of each network: the interval contains the chance of the images, not that of the "
        "seed.",
    ]
    return PaperTable("pairs", "Networks compared image by image", list(COLUMNS), rows, notes)


def _training_of_weights(measured: Sequence[RunGroup]) -> dict[str, str]:
    """Return data set and number of epochs by the hash of weights: of runs, and of the shipped files."""
    shipped = {
        entry["sha256"]: f"{entry['data']}, {count_epochs(entry['epoch'])}"
        for entry in read_manifest().values()
        if entry.get("epoch") is not None
    }
    runs = {sha256: f"{g.data}, {count_epochs(g.epochs)}" for g in measured for sha256 in g.weights_sha256}
    return {**shipped, **runs}


def find_comparisons() -> list[Path]:
    """Return the comparisons below ``results/``."""
    folder = shipped_folder("results")
    return sorted(folder.rglob(COMPARISON_FILE)) if folder is not None else []


def _result(pair: PairRecord) -> str:
    if pair.p_holm >= SIGNIFICANT:
        return "not distinguished"
    return f"{pair.b if pair.difference > 0 else pair.a} is better"
