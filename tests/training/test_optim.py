import itertools

import pytest
import timm
import torch
from timm.models import group_parameters

import wavenet_zoo  # noqa: F401
from wavenet_zoo import WavezooError
from wavenet_zoo.recipes import load_recipe
from wavenet_zoo.training.optim import build_optimizer, build_scheduler, learning_rate


def rates_by_name(model, optimizer):
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(p)]: group["lr"] for group in optimizer.param_groups for p in group["params"]}


@pytest.mark.parametrize("name", ["waveletnet_x1", "mobilenetv2_100", "vit_tiny_patch16_224"])
def test_rate_of_a_layer_is_lr_times_decay_to_its_depth(name):
    recipe = load_recipe("finetune", ["optimizer.layer_decay=0.7", "schedule.warmup_epochs=0", "optimizer.lr=0.02"])
    model = timm.create_model(name, num_classes=3)
    optimizer = build_optimizer(recipe, model)
    build_scheduler(recipe, optimizer, steps_per_epoch=4)
    layers = group_parameters(model, model.group_matcher(coarse=False), reverse=True)
    last = max(layers.values())
    rates = rates_by_name(model, optimizer)
    assert rates.keys() == dict(model.named_parameters()).keys()
    assert rates == pytest.approx({key: 0.02 * 0.7 ** (last - layer) for key, layer in layers.items()})
    classifier = [key for key in rates if key.startswith(("classifier", "head."))]
    assert classifier and all(rates[key] == learning_rate(optimizer) == 0.02 for key in classifier)
    stem = "patch_embed.proj.weight" if name.startswith("vit") else "conv_stem.weight"
    assert rates[stem] == min(rates.values()) < 0.02 * 0.7**10


@pytest.mark.parametrize(
    "schedule",
    [
        ["schedule.name=cosine", "schedule.warmup_epochs=2", "schedule.min_lr=1e-3"],
        ["schedule.name=linear", "schedule.warmup_epochs=2"],
        ["schedule.name=constant"],
        ["schedule.name=steps", "schedule.milestones=[2,4]"],
    ],
    ids=lambda schedule: schedule[0],
)
def test_schedule_scales_the_rate_of_every_layer(schedule):
    given = ["schedule.epochs=6", "schedule.warmup_epochs=0", *schedule]
    model = timm.create_model("waveletnet_cifar_m1", num_classes=3)
    plain, scaled = (
        build_optimizer(load_recipe("finetune", [*given, *own]), model) for own in ([], ["optimizer.layer_decay=0.5"])
    )
    schedulers = [build_scheduler(load_recipe("finetune", given), optimizer, 5) for optimizer in (plain, scaled)]
    for step in range(30):
        for scheduler in schedulers:
            scheduler.step_update(step)
        assert learning_rate(scaled) == learning_rate(plain) == plain.param_groups[0]["lr"]
        for group in scaled.param_groups:
            assert group["lr"] == pytest.approx(learning_rate(plain) * group["lr_scale"])
    assert len({group["lr_scale"] for group in scaled.param_groups}) > 4


def test_layer_decay_of_one_equals_no_layer_decay():
    states = []
    for overrides in ([], ["optimizer.layer_decay=1"]):
        recipe = load_recipe("finetune", [*overrides, "optimizer.weight_decay=0.1"])
        torch.manual_seed(0)
        model = timm.create_model("waveletnet_cifar_m1", num_classes=3)
        optimizer = build_optimizer(recipe, model)
        model(torch.ones(2, 3, 32, 32)).square().sum().backward()
        optimizer.step()
        states.append(model.state_dict())
    for mine, theirs in zip(*(itertools.chain(state.values()) for state in states)):
        assert torch.equal(mine, theirs)


def test_layer_decay_requires_a_group_matcher():
    with pytest.raises(WavezooError, match=r"optimizer.layer_decay: waveletnet_x1 .* no group_matcher"):
        build_optimizer(load_recipe("finetune", ["optimizer.layer_decay=0.7"]), torch.nn.Linear(2, 2))
