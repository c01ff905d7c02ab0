"""Evaluate a model on labelled images: top-1, top-5 and loss, with everything that they depend on."""

import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wavenet_zoo.data.agreement import check_same_images
from wavenet_zoo.data.classes import match_classes
from wavenet_zoo.data.image_hashes import hash_images
from wavenet_zoo.data.loaders import evaluation_loader
from wavenet_zoo.data.open import NAMED_DATA, is_named, open_data
from wavenet_zoo.data.preprocessing import evaluation_transform, preprocessing_of
from wavenet_zoo.data.sources import ImageSource
from wavenet_zoo.data.workers import default_workers
from wavenet_zoo.deployment.choose import resolve_forms
from wavenet_zoo.deployment.exported import is_exported_file, open_exported_file
from wavenet_zoo.deployment.fold import fold as fold_model
from wavenet_zoo.deployment.forms import check_unfolded_form, one_form
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.evaluation.metrics import Metrics, evaluate_loader
from wavenet_zoo.models import set_form
from wavenet_zoo.runtime.distributed import init_distributed
from wavenet_zoo.runtime.environment import describe_environment, package_versions
from wavenet_zoo.runtime.progress import Progress
from wavenet_zoo.runtime.results import Result
from wavenet_zoo.runtime.seeds import preserve_rng_state
from wavenet_zoo.weights.input_check import check_input
from wavenet_zoo.weights.loading import Weights, load_model
from wavenet_zoo.weights.locations import resolve_model
from wavenet_zoo.weights.manifest import list_entries
from wavenet_zoo.weights.metadata import WeightsMetadata

__all__ = ["Evaluation", "evaluate"]

logger = logging.getLogger(__name__)


@dataclass
class Evaluation(Result):
    """Result of :func:`evaluate`.

    Attributes:
        model: Name of the model.
        weights: Description and metadata of the weights.
        data: Name, the split that was read (empty if it is not known), number of images and classes, fingerprint,
            ``overlap``: how many of the images are ``training`` and ``validation`` images of the weights, by content,
            None if unknown, and ``seen``: ``training`` or ``validation`` if all of them are, ``partly`` if some are,
            ``neither`` if none is, None if unknown. Without ``overlap``, ``seen`` compares names and sizes of files.
        preprocessing: How images became tensors, with a description in words.
        top1: Percentage of images whose label scored highest.
        top5: Percentage of images whose label is among the five highest scores.
        loss: Mean cross entropy.
        correct_top1: Number of images behind ``top1``.
        correct_top5: Number of images behind ``top5``.
        images: Number of images evaluated.
        seconds: Wall-clock time from the first batch to the last, decoding included.
        images_per_second: Throughput, decoding included.
        form: Form of WaveletNet's units; ``mixed`` if they differ.
        folded: Whether batch norms were folded into convolutions.
        time: Seconds spent ``waiting`` for images and in the ``model``, and seconds of ``decoding`` summed over the
            loader's workers, of rank 0.
        precision: ``fp32`` or ``bf16``.
        batch_size: Images per batch.
        workers: Loader workers of each process.
        processes: World size.
        environment: Versions, commit and machine.
        skipped: Images that could not be decoded, with ``skip_bad_images``.
        per_class: Number of images and of correct ones for every class, if requested.
        date: Date and time in UTC.
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
    folded: bool = True
    skipped: list[str] = field(default_factory=list)
    per_class: dict[str, dict[str, int]] | None = None
    date: str = ""

    def to_row(self) -> dict[str, Any]:
        """Return the columns of a results CSV."""
        return {**{name: value(self) for name, value in _COLUMNS.items()}, **self.environment["versions"]}


def row_columns() -> list[str]:
    """Return the columns of :meth:`Evaluation.to_row`, which are known before the evaluation."""
    return [*_COLUMNS, *package_versions()]


_COLUMNS: dict[str, Callable[[Evaluation], Any]] = {
    "date": lambda e: e.date,
    "model": lambda e: e.model,
    "weights": lambda e: e.weights["name"],
    "weights_sha256": lambda e: e.weights["sha256"],
    "data": lambda e: e.data["name"],
    "split": lambda e: e.data["split"],
    "data_fingerprint": lambda e: e.data["fingerprint"],
    "images": lambda e: e.images,
    "top1": lambda e: e.top1,
    "top5": lambda e: e.top5,
    "loss": lambda e: e.loss,
    "correct_top1": lambda e: e.correct_top1,
    "correct_top5": lambda e: e.correct_top5,
    "skipped": lambda e: len(e.skipped),
    "input_size": lambda e: "x".join(str(n) for n in e.preprocessing["input_size"]),
    "interpolation": lambda e: e.preprocessing["interpolation"],
    "crop_pct": lambda e: e.preprocessing["crop_pct"],
    "crop_mode": lambda e: e.preprocessing["crop_mode"],
    "mean": lambda e: " ".join(str(n) for n in e.preprocessing["mean"]),
    "std": lambda e: " ".join(str(n) for n in e.preprocessing["std"]),
    "precision": lambda e: e.precision,
    "batch_size": lambda e: e.batch_size,
    "images_per_second": lambda e: e.images_per_second,
    "device": lambda e: e.environment["device"],
}


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
    form: str | None = None,
    fold: bool = True,
    workers: int | None = None,
    device: str = "auto",
    model_kwargs: Mapping[str, Any] | None = None,
    per_class: bool = False,
    skip_bad_images: bool = False,
    progress: bool = False,
) -> Evaluation:
    """Evaluate a timm model, an exported file or a module.

    Args:
        model: Name, with or without a tag; weights alone, see :func:`wavenet_zoo.weights.locations.resolve_model`; a
            file of :func:`wavenet_zoo.export`; or a module with timm's ``pretrained_cfg``, which is moved to the
            device and set to evaluation mode.
        weights: A tag, a file, or ``none`` for random weights. Default: the model's pretrained weights.
        data: Folder or name, see :func:`wavenet_zoo.data.open.open_data`. Default: the data set of the weights.
        split: ``train``, ``val`` or ``test``. ``val`` is the test split of data without a validation split.
        batch_size: Images per batch. The result does not depend on it, except for rounding.
        size: Input size in pixels. Default: that of the weights.
        crop_pct: Fraction of the resized image that is cropped. Default: that of the weights.
        interpolation: Interpolation of the resize. Default: that of the weights.
        precision: ``fp32``, or ``bf16`` for autocast.
        form: How WaveletNet's units compute DFWT and WConv: ``factored``, ``dense``, ``split``, ``split2``,
            ``halves``, ``auto`` or a file of forms. Default: ``dense``, or ``factored`` without folding. All forms
            are equal up to rounding.
        fold: Fold batch norms into convolutions. False evaluates the network as it was trained.
        workers: Loader workers. Default: one per available CPU, at most 8; 0 for images in memory.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        model_kwargs: Model arguments.
        per_class: Count images per class too.
        skip_bad_images: Skip and list images that cannot be decoded, instead of raising.
        progress: Show progress on stderr.

    Raises:
        WavezooError: If the model, the weights or the data are missing or damaged, or do not match.
    """
    with preserve_rng_state(), init_distributed(device) as distributed:
        module, known, name, used_form, folded = _open_model(
            model, weights, model_kwargs, form, fold, distributed.device
        )
        if known.kind == "random":
            logger.info("weights: %s", known.describe())
        location = data if data is not None else _default_data(name, known)
        options = f"{name} {split} {size} {crop_pct} {interpolation} {precision} {is_named(str(location))}"
        distributed.check_equal(weights=str(known.sha256), options=options)
        with distributed.rank_zero_first(is_named(str(location))):
            source = open_data(location, split)
        check_same_images(distributed, evaluated=source)
        try:
            class_indices = match_classes(source.classes, known.metadata.classes, module.num_classes)
        except WavezooError as error:
            raise WavezooError(error.message, _available_weights(name) + error.hint) from error
        if len(source.classes) < module.num_classes:
            logger.info(f"classes: {len(source.classes):,} of the model's {module.num_classes:,}, matched by name")
        preprocessing = known.metadata.preprocessing or preprocessing_of(module)
        preprocessing = preprocessing.with_overrides(size, crop_pct, interpolation)
        check_input(module, preprocessing.input_size)

        workers = default_workers(source.in_memory, distributed.local_world_size) if workers is None else workers
        loader = evaluation_loader(
            source,
            evaluation_transform(preprocessing),
            class_indices,
            batch_size,
            workers,
            distributed.device.type == "cuda",
            distributed.rank,
            distributed.world_size,
        )
        num_classes = module.num_classes
        if folded and used_form is None:  # not an exported file, which is folded already
            forms = resolve_forms(form or "dense", module, preprocessing.input_size, progress=progress)
            module = fold_model(module, forms)
            used_form = one_form(forms)
        module = module.to(distributed.device).to(memory_format=torch.channels_last)
        fingerprint, overlap = source.fingerprint(), None
        if known.images is not None:
            hashes = hash_images(source, threads=max(1, workers), distributed=distributed, progress=progress)
            overlap = known.images.count(hashes)
        share = len(range(distributed.rank, len(source.targets), distributed.world_size))
        with Progress("evaluating", share, enabled=progress and distributed.is_rank_zero) as bar:
            metrics = evaluate_loader(
                module,
                loader,
                source,
                num_classes,
                distributed.device,
                precision=precision,
                skip_bad_images=skip_bad_images,
                progress=bar,
                distributed=distributed,
            )
    if not math.isfinite(metrics.loss_sum):
        raise WavezooError("the model's outputs are not finite", "check the weights, or use --precision fp32")
    return Evaluation(
        model=name,
        weights={**known.to_dict(), "description": known.describe()},
        data={
            "name": source.name,
            "split": source.split,
            "images": len(source.targets),
            "classes": len(source.classes),
            "fingerprint": fingerprint,
            "overlap": overlap,
            "seen": _seen(overlap, len(source.targets), fingerprint, known.metadata),
        },
        preprocessing={**preprocessing.to_dict(), "description": str(preprocessing)},
        top1=metrics.top1,
        top5=metrics.top5,
        loss=metrics.loss,
        correct_top1=metrics.correct_top1,
        correct_top5=metrics.correct_top5,
        images=metrics.images,
        skipped=metrics.skipped,
        per_class=_per_class(metrics, source, class_indices) if per_class else None,
        seconds=metrics.seconds,
        images_per_second=metrics.images / metrics.seconds,
        form=str(used_form),
        folded=folded,
        time={
            "waiting": metrics.waiting_seconds,
            "model": metrics.model_seconds,
            "decoding": metrics.decoding_seconds,
        },
        precision=precision,
        batch_size=batch_size,
        workers=workers,
        processes=distributed.world_size,
        environment=describe_environment(distributed.device),
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _seen(overlap: Mapping[str, int] | None, images: int, fingerprint: str, metadata: WeightsMetadata) -> str | None:
    if overlap is None:  # the fingerprint of a folder depends on names and sizes of files only
        known = {metadata.data_fingerprint: "training", metadata.validation_fingerprint: "validation"}
        return known.get(fingerprint)
    for split in ("training", "validation"):
        if overlap[split] == images:
            return split
    return "partly" if any(overlap.values()) else "neither"


def _open_model(
    model: str | nn.Module,
    weights: str | Path | None,
    model_kwargs: Mapping[str, Any] | None,
    form: str | None,
    fold: bool,
    device: torch.device,
) -> tuple[Any, Weights, str, str | None, bool]:
    """Return the network, its weights, its name, its form (None if it is still to be folded), and whether to fold."""
    if isinstance(model, nn.Module):
        if weights is not None:
            raise WavezooError(
                "weights cannot be combined with a module, which has its own",
                "load the weights into the module, or pass the model's name",
            )
        name = getattr(model, "pretrained_cfg", {}).get("architecture", type(model).__name__)
        network, known = model, Weights("as given", "module", WeightsMetadata(model=name))
    elif is_exported_file(model):
        if weights is not None or model_kwargs or form is not None or not fold:
            raise WavezooError(
                f"{model}: weights and form of an exported file are fixed",
                "remove --weights, --model-kwargs, --form and --no-fold",
            )
        if device.type != "cpu":
            raise WavezooError(f"{model}: exported files run on the CPU only", "use --device cpu")
        exported, known, metadata = open_exported_file(Path(model))
        return exported, known, metadata.model, metadata.form, True
    else:
        name, weights = resolve_model(model, weights)
        network, known = load_model(name, weights, model_kwargs)
    if fold:
        if form == "auto" and device.type != "cpu":
            raise WavezooError(
                "form 'auto' measures on the CPU", f"for device {device.type} name a form, or use --device cpu"
            )
        return network, known, name, None, True
    form = form or "factored"
    check_unfolded_form(form, "without folding")
    set_form(network, form)
    return network, known, name, form, False


def _available_weights(model: str) -> str:
    architecture = model.partition(".")[0]
    entries = [entry for entry in list_entries().values() if entry.name.partition(".")[0] == architecture]
    return "".join(f"{e.name} is for the {len(e.classes or [])} classes of {e.data}; " for e in entries)


def _default_data(model: str, weights: Weights) -> str:
    data = weights.metadata.data
    if data in NAMED_DATA:
        return data
    trained = f": its weights were trained on {data}, which is not included" if data else ""
    raise WavezooError(f"{model} requires data to be evaluated on{trained}", "pass --data DIR or NAME")


def _per_class(metrics: Metrics, source: ImageSource, class_indices: list[int]) -> dict[str, dict[str, int]]:
    repeated = {name for name, count in Counter(source.classes).items() if count > 1}
    return {
        f"{name} ({index})" if name in repeated else name: {
            "images": int(metrics.class_images[index]),
            "correct": int(metrics.class_correct[index]),
        }
        for name, index in zip(source.classes, class_indices)
    }
