"""``wavezoo weights``: list, verify, download, convert."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from wavenet_zoo import evaluate, train
from wavenet_zoo.models import SCHEMA, read_manifest

NAME = "waveletnet_cifar_m1.digits"


@pytest.fixture
def manifest(monkeypatch):
    """Have the commands read another manifest."""

    def put(entries):
        for module in ("wavenet_zoo.zoo.collection", "wavenet_zoo.weights.loading"):
            monkeypatch.setattr(f"{module}.read_manifest", lambda: entries)

    return put


def test_the_list_holds_every_entry_with_its_figures(wavezoo):
    finished = wavezoo("weights", "list")
    assert finished.code == 0 and NAME in finished.out and "98.89 (digits/test)" in finished.out
    (entry,) = [e for e in wavezoo("weights", "list", "--json").json if e["name"] == NAME]
    assert Path(entry["here"]).is_file() and entry["sha256"] == read_manifest()[NAME]["sha256"]


def test_verifying_evaluates_again_and_every_count_has_to_agree(wavezoo, manifest):
    finished = wavezoo("weights", "verify", "--quiet")
    assert finished.code == 0 and "verified" in finished.out and "356 of 360, as stated" in finished.out
    entry = read_manifest()[NAME]
    result = {**entry["results"]["digits/test"], "correct_top1": 357}
    manifest({NAME: {**entry, "results": {"digits/test": result}}})
    finished = wavezoo("weights", "verify", NAME, "--quiet")
    assert finished.code == 3 and "correct_top1 356, stated 357" in finished.out


def test_what_cannot_be_verified_here_says_why(wavezoo, manifest, digit_folder):
    entry = read_manifest()[NAME]
    elsewhere = {"birds/val": entry["results"]["digits/test"]}
    far = {key: value for key, value in entry.items() if key not in ("path", "file")}
    manifest({"a.b": {**entry, "results": elsewhere}, "c.d": {**far, "hub": "zoo/none@" + "0" * 40}})
    states = {e["name"]: e for e in wavezoo("weights", "verify", "--json").json}
    assert states["a.b"]["state"] == "whole" and "birds/val" in states["a.b"]["detail"]
    assert states["c.d"]["state"] == "not here" and "wavezoo weights download c.d" in states["c.d"]["detail"]
    manifest({"a.b": {**entry, "sha256": "0" * 64}})
    assert wavezoo("weights", "verify").code == 3
    assert wavezoo("weights", "verify", "digit").code == 2


def test_weights_on_images_of_ones_own_are_verified_with_data(wavezoo, manifest, small_digits, tmp_path):
    train("digits", small_digits, tmp_path / "run", ["schedule.epochs=1", "batch_size=50"], workers=0)
    file = tmp_path / "run" / "model.safetensors"
    result = evaluate("waveletnet_cifar_m1", file, small_digits)
    stated = {key: getattr(result, key) for key in ("images", "correct_top1", "correct_top5", "top1")}
    entry = {
        **read_manifest()[NAME], "path": str(file), "sha256": result.weights["sha256"],
        "validation_fingerprint": result.data["fingerprint"], "results": {"small-digits/val": stated},
    }  # fmt: skip
    manifest({"waveletnet_cifar_m1.own": entry})
    assert wavezoo("weights", "verify", "--json").json[0]["state"] == "whole"
    image = next((small_digits / "val").rglob("*.png"))
    for other in ("cat", "dog", "bird"):  # of other classes, with which these weights do not go
        (tmp_path / "animals" / "val" / other).mkdir(parents=True)
        (tmp_path / "animals" / "val" / other / image.name).write_bytes(image.read_bytes())
    folders = ["--data", tmp_path / "animals", "--data", small_digits]
    assert wavezoo("weights", "verify", *folders, "--json").json[0]["state"] == "verified"
    assert wavezoo("weights", "verify", *folders[:2], "--json").json[0]["state"] == "whole"
    assert "nowhere: no such data folder" in wavezoo("weights", "verify", "--data", "nowhere").err


def test_weights_are_copied_where_asked_for(wavezoo, tmp_path):
    path = Path(wavezoo("weights", "download", NAME).out.strip())
    assert path == Path(read_manifest()[NAME]["path"])
    (tmp_path / "folder").mkdir()
    for out, file in (
        (tmp_path / "w.safetensors", "w.safetensors"),
        (tmp_path / "folder", f"folder/{NAME}.safetensors"),
    ):
        assert wavezoo("weights", "download", NAME, "--out", out).code == 0
        assert (tmp_path / file).read_bytes() == path.read_bytes()
    assert wavezoo("weights", "download", "waveletnet_cifar_m1.digit").err.count("did you mean") == 1


@pytest.mark.long
def test_weights_from_the_hub_are_fetched_into_its_cache(hub, run, tmp_path):
    entry = {key: value for key, value in read_manifest()[NAME].items() if key not in ("path", "file")}
    hub.create("zoo/digits")
    revision = hub.commit("zoo/digits", {"model.safetensors": Path(read_manifest()[NAME]["path"]).read_bytes()})
    entry = {**entry, "name": "waveletnet_cifar_m1.far", "hub": f"zoo/digits@{revision}"}
    (tmp_path / "collection").mkdir()
    (tmp_path / "collection" / "manifest.json").write_text(json.dumps({"schema": SCHEMA, "checkpoints": [entry]}))
    variables = {"WAVEZOO_CHECKPOINTS": str(tmp_path / "collection"), "token": None}
    finished = run("weights", "download", "waveletnet_cifar_m1.far", **variables)
    assert finished.returncode == 0, finished.stderr
    assert Path(finished.stdout.strip()).read_bytes() == Path(read_manifest()[NAME]["path"]).read_bytes()
    finished = run(
        "eval", "waveletnet_cifar_m1.far", "--json", "--quiet", HF_ENDPOINT="http://127.0.0.1:9", **variables
    )
    assert json.loads(finished.stdout)["correct_top1"] == 356, finished.stderr


def test_a_training_checkpoint_becomes_safetensors_and_it_is_said_which_weights(wavezoo, small_digits, tmp_path):
    quick = ["schedule.epochs=1", "batch_size=25", "ema.decay=0.5"]
    train("digits", small_digits, tmp_path / "run", quick, workers=0)
    checkpoint = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    for options, key, words in (
        ([], "state_dict_ema", "the moving average"),
        (["--variant", "raw"], "state_dict", "as trained, not an average"),
    ):
        out = tmp_path / f"{key}.safetensors"
        finished = wavezoo("weights", "convert", "waveletnet_cifar_m1", tmp_path / "run" / "last.pt", out, *options)
        assert finished.code == 0 and words in finished.out, finished.err
        written = load_file(out)
        assert all(torch.equal(written[name], tensor) for name, tensor in checkpoint[key].items())
        assert evaluate("waveletnet_cifar_m1", out, small_digits).weights["variant"] == ("raw" if options else "ema")
    again = wavezoo("weights", "convert", "waveletnet_cifar_m1", tmp_path / "run" / "last.pt", out)
    assert again.code == 2 and "is there already" in again.err


def test_what_cannot_be_converted_is_refused(wavezoo, small_digits, tmp_path):
    train("digits", small_digits, tmp_path / "run", ["schedule.epochs=1", "batch_size=50"], workers=0)
    last = tmp_path / "run" / "last.pt"
    for model, source, out, reason in (
        ("waveletnet_cifar_m2", last, "x.safetensors", "not of waveletnet_cifar_m2"),
        ("waveletnet_cifar_m1", last, "x.pt", "go into a .safetensors file"),
        ("waveletnet_cifar_m1", tmp_path / "nothing.pt", "x.safetensors", "weights file not found"),
    ):
        finished = wavezoo("weights", "convert", model, source, tmp_path / out)
        assert finished.code == 2 and reason in finished.err and not (tmp_path / out).exists()
    finished = wavezoo(
        "weights", "convert", "waveletnet_cifar_m1", last, tmp_path / "x.safetensors", "--variant", "ema"
    )
    assert finished.code == 2 and "no moving average" in finished.err
    shutil.rmtree(tmp_path / "run")
