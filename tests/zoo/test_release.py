import hashlib
import json

import pytest
import timm
import torch

import wavenet_zoo  # noqa: F401
from wavenet_zoo import WavezooError, evaluate, train
from wavenet_zoo.models import checkpoints_folder, read_manifest
from wavenet_zoo.paper.measured import find_runs, results_folder
from wavenet_zoo.recipes import load_recipe
from wavenet_zoo.zoo.release import keep_run, ship_weights


@pytest.mark.parametrize("name", list(read_manifest()))
def test_every_entry_of_the_manifest_is_there_matches_its_hash_and_loads_offline(name, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    entry = read_manifest()[name]
    content = (checkpoints_folder() / entry["file"]).read_bytes()
    assert (hashlib.sha256(content).hexdigest(), len(content)) == (entry["sha256"], entry["size"])
    assert entry["size"] < 12_000_000
    for spelling in (name, name.split(".")[0]):
        model = timm.create_model(spelling, pretrained=True)
        assert model.num_classes == len(entry["classes"])
        assert list(timm.data.resolve_model_data_config(model)["mean"]) == entry["preprocessing"]["mean"]
    assert name in timm.list_pretrained("waveletnet*")


@pytest.mark.parametrize("name", list(read_manifest()))
def test_the_recipe_of_every_shipped_checkpoint_is_still_the_one_it_was_trained_with_or_kept_with_what_it_had_otherwise(
    name,
):
    entry = read_manifest()[name]
    recipe = load_recipe(entry["recipe"])
    if recipe.sha256() != entry["recipe_sha256"]:
        recipe = load_recipe(results_folder() / entry["recipe"] / f"seed{entry['seed']}" / "recipe.yaml")
    assert recipe.sha256() == entry["recipe_sha256"] and recipe.seed == entry["seed"]


def test_timm_lists_the_weights_of_the_manifest_and_no_others():
    waveletnets, peers = (timm.list_models(module=module) for module in ("waveletnet", "peers"))
    listed = {name for name in timm.list_pretrained() if name.split(".")[0] in [*waveletnets, *peers]}
    assert listed == set(read_manifest())
    for model in set(waveletnets) - {name.split(".")[0] for name in listed}:
        with pytest.raises(RuntimeError, match=f"No pretrained weights exist for {model}"):
            timm.create_model(model, pretrained=True)


def test_pretrained_weights_make_a_start_for_other_classes_and_channels():
    model = timm.create_model("waveletnet_cifar_m1", pretrained=True, num_classes=3, in_chans=1)
    assert model(torch.randn(2, 1, 32, 32)).shape == (2, 3)


def test_a_finished_run_is_shipped_with_figures_measured_then(digit_folder, tmp_path):
    run = train("digits", None, tmp_path / "run", ["schedule.epochs=1", "batch_size=64"])
    (tmp_path / "checkpoints").mkdir()
    entry = ship_weights(tmp_path / "run", "try", "One epoch.", tmp_path / "checkpoints")
    manifest = json.loads((tmp_path / "checkpoints" / "manifest.json").read_text())
    assert manifest["checkpoints"] == [entry] and entry["name"] == "waveletnet_cifar_m1.try"
    assert entry["results"]["digits/test"]["top1"] == run.last["top1"]
    assert (tmp_path / "checkpoints" / entry["file"]).read_bytes() == (
        tmp_path / "run" / "model.safetensors"
    ).read_bytes()
    ship_weights(tmp_path / "run", "again", "The same.", tmp_path / "checkpoints")
    names = [e["name"] for e in json.loads((tmp_path / "checkpoints" / "manifest.json").read_text())["checkpoints"]]
    assert names == ["waveletnet_cifar_m1.again", "waveletnet_cifar_m1.try"]


def test_weights_in_16_bits_take_half_the_space_and_state_what_they_reach_themselves(tmp_path, monkeypatch):
    train("digits", None, tmp_path / "run", ["schedule.epochs=1", "batch_size=64"])
    entry = ship_weights(tmp_path / "run", "try", "One epoch.", tmp_path, half=True)
    path = tmp_path / entry["file"]
    assert entry["size"] == path.stat().st_size < 0.65 * (tmp_path / "run" / "model.safetensors").stat().st_size
    assert evaluate("waveletnet_cifar_m1", path).correct_top1 == entry["results"]["digits/test"]["correct_top1"]
    monkeypatch.setattr("wavenet_zoo.zoo.release.MAX_TOP1_CHANGE", -1.0)
    with pytest.raises(WavezooError, match=r"and in 16 bits .* \(ship it as it is\)"):
        ship_weights(tmp_path / "run", "other", "One epoch.", tmp_path, half=True)
    assert not (tmp_path / "waveletnet_cifar_m1.other.safetensors").exists()


def test_weights_that_a_tag_cannot_describe_are_not_shipped(digit_folder, tmp_path):
    overrides = ["schedule.epochs=1", "model.kwargs.use_dfwt=false"]
    train("digits", digit_folder, tmp_path / "run", overrides, workers=0)
    with pytest.raises(WavezooError, match="which a tag cannot say"):
        ship_weights(tmp_path / "run", "try", "x", tmp_path)
    with pytest.raises(WavezooError, match="has not finished"):
        ship_weights(tmp_path, "try", "x", tmp_path)


def test_a_finished_run_is_kept_as_text_without_paths_of_this_machine_and_shows_in_a_table(digit_folder, tmp_path):
    train("digits", digit_folder, tmp_path / "run", ["schedule.epochs=1"], workers=0)
    folder = keep_run(tmp_path / "run", "digits/try", tmp_path / "results")
    assert {path.name for path in folder.iterdir()} == {
        "recipe.yaml", "log.jsonl", "curve.png", "run.json", "result.json",
    }  # fmt: skip
    for path in folder.glob("*.json"):
        assert str(tmp_path) not in path.read_text()
    (run,) = [run for run in find_runs([tmp_path / "results"]) if run.metadata.data == "digit-images"]
    assert run.error == 100 - json.loads((tmp_path / "run" / "result.json").read_text())["last"]["top1"]
    with pytest.raises(WavezooError, match="is there already"):
        keep_run(tmp_path / "run", "digits/try", tmp_path / "results")
    with pytest.raises(WavezooError, match=r"result\.json: cannot be read"):
        keep_run(tmp_path, "digits/other", tmp_path / "results")
