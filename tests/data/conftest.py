import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def png():
    """Return a small PNG file, another one for every number."""

    def encode(seed: int) -> bytes:
        buffer = io.BytesIO()
        pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(buffer, "PNG")
        return buffer.getvalue()

    return encode


@pytest.fixture
def write_tar(tmp_path, png):
    """Write a tar file from pairs of name and content; the content may be the number of a PNG, or header fields."""

    def write(name, *members, mode="w"):
        path: Path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path, mode, format=tarfile.USTAR_FORMAT) as tar:
            for member, content in members:
                info = tarfile.TarInfo(member)
                if isinstance(content, dict):
                    for field, value in content.items():
                        setattr(info, field, value)
                    content = b""
                else:
                    content = png(content) if isinstance(content, int) else content
                    info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        return path

    return write


@pytest.fixture
def write_shard(write_tar):
    """Write a shard with one sample per label."""

    def write(name, labels, start=0):
        members = []
        for number, label in enumerate(labels, start):
            members += [(f"{number:04d}.png", number), (f"{number:04d}.cls", str(label).encode())]
        return write_tar(name, *members)

    return write
