"""The images that weights were trained and validated on."""

from pathlib import Path

from wavenet_zoo.data.image_hashes import IMAGES_FILE, ImageHashes, read_image_hashes
from wavenet_zoo.weights.manifest import list_entries
from wavenet_zoo.weights.metadata import WeightsMetadata

__all__ = ["find_image_hashes"]


def find_image_hashes(path: Path, metadata: WeightsMetadata) -> ImageHashes | None:
    """Return the hashes of the images that weights were trained and validated on.

    They are in ``images.safetensors`` in the folder of a run, and in ``NAME.images.safetensors`` beside
    ``NAME.safetensors`` in a collection. Files with other fingerprints than the metadata are of other weights.

    Args:
        path: File of the weights, or an exported file.
        metadata: Its metadata.

    Raises:
        WavezooError: If the hashes are damaged.
    """
    if metadata.data_fingerprint is None:
        return None
    collection = [
        Path(e.path) for e in list_entries().values() if e.path and _fingerprints(e) == _fingerprints(metadata)
    ]
    files = [file.with_suffix(f".{IMAGES_FILE}") for file in (path, *collection)]
    for file in (files[0], path.with_name(IMAGES_FILE), *files[1:]):
        if file.is_file():
            hashes = read_image_hashes(file)
            if hashes.fingerprints == _fingerprints(metadata):
                return hashes
    return None


def _fingerprints(metadata: WeightsMetadata) -> dict[str, str | None]:
    return {"training": metadata.data_fingerprint, "validation": metadata.validation_fingerprint}
