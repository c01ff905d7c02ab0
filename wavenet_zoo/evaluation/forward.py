"""The forward pass over a data set, which evaluation and prediction share."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import nn

from wavenet_zoo.data.loaders import UNREADABLE, BatchLoader, batches, decoding_seconds
from wavenet_zoo.data.preprocessing import Preprocessing, normalize
from wavenet_zoo.data.sources import ImageSource
from wavenet_zoo.runtime.environment import synchronize

__all__ = ["ForwardLog", "Outputs", "forward_batches"]

MAX_PIXELS_ON_CPU = 4 * 224 * 224  # per forward pass: more than fits the caches takes twice the time
SKIP_HINT = "replace or remove the image, or skip such images with --skip-bad-images"


@dataclass
class ForwardLog:
    """What a forward pass over a data set took.

    Attributes:
        skipped: Names of images that could not be decoded.
        seconds: Wall-clock time, decoding included.
        waiting_seconds: Part of ``seconds`` spent waiting for the loader.
        model_seconds: Part of ``seconds`` spent in the model and in the body of the caller's loop.
        decoding_seconds: Time spent decoding, summed over the loader's workers. Workers decode while the model runs.
    """

    skipped: list[str] = field(default_factory=list)
    seconds: float = 0.0
    waiting_seconds: float = 0.0
    model_seconds: float = 0.0
    decoding_seconds: float = 0.0


@dataclass
class Outputs:
    """Outputs of the model for one batch.

    Attributes:
        logits: Outputs for the images that were decoded, (B, ...), on the device of the model.
        labels: Their labels, (B,), on the CPU.
        indices: Their indices in the source, (B,), on the CPU.
        images: Number of images of the batch, with those that could not be decoded.
    """

    logits: torch.Tensor | None
    labels: torch.Tensor
    indices: torch.Tensor
    images: int


@torch.inference_mode()
def forward_batches(
    model: nn.Module,
    loader: BatchLoader,
    source: ImageSource,
    preprocessing: Preprocessing,
    device: torch.device,
    log: ForwardLog,
    *,
    precision: str = "fp32",
    skip_bad_images: bool = False,
) -> Iterator[Outputs]:
    """Run ``model`` on the batches of a loader.

    Args:
        model: The network, on ``device``.
        loader: Loader of :func:`wavenet_zoo.data.loaders.evaluation_loader`, whose images are not normalized yet.
        source: Images that the loader reads.
        preprocessing: Preprocessing of the model, for the normalization.
        device: Device of the batches.
        log: What the pass took, updated.
        precision: ``fp32``, or ``bf16`` or ``fp16`` for autocast.
        skip_bad_images: Skip and list images that cannot be decoded, instead of raising.

    Yields:
        The outputs of every batch. Without an image that can be decoded, ``logits`` is None.

    Raises:
        WavezooError: If an image cannot be decoded and ``skip_bad_images`` is False.
    """
    model.eval()
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    synchronize(device)
    started = requested = time.perf_counter()
    with batches(loader) as iterator:
        for images, labels, indices in iterator:
            log.waiting_seconds += time.perf_counter() - requested
            count, readable = len(indices), labels != UNREADABLE
            if not readable.all():
                bad = indices[~readable].tolist()
                if not skip_bad_images:
                    raise iterator.decode_error(bad[0], SKIP_HINT)
                log.skipped += [source.describe(i) for i in bad]
                images, labels, indices = images[readable], labels[readable], indices[readable]
            received, logits = time.perf_counter(), None
            if len(indices):
                images = images.to(device, non_blocking=True)
                with torch.autocast(device.type, dtype, enabled=precision != "fp32"):
                    parts = images.split(_chunk_size(images))
                    if getattr(model, "input_dtype", None) != torch.uint8:  # an exported file may normalize by itself
                        parts = (normalize(part, preprocessing) for part in parts)
                    logits = torch.cat([model(part) for part in parts])
            yield Outputs(logits, labels, indices, count)
            requested = time.perf_counter()
            log.model_seconds += requested - received
    synchronize(device)
    log.seconds = time.perf_counter() - started
    log.decoding_seconds = decoding_seconds(loader)


def _chunk_size(images: torch.Tensor) -> int:
    if images.device.type != "cpu":
        return len(images)
    return max(1, MAX_PIXELS_ON_CPU // (images.shape[-2] * images.shape[-1]))
