import json

import pytest

from wavenet_zoo import WavezooError, dry_run, train

SHORT = ["schedule.epochs=2", "batch_size=20"]


def test_dry_run_describes_the_run_and_writes_no_file(digit_folder, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    trial = dry_run("digits", digit_folder, tmp_path / "run", [*SHORT, "accumulation=2"], workers=0)
    assert (trial.input_shape, trial.output_shape) == ([10, 3, 32, 32], [10, 10])
    assert (trial.training_images, trial.validation_images, trial.classes) == (100, 30, 10)
    assert (trial.steps_per_epoch, trial.epochs, trial.params) == (5, 2, 18_714)
    assert 1.5 < trial.loss < 4  # about log(10), before any learning
    assert trial.seconds_per_step > 0 and trial.memory_bytes > 50 * 2**20
    expected = 2 * (5 * trial.seconds_per_step + trial.validation_seconds)
    assert trial.estimated_seconds == pytest.approx(expected)
    assert "new run" in trial.folder_state
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    json.dumps(trial.to_dict())


def test_dry_run_of_a_single_step_has_an_estimate(digit_folder, tmp_path):
    trial = dry_run("digits", digit_folder, tmp_path / "run", ["schedule.epochs=1", "batch_size=100"], workers=0)
    assert trial.steps_per_epoch == 1
    assert trial.seconds_per_step > 1e-3 and trial.validation_seconds > 1e-3


@pytest.mark.reliability(11)
def test_dry_run_names_a_file_that_is_not_an_image(digit_folder, tmp_path):
    bad = digit_folder / "train" / "7" / "9.png"
    bad.write_bytes(b"not an image")
    with pytest.raises(WavezooError, match=r"7/9.png: not an image file"):
        dry_run("digits", digit_folder, tmp_path / "run", SHORT, workers=0)


def test_dry_run_describes_the_folder_of_the_run(digit_folder, tmp_path):
    train("digits", digit_folder, tmp_path / "run", SHORT, workers=0)
    assert "finished" in dry_run("digits", digit_folder, tmp_path / "run", SHORT, workers=0).folder_state
    (tmp_path / "run" / "result.json").unlink()
    assert "which would resume" in dry_run("digits", digit_folder, tmp_path / "run", SHORT, workers=0).folder_state
    with pytest.raises(WavezooError, match="another recipe"):
        dry_run("digits", digit_folder, tmp_path / "run", [*SHORT, "seed=1"], workers=0)
    with pytest.raises(WavezooError, match="files that are not of a run"):
        dry_run("digits", digit_folder, digit_folder, SHORT, workers=0)


def test_train_command_shows_the_dry_run(wavezoo, digit_folder):
    args = ("train", "digits", "--data", digit_folder, "--dry-run", "--workers", 0, "--set", "batch_size=20")
    result = wavezoo(*args)
    assert result.code == 0
    for words in ("20 x 3 x 32 x 32 -> 20 x 10", "5 per epoch, 20 epochs", "peak ", "s per step"):
        assert words in result.out
    assert wavezoo(*args, "--json").json["steps_per_epoch"] == 5


def test_first_step_of_a_dry_run_is_that_of_the_run(digit_folder, tmp_path):
    recipe = [
        *SHORT,
        "accumulation=2",
        "augmentation.mixup=0.3",
        "regularization.label_smoothing=0.1",
        "regularization.drop_path=0.5",
        "model.name=waveletnet_cifar_m2",
        "optimizer.clip_grad=1.0",
        "ema.decay=0.9",
    ]
    trial = dry_run("digits", digit_folder, tmp_path / "run", recipe, workers=0)
    train("digits", digit_folder, tmp_path / "run", [*recipe, "schedule.epochs=1"], workers=0)
    first = json.loads((tmp_path / "run" / "steps.jsonl").read_text().splitlines()[0])
    assert trial.loss == first["loss"]
