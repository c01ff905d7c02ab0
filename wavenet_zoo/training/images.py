"""The hashes of a run's images: recorded when it starts, compared when it resumes."""

import logging
from pathlib import Path

import numpy as np

from wavenet_zoo.data.image_hashes import IMAGES_FILE, UNREADABLE, ImageHashes, hash_images, read_image_hashes
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.environment import available_cpus
from wavenet_zoo.training.build import Training

__all__ = ["hash_training_images", "record_images"]

logger = logging.getLogger(__name__)


def hash_training_images(training: Training, progress: bool = False) -> ImageHashes:
    """Hash the training and validation images of a run, and count those that are both in a warning.

    Args:
        training: The run.
        progress: Show progress on stderr.
    """
    distributed = training.distributed
    threads = max(1, available_cpus() // distributed.local_world_size)
    train, val = (
        hash_images(source, threads=threads, distributed=distributed, progress=progress)
        for source in (training.train_images, training.val_images)
    )
    train, val = train[train != UNREADABLE], val[val != UNREADABLE]  # the run stops at unreadable images
    if shared := int(np.isin(val, train).sum()):
        what = "training and validation use the same images: " if shared == len(val) else ""
        logger.warning("%s%s of %s validation images are also training images", what, f"{shared:,}", f"{len(val):,}")
    metadata = training.metadata
    fingerprints = {"training": str(metadata.data_fingerprint), "validation": str(metadata.validation_fingerprint)}
    return ImageHashes(np.sort(train), np.sort(val), fingerprints)


def record_images(run_dir: Path, images: ImageHashes, new: bool) -> None:
    """Write the hashes of a new run, or compare them with those of the run that resumes.

    Args:
        run_dir: Folder of the run.
        images: Hashes of the images of this call.
        new: Whether the run starts. Runs of version 0.1 have no hashes to compare with.

    Raises:
        WavezooError: If images of the run have changed since it started.
    """
    path = run_dir / IMAGES_FILE
    if new:
        images.write(path)
    if new or not path.exists():
        return
    stored = read_image_hashes(path)
    for split in ("training", "validation"):
        before, now = getattr(stored, split), getattr(images, split)
        changed = len(before) - int(np.isin(before, now).sum())
        if changed or len(before) != len(now):
            raise WavezooError(
                f"{run_dir}: {max(changed, 1):,} of {len(before):,} {split} images have changed since the run started",
                "restore the data of the run, or start a new run with another --out",
            )
