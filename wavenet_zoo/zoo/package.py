"""The files of a repository of weights, built and loaded through timm before anything is uploaded."""

import json
import re
import shlex
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models._hub import save_config_for_hf

from wavenet_zoo.complexity import count
from wavenet_zoo.data.open import is_named
from wavenet_zoo.data.preprocessing import Preprocessing
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.recipes import Recipe, list_recipes, load_recipe
from wavenet_zoo.runtime.files import write_atomically, write_error
from wavenet_zoo.runtime.records import check_record, read_json, read_record
from wavenet_zoo.weights.files import read_metadata
from wavenet_zoo.weights.loading import load_model
from wavenet_zoo.weights.metadata import WeightsMetadata
from wavenet_zoo.zoo.card import model_card
from wavenet_zoo.zoo.client import check_repo_name
from wavenet_zoo.zoo.record import EvaluationRecord
from wavenet_zoo.zoo.remote_code import AUTO_MAP, MODELING, MODELING_NAME

__all__ = ["LOGITS_TOLERANCE", "Package", "compute_logits", "make_package", "refuse_paths", "write_package"]

LOGITS_TOLERANCE = 1e-5  # absolute
TEST_IMAGES = 2
PUBLISHED_NAME = "model.safetensors"
MACHINE_PATH = re.compile(
    r"""(^|[\s"'`(=:,])(~?/[^/\s]|~[a-z_][\w-]*/|\.\./|[a-z]:[\\/]|\\\\\w|file:/)""", re.IGNORECASE
)
NAMES = ("classes", "label_names", "per_class")  # keys of names of classes, which can look like paths


@dataclass
class Package:
    """Content of a repository of weights.

    Attributes:
        repo: ORG/NAME.
        metadata: Metadata of the weights.
        record: Their evaluation, without paths of this machine.
        license: License of the weights.
        files: Content by name; README.md is the model card.
        logits: Logits for the images of :func:`compute_logits`, (2, classes), to compare with after a download.
    """

    repo: str
    metadata: WeightsMetadata
    record: EvaluationRecord
    license: str
    files: dict[str, bytes]
    logits: torch.Tensor


def make_package(model: str, weights: str | Path, repo: str, results: str | Path | None = None) -> Package:
    """Build the files of a repository, and check that timm loads them.

    Args:
        model: Name of the architecture.
        weights: The safetensors file of a run. Its recipe is ``recipe.yaml`` beside it, or a shipped one.
        repo: ORG/NAME.
        results: Evaluation record of these weights, written by ``wavezoo eval --save-json``. Default:
            ``evaluation.json`` beside the weights.

    Raises:
        WavezooError: If the repository's name is invalid, the weights are missing, damaged, not finite or of another
            model, or their evaluation record or recipe is missing.
    """
    check_repo_name(repo)
    path = Path(weights)
    if path.suffix != ".safetensors":
        raise WavezooError(
            f"{path}: only safetensors files can be published",
            f"wavezoo weights convert {model} {path} {PUBLISHED_NAME}",
        )
    built, known = load_model(model, path)
    metadata = read_metadata(path)
    refuse_paths(
        f"{path}: metadata",
        metadata.model_dump(mode="json"),
        "train again with a name instead, and pass the folder by --data",
    )
    record, values = _read_evaluation(
        model, path, Path(results) if results else path.parent / "evaluation.json", str(known.sha256), metadata
    )
    license = built.pretrained_cfg.get("license") or "apache-2.0"
    cost = count(model, record.preprocessing.input_size[1],
                 model_kwargs={**metadata.model_kwargs, "num_classes": built.num_classes})  # fmt: skip
    files = {
        PUBLISHED_NAME: path.read_bytes(),
        "config.json": _config(built, metadata, record.preprocessing, license),
        MODELING_NAME: MODELING.encode(),
        "README.md": model_card(repo, license, metadata, record, cost, str(known.sha256)).encode(),
        "recipe.yaml": _recipe(path, metadata),
        "results.json": (json.dumps(values, indent=2) + "\n").encode(),
    }
    logits = compute_logits(built)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        loaded = timm.create_model(f"local-dir:{folder}", pretrained=True)
        if not torch.allclose(compute_logits(loaded), logits, rtol=0, atol=LOGITS_TOLERANCE):
            raise WavezooError(f"{path}: timm loads another model from the files to be published")
    return Package(repo, metadata, record, license, files, logits)


def compute_logits(model: Any) -> torch.Tensor:
    """Return a model's logits, (2, classes), for random images that are always the same.

    Raises:
        WavezooError: If they are not finite.
    """
    size = model.pretrained_cfg["input_size"]
    images = torch.randn(TEST_IMAGES, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = model.eval()(images)
    if not logits.isfinite().all():
        raise WavezooError("the weights give logits that are not finite")
    return logits


def write_package(package: Package, folder: Path) -> None:
    """Write the files of a package to a folder that contains no other files.

    Raises:
        WavezooError: If it contains another file, or cannot be written.
    """
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    others = found - set(package.files)
    if others:
        raise WavezooError(f"{folder}: contains other files, for example {min(others)}", "pass another folder")
    try:
        for name in package.files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error, sum(map(len, package.files.values()))) from error
    for name, content in package.files.items():
        write_atomically(folder / name, content)


def _read_evaluation(
    model: str, weights: Path, path: Path, sha256: str, metadata: WeightsMetadata
) -> tuple[EvaluationRecord, dict[str, Any]]:
    """Return the evaluation record of weights, and all its values, both without paths of this machine."""
    location = "" if is_named(str(metadata.data)) else " --data DIR"
    target = shlex.quote(str(weights.parent / "evaluation.json"))
    command = f"run 'wavezoo eval {model} --weights {shlex.quote(str(weights))}{location} --save-json {target}'"
    if not path.is_file():
        raise WavezooError(f"{path}: evaluation record of {weights} not found", command)
    record, values = read_record(path, EvaluationRecord, command), read_json(path, command)
    known, data = record.weights, record.data
    if known.sha256 != sha256:
        raise WavezooError(f"{path}: evaluation of other weights than {weights}", command)
    if record.skipped:
        raise WavezooError(f"{path}: {len(record.skipped)} images were skipped in this evaluation", command)
    own_data = data.fingerprint in (known.data_fingerprint, known.validation_fingerprint)
    values["data"]["name"] = known.data if own_data else Path(data.name).name
    values["model"] = metadata.model
    values["weights"]["name"] = PUBLISHED_NAME
    values["weights"]["description"] = known.description.replace(known.name, PUBLISHED_NAME)
    refuse_paths(str(path), values, command)
    return check_record(values, EvaluationRecord, path, command), values


def refuse_paths(where: str, values: Any, hint: str) -> None:
    """Refuse to publish values that contain a path of this machine.

    Args:
        where: Their file, for the message.
        values: Values of JSON.
        hint: What the user can do.

    Raises:
        WavezooError: If a text contains such a path. The message names its key.
    """
    for key, text in _texts(values):
        if MACHINE_PATH.search(text):
            raise WavezooError(f"{where}: {key}: '{text}' is a path of this machine, and would be published", hint)


def _texts(values: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Return all texts in values of JSON, with their key; keys are texts too. Names of classes are not returned."""
    if isinstance(values, str):
        yield key, values
    items = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for name, value in items:
        inner = f"{key}.{name}" if key else str(name)
        if name not in NAMES:
            yield inner, str(name)
            yield from _texts(value, inner)


def _config(model: Any, metadata: WeightsMetadata, preprocessing: Preprocessing, license: str) -> bytes:
    """Return timm's config.json, which transformers loads too."""
    model.pretrained_cfg.update({**asdict(preprocessing), "license": license, "file": None})
    labels = {"label_names": metadata.classes} if metadata.classes else {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        save_config_for_hf(model, str(path), model_config=labels, model_args=metadata.model_kwargs or None)
        values = json.loads(path.read_bytes())
    values.get("model_args", {}).pop("num_classes", None)  # also a key of its own, and transformers passes both
    return (json.dumps({**values, "auto_map": AUTO_MAP}, indent=2) + "\n").encode()


def _recipe(weights: Path, metadata: WeightsMetadata) -> bytes:
    """Return the recipe that weights were trained by, with every default."""
    beside, shipped = weights.parent / "recipe.yaml", list_recipes().get(str(metadata.recipe))
    for path in (beside, shipped):
        if path is not None and path.is_file():
            recipe = load_recipe(path)
            if recipe.sha256() == metadata.recipe_sha256:
                return _without_path(recipe.without_path()).encode()
    raise WavezooError(
        f"{weights}: its recipe ({metadata.recipe}, sha256 {str(metadata.recipe_sha256)[:12]}) is neither beside it "
        f"nor shipped",
        f"copy the run's recipe.yaml to {beside}",
    )


def _without_path(recipe: Recipe) -> str:
    """Return a recipe as YAML; of a file of initial weights it keeps the name, and says so."""
    pretrained, note = recipe.model.pretrained, ""
    if pretrained is not None and MACHINE_PATH.search(pretrained):
        note = f"# model.pretrained: the file's name without its folder; sha256 with it: {recipe.sha256()}\n"
        model = recipe.model.model_copy(update={"pretrained": re.split(r"[\\/]", pretrained)[-1]})
        recipe = recipe.model_copy(update={"model": model})
    refuse_paths("recipe.yaml", recipe.model_dump(mode="json"), "train again with a name instead")
    return note + recipe.to_yaml()
