"""``wavezoo reproduce``: all runs of a table, trained, resumed and filled into it."""

import json
import os
import signal
import time

import pytest

from wavenet_zoo import WavezooError, reproduce
from wavenet_zoo.paper.reproduction import plan_reproduction

SCALE = """# Two epochs of few digits
seeds: 2
tables:
  3:
    overrides: [schedule.epochs=2, batch_size=10]
    rows:
      m1: {recipe: digits}
      m1_no_dfwt: {recipe: digits, overrides: [model.kwargs.use_dfwt=false]}
"""


@pytest.fixture
def scale(tmp_path):
    (tmp_path / "tiny.yaml").write_text(SCALE)
    return tmp_path / "tiny.yaml"


def test_table_is_filled_with_the_errors_of_its_runs(scale, small_digits, tmp_path):
    result = reproduce(3, scale, small_digits, tmp_path / "runs", workers=0)
    assert [(run.name, run.seed) for run in result.runs] == [("m1", 0), ("m1_no_dfwt", 0), ("m1", 1), ("m1_no_dfwt", 1)]
    assert all(run.state == "finished" for run in result.runs)
    row = result.filled.rows[-1]
    errors = {name: [run.error for run in result.runs if run.name == name] for name in ("m1", "m1_no_dfwt")}
    assert row["measured"]["original"]["error"]["values"] == errors["m1"]
    assert row["measured"]["gaps"] == [b - a for a, b in zip(errors["m1"], errors["m1_no_dfwt"])]
    assert "2 epochs" in row["measured_on"] and "seeds 0, 1" in row["measured_on"]
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("model.safetensors")}
    assert len(written) == 4
    assert reproduce(3, scale, small_digits, tmp_path / "runs", workers=0) == result
    assert {path: path.stat().st_mtime_ns for path in written} == written


def test_shards_train_every_run_once(scale, small_digits, tmp_path):
    folder, trained = tmp_path / "runs", []
    for index in (1, 2, 3):
        result = reproduce(3, scale, small_digits, folder, only=["m1"], seeds=3, shard=(index, 3), workers=0)
        trained += [(run.name, run.seed) for run in result.runs]
    assert sorted(trained) == [("m1", 0), ("m1", 1), ("m1", 2)]
    assert len(list(folder.rglob("result.json"))) == 3


def test_last_shard_fills_the_table_with_the_runs_of_all(scale, small_digits, tmp_path):
    for index in (1, 2):
        result = reproduce(3, scale, small_digits, tmp_path / "runs", seeds=1, shard=(index, 2), workers=0)
    assert [run.name for run in result.runs] == ["m1_no_dfwt"]
    assert len(result.filled.rows[-1]["measured"]["gaps"]) == 1


def test_shard_without_a_run_is_refused(scale, small_digits, tmp_path):
    with pytest.raises(WavezooError, match="--shard 5/5: there are only 4 runs"):
        reproduce(3, scale, small_digits, tmp_path / "runs", shard=(5, 5))


def test_dry_run_under_torchrun_is_refused(scale, small_digits, tmp_path, monkeypatch):
    variables = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(WavezooError, match="run it without torchrun"):
        plan_reproduction(3, scale, small_digits, tmp_path / "runs")


@pytest.mark.long
def test_processes_of_torchrun_train_one_run_after_the_other(process, scale, small_digits, tmp_path):
    command = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        2,
        "-m",
        "wavenet_zoo",
        "reproduce",
        3,
    ]
    command += ["--scale", scale, "--data", small_digits, "--workers", 0, "--out", tmp_path / "runs"]
    run = process(*command)
    out, err = run.communicate(timeout=300)
    assert run.returncode == 0, err
    assert out.count("gap, measured") == 1
    records = [json.loads(path.read_text()) for path in (tmp_path / "runs").rglob("run.json")]
    assert len(records) == 4 and {record["world_size"] for record in records} == {2}


@pytest.mark.long
def test_plan_states_time_and_memory_and_writes_nothing(scale, small_digits, tmp_path):
    plan = plan_reproduction(3, scale, small_digits, tmp_path / "runs", workers=0)
    assert [run.state for run in plan.runs] == ["not started"] * 4
    assert all(run.seconds > 0 and run.memory_bytes > 2**20 for run in plan.runs)
    assert plan.seconds == sum(run.seconds for run in plan.runs) and plan.filled is None
    assert not (tmp_path / "runs").exists()
    reproduce(3, scale, small_digits, tmp_path / "runs", only=["m1"], workers=0)
    plan = plan_reproduction(3, scale, small_digits, tmp_path / "runs", workers=0)
    assert [run.state for run in plan.runs] == ["finished", "not started"] * 2
    assert plan.runs[0].seconds is None and plan.runs[1].seconds > 0


@pytest.mark.reliability(1)
@pytest.mark.long
def test_killed_reproduction_resumes_to_the_uninterrupted_result(process, scale, small_digits, tmp_path):
    whole = reproduce(3, scale, small_digits, tmp_path / "whole", seeds=1, workers=0)
    command = ["-m", "wavenet_zoo", "reproduce", 3, "--scale", scale, "--seeds", 1, "--data", small_digits]
    command += ["--workers", 0, "--out", tmp_path / "broken"]
    for stop, name in ((signal.SIGINT, "m1"), (signal.SIGKILL, "m1_no_dfwt")):
        broken = process(*command)
        steps = tmp_path / "broken" / name / "seed0" / "steps.jsonl"
        deadline = time.monotonic() + 60
        while not (steps.exists() and len(steps.read_text().splitlines()) >= 5) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(broken.pid, stop)
        assert broken.wait(timeout=60) == (130 if stop == signal.SIGINT else -9)
    last = process(*command)
    out, err = last.communicate(timeout=120)
    assert last.returncode == 0, err
    assert "gap, measured" in out
    resumed = reproduce(3, scale, small_digits, tmp_path / "broken", seeds=1, workers=0)
    assert [run.error for run in resumed.runs] == [run.error for run in whole.runs]
    for name in ("m1", "m1_no_dfwt"):
        weights = [tmp_path / run / name / "seed0" / "model.safetensors" for run in ("whole", "broken")]
        assert weights[0].read_bytes() == weights[1].read_bytes()
