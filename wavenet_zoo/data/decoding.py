"""Image decoding: from the bytes of a file to an 8-bit RGB image."""

import io
import threading
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

__all__ = ["DECODE_ERRORS", "IMAGE_EXTENSIONS", "decode_image", "open_image", "to_rgb"]

IMAGE_EXTENSIONS = (
    *(".avif", ".avifs", ".bmp", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"),
    *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
)

# what Pillow raises for a file that is not an image, is damaged, or exceeds the limit of pixels
DECODE_ERRORS = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError)


def decode_image(content: bytes) -> Image.Image:
    """Decode an image file to RGB.

    As in timm and torchvision, the first frame is used, the alpha channel is dropped, and the EXIF orientation is
    ignored. Unlike there, 16 bits per channel are scaled to 8 instead of clipped, and an image that exceeds
    ``Image.MAX_IMAGE_PIXELS`` is rejected by its header, before memory is allocated.

    Args:
        content: Content of the file.

    Raises:
        OSError, ValueError, ...: One of :data:`DECODE_ERRORS`, if the image cannot be decoded or is rejected.
    """
    with open_image(io.BytesIO(content)) as image:
        return to_rgb(image)


def open_image(file: Path | BinaryIO) -> Image.Image:
    """Open an image and read its header, without decoding the pixels.

    Raises:
        OSError, ...: One of :data:`DECODE_ERRORS`, if the file is not an image or exceeds ``Image.MAX_IMAGE_PIXELS``.
    """
    with _no_bomb_warnings:  # Pillow warns at the limit and raises only at twice the limit
        image = Image.open(file)
    if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        image.close()
        raise Image.DecompressionBombError(
            f"{image.width} x {image.height} pixels exceed the limit of {Image.MAX_IMAGE_PIXELS:,} pixels"
        )
    return image


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image to RGB. Images with 16 bits per channel keep their upper 8 bits.

    Raises:
        ValueError: If the image has 32 bits per channel, whose range is not defined.
    """
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError("32 bits per channel are not supported, convert the image to 8 or 16 bits")
    return image.convert("RGB")


class _NoBombWarnings:
    """Ignore Pillow's warning while any thread is inside: ``warnings.catch_warnings`` alone is not thread-safe."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.threads = 0

    def __enter__(self) -> None:
        with self.lock:
            if self.threads == 0:
                self.filters = warnings.catch_warnings()
                self.filters.__enter__()
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            self.threads += 1

    def __exit__(self, *error: Any) -> None:
        with self.lock:
            self.threads -= 1
            if self.threads == 0:
                self.filters.__exit__(*error)


_no_bomb_warnings = _NoBombWarnings()
