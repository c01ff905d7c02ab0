"""The edge table: size, accuracy, latency and memory of models and exported files, in one result."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from wavenet_zoo.data.open import open_data
from wavenet_zoo.deployment.bench import Benchmark, Measurement, bench
from wavenet_zoo.deployment.exported import is_exported_file
from wavenet_zoo.deployment.floor import FLOOR
from wavenet_zoo.deployment.formats import format_of
from wavenet_zoo.deployment.sidecar import files_of
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.evaluation.compare import Pair, compare
from wavenet_zoo.evaluation.evaluate import evaluate
from wavenet_zoo.evaluation.model import open_model
from wavenet_zoo.evaluation.result import Evaluation
from wavenet_zoo.runtime.environment import choose_device
from wavenet_zoo.runtime.files import expand
from wavenet_zoo.runtime.results import Result

__all__ = ["EdgeRow", "EdgeTable", "edge_table"]


@dataclass
class EdgeRow(Measurement):
    """A measurement of :func:`wavenet_zoo.bench`, with size and accuracy.

    Attributes:
        bytes: Size of the exported file, with the files that belong to it; of a model, size of its parameters and
            buffers before folding. None for the floor.
        top1: Percentage of images whose label scored highest; None for the floor.
        top1_interval: 95 % Wilson interval of ``top1``.
        difference: Top-1 minus that of the baseline, in percentage points; None for the baseline and the floor.
        difference_interval: 95 % interval of ``difference``, of paired proportions.
        agreement: Percentage of images for which it predicts the same class as the baseline.
    """

    bytes: int | None = None
    top1: float | None = None
    top1_interval: tuple[float, float] | None = None
    difference: float | None = None
    difference_interval: tuple[float, float] | None = None
    agreement: float | None = None


@dataclass
class EdgeTable(Result):
    """The result of :func:`edge_table`.

    Attributes:
        against: Description of the baseline.
        rows: The rows, in the order of :func:`wavenet_zoo.bench`.
        data: Name of the evaluation data.
        images: Number of images evaluated.
        limit: How many images were selected by the limit, of how many; None without one.
        among: The outputs among which the highest is the prediction.
        versions: Versions of the engines.
        environment: Versions and machine.
        seconds: Time taken, in seconds.
    """

    against: str
    rows: list[EdgeRow]
    data: str
    images: int
    limit: dict[str, int] | None
    among: str
    versions: dict[str, str]
    environment: dict[str, Any]
    seconds: float


def edge_table(
    models: Sequence[str],
    data: str | Path | None = None,
    against: str | None = None,
    *,
    limit: str | int | float | None = None,
    split: str = "val",
    engines: Sequence[str] = ("torch",),
    batches: Sequence[int] = (1,),
    forms: Sequence[str] = ("dense",),
    fold: bool = True,
    size: int | None = None,
    seconds: float = 3.0,
    threads: int | Sequence[int] | None = None,
    device: str = "cpu",
    precision: str = "fp32",
    floor: bool = False,
    workers: int | None = None,
    progress: bool = False,
) -> EdgeTable:
    """Measure size, accuracy, latency, peak memory and load time of models and exported files.

    Accuracy is that of :func:`wavenet_zoo.compare`, once for each model and file: the forms of a model and its engines
    are equal up to rounding. Latency, memory and load time are those of :func:`wavenet_zoo.bench`, at the input size
    that was evaluated.

    Args:
        models: Names of timm models, which get their pretrained weights; their weights, see
            :func:`wavenet_zoo.weights.locations.resolve_model`; or files of :func:`wavenet_zoo.export`.
        data: Folder or name, see :func:`wavenet_zoo.data.open.open_data`. Default: the data set of the weights.
        against: The baseline. Default: the first model.
        limit: Number or fraction of the images to evaluate.
        split: ``train``, ``val`` or ``test``.
        engines: Engines of the models, see :func:`wavenet_zoo.bench`.
        batches: Batch sizes to measure.
        forms: How WaveletNet's units compute DFWT and WConv, of models.
        fold: Fold batch norms into convolutions.
        size: Input size in pixels. Default: that of the weights.
        seconds: Approximate time to measure each at each batch size and number of threads.
        threads: Numbers of threads of each engine. Default: torch's, one per core.
        device: ``cpu``, ``cuda`` or ``mps``. Files run on the CPU only.
        precision: ``fp32`` or ``bf16``, of models.
        floor: Measure the baseline without its projections too.
        workers: Loader workers. Default: one per available CPU, at most 8; 0 for images in memory.
        progress: Show progress on stderr.

    Raises:
        WavezooError: If a model, a file or the data are missing or damaged, or the input sizes differ.
    """
    started = time.perf_counter()
    names = list(dict.fromkeys([against or models[0], *models]))
    if data is not None:
        open_data(data, split)  # before the measurements: a mistake is found at once
    sizes = {name: _size_and_bytes(name, size, choose_device(device)) for name in names}
    input_size = sizes[names[0]][0]
    for name, (own, _) in sizes.items():
        if own != input_size:
            raise WavezooError(
                f"{name}: has an input of {own} px, and {names[0]} of {input_size} px",
                "all models of a table need the same input size: export with --size, or pass --size",
            )
    measured = bench(
        models,
        names[0],
        engines=engines,
        batches=batches,
        forms=forms,
        fold=fold,
        size=input_size,
        seconds=seconds,
        threads=threads,
        device=device,
        precision=precision,
        floor=floor,
        memory=True,
        pretrained=True,
        progress=progress,
    )
    evaluations, pairs = _evaluate(
        names,
        data=data,
        split=split,
        size=size,
        precision=precision,
        fold=fold,
        workers=workers,
        device=device,
        limit=limit,
        progress=progress,
    )
    first = evaluations[names[0]]
    return EdgeTable(
        against=measured.against,
        rows=_rows(measured, {name: size_in_bytes for name, (_, size_in_bytes) in sizes.items()}, evaluations, pairs),
        data=first.data["name"],
        images=first.images,
        limit=first.limit,
        among=first.among,
        versions=measured.versions,
        environment=measured.environment,
        seconds=time.perf_counter() - started,
    )


def _size_and_bytes(model: str, size: int | None, device: torch.device) -> tuple[int, int]:
    """Return the input size of a model or file in pixels, and its size in bytes."""
    opened = open_model(model, device=device)
    input_size = opened.preprocessing(size, None, None).input_size[-1]
    file_format = format_of(model)
    if file_format is not None:
        return input_size, sum(file.stat().st_size for file in files_of(expand(model), file_format))
    return input_size, sum(tensor.numel() * tensor.element_size() for tensor in opened.network.state_dict().values())


def _evaluate(names: Sequence[str], **options: Any) -> tuple[dict[str, Evaluation], dict[str, Pair]]:
    """Evaluate each model; return the evaluations, and the pairs of the baseline and each other model."""
    if len(names) == 1:
        fixed = {"fold": True} if is_exported_file(names[0]) else {}
        return {names[0]: evaluate(names[0], **{**options, **fixed})}, {}
    comparison = compare(names, **options)
    evaluations = {name: model.evaluation for name, model in zip(names, comparison.models) if model.evaluation}
    return evaluations, dict(zip(names[1:], comparison.baseline_pairs))


def _rows(
    measured: Benchmark, sizes: dict[str, int], evaluations: dict[str, Evaluation], pairs: dict[str, Pair]
) -> list[EdgeRow]:
    rows = []
    for measurement in measured.rows:
        row = EdgeRow(**{field.name: getattr(measurement, field.name) for field in fields(measurement)})
        if row.form != FLOOR:
            evaluation = evaluations[row.model]
            row.bytes = sizes[row.model]
            row.top1, row.top1_interval = evaluation.top1, evaluation.top1_interval
            pair = pairs.get(row.model)
            if pair is not None:
                row.difference, row.difference_interval, row.agreement = pair.difference, pair.interval, pair.agreement
        rows.append(row)
    return rows
