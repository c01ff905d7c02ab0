"""Configurations that cannot be trained are one line before the run starts."""

import pytest
import torch

from wavenet_zoo import WavezooError, dry_run, train
from wavenet_zoo.models import set_form
from wavenet_zoo.recipes import load_recipe
from wavenet_zoo.training import trial
from wavenet_zoo.training.trial import check_forward
from wavenet_zoo.weights.loading import build_model


@pytest.mark.reliability(68)
@pytest.mark.parametrize("function", [train, dry_run])
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.name=waveletnet_x1", "batch_size=8", "accumulation=8"], "on 1 image of .*more than 1 value"),
        (["model.name=vit_tiny_patch16_224"], "vit_tiny_patch16_224 cannot be trained on .* of 32 x 32 px"),
        (
            ["optimizer.lr=1e30", "optimizer.weight_decay=1e20"],
            r"lr 1e\+30 with weight_decay .* exceeds the range of float32",
        ),
    ],
)
def test_recipe_that_cannot_be_trained_is_one_line(small_digits, tmp_path, function, overrides, message):
    with pytest.raises(WavezooError, match=message) as error:
        function("digits", small_digits, tmp_path / "run", ["batch_size=20", *overrides], workers=0)
    assert error.value.exit_code == 2
    assert not (tmp_path / "run").exists()


@pytest.mark.reliability(68)
def test_missing_compiler_is_one_line(small_digits, tmp_path, monkeypatch):
    def fail(*args):
        raise RuntimeError("InvalidCxxCompiler: no working C++ compiler\nmore")

    monkeypatch.setattr(trial.torch, "compile", lambda function: fail)
    with pytest.raises(WavezooError, match=r"--compile: .*: InvalidCxxCompiler: no working C\+\+ compiler .install"):
        train("digits", small_digits, tmp_path / "run", workers=0, compile=True)
    assert not (tmp_path / "run").exists()


def test_trial_leaves_the_network_unchanged():
    recipe = load_recipe("digits")
    model = build_model("waveletnet_cifar_m2", num_classes=10).eval()
    set_form(model, "dense")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    check_forward(model, recipe, 20, 10, torch.autocast("cpu", enabled=False))
    assert not model.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
