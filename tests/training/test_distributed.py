"""Several processes, started by torchrun as a user starts them."""

import contextlib
import json
import os
import shutil
import signal
import socket
import time
from pathlib import Path

import pytest
import torch

from wavenet_zoo import evaluate, train
from wavenet_zoo.evaluation.saved_predictions import read_predictions
from wavenet_zoo.training.trainer import Trainer

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

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


@pytest.fixture
def ranks():
    """Run a function in each of several forked processes of one group; return the error message of each."""
    children = []

    def run(*functions, timeout=60):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        pipes = []
        for rank, function in enumerate(functions):
            read, write = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.environ |= {
                    "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(len(functions)),
                    "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
                }  # fmt: skip
                torch.set_num_threads(1)  # OpenMP threads do not survive a fork: a process that uses them hangs
                try:
                    function()
                except BaseException as error:
                    os.write(write, f"{type(error).__name__}: {error}".encode())
                os._exit(0)
            os.close(write)
            children.append(pid)
            pipes.append(read)
        deadline = time.monotonic() + timeout
        for pid in children:
            while not os.waitpid(pid, os.WNOHANG)[0]:
                assert time.monotonic() < deadline, "a process hangs"
                time.sleep(0.02)
        children.clear()
        messages = [os.read(pipe, 10_000).decode() for pipe in pipes]
        for pipe in pipes:
            os.close(pipe)
        return messages

    yield run
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def settings(overrides):
    return [part for override in overrides for part in ("--set", override)]


@pytest.mark.reliability(25)
@pytest.mark.parametrize(("processes", "batch_size"), [(2, 7), pytest.param(3, 64, marks=pytest.mark.long)])
def test_evaluation_counts_do_not_depend_on_the_world_size(torchrun, digit_folder, processes, batch_size, tmp_path):
    alone = evaluate(MODEL, None, digit_folder, workers=0, per_class=True)
    run = torchrun(
        processes, "eval", MODEL, "--data", digit_folder, "--batch-size", batch_size, "--per-class", "--json",
        "--workers", 0, "--save-predictions", tmp_path / "predictions.csv",
    )  # fmt: skip
    out, err = run.communicate(timeout=120)
    assert run.returncode == 0, err
    rows = read_predictions(tmp_path / "predictions.csv")  # every image once, in the order of the data
    assert rows.paths == list(alone.predictions.paths)
    for mine, theirs in ((rows.labels, alone.predictions.labels), (rows.top[:, 0], alone.predictions.top[:, 0])):
        assert [rows.class_names[i] for i in mine] == [alone.predictions.class_names[i] for i in theirs]
    assert rows.loss == pytest.approx(alone.predictions.loss, rel=1e-3)
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


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.pretrained=digits", "optimizer.freeze_backbone=true", "data.validation=0.2"],  # batch norm is frozen
        ["model.kwargs.norm_layer=layernorm2d", "optimizer.layer_decay=0.5"],
    ],
    ids=["frozen backbone", "layer-wise rates"],
)
def test_two_processes_fine_tune_as_one(ranks, digit_folder, tmp_path, overrides):
    plan = ["schedule.epochs=2", "batch_size=20", "optimizer.lr=1e-3", "regularization.label_smoothing=0.1", *overrides]

    def run():
        train("digits", digit_folder, tmp_path / "run", plan, workers=0)

    assert ranks(run, run) == ["", ""]
    train("digits", digit_folder, tmp_path / "alone", plan, workers=0)
    for epoch in (1, 2):
        together, alone = (losses_of_epoch(tmp_path / name, epoch) for name in ("run", "alone"))
        assert len(alone) >= 4 and together == pytest.approx(alone, rel=1e-5)
    one, two = (json.loads((tmp_path / name / "log.jsonl").read_text().splitlines()[-1]) for name in ("alone", "run"))
    assert one["loss"] == pytest.approx(two["loss"], rel=1e-5)


def losses_of_epoch(folder, epoch):
    steps = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
    return [step["loss"] for step in steps if step["epoch"] == epoch]


@pytest.mark.long
def test_batch_size_not_divisible_by_the_world_size_is_refused(torchrun, digit_folder):
    run = torchrun(2, "train", "digits", "--data", digit_folder, "--set", "batch_size=25")
    _, err = run.communicate(timeout=60)
    assert "error: batch_size 25 is not divisible by accumulation 1 x world size 2" in err


@pytest.mark.reliability(25, 42)
@pytest.mark.parametrize("images", [29, 25])
def test_validation_shares_with_unequal_numbers_of_batches_finish(ranks, digit_folder, tmp_path, images):
    for path in sorted((digit_folder / "val").glob("*/0.png"))[: 30 - images]:
        path.unlink()
    overrides = ["schedule.epochs=1", "batch_size=4"]  # batches of 2 for shares of 15 and 14, 13 and 12

    def run():
        train("digits", digit_folder, tmp_path / "run", overrides, workers=0)

    assert ranks(run, run) == ["", ""]
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["last"]["step"] == 25
    alone = evaluate(MODEL, tmp_path / "run" / "model.safetensors", digit_folder, workers=0)
    assert result["last"]["top1"] == alone.top1 and alone.images == images


def exchange_labels(folder):
    (folder / "train" / "0").rename(folder / "train" / "x")
    (folder / "train" / "1").rename(folder / "train" / "0")
    (folder / "train" / "x").rename(folder / "train" / "1")


@pytest.mark.reliability(25, 42)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("labels", "rank 1 has other training images than rank 0"),
        ("image", "rank 1 has other training classes or labels than rank 0"),
        ("class", "rank 1 has other training classes or labels than rank 0"),
        ("validation", "rank 1 has other validation images than rank 0"),
        ("recipe", "rank 1 has other recipe than rank 0"),
        ("name", "rank 1 has other data than rank 0: a name, rank 0 has a folder"),
        ("options", "rank 1 has other options than rank 0: compile False, form factored"),
    ],
)
def test_rank_that_trains_on_something_else_is_named(ranks, digit_folder, tmp_path, change, message):
    for path in digit_folder.rglob("*.png"):  # equal names and sizes: only the content tells two classes apart
        path.write_bytes(path.read_bytes().ljust(1000, b"\0"))
    other = shutil.copytree(digit_folder, tmp_path / "other")
    if change == "labels":
        exchange_labels(other)
    elif change == "image":
        (other / "train" / "3" / "0.png").unlink()
    elif change == "class":
        for split in ("train", "val"):
            (other / split / "3").rename(other / split / "three")
    elif change == "validation":
        shutil.copy(other / "val" / "4" / "0.png", other / "val" / "5" / "0.png")
    overrides = ["schedule.epochs=1", "batch_size=20"]

    def rank_zero():
        train("digits", digit_folder, tmp_path / "run", overrides, workers=0)

    def rank_one():
        values = [*overrides, "optimizer.lr=0.5"] if change == "recipe" else overrides
        form = "factored" if change == "options" else None
        data = "digits" if change == "name" else other
        train("digits", data, tmp_path / "run", values, workers=0, form=form)

    for answer in ranks(rank_zero, rank_one):
        assert answer.startswith(f"WavezooError: {message}")
    assert not (tmp_path / "run").exists()


@pytest.mark.reliability(25, 42)
@pytest.mark.parametrize(
    ("change", "message"),
    [("images", "other evaluated images"), ("weights", "other weights"), ("size", "other options")],
)
def test_rank_that_evaluates_something_else_is_named(ranks, digit_folder, tmp_path, change, message):
    other = shutil.copytree(digit_folder, tmp_path / "other")
    shutil.copy(other / "val" / "4" / "0.png", other / "val" / "5" / "0.png")

    def rank_zero():
        evaluate(MODEL, None, digit_folder, workers=0)

    def rank_one():
        weights = "none" if change == "weights" else None
        evaluate(MODEL, weights, other if change == "images" else digit_folder, workers=0,
                 size=16 if change == "size" else None)  # fmt: skip

    for answer in ranks(rank_zero, rank_one):
        assert answer.startswith(f"WavezooError: rank 1 has {message} than rank 0")


@pytest.mark.reliability(3, 53)
def test_rank_that_is_killed_ends_the_others_in_one_line(ranks, digit_folder, tmp_path):
    overrides = ["schedule.epochs=1", "batch_size=20"]

    def rank_zero():
        train("digits", digit_folder, tmp_path / "run", overrides, workers=0, checkpoint_minutes=0)

    def rank_one():
        def step_and_die(self):
            os.kill(os.getpid(), signal.SIGKILL)

        Trainer.checkpoint_or_stop = step_and_die
        rank_zero()

    survivor, _ = ranks(rank_zero, rank_one)
    assert survivor.startswith("WavezooError: rank 0 lost the connection to another process (rank 1): ")
    assert "\n" not in survivor and "torchrun's report names it" in survivor


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
