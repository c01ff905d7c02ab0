import copy

import pytest
import timm
import torch
from timm.models import reparameterize_model

import wavenet_zoo  # noqa: F401  registers the models
from wavenet_zoo.models import UNIT_FORMS, WaveletNetUnit, set_form
from wavenet_zoo.models._folded_unit import fold_unit

VARIANTS = [
    ("waveletnet_x0_75", {}),  # depths differ between units
    ("waveletnet_x1", {}),
    ("waveletnet_x1_25", {}),
    ("waveletnet_x1_k5", {}),
    ("waveletnet_x1", {"kappas": (0, 0, 0)}),
    ("waveletnet_cifar_m2", {}),
    ("waveletnet_cifar_m1", {"kappas": (3, 3, 3)}),
    ("waveletnet_cifar_m1", {"kappas": (0, 2, 3)}),
    ("waveletnet_cifar_m1", {"kappas": (0, 3, 1)}),
    ("waveletnet_cifar_m1", {"use_dfwt": False}),
    ("waveletnet_cifar_m1", {"haar": "neighbours"}),
    ("waveletnet_cifar_m1", {"dfwt_after": "expand"}),
]


def model_and_images(name, kwargs):
    """Return a model with nontrivial batch norms, in evaluation mode, and images for it."""
    torch.manual_seed(0)
    model = timm.create_model(name, **kwargs).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 1.5)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.2)
    size = min(96, model.pretrained_cfg["input_size"][-1])
    return model, torch.randn(2, 3, size, size)


@pytest.mark.parametrize(("name", "kwargs"), VARIANTS)
def test_every_form_gives_the_logits_of_the_network(name, kwargs):
    model, images = model_and_images(name, kwargs)
    with torch.no_grad():
        expected = model(images)
        assert expected.abs().max() > 0.5  # not vanishing
        for form in UNIT_FORMS:
            folded = copy.deepcopy(model)
            for stage in folded.blocks:
                for i, unit in enumerate(stage):
                    stage[i] = unit.fuse(form)
            assert not any(isinstance(m, WaveletNetUnit) for m in folded.modules())
            torch.testing.assert_close(folded(images), expected, rtol=0, atol=1e-4)
        composed = copy.deepcopy(model)
        set_form(composed, "dense")
        torch.testing.assert_close(composed(images), expected, rtol=0, atol=1e-4)


def test_reparameterize_model_of_timm_folds_the_units():
    model, images = model_and_images("waveletnet_x1", {})
    folded = reparameterize_model(model)
    assert {unit.form for stage in folded.blocks for unit in stage} == {"dense"}
    with torch.no_grad():
        torch.testing.assert_close(folded(images), model(images), rtol=0, atol=1e-4)
    assert isinstance(model.blocks[0][0], WaveletNetUnit)  # the model is unchanged


def test_form_of_a_folded_unit_is_limited_by_its_depths():
    forms = {}
    for kwargs in (
        {},
        {"kappas": (0, 2, 2)},
        {"kappas": (0, 3, 1)},
        {"kappas": (0, 0, 0)},
        {"use_dfwt": False},
        {"dfwt_after": "expand"},
    ):
        unit = timm.create_model("waveletnet_cifar_m1", **kwargs).eval().blocks[0][0]
        forms[str(kwargs)] = [fold_unit(unit, form).form for form in UNIT_FORMS]
    assert UNIT_FORMS == ("factored", "dense", "split", "split2", "halves")
    assert forms.pop("{}") == forms.pop("{'kappas': (0, 2, 2)}") == list(UNIT_FORMS)
    assert forms.pop("{'kappas': (0, 3, 1)}") == ["factored", "dense", "split", "split", "halves"]
    for others in forms.values():
        assert others == ["factored", *["dense"] * 4]


def test_split_and_halves_reduce_the_multiplications_by_9_16_and_half():
    unit = timm.create_model("waveletnet_x1").eval().blocks[3][1]
    weights = {
        form: sum(p.numel() for p in projection_weights(fold_unit(unit, form))) for form in ("dense", "split", "halves")
    }
    assert weights["split"] / weights["dense"] == 9 / 16
    assert weights["halves"] / weights["dense"] == 1 / 2


def projection_weights(unit):
    parts = [unit.projection] if hasattr(unit, "projection") else [unit.conv_difference, unit.conv_sum]
    return [p for part in parts for name, p in part.named_parameters() if name.endswith("weight")]


def test_unknown_form_or_normalization_is_refused_by_name():
    unit = timm.create_model("waveletnet_cifar_m1").eval().blocks[0][0]
    for form in ("halved", "split3"):
        with pytest.raises(ValueError, match=f"unknown form '{form}'"):
            unit.fuse(form)
    with pytest.raises(ValueError, match="'split'"):
        set_form(unit, "split")
    other = timm.create_model("waveletnet_cifar_m1", norm_layer="groupnorm1").eval().blocks[0][0]
    with pytest.raises(ValueError, match="GroupNorm1"):
        other.fuse()


@pytest.mark.parametrize("kwargs", [{}, {"kappas": (3, 3, 3)}, {"haar": "neighbours"}, {"dfwt_after": "expand"}])
def test_dense_training_form_has_the_gradients_of_the_factored_one(kwargs):
    torch.manual_seed(0)
    factored = timm.create_model("waveletnet_cifar_m1", **kwargs).double().train()
    dense = copy.deepcopy(factored)
    set_form(dense, "dense")
    assert list(dense.state_dict()) == list(factored.state_dict())
    images = torch.randn(8, 3, 32, 32, dtype=torch.float64)
    for model in (factored, dense):
        model(images).square().sum().backward()
    for (name, a), (_, b) in zip(factored.named_parameters(), dense.named_parameters()):
        torch.testing.assert_close(b.grad, a.grad, rtol=1e-8, atol=1e-8, msg=name)
    assert dense.blocks[0][0].form == "dense"
    set_form(dense, "factored")
    assert dense.blocks[0][0].form == "factored"
    assert torch.jit.script(dense.eval())(images).shape == (8, 10)
