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


def loaded_step(folder, notes=None):
    found, _ = load_last(folder, (notes if notes is not None else []).append)
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
def test_a_save_that_is_killed_anywhere_leaves_a_whole_checkpoint(tmp_path):
    before = tmp_path / "before"
    before.mkdir()
    for step in (1, 2):
        save_last(before, checkpoint(step))
    outcomes = []
    for number in range(1, 100):
        folder = shutil.copytree(before, tmp_path / str(number))
        was_killed = killed_in_call(number, folder, 3)
        notes = []
        outcomes.append(loaded_step(folder, notes))
        assert notes == []  # last.pt itself is whole, so nothing has to give way
        for again in (4, 5):  # and the next process saves as if nothing had been
            save_last(folder, checkpoint(again))
            assert loaded_step(folder) == again
        if not was_killed:
            break
    assert len(outcomes) > 8 and set(outcomes) == {2, 3} and outcomes == sorted(outcomes)


@pytest.mark.reliability(8)
def test_the_one_before_is_kept_and_both_are_listed(tmp_path):
    for step in (1, 2, 3):
        save_last(tmp_path, checkpoint(step))
    assert len(json.loads((tmp_path / "checkpoints.json").read_text())["sha256"]) == 3
    assert loaded_step(tmp_path) == 3
    (tmp_path / "last.pt").unlink()
    assert loaded_step(tmp_path) == 2


def test_where_nothing_was_saved_there_is_nothing(tmp_path):
    assert load_last(tmp_path, print) is None


@pytest.mark.reliability(8)
def test_a_file_that_no_run_has_written_is_not_loaded(tmp_path):
    save_last(tmp_path, checkpoint(1))
    torch.save(checkpoint(9), tmp_path / "last.pt")  # whole, but not ours
    with pytest.raises(WavezooError, match=r"last.pt is damaged: its sha256 is not in checkpoints.json"):
        load_last(tmp_path, print)


def test_a_file_system_without_links_keeps_the_last_one(tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError("not supported")

    monkeypatch.setattr(os, "link", refuse)
    for step in (1, 2):
        save_last(tmp_path, checkpoint(step))
    assert loaded_step(tmp_path) == 2 and not (tmp_path / "previous.pt").exists()
