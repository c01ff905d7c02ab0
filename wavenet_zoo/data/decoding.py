"""Image decoding: from the bytes of a file to an 8-bit RGB image."""

import contextlib
import io
import threading
import warnings
from collections.abc import Iterator
from itertools import chain
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

__all__ = ["IMAGE_EXTENSIONS", "IMAGE_FORMATS", "ImageError", "decode_image", "open_image", "to_rgb"]

# Pillow's formats for photographs, and the extensions of their files. Some of its other formats start programs
IMAGE_FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "AVIF": (".avif", ".avifs"),
    "JPEG2000": (".jp2", ".j2k"),
}
IMAGE_EXTENSIONS = tuple(chain.from_iterable(IMAGE_FORMATS.values()))
BITS_PER_SAMPLE = 258  # tag of a TIFF file

Image.init()  # imports the plugins: where imports fail later, for lack of file descriptors, images would be rejected
_FORMATS = [name for name in IMAGE_FORMATS if name in Image.OPEN]  # Pillow before 11.3 has no AVIF


class ImageError(ValueError):
    """An image that cannot be decoded, or that is too large."""


def decode_image(content: bytes) -> Image.Image:
    """Decode an image file to RGB.

    As in timm and torchvision, the first frame is used, the alpha channel is dropped, and the EXIF orientation is
    ignored. Unlike there, 12 and 16 bits per channel are scaled to 8 instead of clipped, and an image that exceeds
    ``Image.MAX_IMAGE_PIXELS`` is rejected by its header, before memory is allocated.

    Args:
        content: Content of the file.

    Raises:
        ImageError: If the image cannot be decoded or is rejected.
        OSError, MemoryError: If the machine lacks file descriptors, memory, ...: the image may be good.
    """
    with open_image(io.BytesIO(content)) as image:
        return to_rgb(image)


def open_image(file: BinaryIO) -> Image.Image:
    """Open an image and read its header, without decoding the pixels.

    Args:
        file: The image file.

    Raises:
        ImageError: If the file is not an image of :data:`IMAGE_FORMATS`, or exceeds ``Image.MAX_IMAGE_PIXELS``.
        OSError, MemoryError: If the machine lacks file descriptors, memory, ...: the image may be good.
    """
    with _image_errors(), _no_bomb_warnings:  # Pillow warns at the limit and raises only at twice the limit
        image = Image.open(file, formats=_FORMATS)
    pixels = image.width * image.height
    if Image.MAX_IMAGE_PIXELS and pixels > Image.MAX_IMAGE_PIXELS:
        image.close()
        raise ImageError(f"{image.width} x {image.height} pixels exceed the limit of {Image.MAX_IMAGE_PIXELS:,} pixels")
    if not pixels:
        image.close()
        raise ImageError(f"{image.width} x {image.height} pixels")
    return image


def to_rgb(image: Image.Image) -> Image.Image:
    """Load an image and convert it to RGB. Images with 12 or 16 bits per channel keep their upper 8 bits.

    Args:
        image: The image. It is returned if it is RGB.

    Raises:
        ImageError: If the image is damaged, or has 32 bits per channel, whose range is not defined.
        OSError, MemoryError: If the machine lacks file descriptors, memory, ...: the image may be good.
    """
    with _image_errors():
        if image.mode.startswith("I;16"):
            bits = getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, (16,))[0]
            return Image.fromarray((np.asarray(image) >> (bits - 8)).astype(np.uint8)).convert("RGB")
        if image.mode in ("I", "F"):
            raise ImageError("32 bits per channel are not supported, convert the image to 8 or 16 bits")
        if image.mode == "RGB":
            image.load()
            return image  # convert() would copy it
        return image.convert("RGB")


@contextlib.contextmanager
def _image_errors() -> Iterator[None]:
    """Raise :class:`ImageError` for whatever Pillow's plugins raise on damaged data."""
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except Image.UnidentifiedImageError as error:
        raise ImageError("not an image file, or of an unsupported format") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the system, not of Pillow
            raise
        raise ImageError(str(error) or type(error).__name__) from error


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
