"""Start-up: the time of commands that compute little."""

import shutil
import statistics
import subprocess
import sys
import time

from commands import WAVEZOO


def measure() -> dict:
    """Run each command five times, in turn with the others."""
    commands = {
        "wavezoo --help": [*WAVEZOO, "--help"],
        "completion of a command": ["env", "_WAVEZOO_COMPLETE=bash_complete", "COMP_WORDS=wavezoo ev", "COMP_CWORD=1",
                                    shutil.which("wavezoo") or "wavezoo"],
        "import timm": [sys.executable, "-c", "import timm"],
        "wavezoo count waveletnet_x1": [*WAVEZOO, "count", "waveletnet_x1"],
    }  # fmt: skip
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(5):
        for name, command in commands.items():
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - started)
    return {"seconds": seconds}


def table(result: dict) -> str:
    """Return the table as Markdown."""
    lines = [f"| {name} | {statistics.median(s):.2f} | {min(s):.2f} |" for name, s in result["seconds"].items()]
    return "\n".join(["| start-up | seconds, median of 5 | fastest |", "| --- | ---: | ---: |", *lines])
