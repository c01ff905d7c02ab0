import json

import pytest
import timm
import torch
from torch import nn

import wavenet_zoo  # noqa: F401
from wavenet_zoo import WavezooError, dry_run, train
from wavenet_zoo.training.build import check_recipe
from wavenet_zoo.training.freeze import freeze_backbone, train_mode
from wavenet_zoo.weights.files import read_weights_file
from wavenet_zoo.weights.loading import load_model

pytestmark = pytest.mark.usefixtures("short_runs")

FROZEN = [
    "model.pretrained=digits",
    "optimizer.freeze_backbone=true",
    "schedule.epochs=2",
    "batch_size=20",
    "optimizer.weight_decay=0.1",
    "data.validation=0.2",
]
MODELS = ["waveletnet_x1", "mobilenetv2_100", "resnet18", "convnext_atto", "vit_tiny_patch16_224"]


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["ema.decay=0.9", "accumulation=2", "augmentation.mixup=0.2", "optimizer.clip_grad=1"],
        ["optimizer.name=adamw", "optimizer.lr=0.01", "regularization.dropout=0.2"],
        ["precision=bf16", "channels_last=false"],
    ],
    ids=str,
)
def test_frozen_tensors_equal_the_initial_weights(small_digits, tmp_path, overrides):
    train("digits", small_digits, tmp_path / "run", [*FROZEN, *overrides], workers=0)
    initial = load_model("waveletnet_cifar_m1", "digits")[0].state_dict()
    checkpoint = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    states = [checkpoint["state_dict"], read_weights_file(tmp_path / "run" / "model.safetensors").tensors]
    if "state_dict_ema" in checkpoint:
        states.append(checkpoint["state_dict_ema"])
    for state in states:
        assert state.keys() == initial.keys()
        changed = {key for key, value in state.items() if not torch.equal(value, initial[key])}
        assert changed == {"classifier.weight", "classifier.bias"}
    parameters = [p for group in checkpoint["optimizer"]["param_groups"] for p in group["params"]]
    assert len(parameters) == 2


def test_new_classifier_on_frozen_features_learns(small_digits, tmp_path):
    for digit in range(5):  # other classes: the classifier is new
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / f"number {digit}").symlink_to(small_digits / "train" / str(digit))
    run = train("digits", tmp_path / "data", tmp_path / "run", [*FROZEN, "schedule.epochs=8"], workers=0)
    assert run.last["top1"] > 80
    steps = [json.loads(line)["loss"] for line in (tmp_path / "run" / "steps.jsonl").read_text().splitlines()]
    assert steps[-1] < steps[0] / 2


def test_dry_run_with_a_frozen_backbone_takes_the_step_of_the_run(small_digits, tmp_path):
    trial = dry_run("digits", small_digits, tmp_path / "run", FROZEN, workers=0)
    train("digits", small_digits, tmp_path / "run", FROZEN, workers=0)
    assert json.loads((tmp_path / "run" / "steps.jsonl").read_text().splitlines()[0])["loss"] == trial.loss


@pytest.mark.parametrize(
    "name", ["waveletnet_x1", "mobilenetv2_100", "resnet18", "convnext_atto", "vit_tiny_patch16_224"]
)
def test_only_dropout_and_classifier_are_in_training_mode(name):
    model = timm.create_model(name, num_classes=5, drop_rate=0.5, drop_path_rate=0.5).eval()
    freeze_backbone(model)
    classifier = model.get_classifier()
    trained = {key for key, parameter in model.named_parameters() if parameter.requires_grad}
    assert {id(model.get_parameter(key)) for key in trained} == {id(p) for p in classifier.parameters()}
    before = {key: buffer.clone() for key, buffer in model.named_buffers()}
    train_mode(model, frozen=True)
    images = torch.randn(2, 3, 224, 224)
    features = [model.forward_features(images) for _ in range(2)]
    assert torch.equal(*features)  # batch norm and stochastic depth do not act
    with torch.no_grad():
        assert not torch.equal(model(images), model(images))  # dropout does
    assert all(torch.equal(buffer, before[key]) for key, buffer in model.named_buffers())
    assert not any(m.training for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    train_mode(model, frozen=False)
    assert all(module.training for module in model.modules())


def test_model_without_a_classifier_cannot_be_frozen():
    for model in (timm.create_model("waveletnet_x1", num_classes=0), nn.Linear(2, 2)):
        with pytest.raises(WavezooError, match="freeze_backbone: the model has no classifier"):
            freeze_backbone(model)


def test_check_of_a_recipe_builds_the_frozen_network():
    assert check_recipe("digits", FROZEN)["params"] == 18_714
