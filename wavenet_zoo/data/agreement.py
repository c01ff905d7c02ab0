"""Agreement of several processes on their data: each reads its own copy, possibly on another machine."""

import contextlib
import hashlib
import json

from wavenet_zoo.data.sources import ImageSource
from wavenet_zoo.runtime.distributed import Distributed

__all__ = ["check_same_images"]


def check_same_images(distributed: Distributed, **sources: ImageSource) -> None:
    """Check that every process has opened the same images, labels and classes.

    Compared are the classes, all labels, the fingerprint, and the content of the first image of every class.

    Args:
        distributed: Process group.
        sources: What each process has opened, by a name for messages, for example ``training``.

    Raises:
        WavezooError: In every process, with what differs and the ranks that differ from rank 0.
    """
    if distributed.world_size == 1:
        return
    values = {}
    for name, source in sources.items():
        labels = json.dumps([list(source.classes), [int(label) for label in source.targets]])
        values[f"{name}_classes_or_labels"] = hashlib.sha256(labels.encode(errors="surrogateescape")).hexdigest()
        digest = hashlib.sha256(source.fingerprint().encode())
        for index in {int(label): index for index, label in reversed(list(enumerate(source.targets)))}.values():
            with contextlib.suppress(OSError):  # the loader reports an image that cannot be read
                digest.update(source.content(index))
        values[f"{name}_images"] = digest.hexdigest()
    distributed.check_equal(**values)
