"""The folder of a run: one process at a time, one run for good."""

import contextlib
import json
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wavenet_zoo.errors import WavezooError
from wavenet_zoo.recipes import Recipe, load_recipe
from wavenet_zoo.runtime.environment import describe_environment
from wavenet_zoo.runtime.files import write_atomically, write_error
from wavenet_zoo.runtime.records import write_csv, write_json, write_jsonl
from wavenet_zoo.training.build import Setup

__all__ = [
    "StepLog",
    "check_same_run",
    "lock_run_dir",
    "describe_run",
    "read_json",
    "check_run_dir",
    "start_run",
    "write_log",
]

LOCK = ".lock"
RUN = "run.json"
STEPS = "steps.jsonl"
BEGINNING = re.compile(r"\.lock|recipe\.yaml|\.(recipe\.yaml|run\.json)\..*\.tmp")  # what a run has before its run.json
MUST_MATCH = ("data_fingerprint", "validation_fingerprint", "classes")


@contextlib.contextmanager
def lock_run_dir(folder: Path) -> Iterator[None]:
    """Make the folder, keep other processes out of it, and clear away what a killed process left half written.

    Raises:
        WavezooError: If it cannot be written to, another process holds it, or it holds something that is not a run.
    """
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        check_run_dir(folder)  # before anything in it is touched
        lock = (folder / LOCK).open("a+b", buffering=0)
    except OSError as error:
        raise WavezooError(
            f"{folder}: cannot hold a run: {error.strerror}", "pass another folder with --out"
        ) from error
    with lock:
        _lock(folder, lock)
        try:
            _sign(folder / LOCK, lock)
            for left_over in folder.glob(".*.tmp"):
                left_over.unlink(missing_ok=True)
            yield
        finally:
            if [path.name for path in folder.iterdir()] == [LOCK]:  # nothing was begun
                with contextlib.suppress(OSError):
                    (folder / LOCK).unlink()
                    if new:
                        folder.rmdir()


def describe_run(setup: Setup, compile: bool, form: str, deterministic: bool) -> dict[str, Any]:
    """Return what ``run.json`` holds."""
    beginning = setup.beginning
    return {
        "recipe": setup.metadata.recipe,
        "recipe_sha256": setup.plan.sha256(),
        "data": setup.training.name,
        "training_images": len(setup.training.targets),
        "validation_images": len(setup.validation.targets),
        "world_size": setup.processes.world_size,
        "compile": compile,
        "form": form,
        "deterministic": deterministic,
        "pretrained": None if beginning is None else {"name": beginning.name, "sha256": beginning.sha256},
        "metadata": setup.metadata.model_dump(mode="json"),
        "environment": describe_environment(setup.processes.device),
    }


def start_run(folder: Path, plan: Recipe, record: dict[str, Any]) -> None:
    """Write what the run is: ``recipe.yaml``, every value in effect, and then ``run.json``."""
    write_atomically(folder / "recipe.yaml", plan.to_yaml().encode())
    write_json(folder / RUN, record)


def check_same_run(folder: Path, plan: Recipe, record: dict[str, Any], inexact: bool) -> list[str]:
    """Compare what is asked for with the run that the folder holds.

    Args:
        folder: Folder of a run.
        plan: The recipe asked for.
        record: What :func:`describe_run` returns.
        inexact: Accept another number of processes.

    Returns:
        What differs and makes the result another than that of an uninterrupted run: processes and versions.

    Raises:
        WavezooError: If recipe or data differ, or the number of processes and that was not accepted.
    """
    there = read_json(folder / RUN)
    differing = plan.differences(load_recipe(folder / "recipe.yaml"))
    if differing:
        raise WavezooError(
            f"{folder}: holds a run by another recipe; here and there: {'; '.join(differing)}",
            "the recipe that it was begun with goes on; another one needs another --out",
        )
    for key in MUST_MATCH:
        if record["metadata"][key] != there["metadata"][key]:
            raise WavezooError(
                f"{folder}: the run was begun on other data: its {key.replace('_', ' ')} is "
                f"{_short(there['metadata'][key])} and that of {record['data']} is {_short(record['metadata'][key])}",
                "pass the data that it was begun with, or another --out",
            )
    if record["world_size"] != there["world_size"] and not inexact:
        raise WavezooError(
            f"{folder}: the run was begun with {there['world_size']} processes, not {record['world_size']}",
            "--inexact goes on all the same; the result is then not that of an uninterrupted run",
        )
    here_facts, there_facts = _facts(record), _facts(there)
    return [f"{key} {there_facts.get(key)}, now {here_facts[key]}" for key in here_facts
            if here_facts[key] != there_facts.get(key)]  # fmt: skip


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        WavezooError: If the file is not there, or not one.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WavezooError(f"{path}: cannot be read: {error}", "start again in another folder with --out") from error
    if not isinstance(value, dict):
        raise WavezooError(f"{path}: holds no object", "start again in another folder with --out")
    return value


def write_log(folder: Path, history: list[dict[str, Any]]) -> None:
    """Write ``log.jsonl`` and ``log.csv``, one record per epoch, from the history that checkpoints hold."""
    write_jsonl(folder / "log.jsonl", history)
    write_csv(folder / "log.csv", history)


class StepLog:
    """``steps.jsonl``: step, epoch, learning rate and loss of every step."""

    def __init__(self, folder: Path, after_step: int):
        self.path = folder / STEPS
        if self.path.exists():  # a killed run may have come further than its last checkpoint
            kept = [line for line in self.path.read_text(encoding="utf-8").splitlines() if _step_of(line) <= after_step]
            write_atomically(self.path, "".join(f"{line}\n" for line in kept).encode())

    def append(self, records: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(record) + "\n" for record in records)
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(lines)
        except OSError as error:
            raise write_error(self.path, error, len(lines)) from error


def check_run_dir(folder: Path) -> None:
    """Find out whether a folder is free for a run, or holds one.

    Raises:
        WavezooError: If it holds something else.
    """
    if (folder / RUN).is_file():
        return
    others = sorted(path.name for path in folder.iterdir() if not BEGINNING.fullmatch(path.name))
    if others:
        raise WavezooError(
            f"{folder}: holds something already that is not a run, {others[0]} for example",
            "pass another folder with --out",
        )


def _step_of(line: str) -> float:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")  # cut off by a kill


def _lock(folder: Path, lock: Any) -> None:
    try:
        import fcntl
    except ImportError:  # Windows: without a lock
        return
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # not flock, which loader workers would inherit
    except OSError as error:
        lock.seek(0)
        raise WavezooError(
            f"{folder}: another process is at work in it, {lock.read().decode().strip() or 'pid unknown'}",
            "wait for it, or pass another folder with --out",
        ) from error


def _sign(path: Path, lock: Any) -> None:
    """Say in the lock who holds it."""
    holder = f"pid {os.getpid()} on {socket.gethostname()}".encode()
    try:
        lock.truncate(0)
        lock.write(holder)
    except OSError as error:
        raise write_error(path, error, len(holder)) from error


def _facts(record: dict[str, Any]) -> dict[str, Any]:
    environment = record["environment"]
    return {
        "processes": record["world_size"],
        "compile": record["compile"],
        "form": record.get("form", "factored"),  # there was no other one
        "deterministic": record["deterministic"],
        "device": environment["accelerator"] or environment["device"],
        "machine": environment["machine"],
        "torch threads": environment["torch_threads"],
        **environment["versions"],
    }


def _short(value: Any) -> str:
    return f"{len(value)} classes" if isinstance(value, list) else str(value)[:12]
