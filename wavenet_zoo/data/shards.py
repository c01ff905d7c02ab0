"""WebDataset shards, read by index.

timm's own reader streams them: which images a process sees, and when, then depends on the number of workers, an
evaluation may count one twice, and a run cannot go on in the middle of an epoch. Shards are tar files, so their
headers say where each image lies; from there on they are as good as a folder.
"""

import hashlib
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS

from wavenet_zoo.data.decoding import decode_image
from wavenet_zoo.data.folders import SPLIT_FOLDERS
from wavenet_zoo.errors import WavezooError

__all__ = ["ShardImages", "open_shards"]


@dataclass
class _Entry:
    shard: int
    key: str
    offset: int
    size: int
    label: int


class ShardImages:
    """Images in tar files, each with its class in a ``.cls`` file beside it."""

    in_memory = False

    def __init__(self, name: str, split: str, classes: Sequence[str], shards: Sequence[Path], entries: list[_Entry]):
        self.name = name
        self.split = split
        self.classes = classes
        self.shards = shards
        self.entries = entries
        self.targets: Sequence[int] = [entry.label for entry in entries]

    def load(self, index: int) -> Image.Image:
        entry = self.entries[index]
        with self.shards[entry.shard].open("rb") as file:
            file.seek(entry.offset)
            content = file.read(entry.size)
        return decode_image(content)

    def label(self, index: int) -> str:
        entry = self.entries[index]
        return f"{self.shards[entry.shard]}: {entry.key}"

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for entry in self.entries:
            digest.update(f"{self.shards[entry.shard].name}\0{entry.key}\0{entry.size}\0{entry.label}\n".encode())
        return digest.hexdigest()


def open_shards(folder: Path, split: str) -> ShardImages:
    """Open the shards of a split: those that ``_info.json`` lists as in timm, else those with its name in theirs.

    Args:
        folder: Holds ``*.tar`` files, ``imagenet1k-train-0000.tar`` for example, each image with a ``.cls`` file. Class
            names are read from ``classes.txt``, one a line, where there is one; else they are numbers.
        split: ``train``, ``val``, ``test``, or the data set's own name of a part.

    Raises:
        WavezooError: If there are no shards of this split, or one is damaged or has no classes.
    """
    if not folder.is_dir():
        raise WavezooError(f"wds/{folder}: no such folder", "wds/ is followed by the folder that holds the shards")
    shards = _shards_of(folder, split)
    entries = [entry for number, shard in enumerate(shards) for entry in _read_index(number, shard)]
    if not entries:
        raise WavezooError(f"{shards[0]}: holds no image with a class beside it", "each image needs a .cls file")
    names = folder / "classes.txt"
    if names.is_file():
        classes = names.read_text(encoding="utf-8").split()
    else:
        classes = [str(number) for number in range(max(entry.label for entry in entries) + 1)]
    if max(entry.label for entry in entries) >= len(classes):
        raise WavezooError(f"{names}: has {len(classes)} classes, and the shards have more")
    return ShardImages(folder.name, split, classes, shards, entries)


def _shards_of(folder: Path, split: str) -> list[Path]:
    candidates = SPLIT_FOLDERS.get(split, (split,))
    info = next((folder / name for name in ("_info.json", "info.json") if (folder / name).is_file()), None)
    if info is not None:
        try:
            splits = json.loads(info.read_text(encoding="utf-8"))["splits"]
            listed = next((splits[name]["filenames"] for name in candidates if name in splits), None)
        except (ValueError, KeyError, TypeError) as error:
            raise WavezooError(f"{info}: cannot be read: {type(error).__name__}: {error}") from error
        if listed is None:
            raise WavezooError(f"{info}: no split '{split}'", f"it has {', '.join(splits)}")
        return [folder / name for name in listed]
    every = sorted(folder.rglob("*.tar"))
    for name in candidates:
        shards = [shard for shard in every if name in str(shard.relative_to(folder))]
        if shards:
            return shards
    raise WavezooError(
        f"wds/{folder}: no shard of split '{split}' among its {len(every)} tar files",
        f"their names, or their folders', say {' or '.join(candidates)}",
    )


def _read_index(number: int, shard: Path) -> list[_Entry]:
    images: dict[str, tarfile.TarInfo] = {}
    labels: dict[str, int] = {}
    try:
        with tarfile.open(shard) as tar:
            for member in tar:
                stem, _, extension = member.name.rpartition(".")
                if f".{extension.lower()}" in IMG_EXTENSIONS:
                    images[stem] = member
                elif extension == "cls":
                    content = tar.extractfile(member)
                    labels[stem] = int(content.read()) if content else -1
    except (tarfile.TarError, OSError, ValueError) as error:
        raise WavezooError(f"{shard}: cannot be read: {error}") from error
    return [_Entry(number, key, m.offset_data, m.size, labels[key]) for key, m in images.items() if key in labels]
