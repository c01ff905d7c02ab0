"""Decoding: CPU time of JPEG decoders, alone and with the transform, and their pixels against Pillow's. Prints JSON.

python benchmarks/decoding.py imagenet/val    # requires: pip install simplejpeg
"""

import argparse
import io
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from commands import json_of
from PIL import Image

from wavenet_zoo.data.decoding import ImageError, decode_image, open_image, to_rgb

ROUNDS = 7
IMAGES = 500
DAMAGED = 100


def measure(images: Path) -> dict:
    """Compare the decoders in a new process, see :func:`compare_decoders`."""
    return json_of([sys.executable, __file__, images])


def table(result: dict) -> str:
    """Return the table as Markdown."""
    lines = []
    for name, row in result["rows"].items():
        ratios = [time / pillow for time, pillow in zip(row["load_ms"], result["rows"]["Pillow"]["load_ms"])]
        number = result["versions"][name.partition(".")[0].lower()]
        lines.append(
            f"| {name} {number} | {statistics.median(row['decode_ms']):.2f} "
            f"| {statistics.median(row['load_ms']):.2f} | {statistics.median(ratios):.3f} ({min(ratios):.3f} to "
            f"{max(ratios):.3f}) | {row['different']} | {row['rejected']} | {row['accepted']} |"
        )
    head = (
        "| decoder | decoding, ms | with the transform, ms | ratio, round by round | other pixels | rejects | accepts |"
    )
    return "\n".join(
        [
            head,
            "| --- |" + " ---: |" * 6,
            *lines,
            "",
            f"CPU time per image on one core, {result['images']} images. Of these and {result['damaged']} damaged "
            "copies: those with *other pixels*, those that the decoder *rejects* and Pillow does not, and the reverse.",
        ]
    )


def _decode_with(content: bytes, decode: Callable[[bytes], Image.Image]) -> Image.Image:
    """Decode as the package could: Pillow checks the header, and decodes what is not a plain and complete JPEG."""
    with open_image(io.BytesIO(content)) as image:
        if image.format != "JPEG" or image.mode not in ("L", "RGB") or content[-2:] != b"\xff\xd9":
            return to_rgb(image)
    return decode(content)


def torchvision_io(content: bytes) -> Image.Image:
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    pixels = decode_jpeg(torch.frombuffer(bytearray(content), dtype=torch.uint8), ImageReadMode.RGB)
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


def simplejpeg_(content: bytes) -> Image.Image:
    import simplejpeg

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


def compare_decoders(images: Path) -> dict:
    """Measure all decoders in this process, on one core.

    Args:
        images: Folder of JPEG files.

    Returns:
        ``rows`` by decoder: the times of each round per image, and numbers of images; ``images`` and ``damaged``: how
        many there are; ``versions`` of the libraries.
    """
    import torch

    from wavenet_zoo.data.preprocessing import evaluation_transform, preprocessing_of
    from wavenet_zoo.weights.loading import load_model

    torch.set_num_threads(1)
    paths = [path for path in sorted(images.rglob("*")) if path.suffix.lower() in (".jpg", ".jpeg")]
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
    return {"rows": rows, "images": len(contents), "damaged": len(damaged), "versions": versions}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="folder of JPEG files")
    print(json.dumps(compare_decoders(parser.parse_args().images)))
