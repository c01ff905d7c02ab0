"""The manifest of available weights: the shipped ones, and those of the folder that ``WAVEZOO_CHECKPOINTS`` names.

Importing the models reads it, so that timm knows the tags. A manifest is of unknown origin: an entry that is invalid is
skipped and logged. This module does not import torch.
"""

import logging
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from huggingface_hub.utils import validate_repo_id
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    StrictStr,
    model_validator,
)
from typing_extensions import NotRequired, Self, TypedDict

from wavenet_zoo.errors import WavezooError, one_line
from wavenet_zoo.runtime.records import check_record, read_json
from wavenet_zoo.runtime.resources import shipped_folder

__all__ = [
    "COLLECTION",
    "SCHEMA",
    "Collection",
    "ManifestFile",
    "StatedResult",
    "checkpoints_folder",
    "read_collection",
    "read_manifest",
    "skipped_entries",
]

logger = logging.getLogger(__name__)

SCHEMA = "wavenet_zoo.checkpoints/1"
COLLECTION = "WAVEZOO_CHECKPOINTS"  # environment variable: a folder with a manifest.json and its files
NAMED = 3  # number of skipped entries that a message names

Percentage = Annotated[float, Field(ge=0, le=100)]
Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]


def _check_name(name: str) -> str:
    if not (name.isprintable() and re.fullmatch(r"[^./\\]+\.[^/\\]+", name)):
        raise ValueError("must be ARCHITECTURE.TAG")
    return name


def _check_file(file: str) -> str:
    if not file.isprintable() or "\\" in file or file in ("", "..") or file != Path(file).name:
        raise ValueError("must be the name of a file in the folder of the manifest")
    return file


def _check_hub(hub: str) -> str:
    repo, at, revision = hub.partition("@")
    validate_repo_id(repo)
    valid = re.fullmatch(r"\w[\w./-]{,199}", revision) and ".." not in revision
    if repo.count("/") != 1 or (at and not valid):
        raise ValueError("must be ORG/NAME or ORG/NAME@REVISION")
    return hub


class StatedResult(TypedDict):
    """A result that the manifest states; other keys are kept."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    top1: Percentage
    top5: NotRequired[Percentage]
    loss: NotRequired[Annotated[float, Field(allow_inf_nan=False)]]
    images: PositiveInt
    correct_top1: NonNegativeInt
    correct_top5: NotRequired[NonNegativeInt]
    fingerprint: NotRequired[str]


class ManifestFile(BaseModel):
    """The part of a manifest's entry that describes the file of the weights.

    Attributes:
        name: ``architecture.tag``.
        file: Name of the file beside the manifest; None for weights on the Hub.
        hub: ``ORG/NAME@REVISION`` on the Hub; None for a file.
        path: Full path of ``file``, not stored in the manifest.
        manifest: Path of the manifest, not stored in it.
        sha256: Hash of the file.
        size: Size of the file in bytes.
        description: One sentence.
        license: License of the weights.
        results: Top-1, top-5, loss and counts, by ``data set/split``.
    """

    name: Annotated[StrictStr, AfterValidator(_check_name)]
    file: Annotated[StrictStr, AfterValidator(_check_file)] | None = None
    hub: Annotated[StrictStr, AfterValidator(_check_hub)] | None = None
    path: str | None = None
    manifest: str = "manifest.json"
    sha256: Annotated[StrictStr, Field(pattern="^[0-9a-f]{64}$")]
    size: Annotated[int, Field(strict=True, ge=0)]
    description: StrictStr
    license: StrictStr
    results: dict[str, StatedResult] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if (self.file is None) == (self.hub is None):
            raise ValueError("must have either 'file' or 'hub'")
        return self


class _StoredPreprocessing(BaseModel):
    input_size: Annotated[list[Annotated[int, Field(strict=True, gt=0)]], Field(min_length=3, max_length=3)]
    interpolation: StrictStr
    crop_pct: Positive
    crop_mode: StrictStr
    mean: Annotated[list[Annotated[float, Field(strict=True, allow_inf_nan=False)]], Field(min_length=1)]
    std: Annotated[list[Positive], Field(min_length=1)]


class _StoredEntry(ManifestFile):
    """What timm's configuration of the weights is made of, besides."""

    classes: Annotated[list[StrictStr], Field(min_length=1)]
    preprocessing: _StoredPreprocessing


class Collection(NamedTuple):
    """Content of a manifest.

    Attributes:
        entries: Stored entries by name, with the path of the ``manifest`` and the ``path`` of their file.
        skipped: For entries that are invalid or whose file is missing, by name: what is wrong.
    """

    entries: dict[str, dict[str, Any]]
    skipped: dict[str, str]


def checkpoints_folder() -> Path | None:
    """Return the folder of shipped weights in the installed package or the checkout, or None."""
    folder = shipped_folder("checkpoints")
    return folder if folder is not None and (folder / "manifest.json").is_file() else None


@lru_cache(maxsize=1)
def read_manifest() -> dict[str, dict[str, Any]]:
    """Return the entries of all available weights by name (``architecture.tag``).

    They are the shipped weights, and those of the folder that ``WAVEZOO_CHECKPOINTS`` names, which override shipped
    weights of the same name. An entry has ``path`` for a file, or ``hub`` (``ORG/NAME@REVISION``) for weights on the
    Hub. Invalid entries, and entries whose file does not exist, are skipped and logged.
    """
    entries: dict[str, dict[str, Any]] = {}
    for folder, found in _read_folders().items():
        entries.update(found.entries)
        if found.skipped:
            reasons = [f"{name}: {reason}" for name, reason in found.skipped.items()]
            more = f"; and {len(reasons) - NAMED} more" if len(reasons) > NAMED else ""
            logger.warning(one_line(f"{folder / 'manifest.json'}: skipped: {'; '.join(reasons[:NAMED])}{more}"))
    return entries


def skipped_entries() -> dict[str, str]:
    """Return manifest, name and what is wrong, for each entry that :func:`read_manifest` skips, by name."""
    return {
        name: f"{folder / 'manifest.json'}: {name}: {reason}"
        for folder, found in _read_folders().items()
        for name, reason in found.skipped.items()
    }


def read_collection(folder: Path) -> Collection:
    """Read a folder's ``manifest.json``.

    Args:
        folder: Folder with ``manifest.json`` and the files that it names.

    Raises:
        WavezooError: If the manifest cannot be read, or is not a manifest.
    """
    path = folder / "manifest.json"
    manifest = read_json(path)
    if manifest.get("schema") != SCHEMA or not isinstance(manifest.get("checkpoints"), list):
        raise WavezooError(f"{path}: is not a manifest of the form {SCHEMA}")
    found = Collection({}, {})
    for number, values in enumerate(manifest["checkpoints"], 1):
        name = f"entry {number}"
        try:
            if not isinstance(values, dict):
                raise WavezooError("is not a JSON object")
            name = str(values.get("name", name))[:100]
            entry = _read_entry(folder, values)
            if name in found.entries:
                raise WavezooError("duplicate name")
            found.entries[name] = entry
        except WavezooError as error:
            found.skipped[name] = error.message
    return found


def _read_folders() -> dict[Path, Collection]:
    """Read the shipped manifest and that of the user's own folder; log what cannot be read."""
    shipped, own = checkpoints_folder(), os.environ.get(COLLECTION)
    found = {}
    for folder, name in ((shipped, f"{shipped}"), (Path(own).absolute() if own else None, f"{COLLECTION}={own}")):
        if folder is not None:
            try:
                found[folder] = read_collection(folder)
            except WavezooError as error:
                logger.warning(one_line(f"{name}: ignored: {error.message}"))
    return found


def _read_entry(folder: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Check an entry, and return it with the path of its file."""
    entry = {
        **{key: value for key, value in values.items() if key != "path"},
        "manifest": str(folder / "manifest.json"),
    }
    file = check_record(entry, _StoredEntry).file
    if file is None:
        return entry
    path = folder / file
    if not path.is_file():
        raise WavezooError(f"file: {file} does not exist" if not path.exists() else f"file: {file} is not a file")
    # where every file is a link (the Hub's cache, an installation by links), the manifest's own target counts too
    if path.resolve().parent not in (folder.resolve(), (folder / "manifest.json").resolve().parent):
        raise WavezooError(f"file: {file} is a link that leads out of the folder")
    return {**entry, "path": str(path)}
