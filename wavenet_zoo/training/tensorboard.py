"""TensorBoard events, an optional dependency."""

import contextlib
import io
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wavenet_zoo.errors import WavezooError, install_hint

__all__ = ["TensorBoard", "check_tensorboard", "open_tensorboard"]

logger = logging.getLogger(__name__)


class TensorBoard:
    """Writes records as TensorBoard events; does nothing without a file. A failed write ends the events, not the run.

    Not torch's ``SummaryWriter``: it writes in a thread, where a full disk prints a traceback and loses the error.

    Args:
        file: File of the events.
        after_step: Step of the checkpoint that the run resumes from: later events of an earlier part are purged.
    """

    def __init__(self, file: io.FileIO | None = None, after_step: int = 0):
        self.file = file
        self._write(step=after_step, file_version="brain.Event:2")
        if after_step:
            self._write(step=after_step + 1, session_log={"status": "START"})

    def add_steps(self, records: list[dict[str, Any]]) -> None:
        """Write records of ``steps.jsonl``."""
        for record in records:
            self._scalar("train/loss", record["loss"], record["step"])
            self._scalar("train/lr", record["lr"], record["step"])

    def add_epoch(self, record: dict[str, Any]) -> None:
        """Write a record of ``log.jsonl``."""
        for key in ("loss", "top1", "top5"):
            self._scalar(f"validation/{key}", record[key], record["step"])

    def _scalar(self, tag: str, value: float, step: int) -> None:
        if self.file is not None:
            from torch.utils.tensorboard.summary import scalar

            self._write(step=step, summary=scalar(tag, value))

    def _write(self, **values: Any) -> None:
        if self.file is None:
            return
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        try:
            record = io.BytesIO()
            RecordWriter(record).write(Event(wall_time=time.time(), **values).SerializeToString())
            content = record.getvalue()
            while content:  # an unbuffered file may write a part
                content = content[self.file.write(content) :]
        except OSError as error:
            logger.warning("%s: cannot be written: %s; TensorBoard events end here", self.file.name, error.strerror)
            self.file = None


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
    folder = run_dir / "tensorboard"
    path = folder / f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"
    try:
        folder.mkdir(exist_ok=True)
        file = path.open("wb", buffering=0)
    except OSError as error:
        logger.warning("%s: cannot be written: %s; no TensorBoard events are written", path, error.strerror)
        yield TensorBoard()
        return
    with file:
        yield TensorBoard(file, after_step)
