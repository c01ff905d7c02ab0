"""WebDataset shards, read by index.

timm streams shards: the order of the images depends on the number of workers, an evaluation may count an image twice,
and training cannot resume in the middle of an epoch. Shards are tar files whose headers give the position of every
image, so here they are indexed once and then read like files in a folder.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from wavenet_zoo.data.archive_index import cached_index
from wavenet_zoo.data.archives import ARCHIVE_SUFFIXES, ArchivedImage, ArchiveImages, Member, read_members
from wavenet_zoo.data.decoding import IMAGE_EXTENSIONS
from wavenet_zoo.data.labels import numbered_classes
from wavenet_zoo.data.splits import SPLIT_NAMES, SplitError, find_split
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.files import read_regular_file
from wavenet_zoo.runtime.records import read_json

__all__ = ["ShardImages", "open_shards"]

MAX_LABEL_BYTES = 64
MAX_CLASS_LIST_BYTES = 16 * 2**20


class ShardImages(ArchiveImages):
    """Images in shards. A ``.cls`` file with the key of the image holds its label."""

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for image in self.images:
            line = f"{self.archives[image.archive].name}\0{image.key}\0{image.size}\0{image.label}\n"
            digest.update(line.encode(errors="surrogateescape"))
        return digest.hexdigest()


def open_shards(folder: Path, split: str) -> ShardImages:
    """Open the shards of a split.

    The shards are those that timm's ``_info.json`` lists; without that file, those with the split as a word in their
    path. The key of a sample is its path up to the first dot of the file name, as in WebDataset. Every sample must have
    one image and its ``.cls`` file.

    Args:
        folder: Folder of ``*.tar`` files, ``imagenet1k-train-0000.tar`` for example. ``classes.txt`` gives the class
            names, one per line; without it they are the numbers of the classes.
        split: ``train``, ``val``, ``test``, or another name of a split in the data set.

    Raises:
        WavezooError: If the folder or the split does not exist, a shard belongs to two splits, is damaged or
            incomplete, a sample has no label, no image or several, or ``_info.json`` or ``classes.txt`` is invalid.
    """
    if not folder.is_dir():
        raise WavezooError(f"wds/{folder}: no such folder", "write wds/ and the folder that contains the shards")
    info = next((folder / name for name in ("_info.json", "info.json") if os.path.lexists(folder / name)), None)
    chosen, shards = _listed_shards(info, split) if info else _named_shards(folder, split)
    index = cached_index("samples", shards, _read_samples)
    images = [ArchivedImage(number, *sample) for number, samples in enumerate(index) for sample in samples]
    if not images:
        raise WavezooError(f"{shards[0]}: contains no image with a .cls file", "add one with the label of each image")
    labels = [image.label for image in images]
    names = folder / "classes.txt"
    if os.path.lexists(names):
        classes = _read_class_list(names)
        if max(labels) >= len(classes):
            raise WavezooError(f"{names}: lists {len(classes)} classes, but the shards have label {max(labels)}")
    else:
        classes = numbered_classes(labels, f"wds/{folder}")
    return ShardImages(folder.name, chosen, classes, shards, images)


def _listed_shards(info: Path, split: str) -> tuple[str, list[Path]]:
    """Return the name of a split, and its shards in ``_info.json``."""
    splits = read_json(info).get("splits")
    if not isinstance(splits, dict):
        raise WavezooError(f"{info}: cannot be read: 'splits' is missing, or is not an object")
    chosen = find_split(split, splits)
    if chosen is None:
        raise SplitError(f"{info}: no split '{split}'", f"available splits: {', '.join(splits)}")
    listed = {name: _file_names(info, name, value) for name, value in splits.items()}
    if not listed[chosen]:
        raise WavezooError(f"{info}: split '{chosen}' lists no shards")
    _check_claims(info, chosen, listed)
    return chosen, [info.parent / name for name in listed[chosen]]


def _file_names(info: Path, split: str, value: Any) -> list[str]:
    names = value.get("filenames") if isinstance(value, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise WavezooError(f"{info}: split '{split}': 'filenames' is missing, or is not a list of file names")
    for name in names:
        if not name or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise WavezooError(f"{info}: split '{split}': '{name}' leads out of the folder")
    return [str(PurePosixPath(name)) for name in names]


def _named_shards(folder: Path, split: str) -> tuple[str, list[Path]]:
    """Return the name of a split, and the shards with that name as a word in their path."""
    paths = sorted(path for path in folder.rglob("*") if path.name.endswith(ARCHIVE_SUFFIXES) and not path.is_dir())
    every = {path.relative_to(folder).as_posix(): path for path in paths}
    every = {name: path for name, path in every.items() if not any(p.startswith(".") for p in name.split("/"))}
    groups = {
        "train": SPLIT_NAMES["train"],
        "val": set(SPLIT_NAMES["val"]) - set(SPLIT_NAMES["test"]),
        "test": SPLIT_NAMES["test"],
    }
    candidates = SPLIT_NAMES.get(split, (split,))
    chosen = next((name for name in candidates if any(_is_word(name, path) for path in every)), None)
    if chosen is None:
        raise SplitError(
            f"wds/{folder}: no shard of split '{split}' in {len(every)} tar files",
            f"the path of a shard must contain {' or '.join(candidates)} as a word",
        )
    claims = {chosen: [path for path in every if _is_word(chosen, path)]}
    for group, names in groups.items():
        if chosen not in names:
            claims[group] = [path for path in every if any(_is_word(name, path) for name in names)]
    _check_claims(folder, chosen, claims)
    return chosen, [every[path] for path in claims[chosen]]


def _is_word(name: str, path: str) -> bool:
    return re.search(rf"(?<![a-z]){re.escape(name)}(?![a-z])", path, re.IGNORECASE) is not None


def _check_claims(where: Path, chosen: str, splits: Mapping[str, list[str]]) -> None:
    claims = [(shard, split) for split, shards in splits.items() for shard in shards]
    first: dict[str, str] = {}
    for shard, split in claims:
        if shard in first and chosen in (split, first[shard]):
            raise WavezooError(
                f"{where}: {shard} belongs to the splits '{first[shard]}' and '{split}'"
                if split != first[shard]
                else f"{where}: {shard} is listed twice in split '{split}'",
                "each shard must belong to one split: rename it, or correct _info.json",
            )
        first[shard] = split


def _read_samples(shard: Path) -> Iterator[tuple[str, int, int, int]]:
    """Read the images of a shard, in order: key, offset, size and label."""
    images: dict[str, Member] = {}
    labels: dict[str, Member] = {}
    unclear: dict[str, Member] = {}
    for member in read_members(shard):
        folder, _, name = member.path.rpartition("/")
        stem, _, extension = name.partition(".")
        key, extension = f"{folder}/{stem}", extension.lower()
        if f".{extension}" in IMAGE_EXTENSIONS:
            _add(images, key, member, shard, "images")
        elif extension == "cls":
            _add(labels, key, member, shard, "labels")
        elif extension.rpartition(".")[2] in ("cls", *(suffix[1:] for suffix in IMAGE_EXTENSIONS)):
            unclear.setdefault(key, member)
    for problem, members, others in (
        ("has no .cls file", images, labels),
        ("belongs to no image", labels, images),
        ("belongs to no sample", unclear, images),
    ):
        lonely = [member for key, member in members.items() if key not in others]
        if lonely:
            raise WavezooError(
                f"{shard}: {lonely[0].name} {problem} ({len(lonely):,} of {len(members):,} such files)",
                "a sample is an image and a .cls file with the same name up to the first dot",
            )
    with shard.open("rb") as file:
        for key, image in images.items():
            file.seek(labels[key].offset)
            label = _parse_label(shard, labels[key], file.read(min(labels[key].size, MAX_LABEL_BYTES + 1)))
            yield _raw_key(image), image.offset, image.size, label


def _add(members: dict[str, Member], key: str, member: Member, shard: Path, kind: str) -> None:
    if key in members:
        raise WavezooError(
            f"{shard}: two {kind} of one sample: {members[key].name} and {member.name}",
            "give every sample its own key and one image",
        )
    members[key] = member


def _raw_key(image: Member) -> str:
    folder, slash, name = image.name.rpartition("/")
    return folder + slash + name.partition(".")[0]


def _parse_label(shard: Path, member: Member, content: bytes) -> int:
    if len(content) > MAX_LABEL_BYTES or not re.fullmatch(rb"\s*[+-]?\d{1,18}\s*", content):
        shown = content[:20].decode(errors="replace")
        raise WavezooError(f"{shard}: {member.name}: '{shown}' is not the number of a class")
    return int(content)


def _read_class_list(path: Path) -> list[str]:
    try:
        text = read_regular_file(path, MAX_CLASS_LIST_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise WavezooError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise WavezooError(f"{path}: is not UTF-8: {error.reason} at byte {error.start}", "save it as UTF-8") from error
    names = [line.strip() for line in text.rstrip().split("\n")]
    if "" in names:
        raise WavezooError(f"{path}: line {names.index('') + 1} has no class name", "write one name per line")
    return names
