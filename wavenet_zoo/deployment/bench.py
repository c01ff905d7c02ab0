"""``bench``: networks against a reference, in one run on one machine."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from wavenet_zoo.complexity import count
from wavenet_zoo.data.preprocessing import preprocessing_of
from wavenet_zoo.deployment.choose import check_form, choose_forms, describe_forms, read_forms, save_forms
from wavenet_zoo.deployment.engines import ENGINES, engine_versions, prepare
from wavenet_zoo.deployment.fold import fold, forms_of
from wavenet_zoo.deployment.timing import Timing, ratio, take_turns
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.models import set_form
from wavenet_zoo.runtime.environment import describe_environment
from wavenet_zoo.runtime.figures import check_figure_path
from wavenet_zoo.runtime.files import check_writable
from wavenet_zoo.runtime.progress import Progress
from wavenet_zoo.weights.loading import load_model

__all__ = ["Benchmark", "Measurement", "bench"]

TRAINING_FORMS = ("plain", "factored", "dense")


@dataclass
class Measurement:
    """One network in one engine at one batch size.

    Attributes:
        model: Its name.
        form: Form of its units; ``plain``: nothing folded and NCHW, as timm gives it.
        forms: Form of every unit that has one.
        engine: What ran it.
        batch_size: Images per run.
        size: Side of the input in pixels.
        median_ms: Milliseconds per run, median.
        p90_ms: What nine of ten runs kept below.
        images_per_second: At the median.
        rounds: Number of runs.
        ratio: Of its time to the reference's, round by round; the median.
        ratio_low: Lower quartile of the ratios.
        ratio_high: Upper quartile.
        macs: Multiply-accumulates per image of the network as written.
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


@dataclass
class Benchmark:
    """The result of :func:`bench`.

    Attributes:
        task: ``inference`` or ``training step``.
        against: What the ratios refer to.
        rows: The measurements, the reference first in every group.
        threads: Of each engine.
        versions: Of the engines.
        environment: Versions and machine.
        seconds: Time taken.
    """

    task: str
    against: str
    rows: list[Measurement]
    threads: int
    versions: dict[str, str]
    environment: dict[str, Any]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values, for JSON."""
        return asdict(self)


@dataclass
class _Contender:
    model: str
    form: str
    network: nn.Module
    forms: dict[str, str]
    macs: int

    @property
    def label(self) -> str:
        return f"{self.model} {self.form}"


def bench(
    models: Sequence[str],
    against: str | None = None,
    *,
    engines: Sequence[str] = ("torch",),
    batches: Sequence[int] = (1, 16),
    forms: Sequence[str] | None = None,
    train: bool = False,
    size: int | None = None,
    seconds: float = 3.0,
    model_kwargs: Mapping[str, Any] | None = None,
    save_forms_to: str | Path | None = None,
    plot: str | Path | None = None,
    progress: bool = False,
    note: Callable[[str], None] = lambda line: None,
) -> Benchmark:
    """Measure how fast networks are on the CPU, in turn with a reference, with random weights and images.

    Args:
        models: Names of timm models, ours or not.
        against: Name of the reference, folded and in the same engine; by default the first model ``plain``, which is as
            timm gives it: nothing folded, in NCHW.
        engines: Out of ``torch`` (channels_last), ``compile``, ``onnxruntime``, ``openvino`` and ``executorch``.
        batches: Batch sizes.
        forms: Forms to measure the models in: ``plain``, one of :data:`wavenet_zoo.deployment.fold.UNIT_FORMS`, ``auto``, which
            picks for every unit by measuring, or a file that ``save_forms_to`` wrote; by default ``auto``. In training
            ``plain``, ``factored`` or ``dense``, by default the last two.
        train: Measure a training step (forward, cross entropy, backward, SGD with momentum) in place of inference.
        size: Side of the input in pixels, in place of the models' own.
        seconds: How long to measure each network, at each batch size in each engine.
        model_kwargs: Arguments for the models.
        save_forms_to: File for what ``auto`` has picked, for one model, engine and batch size.
        plot: Figure to write: time against MACs.
        progress: Show progress on stderr.
        note: Called with a line on what ``auto`` has picked.

    Raises:
        WavezooError: If a model, engine or form is not there, or an engine's extra is not installed.
    """
    forms = list(forms or (("factored", "dense") if train else ("auto",)))
    _check(models, engines, batches, forms, train, save_forms_to, plot)
    started = time.perf_counter()
    rows: list[Measurement] = []
    reference = against or models[0]
    groups = [(engine, batch) for engine in engines for batch in batches]
    with Progress("measuring", len(groups), unit="groups", enabled=progress) as bar:
        for engine, batch_size in groups:
            torch._dynamo.reset()
            kwargs = model_kwargs if against is None else None
            first = _Contender(reference, "dense" if against else "plain", *_build(reference, kwargs, size))
            shape = _shape(first.network, batch_size, size)
            contenders = [first]
            for model in models:
                for form in forms:
                    network, units, macs = _build(model, model_kwargs, size)
                    if form == "auto":
                        units = choose_forms(network, torch.randn(shape), engine, progress)
                        bar.say(f"{model}, {engine}, batch size {batch_size}: {describe_forms(units)}")
                        if save_forms_to is not None:
                            about = {"model": model, "engine": engine, "batch_size": batch_size, "size": shape[-1]}
                            environment = describe_environment(torch.device("cpu"))
                            save_forms(Path(save_forms_to), units, {**about, "environment": environment})
                            note(f"forms: {save_forms_to}")
                    elif form.endswith(".json"):
                        units = read_forms(Path(form))
                    contenders.append(_Contender(model, form, network, units, macs))
            if against is None and "plain" in forms:
                contenders = [
                    c for i, c in enumerate(contenders) if i == 0 or (c.model, c.form) != (reference, "plain")
                ]
            runs = {c.label: (_step if train else _inference)(c, engine, shape) for c in contenders}
            with torch.inference_mode(mode=not train):
                times = take_turns(runs, seconds)
            rows += [_measurement(c, engine, shape, times[c.label], times[first.label]) for c in contenders]
            bar.advance(1)
    result = Benchmark(
        task="training step" if train else "inference",
        against=f"{reference}, {'folded' if against else 'plain'}",
        rows=rows,
        threads=torch.get_num_threads(),
        versions=engine_versions(tuple(engines)),
        environment=describe_environment(torch.device("cpu")),
        seconds=time.perf_counter() - started,
    )
    if plot is not None:
        from wavenet_zoo.deployment.plots import plot_benchmark

        plot_benchmark(Path(plot), result)
    return result


def _check(
    models: Sequence[str],
    engines: Sequence[str],
    batches: Sequence[int],
    forms: Sequence[str],
    train: bool,
    save_forms_to: str | Path | None,
    plot: str | Path | None,
) -> None:
    for engine in engines:
        if engine not in ENGINES:
            raise WavezooError(f"no engine '{engine}'", f"one of {', '.join(ENGINES)}")
        if train and engine not in ("torch", "compile"):
            raise WavezooError(f"{engine} does not train", "--engine torch or compile")
    for form in forms:
        if train and form not in TRAINING_FORMS:
            raise WavezooError(f"no form '{form}' to train in", f"one of {', '.join(TRAINING_FORMS)}")
        if form != "plain":
            check_form(form)
    if not batches or min(batches) < 1:
        raise WavezooError("a batch has at least one image", "--batch 1,16")
    if train and min(batches) < 2:
        raise WavezooError("batch norm learns from 2 images or more", "--batch 64")
    if save_forms_to is not None and (len(models), len(engines), len(batches), list(forms)) != (1, 1, 1, ["auto"]):
        raise WavezooError("a choice of forms is for one model, engine and batch size", "--form auto --batch 1")
    if save_forms_to is not None:
        check_writable(Path(save_forms_to))
    if plot is not None:
        check_figure_path(Path(plot))


def _build(
    model: str, model_kwargs: Mapping[str, Any] | None, size: int | None
) -> tuple[nn.Module, dict[str, str], int]:
    network, _ = load_model(model, "none", model_kwargs)
    return network.eval(), {}, count(model, size=size, model_kwargs=model_kwargs).macs


def _shape(network: nn.Module, batch_size: int, size: int | None) -> tuple[int, int, int, int]:
    channels, height, width = preprocessing_of(network).with_overrides(size).input_size
    return batch_size, channels, height, width


def _inference(contender: _Contender, engine: str, shape: Sequence[int]) -> Callable[[], object]:
    network, plain = contender.network, contender.form == "plain"
    if not plain:
        network = fold(network, contender.forms or _one_form(contender.form))
        contender.forms = forms_of(network)
    with torch.inference_mode():
        return prepare(engine, network, torch.randn(*shape), channels_last=not plain)


def _one_form(form: str) -> str:
    return "dense" if form == "auto" else form  # of a network without units


def _step(contender: _Contender, engine: str, shape: Sequence[int]) -> Callable[[], object]:
    network, plain = contender.network.train(), contender.form == "plain"
    set_form(network, "factored" if plain else contender.form)
    layout = torch.contiguous_format if plain else torch.channels_last
    network = network.to(memory_format=layout)
    images = torch.randn(*shape).to(memory_format=layout)
    labels = torch.randint(network.num_classes, (shape[0],))  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
    forward = torch.compile(network) if engine == "compile" and not plain else network

    def step() -> None:
        F.cross_entropy(forward(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _measurement(
    contender: _Contender, engine: str, shape: Sequence[int], timing: Timing, reference: Timing
) -> Measurement:
    middle, low, high = ratio(timing, reference)
    return Measurement(
        model=contender.model,
        form=contender.form,
        forms=contender.forms,
        engine=engine,
        batch_size=shape[0],
        size=shape[-1],
        median_ms=1e3 * timing.median,
        p90_ms=1e3 * timing.p90,
        images_per_second=shape[0] / timing.median,
        rounds=len(timing.seconds),
        ratio=middle,
        ratio_low=low,
        ratio_high=high,
        macs=contender.macs,
    )
