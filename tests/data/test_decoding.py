"""Decoding of the image formats and modes that Pillow reads, and the images that are rejected."""

import copy
import errno
import io
import os
import pickle
import struct
import threading
import tracemalloc
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from wavenet_zoo.data.decoding import IMAGE_FORMATS, ImageError, decode_image, open_image

RAMP = np.linspace(0, 255, 64, dtype=np.uint8).reshape(8, 8)


def encode(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def decoded(content):
    image = decode_image(content)
    assert image.mode == "RGB"
    return np.asarray(image)


@pytest.mark.reliability(13)
@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1"])
def test_gray_palette_and_alpha_convert_to_rgb_without_alpha(mode):
    colours = Image.fromarray(np.stack([RAMP, RAMP[::-1], RAMP.T], axis=2))
    image = colours.convert(mode)
    if "A" in mode:
        image.putalpha(Image.fromarray(RAMP))
    assert (decoded(encode(image, "PNG")) == np.asarray(image.convert("RGB"))).all()


@pytest.mark.reliability(13)
def test_cmyk_converts_to_rgb_without_inversion():
    white = Image.new("CMYK", (8, 8), (0, 0, 0, 0))
    assert (decoded(encode(white, "JPEG")) > 250).all()


@pytest.mark.reliability(13)
def test_exif_orientation_is_ignored_as_in_timm():
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    content = encode(Image.fromarray(RAMP[:4]).convert("RGB"), "JPEG", exif=exif)
    assert decoded(content).shape == (4, 8, 3)


@pytest.mark.reliability(13)
def test_first_frame_of_an_animation_is_used():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    content = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (decoded(content) == (255, 0, 0)).all()


@pytest.mark.parametrize("format", [*IMAGE_FORMATS, "MPO"])
def test_rgb_image_of_any_format_is_usable_after_its_file_is_closed(format):
    colours = Image.fromarray(np.stack([RAMP, RAMP[::-1], RAMP.T], axis=2)).resize((65, 43))
    frames = {"save_all": True, "append_images": [colours.rotate(180)]} if format == "MPO" else {}
    content = encode(colours, format, **frames)
    image, plain = decode_image(content), Image.open(io.BytesIO(content)).convert("RGB")
    assert image.tobytes() == plain.tobytes()
    assert image.resize((9, 7), Image.Resampling.BICUBIC) == plain.resize((9, 7), Image.Resampling.BICUBIC)
    assert pickle.loads(pickle.dumps(image)).tobytes() == copy.deepcopy(image).tobytes() == plain.tobytes()
    image.thumbnail((8, 8))
    assert image.size == (8, 5)


@pytest.mark.reliability(14)
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bit_gray_is_scaled_not_clipped(format):
    content = encode(Image.fromarray(RAMP.astype(np.uint16) * 257), format)
    assert (decoded(content) == RAMP[..., None]).all()


@pytest.mark.reliability(14)
def test_16_bit_color_is_scaled():
    colours = np.stack([RAMP, RAMP[::-1], RAMP.T], axis=2)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in colours.astype(np.uint16) * 257)
    assert (decoded(png(8, 8, depth=16, colour=2, data=zlib.compress(rows))) == colours).all()


@pytest.mark.reliability(14)
@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_32_bit_channels_are_rejected(kind):
    with pytest.raises(ImageError, match="32 bits per channel"):
        decode_image(encode(Image.fromarray(RAMP.astype(kind)), "TIFF"))


@pytest.mark.reliability(15)
@pytest.mark.parametrize("side", [10_000, 20_000, 60_000])
def test_decompression_bomb_is_rejected_by_its_header(side):
    content = png(side, side, depth=1, colour=0, data=zlib.compress(b"\0" * 1000))
    tracemalloc.start()
    with pytest.raises(ImageError, match="pixels"):
        decode_image(content)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


@pytest.mark.filterwarnings("error")
def test_opening_images_in_threads_restores_the_warning_filters():
    class PausedFile(io.BytesIO):
        def __init__(self, content):
            super().__init__(content)
            self.reading, self.resume = threading.Event(), threading.Event()

        def read(self, *size):
            self.reading.set()
            assert self.resume.wait(60)
            return super().read(*size)

    before = list(warnings.filters)
    first = PausedFile(encode(Image.fromarray(RAMP), "PNG"))
    last = PausedFile(png(10_000, 10_000, depth=1, colour=0, data=b""))
    with ThreadPoolExecutor(2) as pool:
        results = []
        for file in (first, last):
            results.append(pool.submit(open_image, file))
            assert file.reading.wait(60)
        for file, result in zip((first, last), results):
            file.resume.set()
            error = result.exception()
    assert str(error).startswith("10000 x 10000 pixels")  # without Pillow's warning, which is an error here
    assert list(warnings.filters) == before


@pytest.mark.reliability(12, 15)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"GIF89a",
        b"\x89PNG\r\n\x1a\n",
        b"II*\0\x08\0\0\0\xff\xff",
    ],
)
def test_invalid_image_raises_a_decode_error(content):
    with pytest.raises(ImageError):
        decode_image(content)


@pytest.mark.reliability(12)
def test_png_with_wrong_checksum_is_rejected():
    content = bytearray(encode(Image.fromarray(RAMP), "PNG"))
    content[content.index(b"IDAT") + 6] ^= 1
    with pytest.raises(ImageError):
        decode_image(bytes(content))


def png(width, height, depth, colour, data):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.reliability(39)
@pytest.mark.parametrize("format", IMAGE_FORMATS)
def test_every_supported_format_is_decoded(format):
    picture = Image.fromarray(np.stack([RAMP, RAMP[::-1], RAMP.T], axis=2))
    assert decoded(encode(picture, format)).shape == (8, 8, 3)


@pytest.mark.reliability(10, 62)
def test_postscript_under_another_name_starts_no_program(tmp_path, monkeypatch):
    started = tmp_path / "started"
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {started}\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(ImageError, match="not an image file"):
        decode_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n")
    assert not started.exists()


@pytest.mark.reliability(14)
def test_12_bit_gray_is_scaled():
    pixels = [4095, 2048] * 32
    packed = b"".join(bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in zip(pixels[::2], pixels[1::2]))
    shorts = {256: 8, 257: 8, 258: 12, 259: 1, 262: 1, 277: 1, 278: 8}  # sizes, bits, compression, colors, strip
    entries = [(tag, 3, struct.pack("<HH", value, 0)) for tag, value in shorts.items()]
    entries += [(273, 4, struct.pack("<I", 8)), (279, 4, struct.pack("<I", len(packed)))]
    directory = b"".join(struct.pack("<HHI", tag, kind, 1) + value for tag, kind, value in sorted(entries))
    header = b"II*\0" + struct.pack("<I", 8 + len(packed))
    content = header + packed + struct.pack("<H", len(entries)) + directory + bytes(4)
    assert decoded(content)[0, :2, 0].tolist() == [255, 128]


@pytest.mark.reliability(12, 67)
def test_a_plugin_may_raise_anything_on_damaged_data():
    content = bytearray(encode(Image.fromarray(np.stack([RAMP] * 3, axis=2)).resize((64, 64)), "AVIF"))
    content[-40:] = bytes(40)  # raises RuntimeError
    with pytest.raises(ImageError):
        decode_image(bytes(content))


@pytest.mark.reliability(67)
@pytest.mark.parametrize("error", [OSError(errno.EMFILE, "Too many open files"), MemoryError()])
def test_error_of_the_machine_is_not_an_error_of_the_image(monkeypatch, error):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(type(error)) as raised:
        decode_image(encode(Image.fromarray(RAMP), "PNG"))
    assert raised.value is error
