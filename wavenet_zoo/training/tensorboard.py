"""Events for TensorBoard, where they are asked for."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wavenet_zoo.errors import WavezooError

__all__ = ["Board", "check_board", "open_board"]


class Board:
    """Passes records on to TensorBoard, or to nobody."""

    def __init__(self, writer: Any = None):
        self.writer = writer

    def add_steps(self, records: list[dict[str, Any]]) -> None:
        """Add records as in ``steps.jsonl``."""
        if self.writer is not None:
            for record in records:
                self.writer.add_scalar("train/loss", record["loss"], record["step"])
                self.writer.add_scalar("train/lr", record["lr"], record["step"])

    def add_epoch(self, record: dict[str, Any]) -> None:
        """Add a record as in ``log.jsonl``."""
        if self.writer is not None:
            for key in ("loss", "top1", "top5"):
                self.writer.add_scalar(f"validation/{key}", record[key], record["step"])


def check_board() -> None:
    """Find out before a run whether TensorBoard is installed.

    Raises:
        WavezooError: If it is not.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise WavezooError(
            "--tensorboard needs the package tensorboard", "pip install 'wavenet_zoo[tensorboard]'"
        ) from error


@contextlib.contextmanager
def open_board(folder: Path | None, after_step: int) -> Iterator[Board]:
    """Write events to ``tensorboard/`` in ``folder``; what came after ``after_step`` in an earlier part is dropped.

    Without a folder, nothing is written.
    """
    if folder is None:
        yield Board()
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder / "tensorboard"), purge_step=after_step + 1 if after_step else None) as writer:
        yield Board(writer)
