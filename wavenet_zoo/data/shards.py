"""WebDataset shards, read by index.

timm streams shards: the order of the images depends on the number of workers, an evaluation may count an image twice,
and training cannot resume in the middle of an epoch. Shards are tar files whose headers give the position of every
image, so here they are indexed once and then read like files in a folder.
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
from wavenet_zoo.data.sources import file_stamp
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
    """Images in tar files. A ``.cls`` file with the key of the image holds its label."""

    in_memory = False

    def __init__(self, name: str, split: str, classes: Sequence[str], shards: Sequence[Path], entries: list[_Entry]):
        self.name = name
        self.split = split
        self.classes = classes
        self.shards = shards
        self.entries = entries
        self.targets: Sequence[int] = [entry.label for entry in entries]

    def load(self, index: int) -> Image.Image:
        return decode_image(self.content(index))

    def content(self, index: int) -> bytes:
        entry = self.entries[index]
        with self.shards[entry.shard].open("rb") as file:
            file.seek(entry.offset)
            return file.read(entry.size)

    def stamp(self, index: int) -> bytes | None:
        entry = self.entries[index]
        return file_stamp(self.shards[entry.shard], entry.offset)

    def describe(self, index: int) -> str:
        entry = self.entries[index]
        return f"{self.shards[entry.shard]}: {entry.key}"

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for entry in self.entries:
            digest.update(f"{self.shards[entry.shard].name}\0{entry.key}\0{entry.size}\0{entry.label}\n".encode())
        return digest.hexdigest()


def open_shards(folder: Path, split: str) -> ShardImages:
    """Open the shards of a split.

    The shards are those that timm's ``_info.json`` lists; without that file, those with the split in their path.

    Args:
        folder: Folder of ``*.tar`` files, ``imagenet1k-train-0000.tar`` for example. Each image has a ``.cls`` file.
            ``classes.txt`` gives the class names, one per line; without it they are the numbers of the classes.
        split: ``train``, ``val``, ``test``, or another name of a split in the data set.

    Raises:
        WavezooError: If the folder or the split does not exist, a shard or ``_info.json`` cannot be read, no image has
            a ``.cls`` file, or ``classes.txt`` lists too few classes.
    """
    if not folder.is_dir():
        raise WavezooError(f"wds/{folder}: no such folder", "write wds/ and the folder that contains the shards")
    shards = _shards_of(folder, split)
    entries = [entry for number, shard in enumerate(shards) for entry in _read_index(number, shard)]
    if not entries:
        raise WavezooError(f"{shards[0]}: contains no image with a .cls file", "add one with the label of each image")
    names = folder / "classes.txt"
    if names.is_file():
        classes = names.read_text(encoding="utf-8").split()
    else:
        classes = [str(number) for number in range(max(entry.label for entry in entries) + 1)]
    highest = max(entry.label for entry in entries)
    if highest >= len(classes):
        raise WavezooError(f"{names}: lists {len(classes)} classes, but the shards have label {highest}")
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
            raise WavezooError(f"{info}: no split '{split}'", f"available splits: {', '.join(splits)}")
        return [folder / name for name in listed]
    every = sorted(folder.rglob("*.tar"))
    for name in candidates:
        shards = [shard for shard in every if name in str(shard.relative_to(folder))]
        if shards:
            return shards
    raise WavezooError(
        f"wds/{folder}: no shard of split '{split}' in {len(every)} tar files",
        f"the path of a shard must contain {' or '.join(candidates)}",
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
