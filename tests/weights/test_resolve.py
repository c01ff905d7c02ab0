"""Models that are given by their weights alone, and inputs that a model does not accept."""

import json

import pytest
import safetensors.torch
import timm
import torch

from wavenet_zoo import count, evaluate
from wavenet_zoo.data.preprocessing import Preprocessing
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.recipes import load_recipe
from wavenet_zoo.weights.files import weights_bytes
from wavenet_zoo.weights.input_check import check_input
from wavenet_zoo.weights.loading import load_model
from wavenet_zoo.weights.locations import resolve_model
from wavenet_zoo.weights.metadata import WeightsMetadata

MODEL = "waveletnet_cifar_m1"
KWARGS = {"kappas": [0, 2, 2]}
SMALL = Preprocessing((3, 16, 16), "bilinear", 1.0, "center", (0.5,) * 3, (0.5,) * 3)


@pytest.fixture
def run_folder(tmp_path):
    """A folder with the weights of a run, of a network with arguments."""
    torch.manual_seed(5)
    model = timm.create_model(MODEL, num_classes=10, **KWARGS)
    metadata = WeightsMetadata(
        model=MODEL, model_kwargs=KWARGS, classes=[str(digit) for digit in range(10)], data="digits",
        preprocessing=SMALL,
    )  # fmt: skip
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.safetensors").write_bytes(weights_bytes(model.state_dict(), metadata))
    return tmp_path / "run"


@pytest.fixture
def published_folder(tmp_path):
    """A folder in timm's format, without metadata of wavezoo."""
    torch.manual_seed(5)
    state_dict = timm.create_model("mobilenetv2_cifar", num_classes=10).state_dict()
    cfg = {**SMALL.to_dict(), "num_classes": 10, "label_names": [str(digit) for digit in range(10)]}
    config = {"architecture": "mobilenetv2_cifar", "num_classes": 10, "pretrained_cfg": cfg}
    (tmp_path / "published").mkdir()
    safetensors.torch.save_file(state_dict, tmp_path / "published" / "model.safetensors")
    (tmp_path / "published" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return tmp_path / "published"


@pytest.mark.parametrize("form", ["{}", "{}/model.safetensors", "local-dir:{}"])
def test_eval_accepts_weights_alone_and_as_weights(run_folder, form):
    expected = evaluate(MODEL, run_folder / "model.safetensors")
    given = form.format(run_folder)
    for arguments in ((given,), (MODEL, given)):
        result = evaluate(*arguments)
        assert (result.model, result.top1, result.loss) == (MODEL, expected.top1, expected.loss)
        assert result.weights["sha256"] == expected.weights["sha256"]
        assert result.preprocessing["input_size"] == [3, 16, 16]


def test_folder_of_timm_is_evaluated_with_its_configuration(published_folder, wavezoo):
    result = wavezoo("eval", f"local-dir:{published_folder}", "--data", "digits", "--json")
    assert result.code == 0, result.err
    assert result.json["model"] == "mobilenetv2_cifar" and len(result.json["weights"]["sha256"]) == 64
    assert result.json["weights"]["preprocessing"] == SMALL.to_dict()
    assert result.json["weights"]["classes"] == [str(digit) for digit in range(10)]


@pytest.mark.reliability(9)
@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("pretrained_cfg", {"crop_pct": -1}, "crop_pct -1.0: must be"),
        ("pretrained_cfg", {"input_size": "x"}, "config.json: "),
        ("model_args", {"checkpoint_path": "evil.pth"}, "model argument 'checkpoint_path' cannot be set"),
        ("model_args", 3, "model_kwargs"),
        ("architecture", "../x", "unknown model"),
        ("architecture", "resnet18", "not weights of resnet18"),
    ],
)
def test_hostile_configuration_is_refused_in_one_line(published_folder, key, value, reason):
    config = json.loads((published_folder / "config.json").read_text(encoding="utf-8"))
    config[key] = {**config[key], **value} if key == "pretrained_cfg" else value
    (published_folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(WavezooError, match=reason) as error:
        load_model(*resolve_model(f"local-dir:{published_folder}"))
    assert "\n" not in str(error.value)


def test_count_info_and_bench_accept_a_run_folder(run_folder, wavezoo):
    expected = count(MODEL, size=16, model_kwargs={**KWARGS, "num_classes": 10})
    counted = wavezoo("count", run_folder, "--json").json
    assert (counted["model"], counted["macs"], counted["input_size"]) == (MODEL, expected.macs, [3, 16, 16])
    described = wavezoo("info", run_folder, "--json").json
    assert described["complexity"]["macs"] == expected.macs
    assert described["weights"][0]["preprocessing"] == SMALL.to_dict()
    assert "resize to 16 px" in wavezoo("info", run_folder).out
    measured = wavezoo("bench", run_folder, "--batch", 2, "--form", "dense", "--seconds", 0, "--threads", 1)
    assert "16 px, 1 thread, batch size 2" in measured.out


@pytest.mark.parametrize(
    ("model", "weights", "reason"),
    [
        ("nowhere.safetensors", None, "weights file not found"),
        ("local-dir:nowhere", None, "weights file not found"),
        ("run", "digits", "has its own weights"),
        ("plain.safetensors", None, "pass the model's name and --weights"),
        ("hf-hub:org", None, "hf-hub:org"),
    ],
)
def test_weights_without_a_model_are_refused_with_advice(run_folder, monkeypatch, model, weights, reason):
    monkeypatch.chdir(run_folder.parent)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    safetensors.torch.save_file({"a": torch.zeros(1)}, "plain.safetensors")
    with pytest.raises(WavezooError, match=reason):
        resolve_model(model, weights)


def test_model_of_timm_has_priority_over_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resnet18").mkdir()
    assert resolve_model("resnet18", "x.pt") == ("resnet18", "x.pt")


def random(name=MODEL, **kwargs):
    return load_model(name, "none", {"num_classes": 3, **kwargs})[0].eval()


@pytest.mark.parametrize("training", [False, True])
def test_check_of_the_input_changes_nothing(training):
    model = random().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.get_rng_state()
    check_input(model, (3, 32, 32), 4, training=training)
    assert model.training and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.reliability(68)
def test_sizes_and_outputs_that_do_not_fit_are_refused():
    with pytest.raises(WavezooError, match=r"does not accept images of 192 x 192 px: Input height \(192\)"):
        check_input(random("vit_tiny_patch16_224"), (3, 192, 192))
    with pytest.raises(WavezooError, match=r"does not accept images of 32 x 32 px: Expected more than 1 value"):
        check_input(random("waveletnet_x1"), (3, 32, 32), 1, training=True)
    check_input(random("waveletnet_x1"), (3, 32, 32), 1)
    for kwargs in ({"global_pool": ""}, {"num_classes": 0}):
        with pytest.raises(WavezooError, match="the model "):
            check_input(random(**kwargs), (3, 32, 32))


def test_module_that_does_not_run_on_meta_is_checked_on_an_image():
    class Numpy(torch.nn.Module):
        num_classes = 2

        def forward(self, x):
            return torch.from_numpy(x.numpy().mean((2, 3))[:, :2])

    check_input(Numpy(), (3, 8, 8))
    with pytest.raises(WavezooError, match=r"returns \(1, 1\) for 1 of images of 8 x 8 px, not \(1, 2\) logits"):
        check_input(Numpy(), (1, 8, 8))


RANDOM = ("--weights", "none")
TEN = ("--model-kwargs", "num_classes=10")


@pytest.mark.reliability(68)
@pytest.mark.parametrize(
    "arguments",
    [
        ("eval", "vit_tiny_patch16_224", *RANDOM, *TEN, "--data", "digits", "--size", 192),
        ("export", "vit_tiny_patch16_224", *RANDOM, "--to", "pt2", "--size", 192),
        ("bench", "vit_tiny_patch16_224", "--size", 192),
        ("eval", MODEL, *RANDOM, *TEN, "--data", "digits", "--model-kwargs", "global_pool=''"),
        ("eval", MODEL, "--data", "digits", "--size", 100_000),
        ("count", MODEL, "--size", 100_000),
        ("export", MODEL, "--to", "pt2", *RANDOM, "--model-kwargs", "in_chans=1"),
        ("train", "digits", "--set", "model.name=vit_tiny_patch16_224", "--dry-run"),
    ],
)
def test_commands_refuse_in_one_line_what_the_model_does_not_accept(wavezoo, arguments):
    finished = wavezoo(*arguments)
    assert finished.code == 2, finished.err
    assert len([line for line in finished.err.splitlines() if line.startswith("error: ")]) == 1


@pytest.mark.reliability(36)
@pytest.mark.parametrize(
    "arguments",
    [
        *((command, MODEL) for command in ("eval", "count", "info", "bench")),
        ("export", MODEL, "--to", "pt2"),
        *((*command.split(), "digits", "--set") for command in ("train", "recipe check")),
    ],
)
def test_arguments_that_wavezoo_decides_are_refused_everywhere(wavezoo, arguments):
    given = ("model.kwargs.pretrained=false",) if "digits" in arguments else ("--model-kwargs", "pretrained=False")
    finished = wavezoo(*arguments, *given)
    assert finished.code == 2 and "model argument 'pretrained' cannot be set" in finished.out + finished.err


@pytest.mark.reliability(36)
@pytest.mark.parametrize("key", ["kwargs", "initial_weights_of"])
@pytest.mark.parametrize("argument", ["checkpoint_path=x", "num_classes=3", "in_chans=1", "device=meta"])
def test_recipe_with_such_an_argument_is_refused_with_its_line(key, argument):
    with pytest.raises(WavezooError, match=rf"model\.{key}.*: model argument '?{argument.partition('=')[0]}"):
        load_recipe("digits", [f"model.{key}.{argument}"])


@pytest.mark.reliability(36)
@pytest.mark.parametrize("argument", ["act_layer=evil", "global_pool=evil", "width=x", "kappas=1", "num_classes=x"])
def test_values_that_a_model_refuses_are_named_in_one_line(wavezoo, argument):
    finished = wavezoo("count", "waveletnet_x1", "--model-kwargs", argument)
    assert finished.code == 2 and argument.partition("=")[0] in finished.err
    assert len(finished.err.splitlines()) == 1
