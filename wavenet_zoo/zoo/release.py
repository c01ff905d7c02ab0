"""For maintainers: add the weights of a run to ``checkpoints/``, and its measurements to ``results/``.

Both functions work on a checkout of wavenet_zoo. After a run has finished::

    from wavenet_zoo.zoo.release import archive_run, release_weights

    release_weights("runs/digits", "digits", "WaveletNet M = 1 trained on digits.")  # shipped, listed in manifest.json
    archive_run("runs/cifar10/waveletnet_m1", "cifar10/waveletnet_m1/seed0")  # in the generated tables

Then run ``wavezoo weights verify`` and ``wavezoo table --check``, and commit. Weights above 12 MB are published with
``wavezoo publish --write-manifest`` instead.
"""

import hashlib
import tempfile
from pathlib import Path

from wavenet_zoo.data.image_hashes import IMAGES_FILE
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.evaluation.evaluate import evaluate
from wavenet_zoo.runtime.files import write_atomically
from wavenet_zoo.runtime.manifest import SCHEMA, checkpoints_folder, read_manifest
from wavenet_zoo.runtime.records import check_record, read_json, read_record, write_json
from wavenet_zoo.runtime.resources import CHECKOUT
from wavenet_zoo.training.records import RunRecord, TrainingRun
from wavenet_zoo.weights.files import read_metadata, read_weights_file, weights_bytes
from wavenet_zoo.weights.manifest import ManifestEntry
from wavenet_zoo.weights.metadata import WeightsMetadata
from wavenet_zoo.zoo.record import EvaluationRecord

__all__ = ["archive_run", "manifest_entry", "release_weights", "write_entry"]

MAX_TOP1_CHANGE = 0.1  # percentage points of top-1 that storing weights in 16 bits may change
STATED = ("top1", "top5", "loss", "images", "correct_top1", "correct_top5")


def archive_run(run_dir: str | Path, name: str, results_dir: str | Path | None = None) -> Path:
    """Copy the records of a finished run to ``results/``, from which the generated tables read measured errors.

    Weights, checkpoints and the log of every step are not copied; paths of this machine are removed.

    Args:
        run_dir: Folder of a finished run.
        name: Folder below ``results/``, for example ``cifar10/waveletnet_m1/seed0``.
        results_dir: Overrides the checkout's ``results/``.

    Returns:
        The new folder.

    Raises:
        WavezooError: If the run has not finished, or the new folder already exists.
    """
    source, target = Path(run_dir), (Path(results_dir) if results_dir is not None else CHECKOUT / "results") / name
    for file, kind in (("result.json", TrainingRun), ("run.json", RunRecord)):
        read_record(source / file, kind, "pass the folder of a finished run")  # checks it
    result, record = read_json(source / "result.json"), read_json(source / "run.json")
    if target.exists():
        raise WavezooError(f"{target}: already exists", "pass another name, or remove the folder")
    target.mkdir(parents=True)
    for file in ("recipe.yaml", "log.jsonl", "curve.png"):
        write_atomically(target / file, (source / file).read_bytes())
    record.pop("data_location", None)  # a path of this machine
    write_json(target / "run.json", {**record, "data": record["metadata"]["data"]})
    write_json(target / "result.json", {**result, "out": name, "weights": None})
    return target


def release_weights(
    run_dir: str | Path,
    tag: str,
    description: str,
    checkpoints_dir: str | Path | None = None,
    *,
    data: str | Path | None = None,
    half: bool = False,
) -> ManifestEntry:
    """Evaluate the weights of a finished run, copy them to ``checkpoints/`` and list them in its ``manifest.json``.

    The wheel ships this folder, and timm then loads the weights as ``architecture.tag``.

    Args:
        run_dir: Folder of a finished run.
        tag: Second part of ``architecture.tag``.
        description: One sentence about the weights.
        checkpoints_dir: Folder of ``manifest.json``, which is created if necessary. Default: the checkout's
            ``checkpoints/``.
        data: Images to evaluate on. Default: the data set that the weights were trained for, if it has a name.
        half: Store convolutions and classifier in 16 bits, which halves the file. Batch norms stay in 32 bits.

    Returns:
        The entry of the manifest.

    Raises:
        WavezooError: If the run has no weights, they require model arguments, which a tag cannot express, or 16 bits
            change their top-1 by more than 0.1 percentage points.
    """
    source = Path(run_dir) / "model.safetensors"
    if not source.is_file():
        raise WavezooError(f"{source}: not found", "the run has not finished")
    metadata = read_metadata(source)
    if metadata.model_kwargs:
        raise WavezooError(
            f"{source}: its model arguments {metadata.model_kwargs} cannot be expressed by a tag",
            "use 'wavezoo publish'",
        )
    folder = _checkpoints_dir(checkpoints_dir)
    name = f"{metadata.model}.{tag}"
    content = _in_16_bits(source) if half else source.read_bytes()
    result = evaluate(metadata.model, source, data)
    if half:
        with tempfile.TemporaryDirectory() as temporary:
            halved = Path(temporary) / f"{name}.safetensors"
            halved.write_bytes(content)
            in_32_bits, result = result, evaluate(metadata.model, halved, data)
        if abs(result.top1 - in_32_bits.top1) > MAX_TOP1_CHANGE:
            raise WavezooError(
                f"{source}: top-1 is {in_32_bits.top1:.2f} % in 32 bits and {result.top1:.2f} % in 16 bits",
                "release it without half",
            )
    write_atomically(folder / f"{name}.safetensors", content)
    if (images := source.with_name(IMAGES_FILE)).is_file():  # runs of version 0.1 have none
        write_atomically(folder / f"{name}.{IMAGES_FILE}", images.read_bytes())
    entry = manifest_entry(
        name,
        metadata,
        EvaluationRecord.model_validate(result.to_dict()),
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        description=description,
        file=f"{name}.safetensors",
    )
    write_entry(entry, folder)
    return entry


def manifest_entry(
    name: str,
    metadata: WeightsMetadata,
    record: EvaluationRecord,
    *,
    sha256: str,
    size: int,
    description: str,
    license: str = "apache-2.0",
    file: str | None = None,
    hub: str | None = None,
) -> ManifestEntry:
    """Return an entry of ``manifest.json``; its versions are those of the evaluation.

    Args:
        name: ``architecture.tag``.
        metadata: Metadata of the weights.
        record: Their evaluation.
        sha256: Hash of their file.
        size: Size of their file in bytes.
        description: One sentence about the weights.
        license: License of the weights.
        file: Name of their file beside the manifest.
        hub: ``ORG/NAME@REVISION``, for weights on the Hub.

    Raises:
        WavezooError: If a value is invalid, for example a tag with a slash.
    """
    data = record.data
    is_validation = data.fingerprint == metadata.validation_fingerprint
    dataset = metadata.data if is_validation else data.name  # not the name of its folder on this machine
    stated = {key: getattr(record, key) for key in STATED}
    if data.fingerprint not in (metadata.validation_fingerprint, metadata.data_fingerprint):
        stated["fingerprint"] = data.fingerprint  # by which 'weights verify' recognizes the images
    values = {
        "name": name,
        "file": file,
        "hub": hub,
        "sha256": sha256,
        "size": size,
        "description": description,
        "license": license,
        "results": {f"{dataset}/{data.split}": stated},
    }
    return check_record({**dict(metadata), "versions": record.environment.versions, **values}, ManifestEntry, name)


def write_entry(entry: ManifestEntry, checkpoints_dir: str | Path | None = None) -> None:
    """Write an entry into ``manifest.json``, replacing one with the same name.

    Args:
        entry: The entry.
        checkpoints_dir: Folder of the manifest, which is created if necessary. Default: the checkout's
            ``checkpoints/``.

    Raises:
        WavezooError: If the manifest is invalid or cannot be written.
    """
    path = _checkpoints_dir(checkpoints_dir) / "manifest.json"
    others = [other for other in _read_entries(path) if other.name != entry.name] if path.is_file() else []
    entries = sorted([*others, entry], key=lambda e: e.name)
    write_json(path, {"schema": SCHEMA, "checkpoints": [e.to_json() for e in entries]})
    read_manifest.cache_clear()


def _read_entries(path: Path) -> list[ManifestEntry]:
    values = read_json(path)
    if values.get("schema") != SCHEMA or not isinstance(values.get("checkpoints"), list):
        raise WavezooError(f"{path}: is not a manifest of the form {SCHEMA}")
    return [ManifestEntry.from_json(entry) for entry in values["checkpoints"]]


def _checkpoints_dir(folder: str | Path | None) -> Path:
    return Path(folder) if folder is not None else checkpoints_folder() or CHECKOUT / "checkpoints"


def _in_16_bits(path: Path) -> bytes:
    file = read_weights_file(path)
    tensors = {key: value.half() if value.ndim > 1 else value for key, value in file.tensors.items()}
    return weights_bytes(tensors, read_metadata(path))
