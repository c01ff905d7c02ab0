"""A run that is stopped, anywhere and by anything, and run again ends as if it had never been stopped."""

import json
import os
import signal
import time

import pytest
import torch

from wavenet_zoo import WavezooError, train
from wavenet_zoo.training.checkpoint import save_last
from wavenet_zoo.training.run_dir import StepLog
from wavenet_zoo.training.signals import Stopped
from wavenet_zoo.training.trainer import Trainer

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
PLAIN = ["schedule.epochs=2", "batch_size=20", "optimizer.lr=0.05"]  # 5 steps an epoch
EVERYTHING = [
    *PLAIN,
    "accumulation=2",
    "ema.decay=0.9",
    "schedule.name=cosine",
    "schedule.warmup_epochs=1",
    "schedule.min_lr=1e-4",
    "optimizer.name=adamw",
    "optimizer.clip_grad=1",
    "augmentation.mixup=0.2",
    "augmentation.cutmix=1",
    "augmentation.auto_augment=rand-m5-mstd0.5",
    "augmentation.random_erasing=0.3",
    "augmentation.hflip=0.5",
    "regularization.label_smoothing=0.1",
    "regularization.drop_path=0.2",
    "regularization.dropout=0.1",
]


@pytest.fixture(autouse=True)
def hear_ctrl_c():
    """A shell that runs the tests in the background has SIGINT ignored."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.fixture
def signal_after_step(monkeypatch):
    """Send this process a real signal right after a step."""

    def arm(step, number=signal.SIGINT):
        append = StepLog.append

        def append_and_signal(self, records):
            append(self, records)
            if any(record["step"] == step for record in records):
                signal.raise_signal(number)

        monkeypatch.setattr(StepLog, "append", append_and_signal)
        return lambda: monkeypatch.setattr(StepLog, "append", append)

    return arm


@pytest.mark.reliability(2, 5)
@pytest.mark.parametrize(
    ("overrides", "step", "workers"),
    [
        pytest.param(PLAIN, 3, 0, id="in the middle of an epoch"),
        pytest.param(PLAIN, 5, 2, id="at the end of an epoch, with 2 workers"),
        pytest.param(EVERYTHING, 7, 0, id="with everything that draws at random"),
        pytest.param(EVERYTHING, 8, 2, id="with everything that draws at random and 2 workers"),
        pytest.param([*PLAIN, "precision=bf16", "ema.decay=0.99"], 6, 0, id="with bf16"),
        pytest.param([*PLAIN, "precision=fp16"], 6, 0, id="with fp16 and its scaler", marks=pytest.mark.long),
    ],
)
def test_resumed_run_equals_an_uninterrupted_one(
    digit_folder, tmp_path, signal_after_step, overrides, step, workers, assert_same_outcome, caplog
):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train("digits", digit_folder, whole, overrides, workers=0)
    disarm = signal_after_step(step)
    with pytest.raises(Stopped, match=rf"interrupted in epoch .* saved in {stopped}") as error:
        train("digits", digit_folder, stopped, overrides, workers=workers)
    assert error.value.exit_code == 130
    disarm()
    caplog.set_level("INFO", "wavenet_zoo")
    run = train("digits", digit_folder, stopped, overrides, workers=2 - workers)
    assert "resuming epoch" in caplog.text
    assert [part["step"] for part in run.resumed] == [step]
    assert_same_outcome(whole, stopped)


@pytest.mark.reliability(4)
def test_run_stopped_in_validation_repeats_the_validation(digit_folder, tmp_path, monkeypatch, assert_same_outcome):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train("digits", digit_folder, whole, EVERYTHING, workers=0)
    look = Trainer.stop_if_requested

    def signal_and_look(self):
        signal.raise_signal(signal.SIGTERM)
        look(self)

    monkeypatch.setattr(Trainer, "stop_if_requested", signal_and_look)
    with pytest.raises(Stopped, match="terminated in epoch 1, step 5 of 5") as error:
        train("digits", digit_folder, stopped, EVERYTHING, workers=0)
    assert error.value.exit_code == 143
    monkeypatch.setattr(Trainer, "stop_if_requested", look)
    train("digits", digit_folder, stopped, EVERYTHING, workers=0)
    assert_same_outcome(whole, stopped)


@pytest.mark.reliability(1)
@pytest.mark.long
def test_run_killed_repeatedly_equals_an_uninterrupted_one(process, digit_folder, tmp_path, assert_same_outcome):
    overrides = [*EVERYTHING, "schedule.epochs=3"]
    train("digits", digit_folder, tmp_path / "whole", overrides, workers=0)
    command = ["-m", "wavenet_zoo", "train", "digits", "--data", digit_folder, "--out", "killed", "--workers", 0]
    command += ["--checkpoint-minutes", 0, *(part for override in overrides for part in ("--set", override))]
    steps = tmp_path / "killed" / "steps.jsonl"
    for lines in (2, 9):
        run = process(*command)
        deadline = time.monotonic() + 120
        while not steps.exists() or len(steps.read_text().splitlines()) < lines:
            assert run.poll() is None and time.monotonic() < deadline, run.communicate()
            time.sleep(0.01)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    result = train("digits", digit_folder, tmp_path / "killed", overrides, workers=0)
    assert len(result.resumed) == 2
    assert_same_outcome(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.reliability(5)
def test_second_ctrl_c_stops_immediately(digit_folder, tmp_path, monkeypatch):
    append = StepLog.append

    def append_and_signal_twice(self, records):
        append(self, records)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(StepLog, "append", append_and_signal_twice)
    with pytest.raises(KeyboardInterrupt):
        train("digits", digit_folder, tmp_path / "run", PLAIN, workers=0)
    assert not (tmp_path / "run" / "last.pt").exists()


def test_finished_run_is_reported_and_unchanged(digit_folder, tmp_path, caplog):
    first = train("digits", digit_folder, tmp_path / "run", PLAIN, workers=0)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir() if path.name != ".lock"}
    caplog.set_level("INFO", "wavenet_zoo")
    assert train("digits", digit_folder, tmp_path / "run", PLAIN, workers=0) == first
    assert "this run is finished" in caplog.text
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir() if path.name != ".lock"}


@pytest.fixture
def stopped_run(digit_folder, tmp_path, signal_after_step):
    disarm = signal_after_step(7)
    with pytest.raises(Stopped):
        train("digits", digit_folder, tmp_path / "run", PLAIN, workers=0)
    disarm()
    return tmp_path / "run"


def test_resuming_with_another_recipe_names_the_different_keys(digit_folder, stopped_run):
    changed = [*PLAIN, "schedule.epochs=3", "ema.decay=0.9"]
    with pytest.raises(WavezooError) as error:
        train("digits", digit_folder, stopped_run, changed, workers=0)
    assert "schedule.epochs: 3, 2" in error.value.message and "ema.decay: 0.9, None" in error.value.message
    train("digits", digit_folder, stopped_run, PLAIN, workers=0)


@pytest.mark.reliability(16)
@pytest.mark.parametrize("split", ["train", "val"])
def test_resuming_with_other_data_is_refused(digit_folder, stopped_run, split):
    (digit_folder / split / "3" / "1.png").unlink()
    with pytest.raises(WavezooError, match="was started with other data"):
        train("digits", digit_folder, stopped_run, PLAIN, workers=0)


@pytest.mark.reliability(8)
@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "remove"])
def test_damaged_checkpoint_falls_back_to_the_previous_one(
    digit_folder, tmp_path, stopped_run, damage, assert_same_outcome, caplog
):
    last = stopped_run / "last.pt"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "remove":
        last.unlink()
    else:
        last.write_bytes({"truncate": content[:-100], "flip": content, "empty": b""}[damage])
    run = train("digits", digit_folder, stopped_run, PLAIN, workers=0)
    assert run.resumed[-1]["from"] == "previous.pt" and run.resumed[-1]["step"] == 5
    assert damage == "remove" or "last.pt is damaged" in caplog.text
    train("digits", digit_folder, tmp_path / "whole", PLAIN, workers=0)
    assert_same_outcome(tmp_path / "whole", stopped_run)


@pytest.mark.reliability(8)
def test_run_with_only_damaged_checkpoints_is_an_error(digit_folder, stopped_run):
    for name in ("last.pt", "previous.pt"):
        (stopped_run / name).write_bytes(b"")
    with pytest.raises(WavezooError, match=r"last.pt is damaged.*previous.pt is damaged"):
        train("digits", digit_folder, stopped_run, PLAIN, workers=0)


def test_checkpoint_of_another_version_is_refused(digit_folder, stopped_run, monkeypatch):
    content = torch.load(stopped_run / "last.pt", weights_only=True)
    content["position"]["of_the_future"] = 1
    save_last(stopped_run, content)
    with pytest.raises(WavezooError, match=r"last.pt: does not match the model and optimizer.*of_the_future"):
        train("digits", digit_folder, stopped_run, PLAIN, workers=0)


@pytest.mark.reliability(34)
def test_temporary_files_of_a_killed_process_are_removed(digit_folder, stopped_run):
    (stopped_run / ".last.pt.abc.tmp").write_bytes(b"half")
    with (stopped_run / "steps.jsonl").open("a") as file:
        file.write('{"step": 8, "epoch": 2, "lr": 0.1, "loss": 9.9}\n{"step": 9, "ep')
    train("digits", digit_folder, stopped_run, PLAIN, workers=0)
    assert not list(stopped_run.glob(".*.tmp"))
    steps = [json.loads(line) for line in (stopped_run / "steps.jsonl").read_text().splitlines()]
    assert [step["step"] for step in steps] == list(range(1, 11)) and all(step["loss"] < 9 for step in steps)


@pytest.mark.reliability(24)
@pytest.mark.long
def test_second_process_in_a_run_folder_is_refused(process, digit_folder, tmp_path):
    command = ["-m", "wavenet_zoo", "train", "digits", "--data", digit_folder, "--out", "run", "--workers", 2]
    command += ["--set", "batch_size=20", "--set", "schedule.epochs=10000"]
    first = process(*command)
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "last.pt").exists():
        assert first.poll() is None and time.monotonic() < deadline, first.communicate()
        time.sleep(0.1)
    second = process(*command)
    _, err = second.communicate(timeout=60)
    assert second.returncode == 2
    assert f"run: is locked by another process (pid {first.pid} on " in err.splitlines()[-1]
    assert first.poll() is None
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    third = process(*command)  # the lock of a process that is dead is free, though its workers may live for a moment
    deadline = time.monotonic() + 120
    while "resuming epoch" not in third.stderr.readline():
        assert third.poll() is None and time.monotonic() < deadline
    os.killpg(third.pid, signal.SIGKILL)


@pytest.mark.reliability(21)
def test_diverged_run_keeps_its_last_good_checkpoint(digit_folder, stopped_run, monkeypatch):
    checkpoint = torch.load(stopped_run / "last.pt", weights_only=True)
    import wavenet_zoo.training.step as module

    cross_entropy = torch.nn.functional.cross_entropy
    monkeypatch.setattr(
        module.F, "cross_entropy", lambda *args, **kwargs: cross_entropy(*args, **kwargs) * float("nan")
    )
    with pytest.raises(WavezooError, match=r"the training loss is nan in epoch 2, step 8") as error:
        train("digits", digit_folder, stopped_run, PLAIN, workers=0, checkpoint_minutes=0)
    assert error.value.exit_code == 4
    after = torch.load(stopped_run / "last.pt", weights_only=True)
    assert after["position"]["total_steps"] == checkpoint["position"]["total_steps"] == 7
    monkeypatch.undo()
    train("digits", digit_folder, stopped_run, PLAIN, workers=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "not valid JSON"), ("[]", "not a JSON object"), ('{"last": {}}', "missing key"), ("", "not valid JSON")],
)
def test_damaged_result_of_a_finished_run_is_named(digit_folder, stopped_run, content, message):
    (stopped_run / "result.json").write_text(content)
    (stopped_run / "model.safetensors").touch()
    with pytest.raises(WavezooError, match=rf"result\.json: {message}.*--out"):
        train("digits", digit_folder, stopped_run, PLAIN, workers=0)
