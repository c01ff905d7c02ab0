"""Measure the throughput of networks against a baseline, interleaved in one process on one machine."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from wavenet_zoo.data.preprocessing import preprocessing_of
from wavenet_zoo.deployment._candidates import PLAIN, Candidate, choose_auto_forms, list_candidates, parse_forms
from wavenet_zoo.deployment.engines import (
    ENGINES,
    TRAINING_ENGINES,
    build_runner,
    build_training_runner,
    engine_versions,
)
from wavenet_zoo.deployment.fold import forms_of
from wavenet_zoo.deployment.timing import Timings, ratio_quartiles, time_interleaved
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.environment import describe_environment
from wavenet_zoo.runtime.progress import Progress
from wavenet_zoo.runtime.results import Result
from wavenet_zoo.runtime.seeds import preserve_rng_state
from wavenet_zoo.weights.input_check import check_input

__all__ = ["PLAIN", "Benchmark", "Measurement", "bench"]

logger = logging.getLogger(__name__)

MAX_QUARTILES = 0.1  # difference of the quartiles of a ratio, relative to its median
INFERENCE_BATCHES = (1, 16)
TRAINING_BATCHES = (64,)


@dataclass
class Measurement:
    """Times of one network in one engine at one batch size.

    Attributes:
        model: Name of the model.
        form: Form of its units; ``plain`` for a network as timm builds it: not folded, factored, NCHW.
        forms: Form of each folded unit by name.
        engine: Engine.
        batch_size: Images per run.
        size: Input size in pixels.
        median_ms: Median time per run, in milliseconds.
        p90_ms: 90th percentile of the time per run, in milliseconds.
        images_per_second: Throughput at the median time.
        rounds: Number of runs.
        ratio: Median of the ratios to the baseline's time, taken round by round.
        ratio_low: Lower quartile of these ratios.
        ratio_high: Upper quartile of these ratios.
        macs: Multiply-accumulate operations per image of the network before folding.
        folded: Whether batch norms were folded into convolutions.
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


@dataclass
class Benchmark(Result):
    """The result of :func:`bench`.

    Attributes:
        task: ``inference`` or ``training step``.
        against: Description of the baseline.
        rows: The measurements. In every group of engine and batch size the baseline is first.
        threads: Number of threads of each engine.
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
    threads: int | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> Benchmark:
    """Measure the throughput of networks on the CPU against a baseline, with random weights and images.

    Args:
        models: Names of timm models, or their weights, see :func:`wavenet_zoo.weights.locations.resolve_model`.
        against: Name of the baseline, which runs ``dense`` in the same engine, folded like the models. Default: the
            first model as timm builds it: not folded, NCHW.
        engines: ``torch`` (channels_last), ``compile``, ``onnxruntime``, ``openvino`` or ``executorch``.
        batches: Batch sizes. Default: 1 and 16, or 64 for a training step.
        forms: How WaveletNet's units compute DFWT and WConv: ``factored``, ``dense``, ``split``, ``split2``,
            ``halves``, ``auto`` (the fastest form of each unit, measured in this engine at this batch size), or a file
            of :func:`wavenet_zoo.deployment.forms.save_forms`. Without folding ``factored`` or ``dense``. Default:
            ``auto``, or both without folding.
        fold: Fold batch norms into convolutions. A training step is never folded.
        train: Measure a training step (forward, cross entropy, backward, SGD with momentum) instead of inference.
        size: Input size in pixels. Default: that of the baseline.
        seconds: Approximate time to measure each network at each batch size in each engine.
        threads: Number of threads of each engine. Default: torch's, one per core.
        model_kwargs: Model arguments.
        progress: Show progress on stderr.

    Raises:
        WavezooError: If a model, an engine or a form does not exist, an engine is not installed, or a model does not
            accept the size.
    """
    folded = fold and not train
    units = parse_forms(forms, folded, train)
    batches = batches or (TRAINING_BATCHES if train else INFERENCE_BATCHES)
    _check_batches(batches, train)
    _check_engines(engines, train)
    with _torch_threads(threads):
        started = time.perf_counter()
        candidates = list_candidates(models, against, units, folded, size, model_kwargs)
        input_size = preprocessing_of(candidates[0].build()).with_overrides(size).input_size
        for candidate in {c.model: c for c in candidates}.values():
            check_input(candidate.build(), input_size, min(batches), training=train)
        groups = [(engine, _random_images(batch_size, input_size)) for engine in engines for batch_size in batches]
        chosen = [choose_auto_forms(candidates, engine, images, progress) for engine, images in groups]
        rows: list[Measurement] = []
        with Progress("measuring", len(groups), unit="groups", enabled=progress) as bar:
            for (engine, images), group in zip(groups, chosen):
                rows += _measure_group(group, engine, images, seconds, train)
                bar.advance(1)
        _warn_of_wide_quartiles(rows)
        return Benchmark(
            task="training step" if train else "inference",
            against=candidates[0].description,
            rows=rows,
            threads=torch.get_num_threads(),
            versions=engine_versions(tuple(engines)),
            environment=describe_environment(torch.device("cpu")),
            seconds=time.perf_counter() - started,
        )


@contextlib.contextmanager
def _torch_threads(threads: int | None) -> Iterator[None]:
    """Set the number of torch's threads, which the engines use too."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
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


def _check_engines(engines: Sequence[str], train: bool) -> None:
    for engine in engines:
        if engine not in ENGINES:
            raise WavezooError(f"unknown engine '{engine}'", f"use {', '.join(ENGINES)}")
        if train and engine not in TRAINING_ENGINES:
            raise WavezooError(f"engine '{engine}' does not support training", f"use {' or '.join(TRAINING_ENGINES)}")


def _check_batches(batches: Sequence[int], train: bool) -> None:
    smallest = min(batches)
    if smallest < 1:
        raise WavezooError(f"batch size {smallest}: must be at least 1", "for example --batch 1,16")
    if train and smallest < 2:
        raise WavezooError(f"batch size {smallest}: batch norm requires at least 2 in training", "use --batch 64")


def _random_images(batch_size: int, input_size: tuple[int, int, int]) -> torch.Tensor:
    return torch.randn(batch_size, *input_size, generator=torch.Generator().manual_seed(0))


def _measure_group(
    candidates: Sequence[Candidate], engine: str, images: torch.Tensor, seconds: float, train: bool
) -> list[Measurement]:
    """Measure all candidates in one engine at one batch size, interleaved."""
    networks = [candidate.prepare() for candidate in candidates]
    with torch.inference_mode(mode=not train):
        runners = {
            i: _build_runner(network, engine, images, train, candidates[i].form == PLAIN)
            for i, network in enumerate(networks)
        }
        timings = time_interleaved(runners, seconds)
    return [
        _measurement(candidate, forms_of(networks[i]), engine, images, timings[i], timings[0])
        for i, candidate in enumerate(candidates)
    ]


def _build_runner(
    network: nn.Module, engine: str, images: torch.Tensor, train: bool, plain: bool
) -> Callable[[], object]:
    if not train:
        return build_runner(engine, network, images, channels_last=not plain)
    num_classes: Any = network.num_classes
    labels = torch.randint(num_classes, (len(images),), generator=torch.Generator().manual_seed(0))
    return build_training_runner("torch" if plain else engine, network, images, labels, channels_last=not plain)


def _measurement(
    candidate: Candidate,
    forms: dict[str, str],
    engine: str,
    images: torch.Tensor,
    timings: Timings,
    baseline: Timings,
) -> Measurement:
    ratio, ratio_low, ratio_high = ratio_quartiles(timings, baseline)
    return Measurement(
        model=candidate.model,
        form=candidate.form,
        forms=forms,
        engine=engine,
        batch_size=len(images),
        size=images.shape[-1],
        median_ms=1e3 * timings.median,
        p90_ms=1e3 * timings.p90,
        images_per_second=len(images) / timings.median,
        rounds=len(timings.seconds),
        ratio=ratio,
        ratio_low=ratio_low,
        ratio_high=ratio_high,
        macs=candidate.macs,
        folded=candidate.folded,
    )
