"""Loaders over images that are decoded once and kept in the memory of the device, as 8-bit pixels."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from PIL import Image

from wavenet_zoo.data.batch_augmentation import BatchAugmentation
from wavenet_zoo.data.decoding import ImageError
from wavenet_zoo.data.loaders import UNREADABLE, BatchIterator, EpochSampler, batches, evaluation_loader
from wavenet_zoo.data.preprocessing import Preprocessing, Transform, evaluation_transform
from wavenet_zoo.data.sources import ImageSource, read_error
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.recipes import AugmentationSection
from wavenet_zoo.runtime.progress import Progress
from wavenet_zoo.runtime.seeds import mix_seed

__all__ = ["CachedLoader", "cached_evaluation_loader", "cached_training_loader", "decode_images"]

AUGMENTATION_STREAM = 1  # of the random numbers of an epoch, beside the order of its images

_Batch = tuple[list[torch.Tensor], dict[int, str]]


class CachedLoader:
    """Iterates over batches (images (B, C, H, W), labels (B,), indices (B,)) of cached images.

    It has the interface of :class:`~.loaders.Loader` that training and evaluation use. Images are on the device, labels
    and indices on the CPU.

    Args:
        source: Source of the images.
        images: 8-bit images (N, H, W, 3), on the device.
        labels: Label of every image, (N,).
        sampler: Indices of the images of this process, for evaluation.
        batch_size: Images per batch, for evaluation.
        batch_sampler: Batches, for training.
        augmentation: Augmentation and normalization, for training. Without, batches have 8 bits.
    """

    def __init__(
        self,
        source: ImageSource,
        images: torch.Tensor,
        labels: torch.Tensor,
        *,
        sampler: Sequence[int] = (),
        batch_size: int | None = None,
        batch_sampler: EpochSampler | None = None,
        augmentation: BatchAugmentation | None = None,
    ):
        self.source = source
        self.images = images
        self.labels = labels
        self.sampler = sampler
        self.batch_size = batch_size
        self.batch_sampler = batch_sampler
        self.augmentation = augmentation

    def __len__(self) -> int:
        if self.batch_sampler is not None:
            return len(self.batch_sampler)
        return -(-len(self.sampler) // (self.batch_size or 1))

    def __iter__(self) -> BatchIterator:
        if self.batch_sampler is None or self.augmentation is None:
            return BatchIterator(self._evaluation_batches(), self.source)
        return BatchIterator(self._training_batches(self.batch_sampler, self.augmentation), self.source)

    def _training_batches(self, sampler: EpochSampler, augmentation: BatchAugmentation) -> Iterator[_Batch]:
        seed = mix_seed(sampler.seed, sampler.epoch, AUGMENTATION_STREAM)
        numbers = augmentation.draw(len(self.images), torch.Generator().manual_seed(seed)).to(self.images.device)
        for keys in sampler:
            indices = torch.tensor([index for _, index in keys])
            on_device = self._to_device(indices)
            images = augmentation(self.images[on_device], numbers[on_device])
            yield [images, self._pinned(self.labels[indices]), indices], {}

    def _evaluation_batches(self) -> Iterator[_Batch]:
        size = self.batch_size or 1
        for start in range(0, len(self.sampler), size):
            indices = torch.tensor(self.sampler[start : start + size])
            images = self.images[self._to_device(indices)]
            yield [images.permute(0, 3, 1, 2), self.labels[indices], indices], {}

    def _to_device(self, indices: torch.Tensor) -> torch.Tensor:
        return self._pinned(indices).to(self.images.device, non_blocking=True)

    def _pinned(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return a tensor in pinned memory for a GPU: a copy from other memory waits for the steps in progress."""
        return tensor.pin_memory() if self.images.is_cuda else tensor


def cached_training_loader(
    source: ImageSource,
    preprocessing: Preprocessing,
    augmentation: AugmentationSection,
    batch_size: int,
    seed: int,
    workers: int,
    device: torch.device,
    *,
    accumulation: int = 1,
    rank: int = 0,
    world_size: int = 1,
    progress: bool = False,
) -> CachedLoader:
    """Decode all images of a source and create a training loader over them.

    Order and augmentation of the images do not depend on the number of processes and workers, as in
    :func:`~.loaders.training_loader`. The order is the same, the augmentation draws other random numbers.

    Args:
        source: Source of the images.
        preprocessing: Input size, interpolation and normalization.
        augmentation: The recipe's augmentation section.
        batch_size: Images per optimizer step, over all processes.
        seed: Seed of order and augmentation.
        workers: Number of worker processes that decode.
        device: Where the images are kept.
        accumulation: Number of batches per optimizer step and process.
        rank: Rank of this process.
        world_size: Number of processes.
        progress: Show progress on stderr.

    Raises:
        WavezooError: If an image cannot be decoded, a crop needs images of equal size and they are not, or the
            augmentation is not supported on batches.
    """
    batch_augmentation = BatchAugmentation(preprocessing, augmentation)
    if augmentation.crop == "resized":
        transform: Transform = _SameSize(_size_of_the_first(source))
    else:
        transform = evaluation_transform(preprocessing.with_overrides(crop_pct=1.0), normalized=False)
    images = decode_images(source, transform, workers, device, progress)
    sampler = EpochSampler(len(images), batch_size, seed, accumulation, rank, world_size)
    labels = torch.tensor(source.targets)
    return CachedLoader(source, images, labels, batch_sampler=sampler, augmentation=batch_augmentation)


def cached_evaluation_loader(
    source: ImageSource,
    preprocessing: Preprocessing,
    class_indices: Sequence[int],
    batch_size: int,
    workers: int,
    device: torch.device,
    *,
    rank: int = 0,
    world_size: int = 1,
    progress: bool = False,
) -> CachedLoader:
    """Decode all images of a source and create the loader of one process's share of an evaluation, in order.

    Args:
        source: Source of the images.
        preprocessing: Resize and crop.
        class_indices: Label for each class of the source.
        batch_size: Images per batch.
        workers: Number of worker processes that decode.
        device: Where the images are kept.
        rank: Rank of this process.
        world_size: Number of processes.
        progress: Show progress on stderr.

    Raises:
        WavezooError: If an image cannot be decoded.
    """
    images = decode_images(source, evaluation_transform(preprocessing, normalized=False), workers, device, progress)
    labels = torch.tensor([class_indices[target] for target in source.targets])
    return CachedLoader(source, images, labels, sampler=range(rank, len(images), world_size), batch_size=batch_size)


def decode_images(
    source: ImageSource, transform: Transform, workers: int, device: torch.device, progress: bool = False
) -> torch.Tensor:
    """Decode and transform all images of a source.

    Args:
        source: Source of the images.
        transform: Transform from a Pillow image to an 8-bit tensor (C, H, W) of the same shape for all images.
        workers: Number of worker processes.
        device: Device of the result.
        progress: Show progress on stderr.

    Returns:
        8-bit images (N, H, W, C).

    Raises:
        WavezooError: If an image cannot be decoded, or they do not fit into the memory.
    """
    loader = evaluation_loader(source, transform, range(len(source.classes)), 256, workers)
    count, images = len(source.targets), None
    with batches(loader) as iterator, Progress("decoding images", count, enabled=progress) as bar:
        for pixels, labels, indices in iterator:
            if (labels == UNREADABLE).any():
                bad = int(indices[labels == UNREADABLE][0])
                raise iterator.decode_error(bad, "replace or remove the image, or remove --cache-images")
            if images is None:
                images = _allocate(count, pixels, device)
            images[indices[0] : indices[0] + len(indices)] = pixels.permute(0, 2, 3, 1)
            bar.advance(len(indices))
    assert images is not None
    return images


def _allocate(count: int, pixels: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return uninitialized memory (count, H, W, C) for images like ``pixels`` (B, C, H, W)."""
    _, channels, height, width = pixels.shape
    try:
        return torch.empty(count, height, width, channels, dtype=torch.uint8, device=device)
    except (torch.OutOfMemoryError, RuntimeError) as error:
        size = count * height * width * channels / 2**30
        raise WavezooError(
            f"--cache-images: {count:,} images of {width} x {height} px need {size:,.1f} GiB on {device}, which are "
            "not available",
            "remove --cache-images",
        ) from error


def _size_of_the_first(source: ImageSource) -> tuple[int, int]:
    try:
        return source.load(0).size
    except ImageError as error:
        raise WavezooError(f"{source.describe(0)}: {error}", "replace or remove the image") from error
    except (OSError, MemoryError) as error:
        raise read_error(source, 0, error) from error


class _SameSize:
    """Converts an image to an 8-bit tensor (C, H, W), and checks that it has the size of the first one.

    Args:
        image_size: Width and height of the first image.
    """

    def __init__(self, image_size: tuple[int, int]):
        self.image_size = image_size

    def __call__(self, image: Image.Image) -> torch.Tensor:
        if image.size != self.image_size:
            width, height = self.image_size
            raise ImageError(
                f"has {image.width} x {image.height} px, the first image has {width} x {height}; the crop 'resized' "
                "requires images of equal size for --cache-images"
            )
        return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)
