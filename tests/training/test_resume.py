"""A run that is stopped, anywhere and by anything, and run again ends as if it had never been stopped."""

import errno
import fcntl
import json
import os
import shutil
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
FROZEN = [*PLAIN, "model.pretrained=digits", "optimizer.freeze_backbone=true", "ema.decay=0.9", "accumulation=2"]


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
        pytest.param([*EVERYTHING, "optimizer.layer_decay=0.7"], 7, 0, id="with layer-wise rates"),
        pytest.param([*FROZEN, "data.validation=0.2"], 6, 2, id="with a frozen backbone and held-out images"),
        pytest.param([*PLAIN, "precision=bf16", "ema.decay=0.99"], 6, 0, id="with bf16", marks=pytest.mark.long),
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


@pytest.mark.reliability(2)
def test_run_with_cached_images_resumes_to_the_uninterrupted_result(
    digit_folder, tmp_path, signal_after_step, assert_same_outcome
):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    overrides = [*PLAIN, "augmentation.hflip=0.5", "ema.decay=0.9", "accumulation=2"]
    train("digits", digit_folder, whole, overrides, workers=0, cache_images=True)
    disarm = signal_after_step(7)
    with pytest.raises(Stopped):
        train("digits", digit_folder, stopped, overrides, workers=0, cache_images=True)
    disarm()
    with pytest.raises(WavezooError, match="the run was started with --cache-images"):
        train("digits", digit_folder, stopped, overrides, workers=0)
    run = train(stopped, workers=0)  # with the setting of the run
    assert json.loads((stopped / "run.json").read_text())["cache_images"] is True
    assert [part["changes"] for part in run.resumed] == [[]]
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
    assert "schedule.epochs is 2, in this call 3; " in error.value.message
    assert "ema.decay is None, in this call 0.9" in error.value.message
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


@pytest.fixture(scope="module")
def short_run_settings(small_digits):
    return dict(recipe_path="digits", data=small_digits, overrides=["schedule.epochs=1", "batch_size=50"], workers=0)


@pytest.fixture(scope="module")
def one_finished_run(tmp_path_factory, short_run_settings):
    folder = tmp_path_factory.mktemp("finished") / "run"
    train(out=folder, **short_run_settings)
    return folder


@pytest.fixture
def finished_run(one_finished_run, tmp_path):
    return shutil.copytree(one_finished_run, tmp_path / "run")


@pytest.mark.reliability(9, 46)
@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("model.safetensors", "flip", "model.safetensors: is damaged: hash mismatch with result.json"),
        ("model.safetensors", "empty", "model.safetensors: is damaged: hash mismatch with result.json"),
        ("model.safetensors", "remove", "model.safetensors: is missing"),
        ("result.json", "{", "result.json: not valid JSON"),
        ("result.json", "[]", "result.json: not a JSON object"),
        ("result.json", '{"last": {}}', "result.json: missing key"),
        ("result.json", "[" * 100_000, "result.json: not valid JSON: nested too deep"),
    ],
)
def test_damaged_file_of_a_finished_run_is_written_again(
    finished_run, short_run_settings, caplog, name, damage, message
):
    path = finished_run / name
    before = {file.name: file.read_bytes() for file in finished_run.iterdir()}
    if damage == "remove":
        path.unlink()
    else:
        content = bytearray(before[name])
        content[-1] ^= 1
        path.write_bytes({"flip": content, "empty": b""}.get(damage, damage.encode()))
    run = train(out=finished_run, **short_run_settings)
    assert message in caplog.text and "written again from the last checkpoint" in caplog.text
    assert (finished_run / "model.safetensors").read_bytes() == before["model.safetensors"]
    assert json.loads((finished_run / "result.json").read_text())["weights_sha256"] == run.weights_sha256
    caplog.clear()
    train(out=finished_run, **short_run_settings)
    assert not caplog.records or "finished" in caplog.text


@pytest.mark.reliability(9, 46)
def test_damaged_weights_of_a_finished_run_without_checkpoints_are_an_error(finished_run, short_run_settings):
    (finished_run / "model.safetensors").write_bytes(b"")
    for name in ("last.pt", "previous.pt"):
        (finished_run / name).unlink(missing_ok=True)
    with pytest.raises(WavezooError, match=r"model.safetensors: is damaged.*and the checkpoints are missing"):
        train(out=finished_run, **short_run_settings)


@pytest.mark.reliability(8, 63)
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("run.json", "{}"),
        ("run.json", ""),
        ("run.json", "[" * 100_000),
        ("run.json", b"\xff\xfe"),
        ("run.json", '{"environment": {"versions": 3}}'),
        ("run.json", None),
        ("last.pt", ""),
    ],
)
def test_damaged_record_of_a_run_is_one_line(finished_run, short_run_settings, name, content):
    for other in ("result.json", "previous.pt"):
        (finished_run / other).unlink(missing_ok=True)
    path = finished_run / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(WavezooError, match=name if content is not None else "files that are not of a run"):
        train(out=finished_run, **short_run_settings)


@pytest.mark.reliability(8, 63)
@pytest.mark.parametrize("content", [None, b"", b"\xff", b"model: {"])
def test_damaged_recipe_of_a_run_is_restored_from_the_same_recipe(finished_run, short_run_settings, content, caplog):
    (finished_run / "result.json").unlink()
    path = finished_run / "recipe.yaml"
    before = path.read_bytes()
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(WavezooError, match=r"recipe.yaml"):
        train(out=finished_run, **{**short_run_settings, "overrides": ["schedule.epochs=1", "batch_size=25"]})
    train(out=finished_run, **short_run_settings)
    assert path.read_bytes() == before and "recipe.yaml" in caplog.text


@pytest.mark.reliability(8, 63)
def test_damaged_lines_of_steps_jsonl_are_removed_and_reported(finished_run, short_run_settings, caplog):
    (finished_run / "result.json").unlink()
    steps = finished_run / "steps.jsonl"
    good = steps.read_bytes()
    damage = b"\x00\xff garbage\n" + b"[" * 100_000 + b'\n{"step": 1e999}\n'
    steps.write_bytes(damage + good + b'{"step": 9')
    train(out=finished_run, **short_run_settings)
    assert steps.read_bytes() == good and "steps.jsonl: 3 damaged lines are removed" in caplog.text


@pytest.mark.reliability(8, 63)
@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {}},
        {"position": {}},
        {"position": {"epoch": 99}},
        {"position": {"step": 10**9}},
        {"position": {"history": []}},
        {"optimizer": {}},
        {"optimizer": {"state": {}, "param_groups": []}},
        {"state_dict": {}},
    ],
    ids=str,
)
def test_checkpoint_that_does_not_match_the_run_is_one_line(finished_run, short_run_settings, change):
    (finished_run / "result.json").unlink()
    content = torch.load(finished_run / "last.pt", weights_only=True)
    ((key, value),) = change.items()
    content[key] = {**content[key], **value} if value and key == "position" else value
    save_last(finished_run, content)
    with pytest.raises(WavezooError, match=r"last.pt: does not match the model and optimizer"):
        train(out=finished_run, **short_run_settings)


@pytest.mark.reliability(63)
def test_run_json_of_a_version_without_some_keys_is_compared(finished_run, short_run_settings, caplog):
    (finished_run / "result.json").unlink()
    record = json.loads((finished_run / "run.json").read_text())
    record["environment"]["versions"] = {"torch": "1.0"}
    for key in ("accelerator", "git", "torch_threads"):
        del record["environment"][key]
    del record["data_location"]
    (finished_run / "run.json").write_text(json.dumps(record))
    caplog.set_level("INFO", "wavenet_zoo")
    train(out=finished_run, **short_run_settings)
    assert "torch 1.0, now" in caplog.text


def test_finished_run_says_only_that_it_is_finished(finished_run, short_run_settings, caplog):
    caplog.set_level("INFO", "wavenet_zoo")
    train(out=finished_run, **short_run_settings)
    assert [record.getMessage() for record in caplog.records] == [
        f"{finished_run}: this run is finished; use another --out for a new run"
    ]


@pytest.mark.reliability(23, 57)
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, "symbolic") for name in (".lock", "recipe.yaml", "run.json", "steps.jsonl", "last.pt")),
        *((name, "hard") for name in (".lock", "steps.jsonl")),  # the others are replaced, not changed
    ],
)
def test_link_in_the_folder_of_a_run_is_refused(short_run_settings, tmp_path, name, kind):
    victim = tmp_path / "victim.txt"
    victim.write_text("precious")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / name).symlink_to(victim) if kind == "symbolic" else (folder / name).hardlink_to(victim)
    with pytest.raises(WavezooError, match=rf"{name}: is a link to another file"):
        train(out=folder, **short_run_settings)
    assert victim.read_text() == "precious"


@pytest.mark.reliability(24, 57)
@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_lock_that_is_not_a_file_is_refused(short_run_settings, tmp_path, kind):
    (tmp_path / "run").mkdir()
    lock = tmp_path / "run" / ".lock"
    lock.mkdir() if kind == "folder" else os.mkfifo(lock)
    with pytest.raises(WavezooError, match="cannot be used for a run"):
        train(out=tmp_path / "run", **short_run_settings)


@pytest.mark.reliability(24)
@pytest.mark.parametrize("code", ["ENOLCK", "ENOSYS", "EOPNOTSUPP"])
def test_file_system_without_locks_is_reported_and_used(short_run_settings, tmp_path, monkeypatch, caplog, code):
    def refuse(*args):
        raise OSError(getattr(errno, code), os.strerror(getattr(errno, code)))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    train(out=tmp_path / "run", **short_run_settings)
    assert "does not support locks" in caplog.text and (tmp_path / "run" / "result.json").exists()
