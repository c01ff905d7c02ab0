"""TensorBoard events, an optional dependency."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wavenet_zoo.errors import WavezooError, install_hint

__all__ = ["TensorBoard", "check_tensorboard", "open_tensorboard"]


class TensorBoard:
    """Writes records as TensorBoard events; does nothing without a writer."""

    def __init__(self, writer: Any = None):
        self.writer = writer

    def add_steps(self, records: list[dict[str, Any]]) -> None:
        """Write records of ``steps.jsonl``."""
        if self.writer is not None:
            for record in records:
                self.writer.add_scalar("train/loss", record["loss"], record["step"])
                self.writer.add_scalar("train/lr", record["lr"], record["step"])

    def add_epoch(self, record: dict[str, Any]) -> None:
        """Write a record of ``log.jsonl``."""
        if self.writer is not None:
            for key in ("loss", "top1", "top5"):
                self.writer.add_scalar(f"validation/{key}", record[key], record["step"])


def check_tensorboard() -> None:
    """Check that TensorBoard is installed.

    Raises:
        WavezooError: If it is not.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise WavezooError("--tensorboard requires the package tensorboard", install_hint("tensorboard")) from error


@contextlib.contextmanager
def open_tensorboard(run_dir: Path | None, after_step: int) -> Iterator[TensorBoard]:
    """Write events to ``tensorboard/`` in ``run_dir``; purge events after ``after_step`` of an earlier part of the run.

    Args:
        run_dir: Folder of the run; None writes nothing.
        after_step: Step of the checkpoint that the run resumes from.
    """
    if run_dir is None:
        yield TensorBoard()
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(run_dir / "tensorboard"), purge_step=after_step + 1 if after_step else None) as writer:
        yield TensorBoard(writer)
