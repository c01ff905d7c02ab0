"""The weights of the manifest: verify, download and convert them."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from wavenet_zoo.data.open import NAMED_DATA, open_data
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.evaluation.evaluate import evaluate
from wavenet_zoo.runtime.files import check_writable, write_atomically, write_error
from wavenet_zoo.runtime.results import Result
from wavenet_zoo.runtime.seeds import preserve_rng_state
from wavenet_zoo.weights.files import read_metadata, weights_bytes
from wavenet_zoo.weights.loading import fetch_weights, load_model
from wavenet_zoo.weights.manifest import ManifestEntry, find_entry, invalid_entries, list_entries

__all__ = [
    "Converted",
    "Verification",
    "convert_weights",
    "download_weights",
    "verify_weights",
]

MUST_MATCH = ("images", "correct_top1", "correct_top5")

Folders = Mapping[tuple[str, str], str | Path]  # folder of images by their fingerprint and split


@dataclass
class Verification(Result):
    """Verification of weights, as :func:`verify_weights` returns it.

    Attributes:
        name: ``architecture.tag``.
        state: ``failed`` if the entry is invalid, or the hash or a result differs from the manifest; ``verified`` if at
            least one result was reproduced; ``whole`` if only the hash could be checked; the fourth value if the file
            is not downloaded.
        detail: Every result of the manifest: reproduced, different, or not checked.
    """

    name: str
    state: Literal["failed", "verified", "whole", "not here"]  # values of the JSON output
    detail: str


@dataclass
class Converted(Result):
    """Result of :func:`convert_weights`.

    Attributes:
        file: The new file.
        weights: Which weights of the checkpoint it contains, in words.
    """

    file: str
    weights: str


def verify_weights(
    names: Sequence[str] = (), data: Sequence[str | Path] = (), *, progress: bool = False
) -> list[Verification]:
    """Check the hash of weights, and reproduce every result of the manifest whose images are available.

    Args:
        names: Names of the weights. Default: all.
        data: Folders of images. Each is used for the results that were measured on the same images; data sets with a
            name, such as ``digits``, need no folder.
        progress: Show progress on stderr.

    Raises:
        WavezooError: If weights are not in the manifest, or a folder has none of the splits of their results.
    """
    entries = [find_entry(name) for name in dict.fromkeys(names)] if names else list(list_entries().values())
    invalid = {} if names else invalid_entries()
    splits = {key.rpartition("/")[2] for entry in entries for key in entry.results}
    folders = _find_images(data, splits)
    return [
        *(_verify(entry, folders, progress) for entry in entries),
        *(Verification(name, "failed", reason) for name, reason in invalid.items()),
    ]


def download_weights(name: str, out: str | Path | None = None) -> Path:
    """Download weights into the Hub's cache, check their hash, and copy them if requested.

    Args:
        name: ``architecture.tag``.
        out: File or folder to copy them to. A folder is created if the path ends with a slash.

    Returns:
        Path of the copy, or of the file in the cache.

    Raises:
        WavezooError: If the weights are not in the manifest, cannot be downloaded or written.
    """
    entry = find_entry(name)
    if out is None:
        return fetch_weights(entry)
    target, is_new_folder = Path(out), str(out).endswith(("/", os.sep))
    if is_new_folder or target.is_dir():
        target = target / f"{name}.safetensors"
    try:
        if is_new_folder:
            target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(target, error, entry.size) from error
    check_writable(target)
    write_atomically(target, fetch_weights(entry).read_bytes())
    return target


def convert_weights(
    model: str, checkpoint: str | Path, out: str | Path, variant: Literal["raw", "ema"] | None = None
) -> Converted:
    """Write the weights of a training checkpoint as a safetensors file.

    Args:
        model: Name of the architecture.
        checkpoint: Checkpoint of a run, for example ``best.pt``.
        out: The new file; an existing file is not overwritten.
        variant: ``raw`` or ``ema``. Default: ``ema`` if the checkpoint has both.

    Raises:
        WavezooError: If the checkpoint is damaged, unsafe or of another model, or ``out`` already exists.
    """
    target = Path(out)
    if target.suffix != ".safetensors":
        raise WavezooError(f"{target}: must be a .safetensors file")
    if target.exists():
        raise WavezooError(f"{target}: already exists", "pass another file, or remove it")
    check_writable(target)
    with preserve_rng_state():
        built, known = load_model(model, checkpoint, variant=variant)
    metadata = read_metadata(Path(checkpoint)).model_copy(update={"variant": known.metadata.variant})
    write_atomically(target, weights_bytes(built.state_dict(), metadata))
    words = "moving average (EMA) of the weights" if metadata.variant == "ema" else "raw weights, not a moving average"
    return Converted(str(target), f"{target}: {words}, after epoch {metadata.epoch}")


def _verify(entry: ManifestEntry, folders: Folders, progress: bool) -> Verification:
    """Check the hash and all results of an entry."""
    if entry.local_path() is None:
        return Verification(entry.name, "not here", f"run 'wavezoo weights download {entry.name}'")
    try:
        path = fetch_weights(entry)
    except WavezooError as error:
        return Verification(entry.name, "failed", str(error))
    outcomes, details = set(), []
    for key, stated in entry.results.items():
        outcome, detail = _verify_result(entry, path, key, stated, folders, progress)
        outcomes.add(outcome)
        details.append(f"{key}: {detail}")
    if "failed" in outcomes:
        return Verification(entry.name, "failed", "; ".join(details))
    if "verified" in outcomes:
        return Verification(entry.name, "verified", "; ".join(details))
    return Verification(entry.name, "whole", "; ".join(["its hash matches the manifest", *details]))


def _verify_result(
    entry: ManifestEntry, path: Path, key: str, stated: Mapping[str, Any], folders: Folders, progress: bool
) -> tuple[str, str]:
    """Evaluate weights on the images of one result; return ``verified``, ``failed`` or ``not checked``, and why."""
    dataset, _, split = key.rpartition("/")
    try:
        images = _images_of(entry, dataset, split, stated, folders)
    except WavezooError as error:
        return "not checked", f"not checked, {error}"
    if images is None:
        return "not checked", "not checked, its images are not available (pass --data DIR)"
    try:
        result = evaluate(entry.model, path, images, split=split, progress=progress)
    except WavezooError as error:
        return "failed", str(error)
    differing = [
        f"{count} {getattr(result, count)}, stated {stated.get(count)}"
        for count in MUST_MATCH
        if getattr(result, count) != stated.get(count)
    ]
    if differing:
        return "failed", ", ".join(differing)
    return "verified", f"{result.correct_top1} of {result.images} correct, as stated"


def _images_of(
    entry: ManifestEntry, dataset: str, split: str, stated: Mapping[str, Any], folders: Folders
) -> str | Path | None:
    """Return the name or folder of the images that a result was measured on, or None."""
    if dataset in NAMED_DATA:
        open_data(dataset, split)  # raises if it is not installed or cannot be downloaded
        return dataset
    fingerprints = [stated.get("fingerprint")]
    if dataset == entry.data:
        fingerprints += [entry.validation_fingerprint, entry.data_fingerprint]
    return next((folders[key] for f in fingerprints if f and (key := (f, split)) in folders), None)


def _find_images(data: Sequence[str | Path], splits: set[str]) -> dict[tuple[str, str], str | Path]:
    """Open folders, and return them by fingerprint and split of their images."""
    found: dict[tuple[str, str], str | Path] = {}
    for folder in data:
        errors = []
        for split in sorted(splits):
            try:
                found[open_data(folder, split).fingerprint(), split] = folder
            except WavezooError as error:  # it may have another split
                errors.append(error)
        if errors and len(errors) == len(splits):
            raise errors[0]
    return found
