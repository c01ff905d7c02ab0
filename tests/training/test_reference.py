"""Training takes the steps of a plain PyTorch loop that shares none of its code, bit for bit.

The loop computes in the order in which PyTorch and timm do, and WaveletNet in the same form. A comparison up to
rounding would need a loose tolerance: within ten steps of this training, a difference in the last bit of a weight grows
to a percent of the loss and more.
"""

import copy
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from wavenet_zoo import train
from wavenet_zoo.data.loaders import training_loader
from wavenet_zoo.data.open import open_data
from wavenet_zoo.data.preprocessing import Preprocessing, training_transform
from wavenet_zoo.models import set_form
from wavenet_zoo.recipes import Recipe, load_recipe
from wavenet_zoo.runtime.seeds import mix_seed

pytestmark = pytest.mark.usefixtures("short_runs")
BASE = ["preprocessing.size=16", "batch_size=32", "optimizer.lr=0.05", "schedule.name=constant", "schedule.epochs=2"]
EVERYTHING = [
    "model.name=waveletnet_cifar_m2",  # has units with a shortcut behind the first, which alone drop their path
    "augmentation.crop=pad",
    "augmentation.mixup=0.4",
    "regularization.label_smoothing=0.1",
    "regularization.dropout=0.3",
    "regularization.drop_path=0.3",
    "optimizer.weight_decay=0.02",
    "optimizer.clip_grad=0.5",
    "schedule.name=cosine",
    "schedule.min_lr=0.01",
    "ema.decay=0.6",
    "accumulation=2",
]
FEATURES = {
    "momentum": ["optimizer.momentum=0.8", "optimizer.weight_decay=0"],
    "weight decay": ["optimizer.momentum=0", "optimizer.weight_decay=0.02"],
    "label smoothing": ["regularization.label_smoothing=0.1"],
    "clipping": ["optimizer.clip_grad=0.5"],
    "accumulation": ["accumulation=4"],
    "accumulation and clipping": ["accumulation=2", "optimizer.clip_grad=0.5"],
    "EMA": ["ema.decay=0.6"],
    "EMA without warm-up": ["ema.decay=0.6", "ema.warmup=false"],
    "dropout": ["regularization.dropout=0.3"],
    "drop-path": ["model.name=waveletnet_cifar_m2", "regularization.drop_path=0.3"],
    "mixup": ["augmentation.mixup=0.4", "augmentation.mixing_probability=0.5", "regularization.label_smoothing=0.1"],
    "bf16": ["precision=bf16", "schedule.epochs=1"],
    "fp16 and clipping": ["precision=fp16", "schedule.epochs=1", "optimizer.clip_grad=0.5"],
    "seed and layout": ["seed=7", "channels_last=false"],
    "everything": EVERYTHING,
}
SCHEDULES = {  # FEATURES have "constant"
    "steps": ["schedule.name=steps", "schedule.epochs=3", "schedule.milestones=[1, 2]", "schedule.decay_rate=0.3"],
    "linear": ["schedule.name=linear", "schedule.min_lr=0.02"],
    "cosine": ["schedule.name=cosine", "schedule.min_lr=0.02"],
}


@dataclass
class Steps:
    """Loss and learning rate of every step, and weights and EMA weights after the last."""

    losses: list[float]
    rates: list[float]
    weights: dict[str, torch.Tensor]
    average: dict[str, torch.Tensor]


@pytest.mark.parametrize("overrides", FEATURES.values(), ids=FEATURES)
def test_every_step_equals_that_of_a_plain_loop(overrides, small_digits, tmp_path):
    assert_trains_as_the_plain_loop(overrides, small_digits, tmp_path)


@pytest.mark.parametrize("overrides", SCHEDULES.values(), ids=SCHEDULES)
def test_every_schedule_equals_its_formula(overrides, small_digits, tmp_path):
    assert_trains_as_the_plain_loop(overrides, small_digits, tmp_path)


@pytest.mark.parametrize("overrides", [[], *SCHEDULES.values()], ids=["constant", *SCHEDULES])
def test_every_schedule_with_warm_up_equals_its_formula(overrides, small_digits, tmp_path):
    assert_trains_as_the_plain_loop([*overrides, "schedule.warmup_epochs=1"], small_digits, tmp_path)


def test_every_step_in_dense_form_equals_that_of_a_plain_loop(small_digits, tmp_path):
    assert_trains_as_the_plain_loop(EVERYTHING, small_digits, tmp_path, form="dense")


def assert_trains_as_the_plain_loop(overrides: list[str], data: Path, folder: Path, form: str = "factored") -> None:
    overrides = [*BASE, *overrides]
    train("digits", data, folder / "run", overrides, workers=0, device="cpu", form=form)
    steps, expected = steps_of_run(folder / "run"), steps_of_plain_loop(load_recipe("digits", overrides), data, form)
    assert steps.rates == pytest.approx(expected.rates, rel=1e-12, abs=1e-15)
    assert steps.losses == expected.losses
    for tensors, plain in ((steps.weights, expected.weights), (steps.average, expected.average)):
        assert tensors.keys() == plain.keys()
        assert [key for key in tensors if not torch.equal(tensors[key], plain[key])] == []


def steps_of_run(folder: Path) -> Steps:
    lines = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
    checkpoint = torch.load(folder / "last.pt", weights_only=True)
    losses, rates = ([line[key] for line in lines] for key in ("loss", "lr"))
    return Steps(losses, rates, checkpoint["state_dict"], checkpoint.get("state_dict_ema", {}))


def steps_of_plain_loop(recipe: Recipe, data: Path, form: str) -> Steps:
    source = open_data(data, "train")
    transform = training_transform(Preprocessing.from_recipe(recipe.preprocessing), recipe.augmentation)
    batches = training_loader(source, transform, recipe.batch_size, recipe.seed, 0, accumulation=recipe.accumulation)
    steps_per_epoch = len(source.targets) // recipe.batch_size
    smoothing, mixup = recipe.regularization.label_smoothing, recipe.augmentation.mixup
    layout = {"memory_format": torch.channels_last if recipe.channels_last else torch.contiguous_format}

    torch.manual_seed(recipe.seed)
    drops = {"drop_rate": recipe.regularization.dropout, "drop_path_rate": recipe.regularization.drop_path}
    model = timm.create_model(recipe.model.name, num_classes=10, **drops).train().to(**layout)
    set_form(model, form)
    norms = {name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    decayed, others = [], []
    for name, parameter in model.named_parameters():
        module, _, kind = name.rpartition(".")
        (others if kind == "bias" or module in norms else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": recipe.optimizer.weight_decay}, {"params": others}]
    optimizer = torch.optim.SGD(groups, recipe.optimizer.lr, recipe.optimizer.momentum)
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(recipe.precision)
    scaler = torch.amp.GradScaler("cpu", enabled=half is torch.float16)
    weights = model.state_dict()
    average = copy.deepcopy(weights) if recipe.ema else {}

    steps, loss = Steps([], [], weights, average), torch.zeros(())
    for epoch in range(1, recipe.schedule.epochs + 1):
        batches.batch_sampler.start(epoch)
        for part, (images, labels, _) in enumerate(batches):
            taken = len(steps.losses)
            if part % recipe.accumulation == 0:
                torch.manual_seed(mix_seed(recipe.seed, taken, 0))
                np.random.seed(mix_seed(recipe.seed, taken, 0) % 2**32)
            if mixup:
                off = smoothing / 10
                labels = torch.where(F.one_hot(labels, 10).bool(), 1 - smoothing + off, off)
            if mixup and np.random.rand() < recipe.augmentation.mixing_probability:
                share = np.random.beta(mixup, mixup)
                images = images * share + images.flip(0) * (1 - share)
                labels = labels * share + labels.flip(0) * (1 - share)
            with torch.autocast("cpu", half or torch.bfloat16, enabled=half is not None):
                logits = model(images.to(**layout)).float()
            part_loss = F.cross_entropy(logits, labels, label_smoothing=0 if mixup else smoothing) / recipe.accumulation
            scaler.scale(part_loss).backward()
            loss += part_loss.detach()
            if (part + 1) % recipe.accumulation:
                continue

            if recipe.optimizer.clip_grad:
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(model.parameters(), recipe.optimizer.clip_grad)
            rate = rate_of_step(recipe, taken, steps_per_epoch)
            for group in optimizer.param_groups:
                group["lr"] = rate
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            for name, value in average.items():
                if value.is_floating_point():
                    value.lerp_(weights[name], 1 - decay_of_step(recipe, taken))
                else:  # batch norm's number of batches
                    value.copy_(weights[name])
            steps.losses.append(loss.item())
            steps.rates.append(rate)
            loss = torch.zeros(())
    return steps


def rate_of_step(recipe: Recipe, taken: int, steps_per_epoch: int) -> float:
    """Return the learning rate of the step that follows on ``taken`` steps."""
    lr, schedule = recipe.optimizer.lr, recipe.schedule
    warmup = schedule.warmup_epochs * steps_per_epoch
    if taken < warmup:  # from lr / warmup at the first step to lr at the first step after the warm-up
        return lr / warmup + (lr - lr / warmup) * taken / warmup
    if schedule.name == "steps":  # timm's convention: the last step before the milestone has the lower rate already
        return lr * schedule.decay_rate ** sum(taken + 1 >= epoch * steps_per_epoch for epoch in schedule.milestones)
    passed = (taken - warmup) / (schedule.epochs * steps_per_epoch - warmup)
    if schedule.name == "linear":
        return schedule.min_lr + (lr - schedule.min_lr) * (1 - passed)
    if schedule.name == "cosine":
        return schedule.min_lr + (lr - schedule.min_lr) * (1 + math.cos(math.pi * passed)) / 2
    return lr


def decay_of_step(recipe: Recipe, taken: int) -> float:
    """Return the decay of the EMA after the step that follows on ``taken`` steps; the first is copied."""
    decay = recipe.ema.decay if taken else 0.0
    return min(decay, 1 - (1 + taken) ** (-2 / 3)) if recipe.ema.warmup else decay
