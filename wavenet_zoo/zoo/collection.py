"""The weights that the manifest lists: what there is, whether it is whole and does what it is said to, fetching it."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from wavenet_zoo.data.open import NAMED_DATA, open_data
from wavenet_zoo.errors import WavezooError, did_you_mean
from wavenet_zoo.evaluation.evaluate import evaluate
from wavenet_zoo.models import cached_file, read_manifest
from wavenet_zoo.runtime.files import write_atomically
from wavenet_zoo.weights.files import read_metadata, weights_bytes
from wavenet_zoo.weights.loading import fetch_weights, load_model

__all__ = ["Checked", "ListedWeights", "convert_weights", "download_weights", "list_weights", "verify_weights"]

MUST_MATCH = ("images", "correct_top1", "correct_top5")


@dataclass
class ListedWeights:
    """An entry of the manifest.

    Attributes:
        name: ``architecture.tag``.
        source: File beside the manifest, or ``ORG/NAME@REVISION`` on the Hub.
        here: The file on this machine, or None.
        size: In bytes.
        sha256: Of the file.
        data: Data set that they were trained on.
        recipe: Name of the recipe.
        results: What was measured, by data set and split.
        description: One sentence.
    """

    name: str
    source: str
    here: str | None
    size: int
    sha256: str
    data: str
    recipe: str
    results: dict[str, Any]
    description: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)


@dataclass
class Checked:
    """What came of verifying weights.

    Attributes:
        name: ``architecture.tag``.
        state: ``verified``; ``whole``, where the data to evaluate it on is not at hand; ``not here``, where it has not
            been downloaded; or ``failed``.
        detail: What agrees, or what does not.
    """

    name: str
    state: str
    detail: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)


def list_weights() -> list[ListedWeights]:
    """Return what the manifest lists, and that of ``WAVEZOO_CHECKPOINTS``."""
    return [
        ListedWeights(
            name=name,
            source=entry.get("hub") or entry["file"],
            here=str(path) if (path := _here(entry)) else None,
            size=entry["size"],
            sha256=entry["sha256"],
            data=entry["data"],
            recipe=entry["recipe"],
            results=entry["results"],
            description=entry["description"],
        )
        for name, entry in read_manifest().items()
    ]


def verify_weights(
    names: Sequence[str] = (), data: Sequence[str | Path] = (), *, progress: bool = False
) -> list[Checked]:
    """Hash weights and evaluate them again; every count has to be what the manifest states.

    Args:
        names: Which; by default all.
        data: Folders of images, each for the weights that state results on these very images; data sets that need no
            folder go without saying.
        progress: Show progress on stderr.

    Raises:
        WavezooError: If there are no such weights, or a folder has no images of any split that they state results on.
    """
    checked = []
    entries = {name: _entry(name) for name in names or read_manifest()}
    at_hand = _by_fingerprint(data, {key.rpartition("/")[2] for e in entries.values() for key in e["results"]})
    for name, entry in entries.items():
        if _here(entry) is None:
            checked.append(Checked(name, "not here", f"wavezoo weights download {name}"))
            continue
        try:
            path = fetch_weights(entry)
            checked.append(_evaluate_again(name, entry, path, at_hand, progress))
        except WavezooError as error:
            checked.append(Checked(name, "failed", str(error)))
    return checked


def download_weights(name: str, out: str | Path | None = None) -> Path:
    """Fetch weights into the Hub's cache, hash them, and copy them to a file where asked for.

    Args:
        name: ``architecture.tag``.
        out: File or folder to copy to.

    Returns:
        Where they are.

    Raises:
        WavezooError: If there are no such weights, or they cannot be had.
    """
    path = fetch_weights(_entry(name))
    if out is None:
        return path
    target = Path(out) / f"{name}.safetensors" if Path(out).is_dir() else Path(out)
    write_atomically(target, path.read_bytes())
    return target


def convert_weights(
    model: str,
    checkpoint: str | Path,
    out: str | Path,
    variant: Literal["raw", "ema"] | None = None,
    note: Callable[[str], None] = lambda line: None,
) -> Path:
    """Write the weights of a training checkpoint as safetensors, the moving average where there is one.

    Args:
        model: Name of the architecture.
        checkpoint: ``best.pt`` of a run, for example.
        out: File to write; one that is there stays.
        variant: ``raw`` or ``ema``; by default the average where there is one.
        note: Called with a line on which weights these are.

    Raises:
        WavezooError: If the checkpoint is damaged, unsafe or of another model, or ``out`` is there already.
    """
    target = Path(out)
    if target.suffix != ".safetensors":
        raise WavezooError(f"{target}: weights go into a .safetensors file")
    if target.exists():
        raise WavezooError(f"{target}: is there already", "another file, or remove it first")
    built, known = load_model(model, checkpoint, variant=variant)
    metadata = read_metadata(Path(checkpoint)).model_copy(update={"variant": known.variant})
    write_atomically(target, weights_bytes(built.state_dict(), metadata))
    which = "the moving average of the weights" if known.variant == "ema" else "the weights as trained, not an average"
    note(f"{target}: {which}, after epoch {metadata.epoch}")
    return target


def _evaluate_again(
    name: str, entry: dict[str, Any], path: Path, at_hand: dict[str, str | Path], progress: bool
) -> Checked:
    for key, stated in entry["results"].items():
        dataset, _, split = key.rpartition("/")
        where = dataset if dataset in NAMED_DATA else at_hand.get(entry["validation_fingerprint"])
        if where is None:
            continue
        result = evaluate(name.split(".")[0], path, where, split=split, progress=progress)
        differing = [f"{k} {getattr(result, k)}, stated {stated[k]}" for k in MUST_MATCH
                     if getattr(result, k) != stated[k]]  # fmt: skip
        if differing:
            return Checked(name, "failed", f"{key}: {'; '.join(differing)}")
        return Checked(name, "verified", f"{key}: {stated['correct_top1']} of {stated['images']}, as stated")
    stated_on = ", ".join(entry["results"]) or "no data"
    return Checked(name, "whole", f"sha256 as stated; results are on {stated_on}, which is not at hand (--data)")


def _by_fingerprint(data: Sequence[str | Path], splits: set[str]) -> dict[str, str | Path]:
    found: dict[str, str | Path] = {}
    for folder in data:
        errors = []
        for split in sorted(splits):
            try:
                found[open_data(folder, split).fingerprint()] = folder
            except WavezooError as error:  # without this split, perhaps with another
                errors.append(error)
        if errors and len(errors) == len(splits):
            raise errors[0]
    return found


def _here(entry: dict[str, Any]) -> Path | None:
    return Path(entry["path"]) if "path" in entry else cached_file(entry["hub"])


def _entry(name: str) -> dict[str, Any]:
    manifest = read_manifest()
    if name not in manifest:
        raise WavezooError(f"no weights '{name}'", did_you_mean(name, manifest, f"there are: {', '.join(manifest)}"))
    return manifest[name]
