"""``wavezoo weights``: list, verify, download, convert."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from wavenet_zoo import WavezooError, evaluate, train
from wavenet_zoo.runtime.manifest import SCHEMA, read_manifest
from wavenet_zoo.zoo.collection import verify_weights

NAME = "waveletnet_cifar_m1.digits"
COUNTS = ("images", "correct_top1", "correct_top5", "top1")


@pytest.fixture
def manifest(monkeypatch):
    """Replace the manifest by other entries."""

    def replace(*entries):
        by_name = {entry["name"]: entry for entry in entries}
        for module in ("manifest", "loading"):
            monkeypatch.setattr(f"wavenet_zoo.weights.{module}.read_manifest", lambda: by_name)

    return replace


@pytest.fixture
def entry():
    """The stored entry of the shipped digits weights."""
    return read_manifest()[NAME]


@pytest.fixture
def far(entry):
    """An entry of weights that are on the Hub and not downloaded."""
    stored = {key: value for key, value in entry.items() if key not in ("path", "file")}
    return {**stored, "name": "waveletnet_cifar_m1.far", "hub": "zoo/none@" + "0" * 40}


def test_list_has_every_entry_with_results_and_state(wavezoo, manifest, entry, far):
    finished = wavezoo("weights", "list")
    assert finished.code == 0 and NAME in finished.out and "98.89 (digits/test)" in finished.out
    (listed,) = [e for e in wavezoo("weights", "list", "--json").json if e["name"] == NAME]
    assert Path(listed["here"]).is_file() and listed["sha256"] == entry["sha256"]
    manifest(entry, far)
    here, there = wavezoo("weights", "list").out.splitlines()[-2:]
    assert "shipped" in here and "not downloaded" in there and far["hub"] in there
    assert entry["sha256"][:12] not in here  # hashes are in the JSON output
    assert [e["here"] for e in wavezoo("weights", "list", "--json").json] == [entry["path"], None]


def test_an_invalid_entry_is_reported_with_its_key(wavezoo, manifest, entry):
    manifest({key: value for key, value in entry.items() if key != "size"})
    finished = wavezoo("weights", "list")
    assert finished.code == 0 and f"{NAME}: missing key 'size': skipped" in finished.err
    assert NAME not in finished.out and len(finished.err.splitlines()) == 1
    finished = wavezoo("weights", "download", NAME)
    assert finished.code == 2 and f"{NAME}: missing key 'size'" in finished.err
    assert len(finished.err.splitlines()) == 1


def test_verify_reproduces_counts_and_fails_if_one_differs(wavezoo, manifest, entry):
    finished = wavezoo("weights", "verify", "--quiet")
    assert finished.code == 0 and "verified" in finished.out and "356 of 360 correct, as stated" in finished.out
    manifest({**entry, "results": {"digits/test": {**entry["results"]["digits/test"], "correct_top1": 357}}})
    finished = wavezoo("weights", "verify", NAME, "--quiet")
    assert finished.code == 3 and "correct_top1 356, stated 357" in finished.out


def test_verify_checks_every_result_of_an_entry(wavezoo, manifest, entry):
    result = evaluate("waveletnet_cifar_m1", entry["path"], "digits", split="train")
    right = {**entry["results"], "digits/train": {key: getattr(result, key) for key in COUNTS}}
    manifest({**entry, "results": right})
    (verified,) = wavezoo("weights", "verify", "--json").json
    assert verified["state"] == "verified"
    assert "digits/test: 356 of 360" in verified["detail"] and "digits/train: " in verified["detail"]
    wrong = {**right["digits/train"], "correct_top5": 0}
    manifest({**entry, "results": {**right, "digits/train": wrong}})
    finished = wavezoo("weights", "verify", "--json")
    assert finished.code == 3 and finished.json[0]["state"] == "failed"
    assert f"digits/train: correct_top5 {result.correct_top5}, stated 0" in finished.json[0]["detail"]


def test_verify_names_results_whose_images_are_not_available(wavezoo, manifest, entry, monkeypatch):
    manifest({**entry, "results": {**entry["results"], "birds/val": entry["results"]["digits/test"]}})
    finished = wavezoo("weights", "verify")
    assert finished.code == 0 and finished.out.startswith("verified")
    assert "digits/test: 356 of 360" in finished.out and "birds/val: not checked" in finished.out

    def unavailable(data, split):
        raise WavezooError("digits: needs scikit-learn")

    monkeypatch.setattr("wavenet_zoo.zoo.collection.open_data", unavailable)
    manifest(entry)
    (verified,) = wavezoo("weights", "verify", "--json").json
    assert verified["state"] == "whole" and "digits/test: not checked, digits: needs" in verified["detail"]


def test_verify_without_images_file_or_hash_match_says_so(wavezoo, manifest, entry, far):
    birds = {**entry, "name": "waveletnet_cifar_m1.birds", "results": {"birds/val": entry["results"]["digits/test"]}}
    manifest(birds, far)
    states = {e["name"]: e for e in wavezoo("weights", "verify", "--json").json}
    assert states[birds["name"]]["state"] == "whole" and "birds/val" in states[birds["name"]]["detail"]
    assert states[far["name"]]["state"] == "not here"
    assert f"wavezoo weights download {far['name']}" in states[far["name"]]["detail"]
    text = wavezoo("weights", "verify").out
    assert "hash ok" in text and "not downloaded" in text and "whole" not in text and "not here" not in text
    manifest({**entry, "sha256": "0" * 64})
    assert wavezoo("weights", "verify").code == 3
    assert wavezoo("weights", "verify", "digit").code == 2


def test_verify_uses_the_folder_with_the_images_of_a_result(wavezoo, manifest, entry, small_digits, tmp_path):
    train("digits", small_digits, tmp_path / "run", ["schedule.epochs=1", "batch_size=50"], workers=0)
    file = tmp_path / "run" / "model.safetensors"
    result = evaluate("waveletnet_cifar_m1", file, small_digits)
    stated = {key: getattr(result, key) for key in COUNTS}
    own = {
        **entry, "name": "waveletnet_cifar_m1.own", "path": str(file), "sha256": result.weights["sha256"],
        "data": "small-digits", "validation_fingerprint": result.data["fingerprint"],
        "results": {"small-digits/val": stated},
    }  # fmt: skip
    manifest(own)
    assert wavezoo("weights", "verify", "--json").json[0]["state"] == "whole"
    image = next((small_digits / "val").rglob("*.png"))
    for other in ("cat", "dog", "bird"):  # classes that the weights do not have
        (tmp_path / "animals" / "val" / other).mkdir(parents=True)
        (tmp_path / "animals" / "val" / other / image.name).write_bytes(image.read_bytes())
    folders = ["--data", tmp_path / "animals", "--data", small_digits]
    assert wavezoo("weights", "verify", *folders, "--json").json[0]["state"] == "verified"
    assert wavezoo("weights", "verify", *folders[:2], "--json").json[0]["state"] == "whole"
    assert "nowhere: no such data folder" in wavezoo("weights", "verify", "--data", "nowhere").err

    foreign = {"foreign/val": {**stated, "fingerprint": result.data["fingerprint"]}, "foreign/test": stated}
    manifest({**own, "data": "digits", "results": foreign})
    (verified,) = wavezoo("weights", "verify", *folders, "--json").json
    assert verified["state"] == "verified" and "foreign/test: not checked" in verified["detail"]


def test_verify_leaves_global_state_unchanged(unchanged_state):
    with unchanged_state():
        verify_weights([NAME])


def test_download_copies_to_a_file_a_folder_or_a_new_folder(wavezoo, entry, tmp_path):
    path = Path(wavezoo("weights", "download", NAME).out.strip())
    assert path == Path(entry["path"])
    (tmp_path / "folder").mkdir()
    for out, file in (
        (tmp_path / "w.safetensors", "w.safetensors"),
        (tmp_path / "folder", f"folder/{NAME}.safetensors"),
        ("new/dl/", f"new/dl/{NAME}.safetensors"),
    ):
        finished = wavezoo("weights", "download", NAME, "--out", out)
        assert finished.code == 0 and (tmp_path / finished.out.strip()) == tmp_path / file
        assert (tmp_path / file).read_bytes() == path.read_bytes()


def test_download_names_what_is_wrong(wavezoo, tmp_path):
    assert wavezoo("weights", "download", "waveletnet_cifar_m1.digit").err.count("did you mean") == 1
    finished = wavezoo("weights", "download", NAME, "--out", tmp_path / "missing" / "w.safetensors")
    assert finished.code == 2 and "its folder does not exist (mkdir" in finished.err
    (tmp_path / "file").touch()
    finished = wavezoo("weights", "download", NAME, "--out", f"{tmp_path / 'file'}/")
    assert finished.code == 1 and "cannot be written" in finished.err and len(finished.err.splitlines()) == 1


@pytest.mark.long
def test_weights_on_the_hub_are_downloaded_into_its_cache(hub, run, entry, far, tmp_path):
    hub.create("zoo/digits")
    revision = hub.commit("zoo/digits", {"model.safetensors": Path(entry["path"]).read_bytes()})
    far = {**far, "hub": f"zoo/digits@{revision}"}
    (tmp_path / "collection").mkdir()
    (tmp_path / "collection" / "manifest.json").write_text(json.dumps({"schema": SCHEMA, "checkpoints": [far]}))
    variables = {"WAVEZOO_CHECKPOINTS": str(tmp_path / "collection"), "token": None}
    finished = run("weights", "download", far["name"], **variables)
    assert finished.returncode == 0, finished.stderr
    assert Path(finished.stdout.strip()).read_bytes() == Path(entry["path"]).read_bytes()
    finished = run("eval", far["name"], "--json", "--quiet", HF_ENDPOINT="http://127.0.0.1:9", **variables)
    assert json.loads(finished.stdout)["correct_top1"] == 356, finished.stderr


def test_convert_writes_the_average_by_default_and_says_so(wavezoo, small_digits, tmp_path):
    quick = ["schedule.epochs=1", "batch_size=25", "ema.decay=0.5"]
    train("digits", small_digits, tmp_path / "run", quick, workers=0)
    checkpoint = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    for options, key, words in (
        ([], "state_dict_ema", "moving average (EMA) of the weights, after epoch 1"),
        (["--variant", "raw"], "state_dict", "raw weights, not a moving average, after epoch 1"),
    ):
        out = tmp_path / f"{key}.safetensors"
        finished = wavezoo("weights", "convert", "waveletnet_cifar_m1", tmp_path / "run" / "last.pt", out, *options)
        assert finished.code == 0 and words in finished.out, finished.err
        written = load_file(out)
        assert all(torch.equal(written[name], tensor) for name, tensor in checkpoint[key].items())
        assert evaluate("waveletnet_cifar_m1", out, small_digits).weights["variant"] == ("raw" if options else "ema")
    again = wavezoo("weights", "convert", "waveletnet_cifar_m1", tmp_path / "run" / "last.pt", out)
    assert again.code == 2 and "already exists" in again.err


def test_convert_refuses_other_models_suffixes_and_variants(wavezoo, small_digits, tmp_path):
    train("digits", small_digits, tmp_path / "run", ["schedule.epochs=1", "batch_size=50"], workers=0)
    last = tmp_path / "run" / "last.pt"
    for model, source, out, reason in (
        ("waveletnet_cifar_m2", last, "x.safetensors", "not of waveletnet_cifar_m2"),
        ("waveletnet_cifar_m1", last, "x.pt", "must be a .safetensors file"),
        ("waveletnet_cifar_m1", last, "nowhere/x.safetensors", "its folder does not exist"),
        ("waveletnet_cifar_m1", tmp_path / "nothing.pt", "x.safetensors", "weights file not found"),
    ):
        finished = wavezoo("weights", "convert", model, source, tmp_path / out)
        assert finished.code == 2 and reason in finished.err and not (tmp_path / out).exists()
    finished = wavezoo(
        "weights", "convert", "waveletnet_cifar_m1", last, tmp_path / "x.safetensors", "--variant", "ema"
    )
    assert finished.code == 2 and "no moving average" in finished.err
