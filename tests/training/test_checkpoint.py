"""Checkpoints on the disk, whatever happens while they are written."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch

from wavenet_zoo import WavezooError
from wavenet_zoo.training.checkpoint import load_last, save_last

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def checkpoint(step):
    return {"step": step, "state_dict": {"weight": torch.full((1000,), float(step))}}


def loaded_step(folder):
    found, _ = load_last(folder)
    assert torch.equal(found["state_dict"]["weight"], torch.full((1000,), float(found["step"])))
    return found["step"]


def killed_in_call(number, folder, step):
    """Save in a process of its own that is killed at the ``number``-th call to the operating system; True if it was."""
    pid = os.fork()
    if pid == 0:
        calls = 0

        def deadly(function):
            def call(*args, **kwargs):
                nonlocal calls
                calls += 1
                if calls == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*args, **kwargs)

            return call

        for module, name in ((os, "fsync"), (os, "link"), (Path, "replace"), (Path, "chmod"), (Path, "unlink")):
            setattr(module, name, deadly(getattr(module, name)))
        save_last(folder, checkpoint(step))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


@pytest.mark.reliability(1, 5)
def test_save_killed_at_any_call_leaves_a_checkpoint(tmp_path, caplog):
    before = tmp_path / "before"
    before.mkdir()
    for step in (1, 2):
        save_last(before, checkpoint(step))
    outcomes = []
    for number in range(1, 100):
        folder = shutil.copytree(before, tmp_path / str(number))
        was_killed = killed_in_call(number, folder, 3)
        outcomes.append(loaded_step(folder))
        assert not caplog.records  # last.pt itself is undamaged
        for again in (4, 5):  # the next process can save
            save_last(folder, checkpoint(again))
            assert loaded_step(folder) == again
        if not was_killed:
            break
    assert len(outcomes) > 8 and set(outcomes) == {2, 3} and outcomes == sorted(outcomes)


@pytest.mark.reliability(8)
def test_previous_checkpoint_is_kept_and_listed(tmp_path):
    for step in (1, 2, 3):
        save_last(tmp_path, checkpoint(step))
    assert len(json.loads((tmp_path / "checkpoints.json").read_text())["sha256"]) == 3
    assert loaded_step(tmp_path) == 3
    (tmp_path / "last.pt").unlink()
    assert loaded_step(tmp_path) == 2


def test_folder_without_checkpoint_loads_nothing(tmp_path):
    assert load_last(tmp_path) is None


@pytest.mark.reliability(8)
def test_checkpoint_with_an_unlisted_hash_is_not_loaded(tmp_path):
    save_last(tmp_path, checkpoint(1))
    torch.save(checkpoint(9), tmp_path / "last.pt")  # whole, but not ours
    with pytest.raises(WavezooError, match=r"last.pt is damaged: hash mismatch with checkpoints.json"):
        load_last(tmp_path)


@pytest.mark.reliability(46)
def test_file_system_without_links_keeps_two_checkpoints(tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError("not supported")

    monkeypatch.setattr(os, "link", refuse)
    for step in (1, 2):
        save_last(tmp_path, checkpoint(step))
    assert loaded_step(tmp_path) == 2
    (tmp_path / "last.pt").unlink()
    assert loaded_step(tmp_path) == 1


@pytest.mark.reliability(8, 46)
def test_last_and_previous_are_two_copies_at_any_moment_of_a_save(tmp_path):
    for step in (1, 2):
        save_last(tmp_path, checkpoint(step))
    before = shutil.copytree(tmp_path, tmp_path / "before")
    for number in range(1, 100):
        folder = shutil.copytree(before, tmp_path / str(number))
        was_killed = killed_in_call(number, folder, 3)
        assert not (folder / "last.pt").samefile(folder / "previous.pt")
        with (folder / "last.pt").open("r+b") as file:
            file.write(b"damaged")
        assert loaded_step(folder) in (1, 2)
        if not was_killed:
            break


@pytest.mark.reliability(8, 46)
@pytest.mark.parametrize(
    "content", [None, "", "{", "[]", "{}", '{"sha256": "abc"}', '{"sha256": [[1]]}', "[" * 100_000]
)
def test_checkpoints_without_a_valid_list_are_verified_by_crc(tmp_path, caplog, content):
    for step in (1, 2):
        save_last(tmp_path, checkpoint(step))
    listed = tmp_path / "checkpoints.json"
    listed.unlink() if content is None else listed.write_text(content)
    assert loaded_step(tmp_path) == 2
    assert "checkpoints.json is missing or damaged" in caplog.text
    damaged = bytearray((tmp_path / "last.pt").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "last.pt").write_bytes(damaged)
    assert loaded_step(tmp_path) == 1
    assert "last.pt is damaged: CRC-32 mismatch" in caplog.text
    save_last(tmp_path, checkpoint(3))
    assert len(json.loads(listed.read_text())["sha256"]) == 2  # the damaged one is not listed
    assert loaded_step(tmp_path) == 3


@pytest.mark.reliability(8, 46)
def test_missing_last_checkpoint_is_reported(tmp_path, caplog):
    for step in (1, 2):
        save_last(tmp_path, checkpoint(step))
    (tmp_path / "last.pt").unlink()
    assert loaded_step(tmp_path) == 1
    assert "last.pt is missing; resuming from the previous checkpoint" in caplog.text


@pytest.mark.reliability(8, 46)
def test_missing_checkpoints_are_an_error_if_any_were_written(tmp_path):
    for step in (1, 2):
        save_last(tmp_path, checkpoint(step))
    for name in ("last.pt", "previous.pt"):
        (tmp_path / name).unlink()
    with pytest.raises(WavezooError, match=r"checkpoints, last.pt and previous.pt, are missing"):
        load_last(tmp_path)
    (tmp_path / "checkpoints.json").unlink()
    assert load_last(tmp_path) is None
    (tmp_path / "log.jsonl").touch()
    with pytest.raises(WavezooError, match=r"checkpoints, last.pt and previous.pt, are missing"):
        load_last(tmp_path)
