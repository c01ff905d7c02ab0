"""Run the code blocks of the documents: ``pytest docs``.

Blocks of a page run in order in one folder with a photograph, a folder of photographs in three classes and a small
stand-in for Tiny-ImageNet. ``<!-- skip: next "reason" -->`` before a block skips it.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image
from sybil import Example, Sybil
from sybil.parsers.myst import CodeBlockParser, PythonCodeBlockParser, SkipParser

REPOSITORY = Path(__file__).resolve().parent.parent
os.environ.setdefault("OMP_NUM_THREADS", "1")  # pages run in two processes


def write_photos() -> None:
    """Write ``photo.jpg`` and ``more/`` to the current folder."""
    for path in ("photo.jpg", "more/flower.png"):
        Path(path).parent.mkdir(exist_ok=True)
        name = "flower.jpg" if "flower" in path else "china.jpg"
        Image.fromarray(load_sample_image(name)).save(path)


def write_tiny_imagenet() -> None:
    """Write ``tiny-imagenet-200/`` to the current folder: noise of its 200 classes, for commands that need its form."""
    manifest = json.loads((REPOSITORY / "checkpoints" / "manifest.json").read_text(encoding="utf-8"))
    entry = next(entry for entry in manifest["checkpoints"] if entry["name"] == "waveletnet_x1.modern_tiny_in200")
    noise = np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 2)):
        for synset in entry["classes"]:
            folder = Path("tiny-imagenet-200", split, synset)
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(noise.integers(0, 256, (64, 64, 3), np.uint8)).save(folder / f"{i}.png")


def write_classes() -> None:
    """Write ``photos/`` to the current folder: three classes, each with crops of a photograph in its own tint."""
    photo = load_sample_image("flower.jpg").astype(float)
    for tint, name in enumerate(("daisy", "rose", "tulip")):
        folder = Path("photos", name)
        folder.mkdir(parents=True)
        for i in range(40):
            crop = photo[8 * i : 8 * i + 96, 12 * i : 12 * i + 96].copy()
            crop[..., tint] *= 0.5
            Image.fromarray(crop.astype(np.uint8)).save(folder / f"{i}.jpg")


def run_shell(example: Example) -> str | None:
    """Run a block as a script; return what failed."""
    script = f"set -euo pipefail\n{example.parsed}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=600)
    return f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}" if done.returncode else None


@pytest.fixture(scope="module", autouse=True)
def folder() -> Iterator[None]:
    """Work in a folder of its own on each page."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as path:
        os.chdir(path)
        write_photos()
        write_tiny_imagenet()
        write_classes()
        yield
        os.chdir(before)


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), CodeBlockParser(language="sh", evaluator=run_shell), SkipParser()],
    pattern="*.md",
    fixtures=["folder"],
).pytest()
