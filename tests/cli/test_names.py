"""Names that contain paths or invalid characters."""

import pytest
import safetensors.torch
import torch

from wavenet_zoo.recipes import list_recipes

pytestmark = pytest.mark.reliability(23)
MODEL = "waveletnet_cifar_m1"
QUICK = ["--set", "schedule.epochs=1", "--set", "batch_size=50", "--workers", "0"]


@pytest.fixture
def outside(tmp_path):
    """What lies around the folder that a command works in; it has to stay as it is."""
    (tmp_path.parent / "canary").write_text("x")
    before = sorted(tmp_path.parent.iterdir())
    yield
    assert sorted(tmp_path.parent.iterdir()) == before
    (tmp_path.parent / "canary").unlink()


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "a/b", "..", "a\\0b", "", "a\\nb", "x" * 3000])
def test_model_name_with_a_path_is_unknown(wavezoo, outside, small_digits, tmp_path, name):
    text = list_recipes()["digits"].read_text().replace(f"name: {MODEL}", f'name: "{name}"')
    (tmp_path / "r.yaml").write_text(text)
    finished = wavezoo("train", "r.yaml", "--data", small_digits, *QUICK)
    assert finished.code == 2
    assert len([line for line in finished.err.splitlines() if "error: " in line]) == 1
    assert not list(tmp_path.glob("runs/*/run.json"))


@pytest.mark.parametrize("file", ["...yaml", "....yaml", ".yaml", "a b.yaml", "-x.yaml", "ä.yaml"])
def test_run_folder_is_in_runs_for_any_recipe_file_name(wavezoo, outside, small_digits, tmp_path, file):
    (tmp_path / file).write_text(list_recipes()["digits"].read_text())
    finished = wavezoo("train", "--data", small_digits, *QUICK, "--json", "--", file)
    assert finished.code == 0, finished.err
    assert (tmp_path / finished.json["out"]).resolve().parent == tmp_path / "runs"
    assert not (tmp_path / "run.json").exists()


def test_weights_with_paths_as_tensor_names_are_rejected(wavezoo, outside, tmp_path):
    safetensors.torch.save_file({"../../x": torch.zeros(1), "/etc/passwd": torch.zeros(1)}, tmp_path / "w.safetensors")
    finished = wavezoo("eval", MODEL, "--weights", "w.safetensors", "--data", "digits")
    assert finished.code == 2
    assert "w.safetensors: not weights of waveletnet_cifar_m1" in finished.err


@pytest.mark.parametrize("repo", ["../x", "me/../x", "/x", "me/x/y", "me/..", "me/a b", "me/" + "x" * 200])
def test_invalid_repository_name_is_rejected(wavezoo, outside, repo):
    finished = wavezoo("publish", MODEL, "--weights", "none.safetensors", "--repo", repo, "--dry-run")
    assert finished.code == 2
    assert len(finished.err.splitlines()) == 1


@pytest.mark.parametrize("out", ["..", ".", "/", "/dev/null", "x/../.."])
def test_out_folder_with_other_files_is_rejected(wavezoo, outside, small_digits, tmp_path, out):
    (tmp_path / "something").touch()
    (tmp_path / "x").mkdir()
    finished = wavezoo("train", "digits", "--data", small_digits, *QUICK, "--out", out)
    assert finished.code == 2
    assert "error: " in finished.err and "Traceback" not in finished.err
