"""Training on CPUs: images per second by environment, on a quiet machine and beside a busy process.

python benchmarks/cpu.py --data tiny-imagenet-200
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from commands import json_of

STEPS = Path(__file__).with_name("train_steps.py")
RECIPES = {  # name in the table: recipe, number of steps
    "waveletnet_x1, 64 px": ("tiny_imagenet/waveletnet_x1", 24),
    "mobilenetv2_100, 64 px": ("tiny_imagenet/mobilenetv2_100", 24),
    "waveletnet_cifar_m2, 32 px": ("cifar10/waveletnet_m2", 8),
}
PASSIVE = {"OMP_WAIT_POLICY": "passive"}
MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "16000000000"}
ENVIRONMENTS = {
    "default": {},
    "passive, spin 0": PASSIVE | {"GOMP_SPINCOUNT": "0"},
    "passive, spin 1000": PASSIVE | {"GOMP_SPINCOUNT": "1000"},
    "passive, spin 10000": PASSIVE | {"GOMP_SPINCOUNT": "10000"},
    "passive, spin 100000": PASSIVE | {"GOMP_SPINCOUNT": "100000"},
    "memory": MEMORY,
    "passive, spin 1000, memory": PASSIVE | {"GOMP_SPINCOUNT": "1000"} | MEMORY,
    "one thread": {"OMP_NUM_THREADS": "1"},
}
ROUNDS = 2


def measure(data: Path, recipes: list[str], environments: list[str]) -> dict:
    """Train in each environment in turn.

    Args:
        data: Tiny-ImageNet-200.
        recipes: Names of :data:`RECIPES`.
        environments: Names of :data:`ENVIRONMENTS`.
    """
    rows = []
    for name in recipes:
        recipe, steps = RECIPES[name]
        for busy in (False, True):
            runs: dict[str, list[dict]] = {environment: [] for environment in environments}
            with _busy_process() if busy else contextlib.nullcontext():
                for _ in range(ROUNDS):
                    for environment in environments:
                        variables = [f"{key}={value}" for key, value in ENVIRONMENTS[environment].items()]
                        command = ["env", *variables, sys.executable, STEPS, recipe, data, "--steps", steps]
                        runs[environment].append(json_of([*command, "--set", "data.name=tiny-imagenet-200",
                                                          "--set", "data.validation=val"]))  # fmt: skip
            rows += [
                {
                    "model": name,
                    "busy": busy,
                    "environment": environment,
                    "images_per_second": [run["images_per_second"] for run in results],
                    "peak_bytes": max(run["peak_bytes"] for run in results),
                }
                for environment, results in runs.items()
            ]
            for row in rows[-len(runs) :]:
                print(row, file=sys.stderr)
    return {"rows": rows, "cpus": os.cpu_count()}


@contextlib.contextmanager
def _busy_process() -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


def table(result: dict) -> str:
    """Return the table as Markdown."""
    rows = {(row["model"], row["busy"], row["environment"]): row for row in result["rows"]}
    lines = []
    for model in dict.fromkeys(row["model"] for row in result["rows"]):
        for environment in dict.fromkeys(row["environment"] for row in result["rows"]):
            quiet, busy = rows[model, False, environment], rows[model, True, environment]
            numbers = [f"{statistics.median(row['images_per_second']):.0f}" for row in (quiet, busy)]
            lines.append(f"| {model} | {environment} | {' | '.join(numbers)} | {quiet['peak_bytes'] / 1e6:,.0f} |")
    head = "| model | environment | images/s, quiet | images/s, beside a busy process | peak memory, MB |"
    return "\n".join([head, "| --- | --- | ---: | ---: | ---: |", *lines])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Tiny-ImageNet-200")
    parser.add_argument("--only", choices=RECIPES, action="append", help="model; may be given several times")
    parser.add_argument("--environment", choices=ENVIRONMENTS, action="append")
    options = parser.parse_args()
    print(table(measure(options.data, options.only or list(RECIPES), options.environment or list(ENVIRONMENTS))))
