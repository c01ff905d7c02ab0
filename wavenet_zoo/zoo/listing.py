"""List the weights of the manifest. This module does not import torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wavenet_zoo.runtime.manifest import checkpoints_folder
from wavenet_zoo.runtime.results import Result
from wavenet_zoo.weights.manifest import ManifestEntry, list_entries

__all__ = ["ListedWeights", "list_weights"]


@dataclass
class ListedWeights(Result):
    """Weights of the manifest, as :func:`list_weights` returns them.

    Attributes:
        name: ``architecture.tag``.
        source: File beside the manifest, or ``ORG/NAME@REVISION`` on the Hub.
        state: ``shipped`` with the package, ``local`` for a file of the user's own folder, ``cached`` or ``not
            downloaded`` for weights on the Hub.
        here: Path of the file on this machine; None if it is not downloaded.
        size: Size in bytes.
        sha256: Hash of the file.
        data: Name of the training data set.
        recipe: Name of the recipe.
        results: Measured results, by data set and split.
        description: One sentence.
    """

    name: str
    source: str
    state: str
    here: str | None
    size: int
    sha256: str
    data: str | None
    recipe: str | None
    results: dict[str, Any]
    description: str


def list_weights() -> list[ListedWeights]:
    """List the weights of the manifest, and of the collection in ``WAVEZOO_CHECKPOINTS``.

    Invalid entries are skipped and logged.
    """
    listed, shipped = [], checkpoints_folder()
    for entry in list_entries().values():
        path = entry.local_path()
        listed.append(
            ListedWeights(
                name=entry.name,
                source=entry.source,
                state=_state(entry, path, shipped),
                here=str(path) if path else None,
                size=entry.size,
                sha256=entry.sha256,
                data=entry.data,
                recipe=entry.recipe,
                results=entry.results,
                description=entry.description,
            )
        )
    return listed


def _state(entry: ManifestEntry, path: Path | None, shipped: Path | None) -> str:
    if entry.hub is not None:
        return "cached" if path else "not downloaded"
    return "shipped" if path is not None and path.parent == shipped else "local"
