"""What a result records about the code and the machine."""

import shutil
import subprocess

import pytest
import torch

from wavenet_zoo.runtime import environment
from wavenet_zoo.runtime.environment import (
    computes_in_bf16,
    describe_environment,
    deterministic_algorithms,
    git_state,
)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A git checkout with one commit, in which the package seems to be."""
    (tmp_path / "wavenet_zoo" / "runtime").mkdir(parents=True)
    file = tmp_path / "wavenet_zoo" / "runtime" / "environment.py"
    file.write_text("")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.com"]
        subprocess.run(["git", *identity, *command], cwd=tmp_path, check=True)
    monkeypatch.setattr(environment, "CHECKOUT", tmp_path)
    git_state.cache_clear()
    yield tmp_path
    git_state.cache_clear()


def test_git_state_has_the_commit(checkout):
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True).stdout.strip()
    assert git_state() == {"commit": commit, "dirty": False}
    assert describe_environment(torch.device("cpu"))["git"] == git_state()


def test_git_state_of_a_changed_checkout_is_dirty(checkout):
    (checkout / "wavenet_zoo" / "runtime" / "environment.py").write_text("changed")
    assert git_state()["dirty"] is True


def test_git_state_without_a_checkout_is_none(checkout):
    shutil.rmtree(checkout / ".git")
    assert git_state() is None


def test_git_state_without_git_is_none(checkout, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert git_state() is None


def test_deterministic_algorithms_are_restored(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    import os

    with deterministic_algorithms(True):
        assert torch.are_deterministic_algorithms_enabled() and "CUBLAS_WORKSPACE_CONFIG" in os.environ
    assert not torch.are_deterministic_algorithms_enabled() and "CUBLAS_WORKSPACE_CONFIG" not in os.environ


@pytest.mark.parametrize(("supported", "expected"), [("_is_amx_tile_supported", True), ("_is_avx2_supported", False)])
def test_cpu_computes_in_bf16_only_with_instructions_for_it(supported, expected, monkeypatch):
    for probe in ("_is_avx512_bf16_supported", "_is_amx_tile_supported", "_is_avx2_supported"):
        monkeypatch.setattr(torch.cpu, probe, lambda probe=probe: probe == supported, raising=False)
    assert computes_in_bf16(torch.device("cpu")) is expected
