"""Entries of ``manifest.json``, which lists the weights of a collection."""

from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, Field, ValidationError

from wavenet_zoo.errors import WavezooError, did_you_mean
from wavenet_zoo.models import read_manifest
from wavenet_zoo.weights.metadata import WeightsMetadata

__all__ = ["ManifestEntry", "find_entry", "list_entries"]


class ManifestEntry(WeightsMetadata):
    """An entry of the manifest: metadata of weights, where their file is, and what was measured with them.

    Attributes:
        name: ``architecture.tag``.
        file: Name of the file beside the manifest; None for weights on the Hub.
        hub: ``ORG/NAME@REVISION`` on the Hub; None for a file.
        path: Full path of ``file``, not stored in the manifest.
        sha256: Hash of the file.
        size: Size of the file in bytes.
        description: One sentence.
        license: License of the weights.
        results: Top-1, top-5, loss and counts, by ``data set/split``.
    """

    model_config = ConfigDict(protected_namespaces=())

    name: str
    file: str | None = None
    hub: str | None = None
    path: str | None = None
    sha256: str
    size: int
    description: str
    license: str
    results: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @property
    def source(self) -> str:
        """The file name, or ``ORG/NAME@REVISION``."""
        return str(self.hub or self.file)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "ManifestEntry":
        """Read an entry as ``manifest.json`` stores it.

        Raises:
            WavezooError: If a key is missing or has a wrong type.
        """
        try:
            return cls.model_validate({"model": str(values.get("name", "")).partition(".")[0], **values})
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise WavezooError(f"manifest.json: {values.get('name')}: {key}: {first['msg']}") from None

    def to_json(self) -> dict[str, Any]:
        """Return the entry as ``manifest.json`` stores it."""
        first = self.model_dump(mode="json", include={"name", "file", "hub"}, exclude_none=True)
        facts = self.model_dump(mode="json", include={"sha256", "size", "description", "license"})
        metadata = WeightsMetadata.model_validate(self.model_dump())
        unstored = {"model", "model_kwargs", "versions"} | ({"git"} if self.git is None else set())
        stored = metadata.model_dump(mode="json", exclude=unstored)
        return {**first, **facts, **stored, "results": self.results, "versions": self.versions}


def list_entries() -> dict[str, ManifestEntry]:
    """Return the entries of the manifest and of the collection in ``WAVEZOO_CHECKPOINTS``, by name."""
    return {name: ManifestEntry.from_json(values) for name, values in read_manifest().items()}


def find_entry(name: str) -> ManifestEntry:
    """Return the entry of ``architecture.tag``.

    Raises:
        WavezooError: If the manifest does not list it.
    """
    entries = read_manifest()
    if name not in entries:
        hint = did_you_mean(name, entries, f"available weights: {', '.join(entries)}")
        raise WavezooError(f"no weights '{name}'", hint)
    return ManifestEntry.from_json(entries[name])
