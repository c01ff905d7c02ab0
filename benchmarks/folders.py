"""Folders: time and memory by number of images in class folders."""

import sys
import tempfile
from pathlib import Path

from commands import WAVEZOO, json_and_peak

SIZES = (25_000, 50_000, 100_000, 200_000)  # images in 1,000 class folders
LIST = """
import json, sys, time
from wavenet_zoo.data.open import open_data
from wavenet_zoo.data.loaders import EpochSampler
times = [time.perf_counter()]
source = open_data(sys.argv[1], "val")
times.append(time.perf_counter())
source.fingerprint()
times.append(time.perf_counter())
steps = sum(1 for rank in range(8) for _ in EpochSampler(len(source.targets), 256, seed=0, rank=rank, world_size=8))
times.append(time.perf_counter())
print(json.dumps({k: b - a for k, a, b in zip(("listing", "fingerprint", "sharing"), times, times[1:])}))
"""


def measure() -> dict:
    """Measure by number of images: listing, fingerprint, sampling, evaluation and its peak memory."""
    rows = []
    for images in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            _write_tiny_images(Path(folder), images)
            row, _ = json_and_peak([sys.executable, "-c", LIST, folder])
            arguments = ["waveletnet_cifar_m1", "--weights", "none", "--model-kwargs", "num_classes=1000"]
            result, peak = json_and_peak([*WAVEZOO, "eval", *arguments, "--data", folder, "--json"])
        rows.append({"images": images, **row, "evaluation": result["seconds"], "peak_bytes": peak})
    return {"rows": rows, "workers": result["workers"], "environment": result["environment"]}


def table(result: dict) -> str:
    """Return the table as Markdown."""
    lines = [
        f"| {row['images']:,} | {row['listing']:.2f} | {row['fingerprint']:.2f} | {row['sharing']:.2f} | "
        f"{row['evaluation']:.1f} | {row['images'] / row['evaluation']:,.0f} | {row['peak_bytes'] / 2**20:,.0f} |"
        for row in result["rows"]
    ]
    head = "| images | listing, s | fingerprint, s | sampling, s | evaluation, s | images/s | peak memory, MiB |"
    return "\n".join([head, "| ---: |" + " ---: |" * 6, *lines])


def _write_tiny_images(folder: Path, images: int) -> None:
    from PIL import Image

    for label in range(1000):
        (folder / f"{label:04}").mkdir()
        Image.new("RGB", (8, 8), (label % 256, label // 4, 0)).save(folder / f"{label:04}" / "0.png")
        content = (folder / f"{label:04}" / "0.png").read_bytes()
        for number in range(1, images // 1000):
            (folder / f"{label:04}" / f"{number}.png").write_bytes(content)
