"""From the bytes of an image file to RGB of 8 bits per channel."""

import io
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

__all__ = ["READ_ERRORS", "decode_image", "open_image", "to_rgb"]

# what Pillow raises where a file is not an image, or has more pixels than it trusts anybody to mean
READ_ERRORS = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError)


def decode_image(content: bytes) -> Image.Image:
    """Decode an image file to RGB.

    As in timm and torchvision, so that figures compare: the first frame counts, an alpha channel is left out, and the
    orientation that a camera has noted is not applied. Unlike there, 16 bits per channel are scaled to 8 and not cut
    off at white, and an image that is too large is refused by its header, before it takes memory.

    Args:
        content: The whole file.

    Raises:
        OSError, ValueError, ...: One of :data:`READ_ERRORS`, where it is not an image, or one that has to be refused.
    """
    with open_image(io.BytesIO(content)) as image:
        return to_rgb(image)


def open_image(file: Path | BinaryIO) -> Image.Image:
    """Open an image without decoding it.

    Raises:
        OSError, ...: One of :data:`READ_ERRORS`, where it is not an image, or has more than ``Image.MAX_IMAGE_PIXELS``.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # twice the limit is where Pillow refuses
        image = Image.open(file)
    if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        image.close()
        raise Image.DecompressionBombError(
            f"{image.width} x {image.height} pixels are more than the {Image.MAX_IMAGE_PIXELS:,} that an image may have"
        )
    return image


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image to RGB, 16 bits per channel by their upper 8.

    Raises:
        ValueError: If its values are of 32 bits, for which there is no scale to go by.
    """
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError("pixels of 32 bits have no scale to bring them to 8 bits by")
    return image.convert("RGB")
