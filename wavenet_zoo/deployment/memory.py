"""Peak memory and load time of an entry of a benchmark, in a process of its own."""

import gc
import json
import pickle
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from wavenet_zoo.deployment._entries import Conditions, Entry
from wavenet_zoo.errors import INTERNAL_FAILURE, WavezooError
from wavenet_zoo.runtime.environment import synchronize

__all__ = ["Footprint", "measure_footprint"]

RUNS = 3
STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # sets the peak to the current size, see proc_pid_clear_refs(5)


@dataclass(frozen=True)
class Footprint:
    """What an entry takes to load and run.

    Attributes:
        peak_bytes: Peak of the memory that loading and running it adds to a process that has imported its engine:
            resident memory, or memory that torch allocates on a CUDA device.
        load_ms: Time to open the file in its engine, or to build the network in it, in milliseconds.
    """

    peak_bytes: int
    load_ms: float


def measure_footprint(entry: Entry, conditions: Conditions) -> Footprint:
    """Load and run an entry in a new process.

    Args:
        entry: A file, or a network in one of :data:`wavenet_zoo.deployment.engines.TORCH_ENGINES`.
        conditions: Its conditions.

    Raises:
        WavezooError: If the process fails.
    """
    finished = subprocess.run(
        [sys.executable, "-c", f"from {__name__} import main; main()"],
        input=pickle.dumps((entry, conditions)),
        capture_output=True,
    )
    lines = (finished.stdout if finished.returncode == 0 else finished.stderr).decode(errors="replace").splitlines()
    if finished.returncode != 0:
        reason = lines[-1] if lines else f"exit code {finished.returncode}"
        raise WavezooError(
            f"{entry.description}: its memory could not be measured: {reason}", "remove --memory", INTERNAL_FAILURE
        )
    return Footprint(**json.loads(lines[-1]))  # libraries print too


def main() -> None:
    """Measure the entry on stdin and print its :class:`Footprint` as JSON."""
    entry, conditions = pickle.loads(sys.stdin.buffer.read())
    torch.set_num_threads(conditions.threads)
    on_cuda = conditions.device.type == "cuda"
    entry.import_engine()
    with torch.inference_mode(mode=not conditions.train):
        images = entry.inputs(conditions)
        gc.collect()
        if on_cuda:
            torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() if on_cuda else _reset_peak()
        started = time.perf_counter()
        run = entry.open(images, conditions).run
        load_ms = 1e3 * (time.perf_counter() - started)
        for _ in range(RUNS):
            run()
        synchronize(conditions.device)
        peak = torch.cuda.max_memory_allocated() if on_cuda else _peak()
    print("\n" + json.dumps({"peak_bytes": max(0, peak - before), "load_ms": load_ms}))


def _reset_peak() -> int:
    """Set the peak of the resident memory to its current size where the system can, and return the peak."""
    if CLEAR.exists():
        CLEAR.write_text(RESET_PEAK)
    return _peak()


def _peak() -> int:
    """Return the peak of the resident memory of this process in bytes."""
    if not STATUS.exists():  # macOS, where the unit of ru_maxrss is bytes
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # ru_maxrss of Linux begins with the memory of the parent process
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    return 1024 * int(line.split()[1])
