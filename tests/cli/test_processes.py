"""The command line in real processes: pipes, signals, terminals."""

import json
import os
import pty
import signal
import subprocess
import sys
import time

import pytest


def test_stdout_in_a_pipe_is_only_json(process):
    out, err = process("-m", "wavenet_zoo", "eval", "waveletnet_cifar_m1", "--json").communicate(timeout=120)
    assert json.loads(out)["images"] == 360
    assert err == ""


@pytest.mark.reliability(33)
@pytest.mark.parametrize("output", ["--json", "--per-layer"])
def test_closed_pipe_ends_a_command_quietly(tmp_path, output):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "wavenet_zoo", "count", "resnet50", output]
    result = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, cwd=tmp_path, timeout=120)
    os.close(write)
    assert (result.returncode, result.stderr) == (141, b"")


@pytest.mark.reliability(4, 5)
@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
@pytest.mark.parametrize("workers", [0, 2])
def test_signals_stop_a_run_with_exit_code_and_checkpoint(process, digit_folder, tmp_path, number, code, word, workers):
    run = process(
        "-m", "wavenet_zoo", "train", "digits", "--data", digit_folder, "--out", "run",
        "--workers", workers, "--set", "schedule.epochs=10000", "--set", "batch_size=25",
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "last.pt").exists():
        assert run.poll() is None and time.monotonic() < deadline, run.communicate()
        time.sleep(0.1)
    os.killpg(run.pid, number)  # the whole group, as a terminal or a job system does
    _, err = run.communicate(timeout=60)
    assert run.returncode == code, err
    assert word in err.splitlines()[-1] and "Traceback" not in err
    import torch

    assert torch.load(tmp_path / "run" / "last.pt", weights_only=True)["metadata"]["epoch"] >= 1
    assert not list((tmp_path / "run").glob(".*.tmp"))


@pytest.mark.long
def test_commands_with_loader_workers_exit_when_finished(process, digit_folder):
    run = process(
        "-m", "wavenet_zoo", "train", "digits", "--data", digit_folder, "--workers", 2,
        "--set", "schedule.epochs=2", "--set", "batch_size=25", "--json",
    )  # fmt: skip
    out, err = run.communicate(timeout=120)
    assert run.returncode == 0 and json.loads(out)["epochs"] == 2
    assert "Exception" not in err and "killed" not in err
    bad = digit_folder / "val" / "3" / "1.png"
    bad.write_bytes(b"")
    run = process("-m", "wavenet_zoo", "eval", "waveletnet_cifar_m1", "--data", digit_folder, "--workers", 2)
    _, err = run.communicate(timeout=120)
    assert run.returncode == 2 and err.splitlines()[-1].startswith(f"error: {bad}: not an image file")


@pytest.mark.long
def test_deterministic_mode_keeps_cpu_results(process, digit_folder, tmp_path):
    command = ["-m", "wavenet_zoo", "train", "digits", "--data", digit_folder, "--workers", 0, "--json", "--quiet"]
    command += ["--set", "schedule.epochs=1", "--set", "batch_size=25", "--set", "ema.decay=0.9"]
    runs = [process(*command, "--out", "plain"), process(*command, "--out", "deterministic", "--deterministic")]
    results = [json.loads(run.communicate(timeout=120)[0]) for run in runs]
    assert results[0]["weights_sha256"] == results[1]["weights_sha256"]
    assert json.loads((tmp_path / "deterministic" / "run.json").read_text())["deterministic"] is True


def test_terminal_shows_a_progress_bar(tmp_path):
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "wavenet_zoo", "eval", "waveletnet_cifar_m1"]
    run = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=follower, text=True)
    os.close(follower)
    screen = b""
    while True:
        try:
            chunk = os.read(leader, 4096)
        except OSError:
            break
        if not chunk:
            break
        screen += chunk
    out, _ = run.communicate(timeout=60)
    assert run.returncode == 0 and "top-1" in out
    assert b"360/360" in screen and b"images/s" in screen


@pytest.mark.reliability(33)
def test_ascii_locale_and_narrow_terminal_are_supported(tmp_path):
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "COLUMNS": "40"}
    command = [sys.executable, "-m", "wavenet_zoo", "info", "waveletnet_cifar_m1"]
    result = subprocess.run(command, capture_output=True, env=environment, cwd=tmp_path, timeout=120)
    assert result.returncode == 0, result.stderr
