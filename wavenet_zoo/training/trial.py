"""Checks before a run starts: can the network take a training step, and can torch.compile compile?"""

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from wavenet_zoo.errors import WavezooError
from wavenet_zoo.recipes import Recipe
from wavenet_zoo.training.freeze import train_mode

__all__ = ["check_compiler", "check_forward"]


def check_forward(
    model: nn.Module, recipe: Recipe, micro_batch_size: int, num_classes: int, autocast: AbstractContextManager[Any]
) -> None:
    """Check that a network accepts the recipe's images in training mode, and gives a score for every class.

    The network is unchanged afterwards, statistics of batch norm included. Random numbers are drawn.

    Args:
        model: The network, on its device.
        recipe: The recipe.
        micro_batch_size: Images per forward pass.
        num_classes: Number of classes.
        autocast: Context of a forward pass.

    Raises:
        WavezooError: If it does not, for example because batch norm gets a single value per channel.
    """
    device = next(model.parameters()).device
    size = recipe.preprocessing.size
    # batch norm requires two values per channel: a second image decides, further ones do not matter
    images = torch.zeros(min(micro_batch_size, 2), 3, size, size, device=device)
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    was_training = model.training
    train_mode(model, recipe.optimizer.freeze_backbone)
    try:
        with torch.no_grad(), autocast:
            scores = model.forward(images)  # without the hooks of a caller, who observes training
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, AssertionError, TypeError, IndexError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise WavezooError(
            f"{recipe.model.name} cannot be trained on {micro_batch_size} image{'s' * (micro_batch_size != 1)} of "
            f"{size} x {size} px per process and part: {reason}",
            "change preprocessing.size, batch_size or accumulation",
        ) from error
    finally:
        model.train(was_training)
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])
    if getattr(scores, "shape", None) != (len(images), num_classes):
        raise WavezooError(
            f"{recipe.model.name} does not give one score for each of {num_classes} classes", "change model.kwargs"
        )


def check_compiler(device: torch.device) -> None:
    """Compile a function with torch.compile, to see whether the compiler that it needs is installed.

    Raises:
        WavezooError: If it cannot be compiled.
    """
    try:
        torch.compile(_double)(torch.zeros(2, device=device))
    except (RuntimeError, OSError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise WavezooError(
            f"--compile: torch.compile cannot compile on this machine: {reason}",
            "install a C++ compiler, or remove --compile",
        ) from error


def _double(x: torch.Tensor) -> torch.Tensor:
    return 2 * x
