"""Small copies of images, embedded in a report."""

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from wavenet_zoo.data.decoding import ImageError
from wavenet_zoo.data.sources import ImageSource
from wavenet_zoo.evaluation.predictions import Predictions

__all__ = ["MAX_THUMBNAILS", "Thumbnail", "make_thumbnails", "most_confident_mistakes"]

MAX_THUMBNAILS = 48
SIDE = 112  # pixels
QUALITY = 75


@dataclass
class Thumbnail:
    """A small copy of an image.

    Attributes:
        record: Position of the image in the predictions.
        uri: The copy as a JPEG file in a data URI.
        pixelated: Whether the image is smaller than a thumbnail, so that it is shown enlarged.
    """

    record: int
    uri: str
    pixelated: bool


def most_confident_mistakes(predictions: Predictions, count: int = MAX_THUMBNAILS) -> np.ndarray:
    """Return the positions of the wrong predictions with the highest probability, the highest first.

    Args:
        predictions: Predictions for every image.
        count: Maximum number of positions.
    """
    wrong = np.flatnonzero(~predictions.correct)
    return wrong[np.argsort(-predictions.probabilities[wrong, 0], kind="stable")][:count]


def make_thumbnails(
    source: ImageSource, predictions: Predictions, records: Iterable[int]
) -> tuple[list[Thumbnail], list[str]]:
    """Load images and reduce them.

    Args:
        source: Images that were evaluated.
        predictions: Predictions for them.
        records: Positions in ``predictions``.

    Returns:
        The thumbnails, and the paths of images that cannot be loaded any more.
    """
    thumbnails, missing = [], []
    for record in records:
        try:
            image = source.load(int(predictions.indices[record]))
        except (ImageError, OSError, MemoryError):
            missing.append(predictions.paths[record])
            continue
        pixelated = max(image.size) < SIDE
        thumbnails.append(Thumbnail(int(record), _data_uri(image), pixelated))
    return thumbnails, missing


def _data_uri(image: Image.Image) -> str:
    image.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
