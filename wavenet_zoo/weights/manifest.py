"""Entries of ``manifest.json``, which lists the weights of a collection."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache

from wavenet_zoo.errors import WavezooError, did_you_mean
from wavenet_zoo.runtime.manifest import ManifestFile, read_manifest, skipped_entries
from wavenet_zoo.runtime.records import check_record
from wavenet_zoo.weights.metadata import WeightsMetadata

__all__ = ["ManifestEntry", "find_entry", "invalid_entries", "list_entries"]

logger = logging.getLogger(__name__)


class ManifestEntry(WeightsMetadata, ManifestFile):
    """An entry of the manifest: metadata of weights, where their file is, and what was measured with them."""

    @property
    def source(self) -> str:
        """The file name, or ``ORG/NAME@REVISION``."""
        return str(self.hub or self.file)

    def local_path(self) -> Path | None:
        """Return the path of the file on this machine; None if it is not downloaded."""
        if self.path is not None:
            return Path(self.path)
        repo, _, revision = self.source.partition("@")
        cached = try_to_load_from_cache(repo, "model.safetensors", revision=revision or None)
        return Path(cached) if isinstance(cached, str) else None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "ManifestEntry":
        """Read an entry as ``manifest.json`` stores it.

        Raises:
            WavezooError: If a key is missing or has a wrong type.
        """
        name = str(values.get("name"))
        return check_record(
            {"model": name.partition(".")[0], **values}, cls, f"{values.get('manifest', 'manifest.json')}: {name}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the entry as ``manifest.json`` stores it."""
        first = self.model_dump(mode="json", include={"name", "file", "hub"}, exclude_none=True)
        facts = self.model_dump(mode="json", include={"sha256", "size", "description", "license"})
        metadata = WeightsMetadata.model_validate(self.model_dump())
        unstored = {"model", "model_kwargs", "versions"} | ({"git"} if self.git is None else set())
        stored = metadata.model_dump(mode="json", exclude=unstored)
        return {**first, **facts, **stored, "results": self.results, "versions": self.versions}


def list_entries() -> dict[str, ManifestEntry]:
    """Return the entries of the manifest and of the collection in ``WAVEZOO_CHECKPOINTS``, by name.

    Invalid entries are skipped and logged.
    """
    entries, invalid = _parse_entries()
    for reason in invalid.values():
        logger.warning("%s: skipped", reason)
    return entries


def invalid_entries() -> dict[str, str]:
    """Return manifest, name and what is wrong, for each entry that :func:`list_entries` skips, by name."""
    return {**skipped_entries(), **_parse_entries()[1]}


def _parse_entries() -> tuple[dict[str, ManifestEntry], dict[str, str]]:
    entries, invalid = {}, {}
    for name, values in read_manifest().items():
        try:
            entries[name] = ManifestEntry.from_json(values)
        except WavezooError as error:
            invalid[name] = str(error)
    return entries, invalid


def find_entry(name: str) -> ManifestEntry:
    """Return the entry of ``architecture.tag``.

    Raises:
        WavezooError: If the manifest does not list it, or its entry is invalid.
    """
    entries = read_manifest()
    if name not in entries:
        if name in (skipped := skipped_entries()):
            raise WavezooError(skipped[name])
        hint = did_you_mean(name, entries, f"available weights: {', '.join(entries)}")
        raise WavezooError(f"no weights '{name}'", hint)
    return ManifestEntry.from_json(entries[name])
