"""Which entries a benchmark measures, and the baseline of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from wavenet_zoo.complexity import count
from wavenet_zoo.data.preprocessing import preprocessing_of
from wavenet_zoo.deployment._candidates import PLAIN, Candidate, Forms, choose_auto_forms, list_candidates
from wavenet_zoo.deployment._entries import Conditions, Entry, FileEntry, NetworkEntry, open_file_entry
from wavenet_zoo.deployment.exported import is_exported_file
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.weights.input_check import check_input

__all__ = ["Plan", "make_plan"]


@dataclass(frozen=True)
class Plan:
    """Networks and files to measure.

    Attributes:
        baseline: The baseline.
        floor: The baseline without projections, if requested.
        networks: The other networks, which run in each engine.
        files: The other files, which run in their own engines.
        engines: Engines of the networks.
        input_size: (C, H, W) of an image.
    """

    baseline: Candidate | FileEntry
    floor: Candidate | FileEntry | None
    networks: list[Candidate]
    files: list[FileEntry]
    engines: Sequence[str]
    input_size: tuple[int, int, int]

    def group(self, conditions: Conditions, progress: bool = False) -> list[tuple[Entry, int]]:
        """List the entries of a group, each with the index of its baseline.

        The baseline of a network is the baseline in its own engine. The baseline of a file is the first entry.
        """
        first: list[Candidate | FileEntry] = [entry for entry in (self.baseline, self.floor) if entry is not None]
        group: list[tuple[Entry, int]] = [(entry, 0) for entry in first if isinstance(entry, FileEntry)]
        if group:
            group += [(entry, 0) for entry in self.files]
        in_each_engine = [*(entry for entry in first if isinstance(entry, Candidate)), *self.networks]
        for engine in self.engines if in_each_engine else ():
            baseline = 0 if isinstance(self.baseline, FileEntry) else len(group)
            images = torch.randn(
                conditions.batch_size, *conditions.input_size, generator=torch.Generator().manual_seed(0)
            )
            chosen = choose_auto_forms(in_each_engine, engine, images, progress)
            group += [(NetworkEntry(candidate, engine), baseline) for candidate in chosen]
        if isinstance(self.baseline, Candidate):
            group += [(entry, 0) for entry in self.files]
        return group


def make_plan(
    models: Sequence[str],
    against: str | None,
    forms: Mapping[str, Forms],
    *,
    engines: Sequence[str],
    folded: bool,
    size: int | None,
    model_kwargs: Mapping[str, Any] | None,
    pretrained: bool,
    train: bool,
    smallest_batch: int,
    floor_folder: Path | None,
) -> Plan:
    """Open the files, list the networks, and check that all accept the same images.

    Args:
        models: Names of models, their weights, and exported files.
        against: The baseline. Default: the first model; as timm builds it unless it is a file.
        forms: Forms of the units by name.
        engines: Engines of the networks.
        folded: Whether batch norms are folded.
        size: Input size in pixels. Default: that of the files, or of the baseline.
        model_kwargs: Model arguments, except of ``against``.
        pretrained: Whether models that are given by name get their pretrained weights.
        train: Whether a training step is measured.
        smallest_batch: Smallest batch size.
        floor_folder: Folder for the floor of a file; None without a floor.

    Raises:
        WavezooError: If a model or file is missing or damaged, or does not accept the images of the others.
    """
    first = models[0] if against is None else against
    names = list(dict.fromkeys([first, *models]))
    files = {name: open_file_entry(name) for name in names if is_exported_file(name)}
    size = _common_size(list(files.values()), size)
    named = [model for model in models if model not in files]
    networks = list_candidates(named, forms, folded, size, model_kwargs, pretrained)
    baseline: Candidate | FileEntry
    if first in files:
        baseline = files.pop(first)
    elif against is None:
        macs = count(first, size=size, model_kwargs=model_kwargs).macs
        baseline = Candidate(first, model_kwargs or None, PLAIN, "factored", False, macs, pretrained)
    else:
        macs = count(against, size=size).macs
        baseline = Candidate(against, None, "dense", "dense", folded, macs, pretrained)
    networks = [network for network in networks if network != baseline]
    input_size = _input_size(baseline, size)
    for network in {c.model: c for c in [baseline, *networks] if isinstance(c, Candidate)}.values():
        check_input(network.build(), input_size, smallest_batch, training=train)
    floor: Candidate | FileEntry | None = None
    if floor_folder is not None:
        if isinstance(baseline, FileEntry):
            floor = baseline.floor(floor_folder)
        else:
            floor = baseline.floor(folded, input_size[-1])
    return Plan(baseline, floor, networks, list(files.values()), engines, input_size)


def _common_size(files: Sequence[FileEntry], size: int | None) -> int | None:
    """Return the input size of the files, or ``size`` without files.

    Raises:
        WavezooError: If they differ.
    """
    for file in files:
        own = file.metadata.preprocessing.input_size[-1]
        if size is not None and own != size:
            other = files[0].model if file is not files[0] else "--size"
            raise WavezooError(
                f"{file.model}: is exported for {own} px, and {other} is {size} px",
                "all models of a benchmark need the same input size: export with --size",
            )
        size = own
    return size


def _input_size(baseline: Candidate | FileEntry, size: int | None) -> tuple[int, int, int]:
    if isinstance(baseline, FileEntry):
        return baseline.metadata.preprocessing.input_size
    return preprocessing_of(baseline.build()).with_overrides(size).input_size
