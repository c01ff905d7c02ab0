"""Choose the fastest form of each WaveletNet unit by measuring on this machine."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wavenet_zoo.deployment.engines import build_runner
from wavenet_zoo.deployment.fold import fold, units_of
from wavenet_zoo.deployment.forms import check_form, read_forms, summarize_forms
from wavenet_zoo.deployment.timing import ratio_quartiles, time_interleaved
from wavenet_zoo.runtime.progress import Progress

__all__ = ["UnitTimes", "choose_forms", "measure_units", "resolve_forms"]

logger = logging.getLogger(__name__)

CANDIDATE_FORMS = ("dense", "split", "split2", "halves")
SECONDS_PER_UNIT_FORM = 0.3
SECONDS_PER_NETWORK = 2.0
MIN_RELATIVE_GAIN = 0.03  # a smaller gain keeps the unit dense


@dataclass
class UnitTimes:
    """Times of equal units in each form.

    Attributes:
        names: Names of the units.
        shape: Shape of their input, (B, C, H, W).
        channels: Input, expanded and output channels.
        milliseconds: Median time by form.
    """

    names: list[str]
    shape: tuple[int, ...]
    channels: tuple[int, int, int]
    milliseconds: dict[str, float]

    @property
    def best(self) -> str:
        """The fastest form, or ``dense`` if the gain over it is below ``MIN_RELATIVE_GAIN``."""
        fastest = min(self.milliseconds, key=lambda form: self.milliseconds[form])
        gain = 1 - self.milliseconds[fastest] / self.milliseconds["dense"]
        return fastest if gain > MIN_RELATIVE_GAIN else "dense"


@torch.inference_mode()
def measure_units(network: nn.Module, images: torch.Tensor, engine: str, progress: bool = False) -> list[UnitTimes]:
    """Measure the units of a network in each form, separately from the network.

    Units are equal if they agree in shapes, stride and shortcut; one of them is measured, on random inputs of the shape
    that it receives in the network.

    Args:
        network: The network, not folded, in evaluation mode.
        images: A batch, (B, C, H, W).
        engine: Engine to measure in.
        progress: Show progress on stderr.
    """
    groups = _group_equal_units(network, images)
    generator = torch.Generator().manual_seed(0)
    measured = []
    with Progress("choosing forms", len(groups), unit="kinds of units", enabled=progress) as bar:
        for names, shape in groups:
            unit: Any = network.get_submodule(names[0])
            folded = {module.form: module.eval() for module in (unit.fuse(form) for form in CANDIDATE_FORMS)}
            features = torch.randn(shape, generator=generator)
            runners = {form: build_runner(engine, module, features) for form, module in folded.items()}
            timings = time_interleaved(runners, SECONDS_PER_UNIT_FORM)
            channels = (shape[1], unit.conv_pwl.in_channels, unit.conv_pwl.out_channels)
            milliseconds = {form: 1e3 * timing.median for form, timing in timings.items()}
            measured.append(UnitTimes(names, shape, channels, milliseconds))
            bar.advance(1)
    return measured


@torch.inference_mode()
def choose_forms(network: nn.Module, images: torch.Tensor, engine: str, progress: bool = False) -> dict[str, str]:
    """Choose the fastest form of every unit by :func:`measure_units`.

    The whole network in these forms is then measured against the dense one. All units become dense unless it is faster
    in at least three of four rounds.

    Args:
        network: The network, not folded, in evaluation mode.
        images: A batch, (B, C, H, W).
        engine: Engine to measure in.
        progress: Show progress on stderr.

    Returns:
        Form of every unit by name, in the order of the network.
    """
    best = {name: group.best for group in measure_units(network, images, engine, progress) for name in group.names}
    chosen = {name: best[name] for name in units_of(network)}
    dense = dict.fromkeys(chosen, "dense")
    if chosen == dense:
        return dense
    networks = {"chosen": fold(network, chosen), "dense": fold(network, dense)}
    runners = {name: build_runner(engine, folded, images) for name, folded in networks.items()}
    timings = time_interleaved(runners, SECONDS_PER_NETWORK)
    _, _, upper_quartile = ratio_quartiles(timings["chosen"], timings["dense"])
    return chosen if upper_quartile < 1 else dense


def resolve_forms(
    form: str,
    network: nn.Module,
    input_size: tuple[int, int, int],
    *,
    engine: str = "torch",
    progress: bool = False,
) -> str | dict[str, str]:
    """Return the forms that :func:`wavenet_zoo.deployment.fold.fold` takes.

    Args:
        form: One of :data:`wavenet_zoo.deployment.fold.UNIT_FORMS`, ``auto``, or a file of
            :func:`wavenet_zoo.deployment.forms.save_forms`. ``auto`` measures at batch size 1.
        network: The network, not folded. ``auto`` sets it to evaluation mode.
        input_size: (C, H, W) of the input.
        engine: Engine that ``auto`` measures in.
        progress: Show progress on stderr.

    Raises:
        WavezooError: If the form is unknown, or the file cannot be read.
    """
    check_form(form)
    if form.endswith(".json"):
        return read_forms(Path(form))
    if form != "auto":
        return form
    images = torch.randn(1, *input_size, generator=torch.Generator().manual_seed(0))
    forms = choose_forms(network.eval(), images, engine, progress)
    logger.info("forms, measured in %s at batch size 1: %s", engine, summarize_forms(forms))
    return forms


def _group_equal_units(network: nn.Module, images: torch.Tensor) -> list[tuple[list[str], tuple[int, ...]]]:
    """Return the names of equal units, with the shape of their input."""
    shapes: dict[str, tuple[int, ...]] = {}
    handles = [
        network.get_submodule(name).register_forward_pre_hook(
            lambda module, inputs, name=name: shapes.__setitem__(name, tuple(inputs[0].shape))
        )
        for name in units_of(network)
    ]
    network(images)
    for handle in handles:
        handle.remove()
    groups: dict[Any, list[str]] = {}
    for name, shape in shapes.items():
        unit: Any = network.get_submodule(name)
        key = (shape, unit.stride, unit.has_skip, unit.conv_pwl.in_channels, unit.conv_pwl.out_channels)
        groups.setdefault(key, []).append(name)
    return [(names, key[0]) for key, names in groups.items()]
