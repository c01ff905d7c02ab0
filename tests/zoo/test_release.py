import hashlib
import json

import pytest
import timm
import torch

import wavenet_zoo  # noqa: F401
from wavenet_zoo import WavezooError, evaluate, train
from wavenet_zoo.paper.measured import find_runs
from wavenet_zoo.recipes import load_recipe
from wavenet_zoo.runtime.environment import git_state
from wavenet_zoo.runtime.manifest import checkpoints_folder, read_manifest
from wavenet_zoo.runtime.resources import shipped_folder
from wavenet_zoo.weights.manifest import ManifestEntry, list_entries
from wavenet_zoo.zoo.release import archive_run, release_weights, write_entry


@pytest.mark.parametrize("name", list(read_manifest()))
def test_every_shipped_checkpoint_matches_its_hash_and_loads_offline(name, monkeypatch):
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
def test_the_recipe_of_every_shipped_checkpoint_is_kept(name):
    entry = read_manifest()[name]
    recipe = load_recipe(entry["recipe"])
    if recipe.sha256() != entry["recipe_sha256"]:
        recipe = load_recipe(shipped_folder("results") / entry["recipe"] / f"seed{entry['seed']}" / "recipe.yaml")
    assert recipe.sha256() == entry["recipe_sha256"] and recipe.seed == entry["seed"]


def test_timm_lists_the_weights_of_the_manifest_and_no_others():
    waveletnets, peers = (timm.list_models(module=module) for module in ("waveletnet", "peers"))
    listed = {name for name in timm.list_pretrained() if name.split(".")[0] in [*waveletnets, *peers]}
    assert listed == set(read_manifest())
    for model in set(waveletnets) - {name.split(".")[0] for name in listed}:
        with pytest.raises(RuntimeError, match=f"No pretrained weights exist for {model}"):
            timm.create_model(model, pretrained=True)


def test_pretrained_weights_initialize_other_classes_and_channels():
    model = timm.create_model("waveletnet_cifar_m1", pretrained=True, num_classes=3, in_chans=1)
    assert model(torch.randn(2, 1, 32, 32)).shape == (2, 3)


@pytest.fixture(scope="module")
def short_run(tmp_path_factory):
    """The folder of a run of one epoch on digits."""
    folder = tmp_path_factory.mktemp("run") / "run"
    train("digits", None, folder, ["schedule.epochs=1", "batch_size=64"], workers=0)
    return folder


def test_release_evaluates_copies_and_lists_the_weights(short_run, tmp_path):
    entry = release_weights(short_run, "try", "One epoch.", tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["checkpoints"] == [entry.to_json()] and entry.name == "waveletnet_cifar_m1.try"
    last = json.loads((short_run / "result.json").read_text())["last"]
    assert entry.results["digits/test"]["top1"] == last["top1"]
    assert (tmp_path / entry.file).read_bytes() == (short_run / "model.safetensors").read_bytes()
    release_weights(short_run, "again", "The same.", tmp_path)
    release_weights(short_run, "again", "Replaced.", tmp_path)
    entries = json.loads((tmp_path / "manifest.json").read_text())["checkpoints"]
    assert [e["name"] for e in entries] == ["waveletnet_cifar_m1.again", "waveletnet_cifar_m1.try"]
    assert entries[0]["description"] == "Replaced." and entries[1] == manifest["checkpoints"][0]


def test_release_records_the_commit_of_the_training_run(short_run, tmp_path):
    entry = release_weights(short_run, "try", "One epoch.", tmp_path)
    assert entry.git == git_state() == json.loads((short_run / "run.json").read_text())["metadata"]["git"]


def test_release_leaves_global_state_unchanged(short_run, tmp_path, unchanged_state):
    with unchanged_state():
        release_weights(short_run, "try", "One epoch.", tmp_path)


def test_weights_in_16_bits_halve_the_file_and_are_evaluated(short_run, tmp_path, monkeypatch):
    entry = release_weights(short_run, "try", "One epoch.", tmp_path, half=True)
    path = tmp_path / entry.file
    assert entry.size == path.stat().st_size < 0.65 * (short_run / "model.safetensors").stat().st_size
    assert evaluate("waveletnet_cifar_m1", path).correct_top1 == entry.results["digits/test"]["correct_top1"]
    monkeypatch.setattr("wavenet_zoo.zoo.release.MAX_TOP1_CHANGE", -1.0)
    with pytest.raises(WavezooError, match=r"in 32 bits and .* in 16 bits \(release it without half\)"):
        release_weights(short_run, "other", "One epoch.", tmp_path, half=True)
    assert not (tmp_path / "waveletnet_cifar_m1.other.safetensors").exists()


def test_release_refuses_unfinished_runs_and_model_arguments(digit_folder, tmp_path):
    overrides = ["schedule.epochs=1", "model.kwargs.use_dfwt=false"]
    train("digits", digit_folder, tmp_path / "run", overrides, workers=0)
    with pytest.raises(WavezooError, match="cannot be expressed by a tag"):
        release_weights(tmp_path / "run", "try", "x", tmp_path)
    with pytest.raises(WavezooError, match="has not finished"):
        release_weights(tmp_path, "try", "x", tmp_path)


def test_entries_are_stored_as_they_were_read(tmp_path):
    path = checkpoints_folder() / "manifest.json"
    (tmp_path / "manifest.json").write_bytes(path.read_bytes())
    entries = list_entries()
    write_entry(entries[min(entries)], tmp_path)
    assert (tmp_path / "manifest.json").read_bytes() == path.read_bytes()
    new = entries[min(entries)].model_copy(update={"name": "waveletnet_cifar_m1.new", "git": {"commit": "0"}})
    write_entry(new, tmp_path)
    stored = {e["name"]: e for e in json.loads((tmp_path / "manifest.json").read_text())["checkpoints"]}
    assert stored[new.name]["git"] == {"commit": "0"} and ManifestEntry.from_json(stored[new.name]).git == new.git
    with_git = {e["name"] for e in json.loads(path.read_text())["checkpoints"] if "git" in e}
    assert {name for name, e in stored.items() if "git" in e} == {*with_git, new.name}


def test_a_foreign_manifest_is_not_overwritten(tmp_path):
    (tmp_path / "manifest.json").write_text('{"schema": "other/1"}')
    with pytest.raises(WavezooError, match=r"manifest\.json: is not a manifest of the form"):
        write_entry(list_entries()["waveletnet_cifar_m1.digits"], tmp_path)
    assert (tmp_path / "manifest.json").read_text() == '{"schema": "other/1"}'


def test_archive_copies_records_without_weights_and_local_paths(digit_folder, tmp_path):
    train("digits", digit_folder, tmp_path / "run", ["schedule.epochs=1"], workers=0)
    folder = archive_run(tmp_path / "run", "digits/try", tmp_path / "results")
    assert {path.name for path in folder.iterdir()} == {
        "recipe.yaml", "log.jsonl", "curve.png", "run.json", "result.json",
    }  # fmt: skip
    for path in folder.glob("*.json"):
        assert str(tmp_path) not in path.read_text()
    (run,) = [run for run in find_runs([tmp_path / "results"]) if run.metadata.data == "digit-images"]
    assert run.error == 100 - json.loads((tmp_path / "run" / "result.json").read_text())["last"]["top1"]
    with pytest.raises(WavezooError, match="already exists"):
        archive_run(tmp_path / "run", "digits/try", tmp_path / "results")
    with pytest.raises(WavezooError, match=r"result\.json: cannot be read"):
        archive_run(tmp_path, "digits/other", tmp_path / "results")
