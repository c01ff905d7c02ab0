"""Shards: the time to open a data set of WebDataset shards."""

import io
import os
import shutil
import statistics
import sys
import tarfile
import tempfile
from pathlib import Path

from commands import json_of

SHARDS, SHARD_IMAGES = 20, 1000
OPEN = """
import json, sys, time
from wavenet_zoo.data.open import open_data
started = time.perf_counter()
source = open_data(f"wds/{sys.argv[1]}", "val")
print(json.dumps({"seconds": time.perf_counter() - started, "fingerprint": source.fingerprint()}))
"""


def measure() -> dict:
    """Measure the time to open a data set of shards in a new process, without and with its index in the cache."""
    seconds: dict[str, list[float]] = {"headers": [], "cached": []}
    fingerprints = set()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as cache:
        _write_shards(Path(folder))
        for _ in range(5):
            shutil.rmtree(cache)
            for name in seconds:
                opened = json_of(["env", f"WAVEZOO_CACHE={cache}", sys.executable, "-c", OPEN, folder])
                seconds[name].append(opened["seconds"])
                fingerprints.add(opened["fingerprint"])
        Path(cache).mkdir(exist_ok=True)
        cache_bytes = sum(path.stat().st_size for path in Path(cache).rglob("*") if path.is_file())
    if len(fingerprints) != 1:
        raise SystemExit("the cached index differs from the headers")
    return {"seconds": seconds, "images": SHARDS * SHARD_IMAGES, "shards": SHARDS, "cache_bytes": cache_bytes}


def table(result: dict) -> str:
    """Return the table as Markdown."""
    lines = [
        f"| {name} | {statistics.median(result['seconds'][key]):.3f} | {min(result['seconds'][key]):.3f} |"
        for name, key in (("headers of the tar files", "headers"), ("cached index", "cached"))
    ]
    head = f"| {result['images']:,} images in {result['shards']} shards | seconds, median of 5 | fastest |"
    size = f"The cached index has {result['cache_bytes'] / 1000:,.0f} kB."
    return "\n".join([head, "| --- | ---: | ---: |", *lines, "", size])


def _write_shards(folder: Path) -> None:
    from PIL import Image

    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 60).convert("RGB").save(buffer, "JPEG")
    for shard in range(SHARDS):
        path = folder / f"x-val-{shard:04}.tar"
        with tarfile.open(path, "w") as tar:
            for number in range(SHARD_IMAGES):
                for suffix, content in (("jpg", buffer.getvalue()), ("cls", b"%d" % (number % 200))):
                    info = tarfile.TarInfo(f"{shard:04}_{number:06}.{suffix}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
        os.utime(path, (1_700_000_000, 1_700_000_000))  # files that were modified just now are not cached
