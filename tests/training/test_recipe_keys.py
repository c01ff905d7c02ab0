"""Every key of a recipe changes the run, and first of all what is its own: a key that nothing reads fails here."""

import functools
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from pydantic import BaseModel
from safetensors import safe_open

from wavenet_zoo import WavezooError, train
from wavenet_zoo.recipes import Recipe, load_recipe

pytestmark = pytest.mark.usefixtures("short_runs")

BASE = [
    "data.validation=val",
    "preprocessing.size=16",
    "augmentation.crop=none",
    "optimizer.lr=0.05",
    "schedule.name=constant",
    "schedule.epochs=1",
    "batch_size=20",  # 2 steps an epoch
]
EMA = ["ema.decay=0.9", "ema.warmup=false"]
STEPS = ["schedule.name=steps", "schedule.epochs=2", "schedule.milestones=[2]"]

# What is compared, from cause to effect. A key must change what is named beside it, and nothing that comes before.
PARTS = (
    "layout",  # of the first convolution's weights
    "label",  # of the data, stored with the weights
    "rates",  # learning rate of every step
    "first loss",  # initial weights, images, targets and what the forward pass draws
    "losses",  # after a step
    "weights",  # after two steps
    "EMA",
    "validation",
)


@dataclass
class Row:
    """One change of a key.

    Attributes:
        key: The key.
        value: Its new value, in YAML.
        shows: The first of ``PARTS`` that changes.
        given: Overrides of both runs: what the key needs to matter, or another value of it.
    """

    key: str
    value: str
    shows: str
    given: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join([f"{self.key}={self.value}", *self.given])


ROWS = [
    Row("model.name", "waveletnet_cifar_m2", "first loss"),
    Row("model.kwargs", "{use_dfwt: false}", "first loss"),
    Row("model.initial_weights_of", "{kappas: [1, 3, 3]}", "first loss"),
    Row("model.pretrained", "digits", "first loss"),
    Row("data.name", "numerals", "label", ("data.name=figures",)),  # --data has the images
    Row("data.train", "test", "first loss"),
    Row("data.validation", "test", "validation"),
    Row("data.validation", "0.25", "rates"),  # 30 images remain, a step fewer
    Row("preprocessing.size", "12", "first loss"),
    Row("preprocessing.interpolation", "bilinear", "first loss"),
    Row("preprocessing.crop_pct", "0.5", "validation"),  # the crop of training, also "none", has all of the image
    Row("preprocessing.mean", "[0.5, 0.5, 0.4]", "first loss"),
    Row("preprocessing.std", "[0.5, 0.5, 0.4]", "first loss"),
    Row("augmentation.crop", "pad", "first loss"),
    Row("augmentation.crop", "resized", "first loss"),
    Row("augmentation.padding", "2", "first loss", ("augmentation.crop=pad",)),
    Row("augmentation.scale", "[0.5, 0.6]", "first loss", ("augmentation.crop=resized",)),
    Row("augmentation.hflip", "1.0", "first loss"),
    Row("augmentation.hflip", "0.5", "first loss", ("augmentation.hflip=1.0",)),
    Row("augmentation.hflip", "1.0", "first loss", ("augmentation.crop=resized",)),
    Row("augmentation.color_jitter", "0.4", "first loss"),
    Row("augmentation.color_jitter", "0.2", "first loss", ("augmentation.color_jitter=0.4",)),
    Row("augmentation.auto_augment", "rand-m9-mstd0.5-inc1", "first loss"),
    Row(
        "augmentation.auto_augment",
        "rand-m5-mstd0.5-inc1",
        "first loss",
        ("augmentation.auto_augment=rand-m9-mstd0.5-inc1",),
    ),
    Row("augmentation.random_erasing", "1.0", "first loss"),
    Row("augmentation.random_erasing", "0.5", "first loss", ("augmentation.random_erasing=1.0",)),
    Row("augmentation.mixup", "0.4", "first loss"),
    Row("augmentation.mixup", "0.2", "first loss", ("augmentation.mixup=0.4",)),
    Row("augmentation.cutmix", "1.0", "first loss"),
    Row("augmentation.cutmix", "0.5", "first loss", ("augmentation.cutmix=1.0",)),
    Row("augmentation.mixing_probability", "0.0", "first loss", ("augmentation.mixup=0.4",)),
    Row("augmentation.mixing_probability", "0.0", "first loss", ("augmentation.cutmix=1.0",)),
    Row("regularization.label_smoothing", "0.1", "first loss"),
    Row("regularization.label_smoothing", "0.1", "first loss", ("augmentation.mixup=0.4",)),
    Row("regularization.dropout", "0.5", "first loss"),
    Row("regularization.drop_path", "0.5", "first loss", ("model.name=waveletnet_cifar_m2",)),
    Row("optimizer.name", "sgd", "losses"),
    Row("optimizer.lr", "0.04", "rates"),
    Row("optimizer.momentum", "0.5", "weights"),
    Row("optimizer.weight_decay", "0.5", "losses"),
    Row("optimizer.betas", "[0.5, 0.9]", "weights", ("optimizer.name=lion", "optimizer.lr=1e-3")),
    Row("optimizer.clip_grad", "0.1", "losses"),
    Row("optimizer.layer_decay", "0.5", "losses"),
    Row("optimizer.freeze_backbone", "true", "first loss", ("model.pretrained=digits",)),  # batch norm is frozen
    Row("schedule.name", "linear", "rates"),
    Row("schedule.name", "cosine", "rates"),
    Row("schedule.epochs", "2", "rates"),
    Row("schedule.milestones", "[1]", "rates", tuple(STEPS)),
    Row("schedule.decay_rate", "0.5", "rates", tuple(STEPS)),
    Row("schedule.min_lr", "0.02", "rates", ("schedule.name=linear",)),
    Row("schedule.min_lr", "0.02", "rates", ("schedule.name=cosine",)),
    Row("schedule.warmup_epochs", "1", "rates", ("schedule.epochs=2",)),
    Row("ema.decay", "0.5", "EMA", tuple(EMA)),
    Row("ema.warmup", "true", "EMA", tuple(EMA)),
    Row("batch_size", "16", "first loss"),
    Row("accumulation", "2", "first loss"),  # batch norm sees the parts
    Row("precision", "bf16", "first loss"),
    Row("precision", "fp16", "first loss"),
    Row("channels_last", "false", "layout"),
    Row("seed", "1", "first loss"),
]
REFUSED = {"sync_bn": "true"}  # where no GPU is used
LOCATION = {"data.path"}  # where the data is on this machine; tests/training/test_settings.py


def test_the_rows_cover_every_key_of_the_schema():
    assert {row.key for row in ROWS} | REFUSED.keys() | LOCATION == set(keys_of(Recipe))


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_key_changes_the_run(row, run):
    given = (*BASE, *row.given)
    changed = (*given, f"{row.key}={row.value}")
    recipe, base = load_recipe("digits", changed), load_recipe("digits", given)
    assert [key for key in keys_of(Recipe) if value_of(recipe, key) != value_of(base, key)] == [row.key]
    before, after = run(given), run(changed)
    assert next((part for part in PARTS if before[part] != after[part]), "nothing") == row.shows


@pytest.mark.parametrize(("key", "value"), REFUSED.items())
def test_a_key_that_a_cpu_does_not_support_is_refused(key, value, splits, tmp_path):
    with pytest.raises(WavezooError, match=key):
        train("digits", splits, tmp_path / "run", [*BASE, f"{key}={value}"], workers=0, device="cpu")


@pytest.fixture(scope="module")
def splits(small_digits, tmp_path_factory) -> Path:
    """An image folder with train/ and test/ (4 of each digit) and val/ (1 of each digit), no image twice."""
    folder = tmp_path_factory.mktemp("splits") / "splits"
    for split, source, names in (("train", "train", "0123"), ("test", "train", "4567"), ("val", "val", "0")):
        for digit in "0123456789":
            (folder / split / digit).mkdir(parents=True)
            for name in names:
                shutil.copy(small_digits / source / digit / f"{name}.png", folder / split / digit)
    return folder


@pytest.fixture(scope="module")
def run(splits, tmp_path_factory):
    """Train, once for equal overrides, and return ``PARTS``."""

    @functools.cache
    def run_recipe(overrides: tuple[str, ...]) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp("run")
        train("digits", splits, folder, overrides, workers=0, device="cpu")
        return read_parts(folder)

    return run_recipe


def read_parts(folder: Path) -> dict[str, Any]:
    steps = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
    epochs = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    checkpoint = torch.load(folder / "last.pt", weights_only=True)
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        metadata = json.loads(file.metadata()["wavenet_zoo"])
    return {
        "layout": checkpoint["state_dict"]["conv_stem.weight"].stride(),
        "label": metadata["data"],
        "rates": [step["lr"] for step in steps],
        "first loss": steps[0]["loss"],
        "losses": [step["loss"] for step in steps],
        "weights": lists_of(checkpoint["state_dict"]),
        "EMA": lists_of(checkpoint.get("state_dict_ema", {})),
        "validation": [epoch["loss"] for epoch in epochs],
    }


def lists_of(tensors: dict[str, torch.Tensor]) -> dict[str, list[Any]]:
    return {key: tensor.tolist() for key, tensor in tensors.items()}


def keys_of(section: type[BaseModel]) -> Iterator[str]:
    """Yield the keys that hold values, in sections of sections too: ``ema.decay``, not ``ema``."""
    for name, field in section.model_fields.items():
        kinds = (field.annotation, *get_args(field.annotation))  # of "EmaSection | None" too
        inner = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        yield from [f"{name}.{key}" for key in keys_of(inner)] if inner else [name]


def value_of(recipe: Recipe, key: str) -> Any:
    return functools.reduce(lambda section, name: getattr(section, name, None), key.split("."), recipe)
