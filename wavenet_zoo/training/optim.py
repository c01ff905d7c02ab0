"""Optimizer, schedule, mixup and EMA of timm, built from a recipe."""

import random

import numpy as np
import timm.optim
import torch
from timm.data import Mixup
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler import Scheduler
from timm.utils import ModelEmaV3
from torch import nn

from wavenet_zoo.errors import WavezooError, did_you_mean
from wavenet_zoo.recipes import Recipe
from wavenet_zoo.runtime.seeds import mix_seed

__all__ = ["build_ema", "build_mixup", "build_optimizer", "build_scheduler", "learning_rate", "seed_step"]


def build_optimizer(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    """Build the optimizer. Weight decay does not apply to biases and normalization layers, as in timm.

    With ``layer_decay``, each layer has a parameter group, whose ``lr_scale`` the schedule multiplies the rate by.

    Raises:
        WavezooError: If timm does not have the optimizer, or it does not accept the recipe's values, or the model does
            not support ``layer_decay``.
    """
    section = recipe.optimizer
    if section.name not in timm.optim.list_optimizers():
        hint = did_you_mean(section.name, timm.optim.list_optimizers(), "see timm.optim.list_optimizers()")
        raise WavezooError(f"optimizer.name: timm has no optimizer '{section.name}'", hint)
    if section.betas and not timm.optim.get_optimizer_info(section.name).has_betas:  # timm would ignore them
        raise WavezooError(f"optimizer.betas: '{section.name}' has no betas", "--set optimizer.betas=null")
    if max(section.lr, section.weight_decay, section.lr * section.weight_decay) > torch.finfo(torch.float32).max:
        raise WavezooError(
            f"optimizer: lr {section.lr:g} with weight_decay {section.weight_decay:g} exceeds the range of float32",
            "--set optimizer.lr=0.1",
        )
    if section.layer_decay is not None and not hasattr(model, "group_matcher"):  # timm would split the layers by number
        raise WavezooError(
            f"optimizer.layer_decay: {recipe.model.name} does not support it: it has no group_matcher",
            "--set optimizer.layer_decay=null",
        )
    betas = {"betas": tuple(section.betas)} if section.betas else {}
    try:
        return timm.optim.create_optimizer_v2(
            model,
            opt=section.name,
            lr=section.lr,
            momentum=section.momentum,
            weight_decay=section.weight_decay,
            layer_decay=section.layer_decay,
            **betas,
        )
    except (TypeError, ValueError, AssertionError) as error:
        raise WavezooError(f"optimizer: '{section.name}' cannot be built: {error}") from error


def build_scheduler(recipe: Recipe, optimizer: torch.optim.Optimizer, steps_per_epoch: int) -> Scheduler:
    """Build the learning rate schedule, a function of the number of steps, and set it to step 0.

    With a warm-up of n steps, the rate rises linearly from lr / n at the first step to lr at step n + 1. ``linear`` and
    ``cosine`` decay over the steps that remain.
    """
    section = recipe.schedule
    warmup_steps = section.warmup_epochs * steps_per_epoch
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched={"steps": "multistep", "linear": "poly"}.get(section.name, section.name),
        num_epochs=section.epochs - section.warmup_epochs,
        decay_milestones=section.milestones,
        decay_rate=section.decay_rate if section.name == "steps" else 1.0,  # for "poly", its power
        min_lr=section.min_lr,
        warmup_epochs=section.warmup_epochs,
        warmup_lr=recipe.optimizer.lr / max(warmup_steps, 1),
        warmup_prefix=section.name != "steps",  # milestones count from the start of the run
        step_on_epochs=False,
        updates_per_epoch=steps_per_epoch,
    )
    scheduler.step_update(0)
    return scheduler


def learning_rate(optimizer: torch.optim.Optimizer) -> float:
    """Return the learning rate of the next step; with ``layer_decay``, that of the classifier, which is the highest."""
    return max(float(group["lr"]) for group in optimizer.param_groups)


def build_mixup(recipe: Recipe, num_classes: int) -> Mixup | None:
    """Build timm's mixup and cutmix, which also smooth the labels; None if the recipe has neither."""
    section = recipe.augmentation
    if not (section.mixup or section.cutmix):
        return None
    return Mixup(
        mixup_alpha=section.mixup,
        cutmix_alpha=section.cutmix,
        prob=section.mixing_probability,
        label_smoothing=recipe.regularization.label_smoothing,
        num_classes=num_classes,
    )


def build_ema(recipe: Recipe, model: nn.Module) -> ModelEmaV3 | None:
    """Build timm's moving average of the weights; None if the recipe has none."""
    return recipe.ema and ModelEmaV3(model, decay=recipe.ema.decay, use_warmup=recipe.ema.warmup)


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed the global generators, so that the random numbers of a step depend on (seed, step, rank) alone."""
    mixed = mix_seed(seed, step, rank)
    random.seed(mixed)
    np.random.seed(mixed % 2**32)
    torch.manual_seed(mixed)
