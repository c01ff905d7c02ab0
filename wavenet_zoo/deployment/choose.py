"""Which form of each unit is the fastest here: measured, not guessed."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wavenet_zoo.deployment.engines import prepare
from wavenet_zoo.deployment.fold import UNIT_FORMS, fold, units_of
from wavenet_zoo.deployment.timing import ratio, take_turns
from wavenet_zoo.errors import WavezooError, did_you_mean
from wavenet_zoo.runtime.files import write_atomically
from wavenet_zoo.runtime.progress import Progress

__all__ = [
    "UnitTimes",
    "check_form",
    "choose_forms",
    "describe_forms",
    "measure_units",
    "one_form",
    "read_forms",
    "resolve_forms",
    "save_forms",
]

logger = logging.getLogger(__name__)

CANDIDATES = ("dense", "split", "split2", "halves")
SECONDS_PER_CANDIDATE = 0.3
SECONDS_FOR_THE_WHOLE = 2.0
MIN_GAIN = 0.03  # below that it is dense: fewer operations are less that can go wrong


@dataclass
class UnitTimes:
    """What one kind of unit takes in each form.

    Attributes:
        names: The units of this kind.
        shape: Of their inputs, (B, C, H, W).
        channels: Input, expanded and output channels.
        milliseconds: Median by form.
    """

    names: list[str]
    shape: tuple[int, ...]
    channels: tuple[int, int, int]
    milliseconds: dict[str, float]

    @property
    def best(self) -> str:
        """The fastest form, or ``dense`` where none gains enough."""
        form = min(self.milliseconds, key=lambda form: self.milliseconds[form])
        enough = self.milliseconds[form] < (1 - MIN_GAIN) * self.milliseconds["dense"]
        return form if enough else "dense"


@torch.inference_mode()
def measure_units(network: nn.Module, images: torch.Tensor, engine: str, progress: bool = False) -> list[UnitTimes]:
    """Measure each kind of unit in each form, by itself, on inputs of the shape that it gets in the network.

    Args:
        network: With units as written, in evaluation mode.
        images: (B, C, H, W), the batch to be fast on.
        engine: What will run it.
        progress: Show progress on stderr.
    """
    kinds = _kinds_of_units(network, images)
    measured = []
    with Progress("choosing forms", len(kinds), unit="kinds of units", enabled=progress) as bar:
        for names, shape in kinds:
            unit: Any = network.get_submodule(names[0])
            folded = {module.form: module.eval() for module in (unit.fuse(form) for form in CANDIDATES)}
            features = torch.randn(shape)
            runs = {form: prepare(engine, module, features) for form, module in folded.items()}
            times = take_turns(runs, SECONDS_PER_CANDIDATE)
            channels = (shape[1], unit.conv_pwl.in_channels, unit.conv_pwl.out_channels)
            medians = {form: 1e3 * timing.median for form, timing in times.items()}
            measured.append(UnitTimes(names, shape, channels, medians))
            bar.advance(1)
    return measured


@torch.inference_mode()
def choose_forms(network: nn.Module, images: torch.Tensor, engine: str, progress: bool = False) -> dict[str, str]:
    """Return the fastest form of every unit, by :func:`measure_units`.

    The network in the forms that were picked is then measured against the dense one; where it is not faster as a whole,
    in three of four rounds, every unit is dense.
    """
    picked = {name: kind.best for kind in measure_units(network, images, engine, progress) for name in kind.names}
    chosen = {name: picked[name] for name in units_of(network)}
    dense = dict.fromkeys(chosen, "dense")
    if chosen == dense:
        return dense
    runs = {name: prepare(engine, fold(network, forms), images) for name, forms in (("p", chosen), ("d", dense))}
    whole = take_turns(runs, SECONDS_FOR_THE_WHOLE)
    upper_quartile = ratio(whole["p"], whole["d"])[2]
    return chosen if upper_quartile < 1 else dense


def check_form(form: str) -> None:
    """Find out whether there is such a form, ``auto`` and files of forms included.

    Raises:
        WavezooError: If there is not.
    """
    if form not in (*UNIT_FORMS, "auto") and not form.endswith(".json"):
        choices = (*UNIT_FORMS, "auto")
        raise WavezooError(f"no form '{form}'", did_you_mean(form, choices, f"{', '.join(choices)}, or a json file"))


def resolve_forms(
    form: str,
    network: nn.Module,
    input_size: tuple[int, int, int],
    *,
    engine: str = "torch",
    progress: bool = False,
) -> str | dict[str, str]:
    """Return the forms that :func:`wavenet_zoo.deployment.fold.fold` takes. ``auto`` measures them at batch size 1.

    Args:
        form: A form, ``auto``, or a file of :func:`save_forms`.
        network: The network, with its units not folded.
        input_size: (C, H, W) of the input.
        engine: Engine to measure in.
        progress: Show progress on stderr.

    Raises:
        WavezooError: If the form does not exist, or the file cannot be read.
    """
    check_form(form)
    if form.endswith(".json"):
        return read_forms(Path(form))
    if form != "auto":
        return form
    forms = choose_forms(network.eval(), torch.randn(1, *input_size), engine, progress)
    logger.info("forms, measured in %s at batch size 1: %s", engine, describe_forms(forms))
    return forms


def one_form(forms: str | Mapping[str, str]) -> str:
    """Return the form of all units, ``mixed`` if they differ, or ``dense`` for a network without units."""
    if isinstance(forms, str):
        return forms
    different = set(forms.values())
    return different.pop() if len(different) == 1 else "mixed" if different else "dense"


def describe_forms(forms: Mapping[str, str]) -> str:
    """Return how many units have which form, in words."""
    counts = {form: sum(value == form for value in forms.values()) for form in UNIT_FORMS}
    return ", ".join(f"{count} {form}" for form, count in counts.items() if count) or "no unit has forms"


def save_forms(path: Path, forms: Mapping[str, str], about: Mapping[str, Any]) -> None:
    """Write a choice with what it was made on."""
    write_atomically(path, (json.dumps({**about, "forms": dict(forms)}, indent=2) + "\n").encode())


def read_forms(path: Path) -> dict[str, str]:
    """Return the choice that :func:`save_forms` wrote.

    Raises:
        WavezooError: If the file is not there, or not one.
    """
    try:
        forms = json.loads(path.read_text(encoding="utf-8"))["forms"]
        if not all(isinstance(form, str) for form in forms.values()):
            raise TypeError("a form is a word")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or "not a file of forms"
        raise WavezooError(
            f"{path}: {reason}", "'wavezoo bench MODEL --form auto --save-forms FILE' writes one"
        ) from error
    return forms


def _kinds_of_units(network: nn.Module, images: torch.Tensor) -> list[tuple[list[str], tuple[int, ...]]]:
    """Return the units that are alike, by name, with the shape of their inputs."""
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
    kinds: dict[Any, list[str]] = {}
    for name, shape in shapes.items():
        unit: Any = network.get_submodule(name)
        like = (shape, unit.stride, unit.has_skip, unit.conv_pwl.in_channels, unit.conv_pwl.out_channels)
        kinds.setdefault(like, []).append(name)
    return [(names, like[0]) for like, names in kinds.items()]
