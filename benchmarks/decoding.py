"""Measure CPU time of JPEG decoders, alone and with the transform, and compare their pixels with Pillow's. Prints JSON.

python benchmarks/decoding.py imagenet/val    # requires: pip install simplejpeg
"""

import argparse
import io
import json
import random
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import simplejpeg
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg

from wavenet_zoo.data.decoding import ImageError, decode_image, open_image, to_rgb
from wavenet_zoo.data.preprocessing import evaluation_transform, preprocessing_of
from wavenet_zoo.weights.loading import load_model

ROUNDS = 7
IMAGES = 500
DAMAGED = 100


def _decode_with(content: bytes, decode: Callable[[bytes], Image.Image]) -> Image.Image:
    """Decode as the package could: Pillow checks the header, and decodes what is not a plain and complete JPEG."""
    with open_image(io.BytesIO(content)) as image:
        if image.format != "JPEG" or image.mode not in ("L", "RGB") or content[-2:] != b"\xff\xd9":
            return to_rgb(image)
    return decode(content)


def torchvision_io(content: bytes) -> Image.Image:
    pixels = decode_jpeg(torch.frombuffer(bytearray(content), dtype=torch.uint8), ImageReadMode.RGB)
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


def simplejpeg_(content: bytes) -> Image.Image:
    return Image.fromarray(simplejpeg.decode_jpeg(content, "RGB"))


DECODERS: dict[str, Callable[[bytes], Image.Image]] = {
    "Pillow": decode_image,
    "torchvision.io": lambda content: _decode_with(content, torchvision_io),
    "simplejpeg": lambda content: _decode_with(content, simplejpeg_),
}


def damaged_copies(content: bytes, generator: random.Random) -> list[bytes]:
    """Return copies with an error after the first half: cut off, closed after the cut, one bit, one marker."""
    place = generator.randrange(len(content) // 2, len(content) - 2)
    flipped = bytes([content[place] ^ 1 << generator.randrange(8)])
    return [
        content[:place],
        content[:place] + b"\xff\xd9",
        content[:place] + flipped + content[place + 1 :],
        content[:place] + b"\xff\xd0" + content[place + 2 :],
    ]


def pixels_of(content: bytes, decoder: str) -> bytes | None:
    """Return the pixels of an image; None if it is rejected."""
    try:
        return DECODERS[decoder](content).tobytes()
    except (ImageError, RuntimeError, ValueError):
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="folder of JPEG files")
    torch.set_num_threads(1)
    paths = [path for path in sorted(parser.parse_args().images.rglob("*")) if path.suffix.lower() in (".jpg", ".jpeg")]
    contents = [path.read_bytes() for path in paths[:: -(-len(paths) // IMAGES)]]
    preprocessing = preprocessing_of(load_model("waveletnet_x1", "none")[0])
    transform = evaluation_transform(preprocessing, normalized=False)  # as in workers
    generator = random.Random(0)
    damaged = [copy for content in contents[:DAMAGED] for copy in damaged_copies(content, generator)]
    rows = {}
    for name in DECODERS:
        pairs = [(pixels_of(content, "Pillow"), pixels_of(content, name)) for content in contents + damaged]
        rows[name] = {
            "different": sum(None not in pair and pair[0] != pair[1] for pair in pairs),
            "rejected": sum(expected is not None and pixels is None for expected, pixels in pairs),
            "accepted": sum(expected is None and pixels is not None for expected, pixels in pairs),
            "decode_ms": [],
            "load_ms": [],
        }
    for step in range(ROUNDS):
        names = sorted(DECODERS, reverse=step % 2 == 1)
        for key, finish in (("decode_ms", lambda image: None), ("load_ms", transform)):
            seconds = dict.fromkeys(names, 0.0)
            for content in contents:
                for name in names:
                    started = time.process_time()  # other processes do not count
                    finish(DECODERS[name](content))
                    seconds[name] += time.process_time() - started
            for name in names:
                rows[name][key].append(seconds[name] / len(contents) * 1000)
    versions = {name: version(name) for name in ("pillow", "torchvision", "simplejpeg")}
    print(json.dumps({"rows": rows, "images": len(contents), "damaged": len(damaged), "versions": versions}))


if __name__ == "__main__":
    main()
