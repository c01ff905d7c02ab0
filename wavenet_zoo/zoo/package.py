"""The five files of a repository of weights, made and tried out before anything is sent."""

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models._hub import save_config_for_hf

from wavenet_zoo.complexity import count
from wavenet_zoo.data.preprocessing import Preprocessing
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.recipes import list_recipes, load_recipe
from wavenet_zoo.runtime.files import write_atomically
from wavenet_zoo.runtime.records import read_json
from wavenet_zoo.weights.files import read_metadata
from wavenet_zoo.weights.loading import load_model
from wavenet_zoo.weights.metadata import WeightsMetadata
from wavenet_zoo.zoo.card import model_card
from wavenet_zoo.zoo.client import check_repo_name

__all__ = ["LOGITS_TOLERANCE", "Package", "logits_of", "make_package", "write_package"]

LOGITS_TOLERANCE = 1e-5
TRIAL_IMAGES = 2


@dataclass
class Package:
    """What a repository of weights is to hold.

    Attributes:
        repo: ORG/NAME.
        metadata: What the weights say of themselves.
        record: Their evaluation, without paths of this machine.
        license: Of the weights.
        sha256: Of the weights.
        files: Name and content; README.md is the card.
        logits: What the weights make of :func:`logits_of`'s images, to compare with after a download.
    """

    repo: str
    metadata: WeightsMetadata
    record: dict[str, Any]
    license: str
    sha256: str
    files: dict[str, bytes]
    logits: torch.Tensor


def make_package(model: str, weights: str | Path, repo: str, results: str | Path | None = None) -> Package:
    """Make the files, and load them through timm as anybody would.

    Args:
        model: Name of the architecture.
        weights: A safetensors file of a run; ``recipe.yaml`` is looked for beside it, then among the shipped recipes.
        repo: ORG/NAME.
        results: What ``wavezoo eval --save-json`` wrote for these weights; by default ``evaluation.json`` beside them.

    Raises:
        WavezooError: If the name is not right, the weights are missing, damaged, not finite or of another model, or
            there is no evaluation record or recipe of these very weights.
    """
    check_repo_name(repo)
    path = Path(weights)
    if path.suffix != ".safetensors":
        raise WavezooError(
            f"{path}: only safetensors files are published", f"wavezoo weights convert {model} {path} model.safetensors"
        )
    built, known = load_model(model, path)
    metadata = read_metadata(path)
    record = _read_record(model, path, Path(results) if results else path.parent / "evaluation.json", known.sha256)
    preprocessing = Preprocessing.from_dict({k: v for k, v in record["preprocessing"].items() if k != "description"})
    license = built.pretrained_cfg.get("license") or "apache-2.0"
    cost = count(model, preprocessing.input_size[1],
                 model_kwargs={**metadata.model_kwargs, "num_classes": built.num_classes})  # fmt: skip
    files = {
        "model.safetensors": path.read_bytes(),
        "config.json": _config(built, metadata, preprocessing, license),
        "README.md": model_card(repo, license, metadata, record, cost, str(known.sha256)).encode(),
        "recipe.yaml": _recipe(path, metadata),
        "results.json": (json.dumps(record, indent=2) + "\n").encode(),
    }
    logits = logits_of(built)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        again = timm.create_model(f"local-dir:{folder}", pretrained=True)
        if not torch.allclose(logits_of(again), logits, rtol=0, atol=LOGITS_TOLERANCE):
            raise WavezooError(f"{path}: timm makes another model of the files that would be published")
    return Package(repo, metadata, record, license, str(known.sha256), files, logits)


def logits_of(model: Any) -> torch.Tensor:
    """Return a model's logits for a few images that are the same every time.

    Raises:
        WavezooError: If they are not finite.
    """
    size = model.pretrained_cfg["input_size"]
    images = torch.randn(TRIAL_IMAGES, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = model.eval()(images)
    if not logits.isfinite().all():
        raise WavezooError("the weights make logits that are not finite")
    return logits


def _read_record(model: str, weights: Path, path: Path, sha256: str | None) -> dict[str, Any]:
    how = f"wavezoo eval {model} --weights {weights} --save-json {path}"
    if not path.is_file():
        raise WavezooError(f"{path}: no evaluation record of {weights}", how)
    record = read_json(path)
    try:
        if record["weights"]["sha256"] != sha256:
            raise WavezooError(f"{path}: is an evaluation of other weights than {weights}", how)
        if record["skipped"]:
            raise WavezooError(f"{path}: {len(record['skipped'])} images were left out of this evaluation", how)
        own_data = record["data"]["fingerprint"] in (
            record["weights"]["data_fingerprint"], record["weights"]["validation_fingerprint"],
        )  # fmt: skip
        name = record["weights"]["data"] if own_data else Path(record["data"]["name"]).name
        record["data"] = {**record["data"], "name": name}
        said = record["weights"]["description"].replace(record["weights"]["name"], "model.safetensors")
        record["weights"] = {**record["weights"], "name": "model.safetensors", "description": said}
    except (KeyError, TypeError) as error:
        raise WavezooError(f"{path}: is no evaluation record: {error} is missing", how) from error
    return record


def _config(model: Any, metadata: WeightsMetadata, preprocessing: Preprocessing, license: str) -> bytes:
    model.pretrained_cfg.update({**asdict(preprocessing), "license": license, "file": None})
    labels = {"label_names": metadata.classes} if metadata.classes else {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        save_config_for_hf(model, str(path), model_config=labels, model_args=metadata.model_kwargs or None)
        return path.read_bytes()


def _recipe(weights: Path, metadata: WeightsMetadata) -> bytes:
    beside, shipped = weights.parent / "recipe.yaml", list_recipes().get(str(metadata.recipe))
    for path in (beside, shipped):
        if path is not None and path.is_file():
            plan = load_recipe(path)
            if plan.sha256() == metadata.recipe_sha256:
                return plan.to_yaml().encode()
    raise WavezooError(
        f"{weights}: the recipe that it was trained by ({metadata.recipe}, sha256 "
        f"{str(metadata.recipe_sha256)[:12]}) is neither beside it nor shipped",
        f"copy the run's recipe.yaml to {beside}",
    )


def write_package(package: Package, folder: Path) -> None:
    """Write the files of a package to a folder that holds nothing else.

    Raises:
        WavezooError: If it does.
    """
    others = {path.name for path in folder.iterdir()} - set(package.files) if folder.is_dir() else set()
    if others:
        raise WavezooError(f"{folder}: holds something else already, {min(others)} for example", "another --out")
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in package.files.items():
        write_atomically(folder / name, content)
