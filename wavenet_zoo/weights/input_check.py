"""Check that a model accepts images of a size."""

import copy
from typing import Any

import torch
from torch import nn

from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.seeds import preserve_rng_state

__all__ = ["check_input"]


def check_input(
    model: nn.Module, input_size: tuple[int, int, int], batch_size: int = 1, training: bool = False
) -> None:
    """Check that a model returns one score per class for images of a size, by a forward pass without data.

    Args:
        model: The model, which is not modified.
        input_size: (C, H, W) of the images.
        batch_size: Number of images.
        training: Whether to check a forward pass in training mode, which depends on the batch size.

    Raises:
        WavezooError: If the model does not accept such images, or returns anything else.
    """
    shape = (batch_size, *input_size)
    dtype = getattr(model, "input_dtype", torch.float32)  # exported files may take uint8
    size = f"images of {input_size[2]} x {input_size[1]} px"
    with torch.no_grad(), preserve_rng_state():
        try:
            output = _on_meta(model).train(training)(torch.empty(shape, dtype=dtype, device="meta"))
        except Exception:  # exported files and some models do not run on the meta device
            try:
                device = next((parameter.device for parameter in model.parameters()), None)
                output = copy.deepcopy(model).train(training)(torch.zeros(shape, dtype=dtype, device=device))
            except WavezooError:
                raise
            except Exception as error:  # whatever the layers raise
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                raise WavezooError(f"the model does not accept {size}: {reason}", "use another --size") from error
    num_classes: Any = getattr(model, "num_classes", None)
    found = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
    if not training and num_classes is not None and (found != (batch_size, num_classes) or num_classes < 1):
        raise WavezooError(
            f"the model returns {found} for {batch_size} of {size}, not ({batch_size}, {num_classes}) logits",
            "remove model arguments such as global_pool and num_classes",
        )


def _on_meta(model: nn.Module) -> nn.Module:
    """Return a copy of a model on the meta device, without copying its weights."""
    memo: dict[int, Any] = {
        id(tensor): nn.Parameter(tensor.to("meta"), requires_grad=False)
        if isinstance(tensor, nn.Parameter)
        else tensor.to("meta")
        for tensor in [*model.parameters(), *model.buffers()]
    }
    return copy.deepcopy(model, memo)
