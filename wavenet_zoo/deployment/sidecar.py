"""``NAME.json`` beside an exported file ``NAME``: what a program needs to run it, and the hashes of its files."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from wavenet_zoo.data.classes import output_names
from wavenet_zoo.data.synsets import readable_name
from wavenet_zoo.deployment.formats import Files, Format
from wavenet_zoo.deployment.metadata import ExportMetadata
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.files import read_regular_file
from wavenet_zoo.runtime.records import parse_json
from wavenet_zoo.weights.metadata import parse_metadata

__all__ = [
    "FileHash",
    "Sidecar",
    "class_names_of",
    "digest_of",
    "files_of",
    "hash_files",
    "make_sidecar",
    "read_sidecar",
    "sidecar_path",
]

MAX_BYTES = 8 * 2**30
MAX_SIDECAR_BYTES = 2**24
EXPORT_AGAIN = "export the model again"


class FileHash(BaseModel):
    """Size and SHA-256 of a file."""

    model_config = ConfigDict(extra="forbid")

    bytes: int
    sha256: str


class Sidecar(ExportMetadata):
    """Content of ``NAME.json``: the metadata of the export, its format, its files and what was checked.

    Attributes:
        format: Name of the format.
        class_names: Name of every output to display; of synsets their lemmas.
        files: Size and hash of each file, by name.
        checks: Comparison with the network before the export.
    """

    format: str
    class_names: list[str] = Field(default_factory=list)
    files: dict[str, FileHash]
    checks: dict[str, JsonValue] = Field(default_factory=dict)

    def export_metadata(self) -> ExportMetadata:
        """Return the part that does not depend on the format and its files."""
        return ExportMetadata.model_validate(self.model_dump(include=set(ExportMetadata.model_fields)))

    def to_json(self) -> bytes:
        """Return the content of the file."""
        return (self.model_dump_json(indent=2) + "\n").encode()


def sidecar_path(path: Path) -> Path:
    """Return the path of the sidecar of an exported file: ``x1.onnx.json`` of ``x1.onnx``."""
    return path.with_name(f"{path.name}.json")


def make_sidecar(
    name: str, file_format: Format, files: Files, metadata: ExportMetadata, checks: Mapping[str, JsonValue]
) -> Sidecar:
    """Describe the files of an export.

    Args:
        name: Name of the exported file, with its suffix.
        file_format: Its format.
        files: Content of its files by suffix.
        metadata: Its metadata.
        checks: Comparison with the network.
    """
    stem = name.removesuffix(file_format.suffix)
    hashes = {
        f"{stem}{suffix}": FileHash(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        for suffix, content in files.items()
    }
    return Sidecar(
        **metadata.model_dump(),
        format=file_format.name,
        class_names=class_names_of(metadata),
        files=hashes,
        checks=dict(checks),
    )


def class_names_of(metadata: ExportMetadata) -> list[str]:
    """Return the name of every output to display: the lemmas of a synset, otherwise the class."""
    return [readable_name(name) or name for name in output_names(metadata.classes, metadata.num_classes)]


def files_of(path: Path, file_format: Format) -> list[Path]:
    """Return the files of an export: the file itself, its companions, or the files of a folder."""
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    stem = path.name.removesuffix(file_format.suffix)
    return [path, *(path.with_name(stem + suffix) for suffix in file_format.companions)]


def hash_files(path: Path, file_format: Format) -> dict[str, str]:
    """Return the SHA-256 of each file of an export, by name relative to the folder of ``path``.

    Raises:
        WavezooError: If one is missing or cannot be read.
    """
    hashes = {}
    for file in files_of(path, file_format):
        try:
            content = read_regular_file(file, MAX_BYTES)
        except FileNotFoundError:
            raise WavezooError(f"{file}: file not found", "'wavezoo export' writes such files") from None
        except OSError as error:
            raise WavezooError(f"{file}: cannot be read: {error.strerror}") from error
        hashes[file.relative_to(path.parent).as_posix()] = hashlib.sha256(content).hexdigest()
    return hashes


def digest_of(hashes: Mapping[str, str]) -> str:
    """Return the SHA-256 of an export: that of its file, or of the hashes of its files in the order of their names."""
    if len(hashes) == 1:
        return next(iter(hashes.values()))
    return hashlib.sha256("".join(hashes[name] for name in sorted(hashes)).encode()).hexdigest()


def read_sidecar(path: Path, hashes: Mapping[str, str]) -> Sidecar:
    """Read the sidecar of an exported file.

    Args:
        path: The exported file.
        hashes: Hashes of its files by name.

    Raises:
        WavezooError: If the sidecar is missing or damaged, or is of other files.
    """
    sidecar = sidecar_path(path)
    try:
        content = read_regular_file(sidecar, MAX_SIDECAR_BYTES)
    except FileNotFoundError:
        raise WavezooError(
            f"{path}: its metadata, {sidecar.name}, is not beside it", "'wavezoo export' writes both; copy both"
        ) from None
    except OSError as error:
        raise WavezooError(f"{sidecar}: cannot be read: {error.strerror}") from error
    parsed = parse_metadata(sidecar, parse_json(content, str(sidecar), EXPORT_AGAIN), Sidecar, EXPORT_AGAIN)
    # the names may have changed, not the content
    if sorted(hashes.values()) != sorted(file.sha256 for file in parsed.files.values()):
        raise WavezooError(f"{path}: hash mismatch: {sidecar.name} is of another file", EXPORT_AGAIN)
    return parsed
