"""Top-1, top-5 and loss of a model on labelled images, with everything that they depend on."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wavenet_zoo.data.classes import match_classes
from wavenet_zoo.data.loaders import default_workers, evaluation_loader
from wavenet_zoo.data.open import NAMED_DATA, is_named, open_data
from wavenet_zoo.data.preprocessing import evaluation_transform, preprocessing_of
from wavenet_zoo.data.sources import ImageSource
from wavenet_zoo.deployment.exported import is_exported_file, open_exported_file
from wavenet_zoo.deployment.fold import fold
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.evaluation.metrics import Tally, count_correct
from wavenet_zoo.models import read_manifest
from wavenet_zoo.runtime.distributed import join_processes
from wavenet_zoo.runtime.environment import describe_environment
from wavenet_zoo.runtime.progress import Progress
from wavenet_zoo.weights.loading import Weights, load_model

__all__ = ["Evaluation", "evaluate"]


@dataclass
class Evaluation:
    """The result of :func:`evaluate`.

    Attributes:
        model: Name of the model.
        weights: What is known of the weights.
        data: Name, split, number of images and of classes, fingerprint, and ``seen``: whether the weights learned from
            these images (``training``), were validated on them (``validation``), or on others (``neither``); None where
            the weights do not say.
        preprocessing: How images became tensors, with a description in words.
        top1: Percentage of images whose class scored highest.
        top5: Percentage of images whose class was among the five that scored highest.
        loss: Mean cross entropy.
        correct_top1: Number of images behind ``top1``.
        correct_top5: Number of images behind ``top5``.
        images: Number of images evaluated.
        skipped: Images that could not be decoded, where they were to be skipped.
        per_class: For each class its images and how many were right, where asked for.
        form: ``dense`` for folded, ``plain`` for as written, or what an exported file was folded to.
        seconds: From the first batch to the last, decoding included.
        time: Where the time went: seconds of ``waiting`` for images and of the ``model``; and of ``decoding``, all
            loader processes together, which goes on beside the model. Of the first process, where there are several.
        images_per_second: Images by seconds.
        precision: fp32 or bf16.
        batch_size: Images per batch.
        workers: Decoding processes of each process.
        processes: How many had a share of the images.
        environment: Versions and machine.
        date: When, in UTC.
    """

    model: str
    weights: dict[str, Any]
    data: dict[str, Any]
    preprocessing: dict[str, Any]
    top1: float
    top5: float
    loss: float
    correct_top1: int
    correct_top5: int
    images: int
    seconds: float
    images_per_second: float
    form: str
    time: dict[str, float]
    precision: str
    batch_size: int
    workers: int
    processes: int
    environment: dict[str, Any]
    skipped: list[str] = field(default_factory=list)
    per_class: dict[str, dict[str, int]] | None = None
    date: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values, for JSON."""
        return asdict(self)


def evaluate(
    model: str | nn.Module,
    weights: str | Path | None = None,
    data: str | Path | None = None,
    *,
    split: str = "val",
    batch_size: int = 64,
    size: int | None = None,
    crop_pct: float | None = None,
    interpolation: str | None = None,
    precision: str = "fp32",
    form: str = "dense",
    workers: int | None = None,
    device: str = "auto",
    model_kwargs: Mapping[str, Any] | None = None,
    per_class: bool = False,
    skip_bad_images: bool = False,
    progress: bool = False,
    note: Callable[[str], None] = lambda line: None,
) -> Evaluation:
    """Evaluate a model, ours or any of timm's.

    Args:
        model: Name, with or without a tag; a file of :func:`wavenet_zoo.export`; or a module with timm's
            ``pretrained_cfg`` and its weights in it, which is moved to the device and left in evaluation mode.
        weights: A tag, a file, or ``none`` for random weights; by default the model's pretrained ones.
        data: A folder or a name (see :func:`wavenet_zoo.data.open.open_data`); by default the data set that the
            weights were trained for.
        split: Part of the data: ``val`` (``test`` for the named sets), ``test`` or ``train``.
        batch_size: Images per batch; the result does not depend on it but for rounding.
        size: Side of the input in pixels, in place of the model's.
        crop_pct: Share of the resized image that the crop takes, in place of the model's.
        interpolation: Of the resizing, in place of the model's.
        precision: ``fp32``, or ``bf16`` for autocast.
        form: ``dense`` folds batch norms and DFWT into the convolutions: the same map up to rounding, in less time.
            ``plain`` computes the network as it is written.
        workers: Decoding processes; by default one per core, none for images that are in memory.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        model_kwargs: Arguments for the model.
        per_class: Count per class too.
        skip_bad_images: Leave out and list images that cannot be decoded, instead of failing at the first.
        progress: Show progress on stderr.
        note: Called with a line on what a reader may not expect: random weights, classes that are not there.

    Raises:
        WavezooError: If the model, the weights or the data are not there, damaged, or do not go together.
    """
    with join_processes(device) as processes:
        target = processes.device
        if not processes.is_main:
            progress, note = False, _say_nothing
        module, known, name, form = _open_model(model, weights, model_kwargs, form, target)
        if known.kind == "random":
            note(f"weights: {known.describe()}")
        where = data if data is not None else _default_data(name, known)
        with processes.main_first(is_named(str(where))):
            source = open_data(where, split)
        try:
            class_indices = match_classes(source.classes, known.classes, module.num_classes)
        except WavezooError as error:
            raise WavezooError(error.message, _weights_that_there_are(name) + error.hint) from error
        if len(source.classes) < module.num_classes:
            note(f"classes: {len(source.classes)} of the model's {module.num_classes}, matched by name")
        preprocessing = (known.preprocessing or preprocessing_of(module)).with_overrides(size, crop_pct, interpolation)

        workers = default_workers(source, processes.local_world_size) if workers is None else workers
        loader = evaluation_loader(
            source,
            evaluation_transform(preprocessing),
            class_indices,
            batch_size,
            workers,
            target.type == "cuda",
            processes.rank,
            processes.world_size,
        )
        num_classes = module.num_classes
        module = (fold(module, "dense") if form == "dense" else module).to(target).to(memory_format=torch.channels_last)
        share = len(range(processes.rank, len(source.targets), processes.world_size))
        with Progress("evaluating", share, enabled=progress) as bar:
            tally = count_correct(
                module,
                loader,
                source,
                num_classes,
                target,
                precision=precision,
                skip_bad_images=skip_bad_images,
                progress=bar,
                processes=processes,
            )
    if not math.isfinite(tally.loss_sum):
        raise WavezooError("the model's outputs are not finite", "the weights or the precision are at fault")
    return Evaluation(
        model=name,
        weights={**asdict(known), "description": known.describe()},
        data={
            "name": source.name,
            "split": source.split,
            "images": len(source.targets),
            "classes": len(source.classes),
            "fingerprint": (fingerprint := source.fingerprint()),
            "seen": _seen(fingerprint, known),
        },
        preprocessing={**preprocessing.to_dict(), "description": str(preprocessing)},
        top1=tally.top1,
        top5=tally.top5,
        loss=tally.loss,
        correct_top1=tally.correct_top1,
        correct_top5=tally.correct_top5,
        images=tally.images,
        skipped=tally.skipped,
        per_class=_per_class(tally, source, class_indices) if per_class else None,
        seconds=tally.seconds,
        images_per_second=tally.images / tally.seconds,
        form=form,
        time={
            "waiting": tally.waiting_seconds,
            "model": tally.model_seconds,
            "decoding": tally.decoding_seconds,
        },
        precision=precision,
        batch_size=batch_size,
        workers=workers,
        processes=processes.world_size,
        environment=describe_environment(target),
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _seen(fingerprint: str, weights: Weights) -> str | None:
    if weights.data_fingerprint is None:
        return None
    known = {weights.data_fingerprint: "training", weights.validation_fingerprint: "validation"}
    return known.get(fingerprint, "neither")


def _say_nothing(line: str) -> None:
    pass


def _open_model(
    model: str | nn.Module,
    weights: str | Path | None,
    model_kwargs: Mapping[str, Any] | None,
    form: str,
    device: torch.device,
) -> tuple[Any, Weights, str, str]:
    """Return the network, what is known of its weights, what to call it, and its form."""
    if form not in ("dense", "plain"):
        raise WavezooError(f"no form '{form}' to evaluate in", "dense or plain")
    if isinstance(model, nn.Module):
        if weights is not None:
            raise WavezooError(
                "weights go with a model's name: a module has its own", "load them first, or pass the name"
            )
        name = getattr(model, "pretrained_cfg", {}).get("architecture", type(model).__name__)
        return model, Weights("as given", "module"), name, form
    if not is_exported_file(model):
        return *load_model(model, weights, model_kwargs), model, form
    if weights is not None or model_kwargs:
        raise WavezooError(f"{model}: an exported file has its weights and its form", "leave --weights, --model-kwargs")
    if device.type != "cpu":
        raise WavezooError(f"{model}: exported files run on the CPU", "--device cpu")
    return open_exported_file(Path(model))


def _weights_that_there_are(model: str) -> str:
    entries = [entry for name, entry in read_manifest().items() if name.split(".")[0] == model.split(".")[0]]
    listed = [f"{entry['name']} is for the {len(entry['classes'])} classes of {entry['data']}" for entry in entries]
    return "".join(f"{line}; " for line in listed)


def _default_data(model: str, weights: Weights) -> str:
    if weights.data in NAMED_DATA:
        return weights.data
    trained = f": its weights were trained on {weights.data}, which is not at hand" if weights.data else ""
    raise WavezooError(f"{model} needs data to be evaluated on{trained}", "pass --data DIR or NAME")


def _per_class(tally: Tally, source: ImageSource, class_indices: list[int]) -> dict[str, dict[str, int]]:
    return {
        name: {"images": int(tally.class_images[index]), "correct": int(tally.class_correct[index])}
        for name, index in zip(source.classes, class_indices)
    }
