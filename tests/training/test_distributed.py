"""Several processes, started by torchrun as a user starts them."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch

from wavenet_zoo import evaluate, train

MODEL = "waveletnet_cifar_m1"
# 5 steps an epoch, by a network that sees every image by itself
PLAIN = ["batch_size=20", "optimizer.lr=1e-3", "schedule.name=constant", "model.kwargs.norm_layer=layernorm2d"]
EVERYTHING = [
    "schedule.epochs=3",
    "batch_size=24",
    "optimizer.lr=0.05",
    "accumulation=2",
    "ema.decay=0.9",
    "augmentation.mixup=0.2",
    "augmentation.random_erasing=0.3",
    "regularization.drop_path=0.2",
    "model.name=waveletnet_cifar_m2",  # in waveletnet_cifar_m1 no unit drops its path
]


@pytest.fixture
def torchrun(process):
    def start(processes, *args):
        return process(
            "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", processes, "-m", "wavenet_zoo", *args
        )

    return start


def settings(overrides):
    return [part for override in overrides for part in ("--set", override)]


@pytest.mark.reliability(25)
@pytest.mark.parametrize(("processes", "batch_size"), [(2, 7), (3, 64)])
def test_evaluation_counts_do_not_depend_on_the_world_size(torchrun, digit_folder, processes, batch_size):
    alone = evaluate(MODEL, None, digit_folder, workers=0, per_class=True)
    run = torchrun(
        processes, "eval", MODEL, "--data", digit_folder, "--batch-size", batch_size, "--per-class", "--json",
        "--workers", 0,
    )  # fmt: skip
    out, err = run.communicate(timeout=120)
    assert run.returncode == 0, err
    together = json.loads(out)  # one process speaks
    assert together["processes"] == processes
    for key in ("images", "correct_top1", "correct_top5", "per_class"):
        assert together[key] == getattr(alone, key)
    assert together["loss"] == pytest.approx(alone.loss, rel=1e-6)


@pytest.mark.reliability(3)
@pytest.mark.long
def test_two_killed_processes_resume_to_the_same_result(torchrun, digit_folder, tmp_path, assert_same_outcome):
    command = ["train", "digits", "--data", digit_folder, "--workers", 0, "--checkpoint-minutes", 0]
    command += settings(EVERYTHING)
    whole = torchrun(2, *command, "--out", "whole", "--json")
    out, err = whole.communicate(timeout=200)
    assert whole.returncode == 0, err
    assert json.loads(out)["epochs"] == 3

    killed = torchrun(2, *command, "--out", "killed")
    steps = tmp_path / "killed" / "steps.jsonl"
    deadline = time.monotonic() + 120
    while not steps.exists() or len(steps.read_text().splitlines()) < 7:
        assert killed.poll() is None and time.monotonic() < deadline, killed.communicate()
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    for pid in _workers_of(tmp_path / "killed"):
        os.kill(pid, signal.SIGKILL)
    killed.wait()
    again = torchrun(2, *command, "--out", "killed")
    out, err = again.communicate(timeout=200)
    assert again.returncode == 0, err
    assert "resuming epoch" in err and "resumed" in out
    assert_same_outcome(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.reliability(3, 4)
@pytest.mark.long
def test_two_processes_train_as_one_and_stop_together(torchrun, digit_folder, tmp_path):
    overrides = [*PLAIN, "schedule.epochs=200"]
    command = ["train", "digits", "--data", digit_folder, "--workers", 1, "--out", "run", *settings(overrides)]
    run = torchrun(2, *command)
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "last.pt").exists():
        assert run.poll() is None and time.monotonic() < deadline, run.communicate()
        time.sleep(0.1)
    os.killpg(run.pid, signal.SIGTERM)  # torchrun, both processes and their loaders, as a job system does
    _, err = run.communicate(timeout=60)
    assert "terminated in epoch" in err and "run the same command to resume" in err
    assert torch.load(tmp_path / "run" / "last.pt", weights_only=True)["position"]["total_steps"] >= 5

    # but for rounding: a step has the same images, and layer norm does not depend on how they are divided
    alone = tmp_path / "alone"
    train("digits", digit_folder, alone, [*PLAIN, "schedule.epochs=1"], workers=0)
    losses, losses_together = (losses_of_epoch(folder, 1) for folder in (alone, tmp_path / "run"))
    assert len(losses) == 5 and losses_together == pytest.approx(losses, rel=1e-5)

    refused = torchrun(1, *command)
    _, err = refused.communicate(timeout=60)
    assert refused.returncode != 0
    assert "the run was started with 2 processes, not 1 (pass --allow-world-size-change" in err


def losses_of_epoch(folder, epoch):
    steps = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
    return [step["loss"] for step in steps if step["epoch"] == epoch]


def test_batch_size_not_divisible_by_the_world_size_is_refused(torchrun, digit_folder):
    run = torchrun(2, "train", "digits", "--data", digit_folder, "--set", "batch_size=25")
    _, err = run.communicate(timeout=60)
    assert "error: batch_size 25 is not divisible by accumulation 1 x world size 2" in err


def _workers_of(folder):
    """Return the processes that work in a folder: torchrun puts them into sessions of their own."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
            at_work = b"wavenet_zoo" in arguments and folder.name.encode() in arguments
            if at_work and (entry / "cwd").readlink() == folder.parent:
                found.append(int(entry.name))
        except OSError:
            continue
    return found
