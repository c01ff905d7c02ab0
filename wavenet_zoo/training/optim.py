"""timm's optimizers, schedules, mixup and moving average, as a recipe asks for them."""

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

__all__ = ["build_ema", "build_mixup", "build_optimizer", "build_scheduler", "seed_step"]


def build_optimizer(plan: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    """Return the recipe's optimizer over the parameters of ``model``.

    Raises:
        WavezooError: If timm has none of that name, or it does not take what the recipe sets.
    """
    settings = plan.optimizer
    if settings.name not in timm.optim.list_optimizers():
        hint = did_you_mean(settings.name, timm.optim.list_optimizers(), "any name of timm.optim.list_optimizers()")
        raise WavezooError(f"optimizer.name: timm has no optimizer '{settings.name}'", hint)
    if settings.betas and not timm.optim.get_optimizer_info(settings.name).has_betas:  # timm would pass over them
        raise WavezooError(f"optimizer.betas: '{settings.name}' has none", "--set optimizer.betas=null")
    betas = {"betas": tuple(settings.betas)} if settings.betas else {}
    try:
        return timm.optim.create_optimizer_v2(
            model,
            opt=settings.name,
            lr=settings.lr,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            **betas,
        )
    except (TypeError, ValueError, AssertionError) as error:
        raise WavezooError(f"optimizer: '{settings.name}' cannot be made so: {error}") from error


def build_scheduler(plan: Recipe, optimizer: torch.optim.Optimizer, steps_per_epoch: int) -> Scheduler:
    """Return the recipe's schedule, a function of the number of steps taken, set to step 0."""
    settings = plan.schedule
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched={"steps": "multistep", "linear": "poly"}.get(settings.name, settings.name),
        num_epochs=settings.epochs,
        decay_milestones=settings.milestones,
        decay_rate=settings.decay_rate if settings.name == "steps" else 1.0,  # the power, for "poly"
        min_lr=settings.min_lr,
        warmup_epochs=settings.warmup_epochs,
        warmup_lr=0.0,
        step_on_epochs=False,
        updates_per_epoch=steps_per_epoch,
    )
    scheduler.step_update(0)
    return scheduler


def build_mixup(plan: Recipe, num_classes: int) -> Mixup | None:
    """Return timm's mixup and cutmix, which smooth labels too; None where the recipe has neither."""
    settings = plan.augmentation
    if not (settings.mixup or settings.cutmix):
        return None
    return Mixup(
        mixup_alpha=settings.mixup,
        cutmix_alpha=settings.cutmix,
        prob=settings.mixing_probability,
        label_smoothing=plan.regularization.label_smoothing,
        num_classes=num_classes,
    )


def build_ema(plan: Recipe, model: nn.Module) -> ModelEmaV3 | None:
    """Return timm's moving average of the weights of ``model``; None where the recipe has none."""
    return plan.ema and ModelEmaV3(model, decay=plan.ema.decay, use_warmup=plan.ema.warmup)


def seed_step(seed: int, step: int, rank: int) -> None:
    """Make everything that a step draws, mixup, dropout and drop-path, a function of (seed, step, rank) alone."""
    mixed = mix_seed(seed, step, rank)
    random.seed(mixed)
    np.random.seed(mixed % 2**32)
    torch.manual_seed(mixed)
