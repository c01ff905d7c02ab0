"""Training on CPUs: images per second of timm's train.py and of wavezoo, also beside a busy process."""

import contextlib
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from commands import json_of

STEPS = Path(__file__).with_name("train_steps.py")
NETWORKS = {  # recipe, pixels, steps on a quiet machine
    "waveletnet_x1": ("tiny_imagenet/waveletnet_x1", 64, 12),
    "mobilenetv2_100": ("tiny_imagenet/mobilenetv2_100", 64, 12),
    "waveletnet_cifar_m2": ("cifar10/waveletnet_m2", 32, 6),
}
SETTINGS = {  # of wavezoo
    "wavezoo, settings of torch": [],
    "wavezoo": ["--wait-passively", "--keep-memory"],
}
TIMM = "timm's train.py"
TIMM_STEP = re.compile(r"Train: 0 \[ *(\d+)/.*?Time: ([\d.]+)s,")
BATCH_SIZE, WARM_UP, ROUNDS = 128, 2, 2


def measure(data: Path, timm_train: Path | None) -> dict:
    """Train each network in each way in turn.

    Args:
        data: Tiny-ImageNet-200.
        timm_train: timm's ``train.py``; None to leave it out.
    """
    rows = []
    for network in NETWORKS:
        for busy in (False, True):
            runs: dict[str, list[dict]] = {}
            steps = NETWORKS[network][2] // (2 if busy else 1)
            with _busy_process() if busy else contextlib.nullcontext():
                for number in range(ROUNDS):
                    print(f"{network}, busy {busy}, round {number + 1} of {ROUNDS}", file=sys.stderr)
                    if timm_train is not None:
                        runs.setdefault(TIMM, []).append(_timm(network, steps, data, timm_train))
                    for name, flags in SETTINGS.items():
                        runs.setdefault(name, []).append(_wavezoo(network, steps, data, flags))
            rows += [
                {
                    "model": network,
                    "size": NETWORKS[network][1],
                    "busy": busy,
                    "program": name,
                    "images_per_second": [run["images_per_second"] for run in results],
                    "peak_bytes": max(run.get("peak_bytes", 0) for run in results) or None,
                }
                for name, results in runs.items()
            ]
            print(*rows[-len(runs) :], sep="\n", file=sys.stderr)
    return {"rows": rows, "cpus": os.cpu_count(), "rounds": ROUNDS, "batch_size": BATCH_SIZE}


def _wavezoo(network: str, steps: int, data: Path, flags: list[str]) -> dict:
    recipe, size, _ = NETWORKS[network]
    sets = [
        "data.name=tiny-imagenet-200", "data.validation=val", f"preprocessing.size={size}", f"batch_size={BATCH_SIZE}",
        "augmentation.crop=resized", "augmentation.scale=[0.08,1.0]",
    ]  # fmt: skip
    options = [word for value in sets for word in ("--set", value)]
    return json_of([sys.executable, STEPS, recipe, data, "--steps", steps, *flags, *options])


def _timm(network: str, steps: int, data: Path, train: Path) -> dict:
    """Run timm's train.py with the same augmentation, and stop it after the same number of steps."""
    size = NETWORKS[network][1]
    code = f"import runpy, sys, wavenet_zoo; runpy.run_path({str(train.resolve())!r}, run_name='__main__')"
    arguments = [
        "--data-dir", data, "--model", network, "--num-classes", "200", "--img-size", size, "--batch-size", BATCH_SIZE,
        "--device", "cpu", "--workers", os.cpu_count(), "--color-jitter", "0", "--opt", "momentum", "--lr", "0.1",
        "--log-interval", "1", "--epochs", "1",
    ]  # fmt: skip
    seconds: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", code, *map(str, arguments), "--output", folder]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder, start_new_session=True
        ) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    if match := TIMM_STEP.search(line):
                        seconds[int(match[1])] = float(match[2])
                    if len(seconds) > WARM_UP + steps:
                        break
            finally:
                os.killpg(process.pid, signal.SIGKILL)  # its workers too
    taken = list(seconds.values())[WARM_UP : WARM_UP + steps]
    if len(taken) < steps:
        raise SystemExit(f"timm's train.py took {len(seconds)} steps; try: {' '.join(command)}")
    return {"images_per_second": steps * BATCH_SIZE / sum(taken)}


@contextlib.contextmanager
def _busy_process() -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


def table(result: dict) -> str:
    """Return the table as Markdown, with ratios to the first program."""
    rows = {(row["model"], row["busy"], row["program"]): row for row in result["rows"]}
    lines = []
    for model in dict.fromkeys(row["model"] for row in result["rows"]):
        programs = list(dict.fromkeys(row["program"] for row in result["rows"]))
        for program in programs:
            cells = []
            for busy in (False, True):
                rate = statistics.median(rows[model, busy, program]["images_per_second"])
                first = statistics.median(rows[model, busy, programs[0]]["images_per_second"])
                cells += [f"{rate:.0f}", f"{rate / first:.2f}"]
            quiet = rows[model, False, program]
            peak = f"{quiet['peak_bytes'] / 1e9:.2f}" if quiet["peak_bytes"] else "-"
            lines.append(f"| {model}, {quiet['size']} px | {program} | {' | '.join(cells)} | {peak} |")
    head = "| network | program | images/s, quiet | ratio | images/s, beside a busy process | ratio | peak memory, GB |"
    return "\n".join(
        [
            head,
            "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
            *lines,
            "",
            f"Median of {result['rounds']} rounds, {result['cpus']} CPUs, batches of {result['batch_size']}, fp32; "
            "ratios to the first program of the network.",
        ]
    )
