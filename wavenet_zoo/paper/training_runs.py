"""Train a list of runs one after the other: finished runs are reused, and a stopped one is resumed."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wavenet_zoo.training.build import check_recipe
from wavenet_zoo.training.records import TrainingRun
from wavenet_zoo.training.train import train

__all__ = ["PlannedRun", "train_runs"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PlannedRun:
    """A run to train.

    Attributes:
        name: What the run is of, the same for all seeds.
        title: Name in messages.
        seed: Its seed.
        recipe: A YAML file, or the name of a shipped recipe.
        overrides: Overrides of the recipe's values, without the seed.
        out: Folder of the run.
    """

    name: str
    title: str
    seed: int
    recipe: str | Path
    overrides: tuple[str, ...]
    out: Path

    @property
    def values(self) -> list[str]:
        """Overrides of the recipe's values, with the seed."""
        return [*self.overrides, f"seed={self.seed}"]


def train_runs(
    runs: Sequence[PlannedRun],
    data: str | Path | None,
    *,
    workers: int | None,
    device: str,
    cache_images: bool = False,
    progress: bool,
) -> Iterator[tuple[PlannedRun, TrainingRun]]:
    """Train runs in their order.

    Args:
        runs: The runs.
        data: Data set; overrides that of the recipes.
        workers: Loader workers.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        cache_images: Keep decoded images in the memory of the device, as in :func:`wavenet_zoo.train`.
        progress: Show progress on stderr.

    Yields:
        Each run with its result.

    Raises:
        WavezooError: If training fails or is stopped.
    """
    repeated: set[str] = set()
    for number, run in enumerate(runs, 1):
        logger.info("run %d of %d: %s, seed %d", number, len(runs), run.title, run.seed)
        with _without_repetition(repeated):
            result = train(
                run.recipe, data, run.out, run.values, workers=workers, device=device,
                cache_images=cache_images or None, progress=progress,
            )  # fmt: skip
        yield run, result


@contextlib.contextmanager
def _without_repetition(messages: set[str]) -> Iterator[None]:
    """Log what every run repeats, its data and preprocessing, only if it is not in ``messages``, and add it there."""

    def is_new(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        known = message in messages
        messages.add(message)
        return not known

    build = logging.getLogger(check_recipe.__module__)
    build.addFilter(is_new)
    try:
        yield
    finally:
        build.removeFilter(is_new)
