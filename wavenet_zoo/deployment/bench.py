"""Measure the latency of networks and exported files against a baseline, interleaved in one process on one machine."""

import contextlib
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from wavenet_zoo.deployment._candidates import PLAIN, parse_forms
from wavenet_zoo.deployment._entries import Conditions, Entry, FileEntry
from wavenet_zoo.deployment._plan import Plan, make_plan
from wavenet_zoo.deployment.engines import TORCH_ENGINES, check_engine
from wavenet_zoo.deployment.exported import is_exported_file
from wavenet_zoo.deployment.memory import Footprint, measure_footprint
from wavenet_zoo.deployment.timing import Timings, clock_of, ratio_quartiles, time_interleaved
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.environment import choose_device, describe_environment
from wavenet_zoo.runtime.progress import Progress
from wavenet_zoo.runtime.results import Result
from wavenet_zoo.runtime.seeds import preserve_rng_state

__all__ = ["PLAIN", "Benchmark", "Measurement", "bench"]

logger = logging.getLogger(__name__)

MAX_QUARTILES = 0.1  # difference of the quartiles of a ratio, relative to its median
INFERENCE_BATCHES = (1, 16)
TRAINING_BATCHES = (64,)


@dataclass
class Measurement:
    """Times of one network or exported file in one engine at one batch size and number of threads.

    Attributes:
        model: Name of the model, or path of the exported file.
        form: Form of its units; ``plain`` for a network as timm builds it: not folded, factored, NCHW; ``no
            projection`` for the floor, see :mod:`wavenet_zoo.deployment.floor`.
        forms: Form of each folded unit by name.
        engine: Engine.
        batch_size: Images per run.
        size: Input size in pixels.
        median_ms: Median time per run, in milliseconds.
        p90_ms: 90th percentile of the time per run, in milliseconds.
        images_per_second: Throughput at the median time.
        rounds: Number of rounds, each of several runs.
        ratio: Median of the ratios to the baseline's time, taken round by round.
        ratio_low: Lower quartile of these ratios.
        ratio_high: Upper quartile of these ratios.
        macs: Multiply-accumulate operations per image of the network before folding.
        folded: Whether batch norms were folded into convolutions.
        threads: Number of threads.
        precision: ``fp32``, ``bf16`` or ``int8``.
        peak_bytes: Peak memory of loading and running it, see :class:`wavenet_zoo.deployment.memory.Footprint`; None
            if it was not measured.
        load_ms: Time to load it, in milliseconds; None if it was not measured.
    """

    model: str
    form: str
    forms: dict[str, str]
    engine: str
    batch_size: int
    size: int
    median_ms: float
    p90_ms: float
    images_per_second: float
    rounds: int
    ratio: float
    ratio_low: float
    ratio_high: float
    macs: int
    folded: bool
    threads: int
    precision: str
    peak_bytes: int | None = None
    load_ms: float | None = None


@dataclass
class Benchmark(Result):
    """The result of :func:`bench`.

    Attributes:
        task: ``inference`` or ``training step``.
        against: Description of the baseline.
        rows: The measurements, by number of threads and batch size. The baseline is the first of each engine, or if it
            is a file, of each number of threads and batch size.
        threads: Largest number of threads of an engine.
        versions: Versions of the engines.
        environment: Versions and machine.
        seconds: Time taken, in seconds.
    """

    task: str
    against: str
    rows: list[Measurement]
    threads: int
    versions: dict[str, str]
    environment: dict[str, Any]
    seconds: float


@preserve_rng_state()
def bench(
    models: Sequence[str],
    against: str | None = None,
    *,
    engines: Sequence[str] = ("torch",),
    batches: Sequence[int] | None = None,
    forms: Sequence[str] | None = None,
    fold: bool = True,
    train: bool = False,
    size: int | None = None,
    seconds: float = 3.0,
    threads: int | Sequence[int] | None = None,
    device: str = "cpu",
    precision: str = "fp32",
    floor: bool = False,
    memory: bool = False,
    pretrained: bool = False,
    model_kwargs: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> Benchmark:
    """Measure the latency of networks and exported files against a baseline, on random images.

    At each batch size and number of threads all of them alternate, see
    :func:`wavenet_zoo.deployment.timing.time_interleaved`. Files run once in each of these groups, in their own
    engines; networks run in each of ``engines``. The ratio of a network is to the baseline in the same engine. If the
    baseline is a network, that of a file is to the baseline in the first engine.

    Args:
        models: Names of timm models; their weights, see :func:`wavenet_zoo.weights.locations.resolve_model`; or files
            of :func:`wavenet_zoo.export`.
        against: The baseline: a file, or the name of a model, which runs ``dense``, folded like the models. Default:
            the first model; as timm builds it (not folded, NCHW) unless it is a file.
        engines: Engines of the networks: ``torch`` (channels_last), ``compile``, ``onnxruntime``, ``openvino`` or
            ``executorch``; on a GPU ``torch``, ``compile`` or ``cudagraph`` (CUDA).
        batches: Batch sizes. Default: 1 and 16, or 64 for a training step.
        forms: How WaveletNet's units compute DFWT and WConv: ``factored``, ``dense``, ``split``, ``split2``,
            ``halves``, ``auto`` (the fastest form of each unit, measured in this engine at this batch size), or a file
            of :func:`wavenet_zoo.deployment.forms.save_forms`. Without folding ``factored`` or ``dense``. Default:
            ``auto`` in fp32 on the CPU, else ``dense``; both without folding.
        fold: Fold batch norms into convolutions. A training step is never folded.
        train: Measure a training step (forward, cross entropy, backward, SGD with momentum) instead of inference.
        size: Input size in pixels. Default: that of the files, or of the baseline.
        seconds: Approximate time to measure each of them at each batch size and number of threads.
        threads: Numbers of threads of each engine. Default: torch's, one per core.
        device: ``cpu``, ``cuda`` or ``mps``. Files run on the CPU only.
        precision: Precision of the networks: ``fp32``, or ``bf16`` for weights and images in bfloat16; a training step
            uses autocast.
        floor: Measure the baseline without its projections too, see :mod:`wavenet_zoo.deployment.floor`.
        memory: Measure peak memory and load time too, each in a process of its own.
        pretrained: Build models that are given by name with their pretrained weights, instead of random ones.
        model_kwargs: Model arguments, except of ``against``.
        progress: Show progress on stderr.

    Raises:
        WavezooError: If a model, a file, an engine or a form does not exist, an engine is not installed or does not
            run on the device, or the input sizes differ.
    """
    started = time.perf_counter()
    folded = fold and not train
    place = choose_device(device)
    fixed = f"in {precision}" if precision != "fp32" else f"on {place.type}" if place.type != "cpu" else None
    units = parse_forms(forms, folded, train, fixed)
    batches = batches or (TRAINING_BATCHES if train else INFERENCE_BATCHES)
    counts = [threads] if isinstance(threads, int) else list(threads or [torch.get_num_threads()])
    _check_batches(batches, train)
    _check_threads(counts)
    _check_files([*models, *([against] if against else [])], place, precision, train)
    for engine in engines:
        check_engine(engine, place, precision, train)
    if floor and train:
        raise WavezooError("--floor measures inference, not a training step", "remove --floor or --train")
    with _restored_threads(), tempfile.TemporaryDirectory(prefix="wavezoo-floor-") as folder:
        plan = make_plan(
            models,
            against,
            units,
            engines=engines,
            folded=folded,
            size=size,
            model_kwargs=model_kwargs,
            pretrained=pretrained,
            train=train,
            smallest_batch=min(batches),
            floor_folder=Path(folder) if floor else None,
        )
        if memory:
            _check_memory(plan)
        groups = [Conditions(b, t, plan.input_size, place, precision, train) for t in counts for b in batches]
        entries, rows = [], []
        for conditions in groups:
            torch.set_num_threads(conditions.threads)
            entries.append(plan.group(conditions, progress))
        with Progress("measuring", len(groups), unit="groups", enabled=progress) as bar:
            for conditions, group in zip(groups, entries):
                torch.set_num_threads(conditions.threads)
                rows += _measure_group(group, conditions, seconds, memory)
                bar.advance(1)
        _warn_of_wide_quartiles(rows)
        return Benchmark(
            task="training step" if train else "inference",
            against=plan.baseline.description,
            rows=rows,
            threads=max(counts),
            versions={name: text for entry, _ in entries[0] for name, text in entry.versions().items()},
            environment=describe_environment(place),
            seconds=time.perf_counter() - started,
        )


@contextlib.contextmanager
def _restored_threads() -> Iterator[None]:
    """Restore the number of torch's threads, which the engines use too."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _warn_of_wide_quartiles(rows: Sequence[Measurement]) -> None:
    wide = sum(row.ratio_high - row.ratio_low > MAX_QUARTILES * row.ratio for row in rows)
    if wide:
        logger.warning(
            "%d of %d ratios have quartiles more than %.0f %% apart: the machine is busy, or --seconds is too short",
            wide, len(rows), 100 * MAX_QUARTILES,
        )  # fmt: skip


def _check_files(models: Sequence[str], device: torch.device, precision: str, train: bool) -> None:
    for file in filter(is_exported_file, models):
        if train:
            raise WavezooError(f"{file}: an exported file cannot be trained", "remove --train")
        if device.type != "cpu":
            raise WavezooError(f"{file}: exported files run on the CPU only", "use --device cpu")
        if precision != "fp32":
            raise WavezooError(f"{file}: the precision of an exported file is fixed", "remove --precision")


def _check_threads(counts: Sequence[int]) -> None:
    if min(counts) < 1:
        raise WavezooError(f"{min(counts)} threads: must be at least 1", "for example --threads 1,2")


def _check_memory(plan: Plan) -> None:
    """Check that each entry can be loaded without converting it, which would take most of the memory and time."""
    named = any(not isinstance(entry, FileEntry) for entry in (plan.baseline, *plan.networks))
    for engine in plan.engines if named else ():
        if engine not in TORCH_ENGINES:
            raise WavezooError(
                f"--memory: engine '{engine}' converts a model before it runs",
                "pass files of 'wavezoo export', or use --engine torch",
            )


def _check_batches(batches: Sequence[int], train: bool) -> None:
    smallest = min(batches)
    if smallest < 1:
        raise WavezooError(f"batch size {smallest}: must be at least 1", "for example --batch 1,16")
    if train and smallest < 2:
        raise WavezooError(f"batch size {smallest}: batch norm requires at least 2 in training", "use --batch 64")


def _measure_group(
    group: Sequence[tuple[Entry, int]], conditions: Conditions, seconds: float, memory: bool
) -> list[Measurement]:
    """Measure the entries of a group, interleaved. Each has the index of its baseline."""
    with torch.inference_mode(mode=not conditions.train):
        opened = [entry.open(entry.inputs(conditions), conditions) for entry, _ in group]
        runs = {i: each.run for i, each in enumerate(opened)}
        timings = time_interleaved(runs, seconds, clock_of(conditions.device))
    footprints = [measure_footprint(entry, conditions) if memory else None for entry, _ in group]
    return [
        _measurement(entry, opened[i].forms, conditions, timings[i], timings[baseline], footprints[i])
        for i, (entry, baseline) in enumerate(group)
    ]


def _measurement(
    entry: Entry,
    forms: dict[str, str],
    conditions: Conditions,
    timings: Timings,
    baseline: Timings,
    footprint: Footprint | None,
) -> Measurement:
    ratio, ratio_low, ratio_high = ratio_quartiles(timings, baseline)
    return Measurement(
        model=entry.model,
        form=entry.form,
        forms=forms,
        engine=entry.engine,
        batch_size=conditions.batch_size,
        size=conditions.input_size[-1],
        median_ms=1e3 * timings.median,
        p90_ms=1e3 * timings.p90,
        images_per_second=conditions.batch_size / timings.median,
        rounds=len(timings.rounds),
        ratio=ratio,
        ratio_low=ratio_low,
        ratio_high=ratio_high,
        macs=entry.macs,
        folded=entry.folded,
        threads=conditions.threads,
        precision=entry.precision(conditions),
        peak_bytes=footprint.peak_bytes if footprint else None,
        load_ms=footprint.load_ms if footprint else None,
    )
