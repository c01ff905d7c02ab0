import json
import os
import pickle
import struct

import pytest
import safetensors.torch
import timm
import torch

from wavenet_zoo import train
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.files import sha256_of
from wavenet_zoo.weights.files import weights_bytes
from wavenet_zoo.weights.loading import load_model
from wavenet_zoo.weights.metadata import WeightsMetadata

MODEL = "waveletnet_cifar_m1"


def fresh(**kwargs):
    torch.manual_seed(5)
    return timm.create_model(MODEL, **kwargs).eval()


def same(a, b):
    return all(torch.equal(x, b.state_dict()[key]) for key, x in a.state_dict().items())


def fails(*args, **kwargs) -> str:
    with pytest.raises(WavezooError) as error:
        load_model(*args, **kwargs)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_safetensors_file_loads_with_what_its_header_says(tmp_path):
    model = fresh(num_classes=3, use_dfwt=False)
    path = tmp_path / "model.safetensors"
    path.write_bytes(
        weights_bytes(
            model.to(memory_format=torch.channels_last).state_dict(),
            WeightsMetadata(model=MODEL, model_kwargs={"use_dfwt": False}, classes=["a", "b", "c"], data="digits"),
        )
    )
    loaded, weights = load_model(MODEL, path)
    assert same(model, loaded)
    assert loaded.blocks[0][0].dfwt.depth == 0  # the state dict alone could not tell
    assert (weights.kind, weights.metadata.classes, weights.metadata.data) == ("file", ["a", "b", "c"], "digits")
    assert "state_dict" not in loaded.pretrained_cfg


def test_a_plain_state_dict_loads_and_brings_its_number_of_classes(tmp_path):
    model = fresh(num_classes=7)
    safetensors.torch.save_file(model.state_dict(), tmp_path / "plain.safetensors")
    torch.save(model.state_dict(), tmp_path / "plain.pt")
    torch.save({"state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}, tmp_path / "ddp.pth")
    for name in ("plain.safetensors", "plain.pt", "ddp.pth"):
        loaded, _ = load_model(MODEL, tmp_path / name)
        assert loaded.num_classes == 7 and same(model, loaded), name


def test_plain_state_dict_gets_the_input_size_of_its_architecture(tmp_path):
    assert timm.create_model("waveletnet_x1", pretrained=True).pretrained_cfg["input_size"] == (3, 64, 64)
    model = timm.create_model("waveletnet_x1")
    safetensors.torch.save_file(model.state_dict(), tmp_path / "plain.safetensors")
    loaded, weights = load_model("waveletnet_x1", tmp_path / "plain.safetensors")
    assert loaded.pretrained_cfg["input_size"] == model.pretrained_cfg["input_size"] == (3, 224, 224)
    assert loaded.pretrained_cfg.get("label_names") is None
    assert weights.metadata.preprocessing is None and same(model, loaded)


def test_ema_weights_are_preferred_as_in_timm_and_named(tmp_path):
    raw, ema = fresh(), timm.create_model(MODEL)
    torch.save({"state_dict": raw.state_dict(), "state_dict_ema": ema.state_dict()}, tmp_path / "both.pt")
    loaded, weights = load_model(MODEL, tmp_path / "both.pt")
    assert same(ema, loaded) and weights.metadata.variant == "ema"


@pytest.mark.parametrize("num_classes", [3, 20])
def test_num_classes_other_than_that_of_the_weights_is_refused(tmp_path, num_classes):
    arguments = {"num_classes": num_classes}
    assert f"num_classes={num_classes}, but the weights have 10 classes" in fails(MODEL, None, arguments)
    safetensors.torch.save_file(fresh().state_dict(), tmp_path / "w.safetensors")
    assert "the weights have 10 classes" in fails(MODEL, tmp_path / "w.safetensors", arguments)
    assert load_model(MODEL, "none", arguments)[0].num_classes == num_classes


def test_random_weights_are_the_same_every_time():
    assert same(load_model(MODEL, "none")[0], load_model(MODEL, "none")[0])
    assert "random weights" in load_model(MODEL, "none")[1].describe()


def test_mobilenetv2_weights_load_into_the_corner_case(tmp_path):
    reference = timm.create_model("mobilenetv2_100").eval()
    safetensors.torch.save_file(reference.state_dict(), tmp_path / "mobilenetv2.safetensors")
    loaded, _ = load_model("waveletnet_x1", tmp_path / "mobilenetv2.safetensors", {"kappas": (0, 0, 0)})
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(loaded.eval()(x), reference(x), rtol=0, atol=1e-5)


def test_unknown_models_and_tags_get_the_nearest_names():
    assert "unknown model 'waveletnet_x0.75' (did you mean 'waveletnet_x0_75'" in fails("waveletnet_x0.75")
    assert "unknown model 'resnet5'" in fails("resnet5")
    assert "waveletnet_cifar_m1 has no weights 'digit' (did you mean 'digits'?)" in fails(f"{MODEL}.digit")
    assert "waveletnet_cifar_m1 has no weights 'digit' (did you mean 'digits'?)" in fails(MODEL, "digit")
    assert "no pretrained weights exist for waveletnet_x1_25 (pass --weights FILE" in fails("waveletnet_x1_25")


def test_an_argument_that_the_model_does_not_take_gets_the_nearest():
    assert "did you mean 'kappas'?" in fails(MODEL, "none", {"kapas": (0, 0, 0)})


@pytest.mark.parametrize("first", [b"PK", b"\x80"])
def test_a_header_whose_length_looks_like_a_pickle_is_still_safetensors(tmp_path, first):
    content = safetensors.torch.save(fresh().state_dict())
    length = int.from_bytes(content[:8], "little")
    header, tensors = content[8 : 8 + length], content[8 + length :]
    while not len(header).to_bytes(8, "little").startswith(first):
        header += b" "  # as the format allows
    (tmp_path / "w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + tensors)
    assert same(fresh(), load_model(MODEL, tmp_path / "w.safetensors")[0])


@pytest.mark.reliability(9)
def test_missing_empty_and_truncated_files_are_named(tmp_path):
    path = tmp_path / "w.safetensors"
    assert "w.safetensors: weights file not found" in fails(MODEL, path)
    assert "is a folder" in fails(MODEL, tmp_path)
    path.write_bytes(b"")
    assert "w.safetensors: is empty (0 bytes)" in fails(MODEL, path)
    content = weights_bytes(fresh().state_dict(), WeightsMetadata(model=MODEL))
    for cut in (4, 100, len(content) - 1):
        path.write_bytes(content[:cut])
        assert "w.safetensors: truncated, or not a safetensors file" in fails(MODEL, path)
    torch.save(fresh().state_dict(), tmp_path / "w.pt")
    (tmp_path / "w.pt").write_bytes((tmp_path / "w.pt").read_bytes()[:5000])
    assert "w.pt: truncated, or not a PyTorch checkpoint" in fails(MODEL, tmp_path / "w.pt")


def tensors_at(*offsets, dtype="F32", shape=(1,)):
    tensors = {f"t{i}": {"dtype": dtype, "shape": shape, "data_offsets": place} for i, place in enumerate(offsets)}
    header = json.dumps(tensors).encode()
    return struct.pack("<Q", len(header)) + header + bytes(12)


@pytest.mark.reliability(9)
@pytest.mark.parametrize(
    "content",
    [
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        b"<!doctype html><title>404</title>",
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 4) + b"\xff\xfe{}",
        struct.pack("<Q", 2) + b"{}" + b"trailing",
        struct.pack("<Q", 200_000_000) + b"{" + b" " * 1000,
        tensors_at((0, 4), (2, 6)),  # overlapping
        tensors_at((0, 4), (8, 12)),  # with a hole between
        tensors_at((4, 8), (0, 2**60)),
        tensors_at((0, 4), (4, 8), dtype="F33"),
        tensors_at((0, 4), (4, 8), shape=[2**62, 4]),
    ],
)
def test_files_that_are_something_else_are_refused(tmp_path, content):
    (tmp_path / "w.safetensors").write_bytes(content)
    assert "not a safetensors file" in fails(MODEL, tmp_path / "w.safetensors")


@pytest.mark.reliability(9)
def test_another_architecture_is_refused_with_the_first_differing_tensors(tmp_path):
    safetensors.torch.save_file(
        timm.create_model("waveletnet_x1", num_classes=10).state_dict(), tmp_path / "x1.safetensors"
    )
    message = fails(MODEL, tmp_path / "x1.safetensors")
    assert (
        "x1.safetensors: not weights of waveletnet_cifar_m1: conv_stem.weight has shape (32, 3, 3, 3) in the file"
        in message
    )
    path = tmp_path / "m2.safetensors"
    path.write_bytes(weights_bytes(fresh().state_dict(), WeightsMetadata(model="waveletnet_cifar_m2")))
    assert "weights of waveletnet_cifar_m2, not of waveletnet_cifar_m1" in fails(MODEL, path)


@pytest.mark.reliability(9)
def test_missing_and_superfluous_tensors_are_named(tmp_path):
    state = fresh().state_dict()
    del state["blocks.1.0.bn2.bias"]
    state["something.else"] = torch.zeros(1)
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    message = fails(MODEL, tmp_path / "w.safetensors")
    assert "blocks.1.0.bn2.bias is missing" in message and "something.else is not in the model" in message


@pytest.mark.reliability(9)
def test_weights_that_are_not_finite_are_refused(tmp_path):
    state = fresh().state_dict()
    state["blocks.0.0.bn1.bias"][3] = float("nan")
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    assert "tensor blocks.0.0.bn1.bias has values that are not finite" in fails(MODEL, tmp_path / "w.safetensors")


class RunsCode:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.reliability(10)
@pytest.mark.parametrize("kind", ["raw pickle", "torch zip", "pickle named safetensors"])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path, kind):
    canary = tmp_path / "canary"
    payload = {"state_dict": RunsCode(f"touch {canary}")}
    path = tmp_path / ("w.safetensors" if "safetensors" in kind else "w.pth")
    if kind == "torch zip":
        torch.save(payload, path)
    else:
        path.write_bytes(pickle.dumps(payload))
    message = fails(MODEL, path)
    assert "it was not opened" in message if "safetensors" in kind else "refused" in message
    assert not canary.exists()


@pytest.mark.reliability(10)
@pytest.mark.parametrize(
    "command",
    [
        ["eval", MODEL, "--weights", "{}"],
        ["export", MODEL, "--to", "pt2", "--weights", "{}"],
        ["weights", "convert", MODEL, "{}", "out.safetensors"],
        ["publish", MODEL, "--weights", "{}", "--repo", "me/m1", "--dry-run"],
    ],
    ids=lambda command: command[0],
)
def test_no_command_runs_code_from_a_pickle(wavezoo, tmp_path, command):
    canary = tmp_path / "canary"
    torch.save({"state_dict": RunsCode(f"touch {canary}")}, tmp_path / "w.pth")
    finished = wavezoo(*(word.format(tmp_path / "w.pth") for word in command))
    assert finished.code == 2
    reasons = (
        "refused, because loading this pickle would run code (posix.system)",
        "only safetensors files can be published",
    )
    assert any(f"w.pth: {reason}" in finished.err for reason in reasons)
    assert not canary.exists() and not (tmp_path / "out.safetensors").exists()
    assert "unsafe" not in wavezoo(command[0], "--help").out


@pytest.mark.reliability(10)
def test_run_does_not_resume_from_a_pickle_that_runs_code(small_digits, tmp_path):
    short = dict(recipe_path="digits", data=small_digits, overrides=["schedule.epochs=1", "batch_size=50"], workers=0)
    train(out=tmp_path / "run", **short)
    (tmp_path / "run" / "result.json").unlink()
    (tmp_path / "run" / "previous.pt").unlink(missing_ok=True)
    torch.save({"state_dict": RunsCode(f"touch {tmp_path / 'canary'}")}, tmp_path / "run" / "last.pt")
    with pytest.raises(WavezooError, match=r"last.pt is damaged"):
        train(out=tmp_path / "run", **short)
    listed = {"sha256": [sha256_of(tmp_path / "run" / "last.pt")]}
    (tmp_path / "run" / "checkpoints.json").write_text(json.dumps(listed))
    with pytest.raises(WavezooError, match=r"last.pt cannot be loaded"):
        train(out=tmp_path / "run", **short)
    assert not (tmp_path / "canary").exists()


def test_the_header_of_our_files_is_plain_json(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(weights_bytes({"a": torch.zeros(2)}, WeightsMetadata(model=MODEL, seed=3)))
    with safetensors.safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["wavenet_zoo"])
    assert (header["model"], header["seed"]) == (MODEL, 3)


@pytest.mark.reliability(9)
@pytest.mark.parametrize("header", ["[]", '{"model": 3}', '{"model": "waveletnet_cifar_m1", "classes": "abc"}', "{"])
def test_a_header_that_makes_no_sense_is_refused(tmp_path, header):
    safetensors.torch.save_file(fresh().state_dict(), tmp_path / "w.safetensors", {"wavenet_zoo": header})
    assert "w.safetensors: " in fails(MODEL, tmp_path / "w.safetensors")
