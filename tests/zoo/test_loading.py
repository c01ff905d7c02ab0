"""``timm.create_model`` with weights of the package, a collection and the Hub: intact, damaged and unreachable."""

import hashlib
import json
import shutil
import socket
from pathlib import Path

import pytest
import timm
import torch

import wavenet_zoo  # noqa: F401
from wavenet_zoo.models import check_reachable
from wavenet_zoo.runtime.manifest import SCHEMA, read_manifest

NAME = "waveletnet_cifar_m1.digits"
REPO = "zoo/digits"
CREATE = """
import sys, timm, wavenet_zoo
try:
    model = timm.create_model(sys.argv[1], pretrained=True)
    print("loaded", sum(p.numel() for p in model.parameters()), model.pretrained_cfg.get("tag"))
except Exception as error:
    print(type(error).__name__, error)
"""


def outcome(finished):
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.removesuffix("\n")


@pytest.fixture
def collection(tmp_path):
    """A folder with a manifest: weights in a file, weights on the Hub, and weights whose file is missing."""
    folder = tmp_path / "collection"
    folder.mkdir()
    entry = read_manifest()[NAME]
    shutil.copy(entry["path"], folder / "own.safetensors")
    plain = {key: value for key, value in entry.items() if key not in ("path", "file")}

    def write(revision="0" * 40):
        entries = [
            {**plain, "name": "waveletnet_cifar_m1.own", "file": "own.safetensors"},
            {**plain, "name": "waveletnet_cifar_m1.far", "hub": f"{REPO}@{revision}"},
            {**plain, "name": "densenet40_cifar.gone", "file": "gone.safetensors"},
        ]
        (folder / "manifest.json").write_text(json.dumps({"schema": SCHEMA, "checkpoints": entries}))
        return folder

    return write


@pytest.fixture
def on_the_hub(hub):
    """Revision of the digits weights on the local Hub."""
    hub.create(REPO)
    return hub.commit(REPO, {"model.safetensors": Path(read_manifest()[NAME]["path"]).read_bytes()})


def test_a_collection_adds_its_weights_except_missing_files(collection, run):
    folder = collection()
    code = "import timm, wavenet_zoo; print(*timm.list_pretrained(['waveletnet*', 'densenet40*']))"
    listed = run("-c", code, WAVEZOO_CHECKPOINTS=str(folder)).stdout.split()
    assert {"waveletnet_cifar_m1.own", "waveletnet_cifar_m1.far", NAME} <= set(listed)
    assert not any(name.startswith("densenet40") for name in listed)
    text = outcome(run("-c", CREATE, "waveletnet_cifar_m1.own", WAVEZOO_CHECKPOINTS=str(folder)))
    assert text == "loaded 18714 own"


@pytest.mark.long
def test_an_invalid_collection_is_ignored_with_a_warning(run, tmp_path):
    code = "import timm, wavenet_zoo; print(timm.create_model('waveletnet_cifar_m1', pretrained=True).num_classes)"
    finished = run("-c", code, WAVEZOO_CHECKPOINTS=str(tmp_path / "nowhere"))
    assert finished.stdout.strip() == "10"
    assert "WAVEZOO_CHECKPOINTS" in finished.stderr and "ignored" in finished.stderr


@pytest.mark.long
def test_weights_on_the_hub_are_downloaded_once_and_cached(hub, on_the_hub, collection, run):
    folder = str(collection(on_the_hub))
    text = outcome(run("-c", CREATE, "waveletnet_cifar_m1.far", WAVEZOO_CHECKPOINTS=folder))
    assert text == "loaded 18714 far" and hub.count("GET .*/resolve/") == 1
    before = len(hub.requests)
    again = run("-c", CREATE, "waveletnet_cifar_m1.far", WAVEZOO_CHECKPOINTS=folder, HF_ENDPOINT="http://127.0.0.1:9")
    assert outcome(again) == "loaded 18714 far" and len(hub.requests) == before


@pytest.mark.reliability(31)
@pytest.mark.parametrize(
    "what", [pytest.param("refuses", marks=pytest.mark.long), "hangs", pytest.param("offline", marks=pytest.mark.long)]
)
def test_an_unreachable_hub_is_reported_in_one_line(hub, collection, run, what):
    folder = str(collection())
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = {"refuses": "http://127.0.0.1:9", "hangs": f"http://127.0.0.1:{silent.getsockname()[1]}"}.get(what)
        more = {"HF_HUB_OFFLINE": "1"} if endpoint is None else {"HF_ENDPOINT": endpoint}
        finished = run("-c", CREATE, "waveletnet_cifar_m1.far", timeout=60, WAVEZOO_CHECKPOINTS=folder, **more)
        text = outcome(finished)
        assert text.startswith("RuntimeError waveletnet_cifar_m1.far: ") and "\n" not in text
        assert "WAVEZOO_CHECKPOINTS" in text and REPO in text


@pytest.mark.parametrize(("patience", "loads"), [(None, False), ("60", True), ("1", False)])
def test_a_slow_hub_is_waited_for_as_the_client_is_told(hub, fault, monkeypatch, patience, loads):
    monkeypatch.setattr("wavenet_zoo.models._pretrained.HUB_TIMEOUT", 1.0)
    monkeypatch.setattr(
        "wavenet_zoo.models._pretrained.hf_hub_url", lambda *_, **__: f"{hub.endpoint}/{REPO}/resolve/x"
    )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_HUB_ETAG_TIMEOUT", raising=False)
    if patience:
        monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", patience)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_ETAG_TIMEOUT", int(patience))
    hub.faults.append(fault("HEAD ", 2.0))
    if loads:
        check_reachable("x", REPO)  # any answer will do, here 404
        assert hub.requests == [f"HEAD /{REPO}/resolve/x"]
    else:
        with pytest.raises(
            RuntimeError, match=f"x: its weights are at .*/{REPO}, which cannot be reached: .*timed out"
        ):
            check_reachable("x", REPO)


@pytest.mark.long
def test_eval_with_an_unreachable_hub_fails_with_one_line(run, digit_folder):
    finished = run("eval", "mobilenetv2_100", "--data", digit_folder, timeout=60, HF_ENDPOINT="http://127.0.0.1:9")
    assert finished.returncode == 2 and len(finished.stderr.splitlines()) == 1
    assert "timm/mobilenetv2_100" in finished.stderr and "cannot be reached" in finished.stderr
    assert "--weights FILE" in finished.stderr and "WAVEZOO_CHECKPOINTS" not in finished.stderr
    assert finished.stderr.count("mobilenetv2_100.ra_in1k: ") == 1


@pytest.mark.long
def test_a_model_without_weights_fails_with_one_line(run):
    text = outcome(run("-c", CREATE, "waveletnet_x1_25"))
    assert (
        text == "RuntimeError No pretrained weights exist for waveletnet_x1_25. Use `pretrained=False` for random init."
    )


@pytest.mark.reliability(31)
@pytest.mark.parametrize("spoiled", [pytest.param("cache", marks=pytest.mark.long), "transfer"])
def test_a_flipped_byte_is_reported_with_the_file_to_remove(hub, fault, on_the_hub, collection, run, tmp_path, spoiled):
    folder = str(collection(on_the_hub))
    if spoiled == "transfer":
        hub.faults.append(fault("GET .*/resolve/", "flip", 1))
        text = outcome(run("-c", CREATE, "waveletnet_cifar_m1.far", WAVEZOO_CHECKPOINTS=folder))
    else:
        outcome(run("-c", CREATE, "waveletnet_cifar_m1.far", WAVEZOO_CHECKPOINTS=folder))
        (blob,) = [path for path in (tmp_path / "home").rglob("*") if path.is_file() and len(path.name) == 64]
        content = bytearray(blob.read_bytes())
        content[-5] ^= 1
        blob.write_bytes(bytes(content))
        text = outcome(run("-c", CREATE, "waveletnet_cifar_m1.far", WAVEZOO_CHECKPOINTS=folder))
    assert text.startswith("RuntimeError ") and "hash mismatch" in text and "remove " in text
    blob = Path(text.partition("remove ")[2].partition(" and ")[0])
    blob.unlink()
    assert outcome(run("-c", CREATE, "waveletnet_cifar_m1.far", WAVEZOO_CHECKPOINTS=folder)) == "loaded 18714 far"


@pytest.mark.reliability(31)
@pytest.mark.long
def test_a_flipped_byte_is_found_without_a_manifest(hub, fault, on_the_hub, run):
    config = {"architecture": "waveletnet_cifar_m1", "num_classes": 10, "pretrained_cfg": {"num_classes": 10}}
    hub.commit(REPO, {"config.json": json.dumps(config).encode()})
    hub.faults.append(fault("GET .*/resolve/.*safetensors", "flip", 1))
    text = outcome(run("-c", CREATE, f"hf-hub:{REPO}"))
    assert text.startswith("RuntimeError ") and "hash mismatch" in text


@pytest.mark.reliability(9)
def test_shipped_weights_with_a_hash_mismatch_are_refused(monkeypatch, tmp_path):
    from wavenet_zoo import WavezooError, evaluate

    entry = read_manifest()[NAME]
    changed = tmp_path / "changed.safetensors"
    content = bytearray(Path(entry["path"]).read_bytes())
    content[-5] ^= 1
    changed.write_bytes(bytes(content))
    manifest = {NAME: {**entry, "path": str(changed)}}
    for module in ("models._pretrained", "weights.loading", "weights.manifest"):
        monkeypatch.setattr(f"wavenet_zoo.{module}.read_manifest", lambda: manifest)
    with pytest.raises(RuntimeError, match=r"changed\.safetensors.*hash mismatch.*reinstall wavenet_zoo"):
        timm.create_model("waveletnet_cifar_m1", pretrained=True, pretrained_cfg_overlay={"file": str(changed)})
    with pytest.raises(WavezooError, match=r"changed\.safetensors.*hash mismatch"):
        evaluate(NAME)
    changed.unlink()
    with pytest.raises(RuntimeError, match=r"changed\.safetensors: the weights of .* are missing"):
        timm.create_model("waveletnet_cifar_m1", pretrained=True, pretrained_cfg_overlay={"file": str(changed)})


def test_a_model_without_weights_has_the_config_of_its_architecture():
    plain = timm.create_model("waveletnet_cifar_m1")
    assert plain.pretrained_cfg["mean"] == (0.4914, 0.4822, 0.4465)  # CIFAR-10's, not that of the digits weights
    tagged = timm.create_model(NAME)
    assert tagged.pretrained_cfg["mean"] == (0.5, 0.5, 0.5)
    assert timm.create_model("waveletnet_cifar_m1", num_classes=7).num_classes == 7


def test_shipped_weights_match_the_manifest():
    entry = read_manifest()[NAME]
    assert hashlib.sha256(Path(entry["path"]).read_bytes()).hexdigest() == entry["sha256"]
    x = torch.randn(1, 3, 32, 32)
    by_name, by_tag = (timm.create_model(n, pretrained=True).eval() for n in ("waveletnet_cifar_m1", NAME))
    torch.testing.assert_close(by_name(x), by_tag(x))
