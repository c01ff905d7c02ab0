"""Putting the weights of a run among those that ride in the package, and what it measured into ``results/``."""

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

from wavenet_zoo.errors import WavezooError
from wavenet_zoo.evaluation.evaluate import evaluate
from wavenet_zoo.models import SCHEMA, checkpoints_folder, read_manifest
from wavenet_zoo.runtime.files import write_atomically
from wavenet_zoo.runtime.records import read_json, write_json
from wavenet_zoo.weights.files import read_metadata, read_weights_file, weights_bytes
from wavenet_zoo.weights.metadata import WeightsMetadata

__all__ = ["keep_run", "manifest_entry", "ship_weights", "write_entry"]

CHECKOUT = Path(__file__).resolve().parent.parent.parent
MAX_TOP1_CHANGE = 0.1  # points of top-1, more than which 16 bits may not change


def keep_run(run: str | Path, name: str, folder: Path | None = None) -> Path:
    """Copy the text and the curve of a finished run to ``results/``, so that the tables show what it measured.

    Args:
        run: Folder of a finished run.
        name: What to call it there, ``cifar10/waveletnet_m1/seed0`` for example.
        folder: In place of the checkout's ``results/``.

    Returns:
        Its new folder; without weights, without the log of every step, and without paths of this machine.

    Raises:
        WavezooError: If the run has not finished, or there is another one of that name.
    """
    source, target = Path(run), (folder or CHECKOUT / "results") / name
    result, record = read_json(source / "result.json"), read_json(source / "run.json")
    if target.exists():
        raise WavezooError(f"{target}: is there already", "another name, or remove it first")
    target.mkdir(parents=True)
    for file in ("recipe.yaml", "log.jsonl", "curve.png"):
        write_atomically(target / file, (source / file).read_bytes())
    write_json(target / "run.json", {**record, "data": record["metadata"]["data"]})
    write_json(target / "result.json", {**result, "out": name, "weights": None})
    return target


def ship_weights(
    run: str | Path,
    tag: str,
    description: str,
    folder: Path | None = None,
    *,
    data: str | Path | None = None,
    half: bool = False,
) -> dict[str, Any]:
    """Evaluate ``model.safetensors`` of a run, copy it to ``checkpoints/`` and write its entry in ``manifest.json``.

    Args:
        run: Folder of a finished run.
        tag: What comes after the dot in ``architecture.tag``.
        description: One sentence on what the weights are.
        folder: Where ``manifest.json`` is, or will be; by default the checkout's ``checkpoints/``.
        data: What to evaluate on; by default the data set of that name that the weights were trained for.
        half: Store convolutions and classifier in 16 bits, half the size; norms stay as they are.

    Returns:
        The entry.

    Raises:
        WavezooError: If the run has no weights, they need arguments that timm would not know of, or 16 bits move their
            top-1 by more than 0.1 points.
    """
    source = Path(run) / "model.safetensors"
    if not source.is_file():
        raise WavezooError(f"{source}: no such file", "the run has not finished")
    metadata = read_metadata(source)
    if metadata.model_kwargs:
        raise WavezooError(f"{source}: trained with {metadata.model_kwargs}, which a tag cannot say")
    folder = folder or checkpoints_folder() or CHECKOUT / "checkpoints"
    name = f"{metadata.model}.{tag}"
    content = _in_16_bits(source) if half else source.read_bytes()
    result = evaluate(metadata.model, source, data)
    if half:
        with tempfile.TemporaryDirectory() as temporary:
            halved = Path(temporary) / f"{name}.safetensors"
            halved.write_bytes(content)
            as_trained, result = result, evaluate(metadata.model, halved, data)
        if abs(result.top1 - as_trained.top1) > MAX_TOP1_CHANGE:
            raise WavezooError(
                f"{source}: top-1 is {as_trained.top1:.2f} % and in 16 bits {result.top1:.2f} %", "ship it as it is"
            )
    write_atomically(folder / f"{name}.safetensors", content)
    file = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    entry = manifest_entry(name, {"file": f"{name}.safetensors"}, metadata, result.to_dict(), file, description)
    write_entry(entry, folder)
    return entry


def _in_16_bits(path: Path) -> bytes:
    file = read_weights_file(path)
    tensors = {key: value.half() if value.ndim > 1 else value for key, value in file.tensors.items()}
    return weights_bytes(tensors, read_metadata(path))


def manifest_entry(
    name: str,
    source: dict[str, str],
    metadata: WeightsMetadata,
    record: dict[str, Any],
    file: dict[str, Any],
    description: str,
    license: str = "apache-2.0",
) -> dict[str, Any]:
    """Return an entry of ``checkpoints/manifest.json``.

    Args:
        name: ``architecture.tag``.
        source: ``{"file": NAME}`` beside the manifest, or ``{"hub": "ORG/NAME@REVISION"}``.
        metadata: What the weights say of themselves.
        record: Of their evaluation.
        file: Their ``sha256`` and ``size``.
        description: One sentence.
        license: Of the weights.
    """
    data = record["data"]
    # by its name wherever it lies, if these are the images that the run was validated on
    dataset = metadata.data if data["fingerprint"] == metadata.validation_fingerprint else data["name"]
    keys = ("top1", "top5", "loss", "images", "correct_top1", "correct_top5")
    return {
        "name": name,
        **source,
        "sha256": file["sha256"],
        "size": file["size"],
        "description": description,
        "license": license,
        **metadata.model_dump(mode="json", exclude={"model", "model_kwargs", "versions"}),
        "results": {f"{dataset}/{data['split']}": {key: record[key] for key in keys}},
        "versions": record["environment"]["versions"],
    }


def write_entry(entry: dict[str, Any], folder: Path | None = None) -> None:
    """Write an entry into ``manifest.json``, in the place of one of the same name.

    Args:
        entry: What :func:`manifest_entry` returns.
        folder: Where the manifest is, or will be; by default the checkout's ``checkpoints/``.
    """
    path = (folder or checkpoints_folder() or CHECKOUT / "checkpoints") / "manifest.json"
    others = json.loads(path.read_text(encoding="utf-8"))["checkpoints"] if path.is_file() else []
    entries = sorted([*(other for other in others if other["name"] != entry["name"]), entry], key=lambda e: e["name"])
    write_json(path, {"schema": SCHEMA, "checkpoints": entries})
    read_manifest.cache_clear()
