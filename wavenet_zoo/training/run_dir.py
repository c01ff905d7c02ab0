"""The folder of a run: a lock, its record, and its logs."""

import contextlib
import errno
import json
import logging
import os
import re
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from wavenet_zoo.data.splits import describe_split
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.recipes import Recipe, load_recipe
from wavenet_zoo.runtime.environment import describe_environment
from wavenet_zoo.runtime.files import write_atomically, write_error
from wavenet_zoo.runtime.records import read_record, write_csv, write_json, write_jsonl
from wavenet_zoo.training.build import Training
from wavenet_zoo.training.records import EnvironmentRecord, RunRecord
from wavenet_zoo.training.settings import RunSettings

__all__ = [
    "NEW_RUN_HINT",
    "StepLog",
    "check_run_dir",
    "check_same_run",
    "lock_run_dir",
    "restore_recipe",
    "run_record",
    "start_run",
    "write_log",
]

logger = logging.getLogger(__name__)

LOCK = ".lock"
RUN = "run.json"
RECIPE = "recipe.yaml"
STEPS = "steps.jsonl"
CHANGED_IN_PLACE = (LOCK, STEPS)
BEFORE_RUN_JSON = re.compile(
    r"\.lock|recipe\.yaml|images\.safetensors|\.(recipe\.yaml|run\.json|images\.safetensors)\..*\.tmp"
)
MUST_MATCH = ("data_fingerprint", "validation_fingerprint", "classes")
NEW_RUN_HINT = "start a new run in another folder with --out"


def run_record(training: Training, settings: RunSettings) -> RunRecord:
    """Return the record of a run that is about to start."""
    weights = training.initial_weights
    return RunRecord(
        recipe=str(training.metadata.recipe),
        recipe_sha256=training.recipe.sha256(),
        data=training.train_images.name,
        data_location=settings.data_location,
        training_images=len(training.train_images.targets),
        validation_images=len(training.val_images.targets),
        validation_split=describe_split(str(training.recipe.data.validation)),
        world_size=training.distributed.world_size,
        compile=settings.compile,
        form=settings.form,
        deterministic=settings.deterministic,
        cache_images=settings.cache_images,
        pretrained=None if weights is None else {"name": weights.name, "sha256": weights.sha256},
        metadata=training.metadata,
        environment=cast(EnvironmentRecord, describe_environment(training.distributed.device)),
    )


@contextlib.contextmanager
def lock_run_dir(run_dir: Path) -> Iterator[None]:
    """Create the folder of a run, lock it for this process, and remove temporary files of a killed one.

    Raises:
        WavezooError: If the folder is not writable, is locked by another process, or contains something else.
    """
    try:
        new = not run_dir.exists()
        run_dir.mkdir(parents=True, exist_ok=True)
        check_run_dir(run_dir)  # before any file in it changes
        lock = os.fdopen(_open_own_file(str(run_dir / LOCK), os.O_RDWR | os.O_CREAT | os.O_APPEND), "r+b", buffering=0)
    except OSError as error:
        raise WavezooError(
            f"{run_dir}: cannot be used for a run: {error.strerror}", "pass another folder with --out"
        ) from error
    with lock:
        _lock(run_dir, lock)
        try:
            _write_owner(run_dir / LOCK, lock)
            for temporary in run_dir.glob(".*.tmp"):
                temporary.unlink(missing_ok=True)
            yield
        finally:
            if [path.name for path in run_dir.iterdir()] == [LOCK]:  # the run did not start
                with contextlib.suppress(OSError):
                    (run_dir / LOCK).unlink()
                    if new:
                        run_dir.rmdir()


def check_run_dir(run_dir: Path) -> None:
    """Check that a folder is empty or contains a run, and that no file of the run is a link to a file elsewhere.

    Raises:
        WavezooError: If it contains something else, or a link.
    """
    for path in run_dir.iterdir():
        if path.is_symlink() or (path.name in CHANGED_IN_PLACE and path.stat().st_nlink > 1 and path.is_file()):
            raise WavezooError(
                f"{path}: is a link to another file, which the run would change",
                "replace the link by a copy, or pass another folder with --out",
            )
    if (run_dir / RUN).is_file():
        return
    others = sorted(path.name for path in run_dir.iterdir() if not BEFORE_RUN_JSON.fullmatch(path.name))
    if others:
        raise WavezooError(
            f"{run_dir}: contains files that are not of a run, for example {others[0]}",
            "pass another folder with --out",
        )


def start_run(run_dir: Path, recipe: Recipe, record: RunRecord) -> None:
    """Write ``recipe.yaml``, with every default, and then ``run.json``."""
    _write_recipe(run_dir, recipe)
    write_json(run_dir / RUN, record.model_dump(mode="json"))


def restore_recipe(run_dir: Path, recipe: Recipe) -> None:
    """Write ``recipe.yaml`` of a run again if it is missing or damaged."""
    try:
        load_recipe(run_dir / RECIPE)
    except WavezooError:
        _write_recipe(run_dir, recipe)


def check_same_run(run_dir: Path, recipe: Recipe, record: RunRecord, allow_world_size_change: bool) -> list[str]:
    """Compare a run that is about to resume with the run in the folder.

    Args:
        run_dir: Folder of a run.
        recipe: Recipe of this call.
        record: Record of this call.
        allow_world_size_change: Accept a different world size.

    Returns:
        Differences that may change the result: world size, versions, commit and machine.

    Raises:
        WavezooError: If recipe, data or ``cache_images`` differ, or the world size differs and that is not accepted.
    """
    stored = read_record(run_dir / RUN, RunRecord, NEW_RUN_HINT)
    differences = _recipe_of(run_dir, stored, recipe).differing(recipe)
    if differences:
        listed = "; ".join(f"{key} is {there}, in this call {here}" for key, (there, here) in differences.items())
        raise WavezooError(
            f"{run_dir}: contains a run of another recipe: {listed}", "use the recipe of the run, or another --out"
        )
    for key in MUST_MATCH:
        here, there = getattr(record.metadata, key), getattr(stored.metadata, key)
        if here != there:
            raise WavezooError(
                f"{run_dir}: the run was started with other data: its {key.replace('_', ' ')} is {_short(there)}, "
                f"that of {record.data} is {_short(here)}",
                "pass the data of the run or another --out, or delete the folder to start again",
            )
    if record.cache_images != stored.cache_images:  # the augmentation draws other random numbers
        option = "--cache-images" if stored.cache_images else "--no-cache-images"
        raise WavezooError(
            f"{run_dir}: the run was started {'with' if stored.cache_images else 'without'} --cache-images",
            f"pass {option}, or another --out",
        )
    if record.world_size != stored.world_size and not allow_world_size_change:
        raise WavezooError(
            f"{run_dir}: the run was started with {stored.world_size} processes, not {record.world_size}",
            "pass --allow-world-size-change to resume; the result may differ from that of an uninterrupted run",
        )
    here_facts, there_facts = _facts(record), _facts(stored)
    return [
        f"{key} {there_facts.get(key)}, now {here_facts[key]}"
        for key in here_facts
        if here_facts[key] != there_facts.get(key) and not (key == "commit" and there_facts.get(key) is None)
    ]


def write_log(run_dir: Path, history: list[dict[str, Any]]) -> None:
    """Write ``log.jsonl`` and ``log.csv``, one record per epoch."""
    write_jsonl(run_dir / "log.jsonl", history)
    write_csv(run_dir / "log.csv", history)


class StepLog:
    """``steps.jsonl``: step, epoch, learning rate and loss of every step.

    Args:
        run_dir: Folder of the run.
        after_step: Step of the checkpoint that the run resumes from. Records of later steps are removed.
    """

    def __init__(self, run_dir: Path, after_step: int):
        self.path = run_dir / STEPS
        if not self.path.exists():
            return
        *lines, _ = self.path.read_bytes().split(b"\n")  # the last line is truncated if the process was killed
        steps = [_step_of(line) for line in lines]
        if None in steps:
            logger.warning("%s: %d damaged lines are removed", self.path, steps.count(None))
        kept = [line + b"\n" for line, step in zip(lines, steps) if step is not None and step <= after_step]
        write_atomically(self.path, b"".join(kept))

    def append(self, records: list[dict[str, Any]]) -> None:
        """Append one line per record."""
        lines = "".join(json.dumps(record) + "\n" for record in records)
        try:
            with open(self.path, "a", encoding="utf-8", opener=_open_own_file) as file:
                file.write(lines)
        except OSError as error:
            raise write_error(self.path, error, len(lines)) from error


def _write_recipe(run_dir: Path, recipe: Recipe) -> None:
    write_atomically(run_dir / RECIPE, recipe.without_path().to_yaml().encode())


def _recipe_of(run_dir: Path, stored: RunRecord, recipe: Recipe) -> Recipe:
    """Return the recipe of a run; ``recipe`` if the file is missing or damaged and ``run.json`` has its hash."""
    try:
        return load_recipe(run_dir / RECIPE)
    except WavezooError as error:
        if stored.recipe_sha256 != recipe.sha256():
            raise
        logger.warning("%s; %s has the hash of this recipe", error.message, RUN)
        return recipe


def _step_of(line: bytes) -> int | None:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def _open_own_file(path: str, flags: int) -> int:
    """Open a file for writing, but neither through a link nor a named pipe or a device."""
    handle = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o666)
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    raise OSError(errno.EINVAL, f"{Path(path).name} is not a regular file", path)


def _lock(run_dir: Path, lock: Any) -> None:
    try:
        import fcntl
    except ImportError:  # Windows: no lock
        return
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # not flock, which loader workers would inherit
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            logger.warning(
                "%s: its file system does not support locks (%s): a second process in this folder would not be refused",
                run_dir,
                error.strerror,
            )
            return
        lock.seek(0)
        owner = lock.read(200).decode(errors="replace").strip()
        raise WavezooError(
            f"{run_dir}: is locked by another process ({owner or 'unknown pid'})",
            "wait for it to finish, or pass another folder with --out",
        ) from error


def _write_owner(path: Path, lock: Any) -> None:
    owner = f"pid {os.getpid()} on {socket.gethostname()}".encode()
    try:
        lock.truncate(0)
        lock.write(owner)
    except OSError as error:
        raise write_error(path, error, len(owner)) from error


def _facts(record: RunRecord) -> dict[str, Any]:
    environment = record.environment
    return {
        "processes": record.world_size,
        "compile": record.compile,
        "form": record.form,
        "deterministic": record.deterministic,
        "device": environment.get("accelerator") or environment.get("device"),
        "machine": environment.get("machine"),
        "torch threads": environment.get("torch_threads"),
        "commit": (environment.get("git") or {}).get("commit"),
        **environment.get("versions", {}),
    }


def _short(value: Any) -> str:
    return f"{len(value)} classes" if isinstance(value, list) else str(value)[:12]
