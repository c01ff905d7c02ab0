"""The settings of a call: folders of runs, runs resumed by their folder, and data named by path."""

import json
import shlex
import shutil

import pytest

from wavenet_zoo import WavezooError, dry_run, train
from wavenet_zoo.recipes import load_recipe
from wavenet_zoo.runtime.files import sha256_of
from wavenet_zoo.training.settings import run_settings

pytestmark = pytest.mark.usefixtures("short_runs")
SHORT = ["schedule.epochs=1", "batch_size=50"]


def default_folder(*overrides):
    return run_settings("digits", None, None, overrides, None, None, None).run_dir.as_posix()


def test_default_folder_depends_on_the_values_not_on_how_they_are_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert default_folder() == "runs/digits"
    assert default_folder("seed=0") == "runs/digits"  # the recipe's value
    assert default_folder("seed=1") == "runs/digits-seed=1"
    both = default_folder("seed=1", "schedule.epochs=5")
    assert both == default_folder("schedule.epochs=5", "seed=1") == "runs/digits-schedule.epochs=5,seed=1"
    odd = [default_folder(f"model.kwargs.kappas=[{depth},3,3]") for depth in (0, 1)]
    assert len(set(odd)) == 2 and all(folder.startswith("runs/digits-") and "[" not in folder for folder in odd)


def test_default_folder_of_an_earlier_version_is_resumed(small_digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train("digits", small_digits, "runs/digits", [*SHORT, "seed=1"], workers=0)
    assert default_folder(*SHORT, "seed=1") == "runs/digits"
    assert default_folder(*SHORT, "seed=2") != "runs/digits"


@pytest.fixture(scope="module")
def factored_run(small_digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("factored") / "run"
    train("digits", small_digits, folder, [*SHORT, "seed=3"], workers=0, form="factored")
    return folder


def unfinished(run, folder):
    shutil.copytree(run, folder)
    (folder / "result.json").unlink()
    (folder / "model.safetensors").unlink()
    return folder


def test_folder_of_a_run_resumes_it_with_its_data_and_settings(factored_run, tmp_path, monkeypatch, caplog):
    folder = unfinished(factored_run, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO", "wavenet_zoo")
    run = train("run", workers=0)
    assert run.recipe == "digits" and "form" not in caplog.text
    assert sha256_of(folder / "model.safetensors") == sha256_of(factored_run / "model.safetensors")
    (folder / "result.json").unlink()
    train("run", workers=0, form="dense")
    assert "form factored, now dense" in caplog.text
    assert "finished" in dry_run("run", workers=0).folder_state


def test_folder_of_a_run_excludes_out_and_overrides(factored_run, tmp_path):
    for options in ({"out": tmp_path / "other"}, {"overrides": ["seed=4"]}):
        with pytest.raises(WavezooError, match="is resumed as it was started, without --out and --set"):
            train(factored_run, workers=0, **options)


def test_folder_without_a_run_is_not_a_recipe(tmp_path):
    with pytest.raises(WavezooError, match="is a folder, not a recipe"):
        train(tmp_path)


def test_moved_run_is_reported_at_its_new_place(factored_run, tmp_path):
    folder = shutil.copytree(factored_run, tmp_path / "moved")
    run = train(folder, workers=0)
    assert (run.out, run.weights) == (str(folder), str(folder / "model.safetensors"))


def test_printed_evaluation_command_works_and_names_the_data(wavezoo, digit_folder, tmp_path):
    (digit_folder / "val").rename(digit_folder / "test")
    spaced = digit_folder.rename(tmp_path / "my digits")
    settings = [part for value in (*SHORT, "data.validation=test") for part in ("--set", value)]
    trained = wavezoo("train", "digits", "--data", spaced, "--workers", 0, *settings)
    assert trained.code == 0, trained.err
    line = next(line for line in trained.out.splitlines() if line.startswith("evaluate"))
    words = shlex.split(line)[1:]
    assert words[:3] == ["wavezoo", "eval", "waveletnet_cifar_m1"] and words[words.index("--data") + 1] == str(spaced)
    evaluated = wavezoo(*words[1:], "--workers", 0, "--json")
    assert evaluated.code == 0, evaluated.err
    result = json.loads(next((tmp_path / "runs").glob("*/result.json")).read_text())
    assert evaluated.json["top1"] == result["last"]["top1"]


def test_printed_evaluation_command_names_the_held_out_part(wavezoo, digit_folder, tmp_path):
    shutil.rmtree(digit_folder / "val")
    settings = [part for value in (*SHORT, "data.validation=0.2") for part in ("--set", value)]
    trained = wavezoo("train", "digits", "--data", digit_folder, "--workers", 0, *settings)
    assert trained.code == 0, trained.err
    words = shlex.split(next(line for line in trained.out.splitlines() if line.startswith("evaluate")))
    evaluated = wavezoo(*words[2:], "--workers", 0)
    assert "20 of 20 images were validated on" in evaluated.out, evaluated.err
    assert f"{digit_folder / 'train'}, 20 % of train: 20 images of 10 classes" in evaluated.out
    result = json.loads(next((tmp_path / "runs").glob("*/result.json")).read_text())
    assert f"top-1          {result['last']['top1']:.2f} %" in evaluated.out


def test_recipe_names_its_data_by_path(small_digits, tmp_path):
    recipe = tmp_path / "recipes" / "mine.yaml"
    recipe.parent.mkdir()
    shutil.copytree(small_digits, tmp_path / "images")
    text = load_recipe("digits", [*SHORT, "data.name=mine"]).to_yaml()
    recipe.write_text(text.replace("path: null", "path: ../images"))
    loaded = load_recipe(recipe)
    assert loaded.data.path == "../images"
    assert loaded.sha256() == load_recipe("digits", [*SHORT, "data.name=mine"]).sha256()
    run = train(recipe, None, tmp_path / "run", workers=0)
    assert load_recipe(tmp_path / "run" / "recipe.yaml").data.path is None  # publishing sends this file
    assert str(tmp_path) not in (tmp_path / "run" / "recipe.yaml").read_text()
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["metadata"]["data"] == "mine" and record["data_location"] == str(recipe.parent / "../images")
    again = train(recipe, small_digits, tmp_path / "other", workers=0)  # --data overrides it
    assert again.weights_sha256 == run.weights_sha256


@pytest.mark.reliability(7)
def test_run_inside_the_images_is_refused(digit_folder):
    with pytest.raises(WavezooError, match="is inside the images of"):
        train("digits", digit_folder, digit_folder / "train" / "0" / "run", SHORT, workers=0)
    assert not (digit_folder / "train" / "0" / "run").exists()


@pytest.mark.parametrize("minutes", ["nan", "-1"])
def test_invalid_checkpoint_minutes_are_refused(wavezoo, small_digits, minutes):
    finished = wavezoo("train", "digits", "--data", small_digits, "--checkpoint-minutes", minutes)
    assert finished.code == 2 and "--checkpoint-minutes" in finished.err


@pytest.mark.reliability(69)
def test_home_of_an_unknown_user_in_a_recipe_is_one_line(tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(load_recipe("digits", ["data.path=~nosuchuser/images"]).to_yaml())
    with pytest.raises(WavezooError, match="~nosuchuser/images: the home folder of this user is unknown"):
        train(recipe, out=tmp_path / "run", workers=0)


@pytest.mark.parametrize(("supported", "precision"), [(True, "bf16"), (False, "fp32")])
def test_auto_precision_is_that_of_the_device_and_recorded(
    supported, precision, small_digits, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr("wavenet_zoo.training.settings.computes_in_bf16", lambda device: supported)
    caplog.set_level("INFO", "wavenet_zoo")
    train("digits", small_digits, tmp_path / "run", [*SHORT, "precision=auto"], workers=0)
    assert f"precision: {precision}, chosen for this CPU" in caplog.text
    assert load_recipe(tmp_path / "run" / "recipe.yaml").precision == precision
    monkeypatch.setattr("wavenet_zoo.training.settings.computes_in_bf16", lambda device: not supported)
    with pytest.raises(WavezooError, match=f"precision is {precision}"):
        train("digits", small_digits, tmp_path / "run", [*SHORT, "precision=auto"], workers=0)
