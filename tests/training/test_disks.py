"""Disks that are full, and disks that may not be written to."""

from pathlib import Path

import pytest

from wavenet_zoo import WavezooError, export, train
from wavenet_zoo.runtime.records import append_csv
from wavenet_zoo.training.run_dir import StepLog
from wavenet_zoo.training.signals import Stopped

SHORT = ["schedule.epochs=2", "batch_size=20", "optimizer.lr=0.05"]


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.reliability(6)
def test_run_on_a_full_disk_keeps_its_checkpoint_and_resumes(
    disk, fill, small_digits, tmp_path, monkeypatch, assert_same_outcome
):
    train("digits", small_digits, tmp_path / "whole", SHORT, workers=0)
    folder = disk()
    append = StepLog.append

    def append_and_stop(self, records):
        append(self, records)
        if records[-1]["step"] == 7:
            raise Stopped("by the test", exit_code=130)

    monkeypatch.setattr(StepLog, "append", append_and_stop)
    with pytest.raises(Stopped):
        train("digits", small_digits, folder / "run", SHORT, workers=0)
    monkeypatch.undo()
    filler = fill(folder)
    before = contents(folder / "run")
    with pytest.raises(WavezooError) as error:
        train("digits", small_digits, folder / "run", SHORT, workers=0)
    assert error.value.exit_code == 1
    assert f"{folder}/run/" in error.value.message
    assert "No space left on device (needed " in error.value.message
    after = contents(folder / "run")
    assert after["last.pt"] == before["last.pt"] and after.keys() == before.keys()  # nothing half written
    filler.unlink()
    train("digits", small_digits, folder / "run", SHORT, workers=0)
    assert_same_outcome(tmp_path / "whole", folder / "run")


@pytest.mark.long
@pytest.mark.reliability(6)
def test_export_to_a_full_disk_keeps_the_old_file(disk, fill):
    folder = disk()
    (folder / "m.pt2").write_bytes(b"old")
    fill(folder)
    with pytest.raises(WavezooError, match="No space left on device"):
        export("waveletnet_cifar_m1", "pt2", folder / "m.pt2", overwrite=True)
    assert (folder / "m.pt2").read_bytes() == b"old"
    assert not list(folder.glob(".*"))


@pytest.mark.reliability(6)
def test_csv_on_a_full_disk_is_unchanged(disk, fill):
    path = disk() / "r.csv"
    append_csv(path, {"model": "a"})
    before = path.read_text()
    filler = fill(path.parent)
    with pytest.raises(WavezooError, match=r"r.csv: cannot be written: No space left on device \(needed 5,003 bytes"):
        append_csv(path, {"model": "b" * 5002})
    assert path.read_text() == before
    filler.unlink()
    append_csv(path, {"model": "b"})
    assert path.read_text() == before + "b\n"


@pytest.mark.reliability(7)
@pytest.mark.parametrize(
    "command",
    [
        ["train", "digits", "--out", "{}/run"],
        ["eval", "waveletnet_cifar_m1", "--save-json", "{}/r.json"],
        ["eval", "waveletnet_cifar_m1", "--append-csv", "{}/there.csv"],
        ["export", "waveletnet_cifar_m1", "--to", "onnx", "--out", "{}/m.onnx"],
        ["bench", "waveletnet_cifar_m1", "--plot", "{}/m.png"],
        ["bench", "waveletnet_cifar_m1", "--form", "auto", "--batch", "1", "--save-forms", "{}/m.json"],
        ["connectivity", "waveletnet_cifar_m1", "--plot", "{}/m.png"],
        ["ablate", "--no-dfwt", "--recipe", "digits", "--out", "{}/ablation"],
        ["recipe", "copy", "digits", "{}/mine.yaml"],
        ["weights", "download", "waveletnet_cifar_m1.digits", "--out", "{}"],
        ["table", "6", "--plot", "{}/m.png"],
    ],
    ids=lambda command: command[0],
)
def test_target_that_is_not_writable_is_refused_before_the_work(wavezoo, disk, monkeypatch, command):
    from wavenet_zoo.evaluation import evaluate
    from wavenet_zoo.training import train

    folder = disk(read_only=True)
    for module in (train, evaluate):
        monkeypatch.setattr(module, "evaluate_loader", None, raising=False)  # the work
    finished = wavezoo(*(word.format(folder) for word in command))
    assert finished.code in (1, 2), finished.err
    assert len([line for line in finished.err.splitlines() if line.startswith("error: ")]) == 1
    assert str(folder) in finished.err and "internal" not in finished.err
    assert list(contents(folder)) == ["there.csv"]
