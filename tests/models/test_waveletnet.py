import pytest
import timm
import torch

import wavenet_zoo  # noqa: F401  registers the models


def parameters(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "kwargs", "params"),
    [
        ("waveletnet_x0_75", {}, 1_792_580),
        ("waveletnet_x1", {}, 2_722_272),
        ("waveletnet_x1_k3", {}, 2_722_272),
        ("waveletnet_x1_25", {}, 3_823_800),
        ("waveletnet_x1_k5", {}, 2_602_832),
        ("waveletnet_x1", {"kappas": (0, 0, 0)}, 3_504_872),
        ("waveletnet_cifar_m1", {}, 18_714),
        ("waveletnet_cifar_m2", {}, 65_978),
        ("waveletnet_cifar_m3", {}, 113_242),
        ("waveletnet_cifar_m6", {}, 255_034),
        ("waveletnet_cifar_m12", {}, 538_618),
        ("waveletnet_cifar_m24", {}, 1_105_786),
    ],
)
def test_parameters_equal_the_specification(name, kwargs, params):
    model = timm.create_model(name, device="meta", **kwargs)
    assert parameters(model) == params


def test_kappas_0_load_timms_mobilenetv2_with_equal_logits():
    reference = timm.create_model("mobilenetv2_100").eval()
    with torch.no_grad():  # batch norms as after training, so that a swapped pair would show
        for module in reference.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.1)
    ours = timm.create_model(
        "waveletnet_x1",
        kappas=(0, 0, 0),
        pretrained=True,
        pretrained_cfg_overlay={"state_dict": reference.state_dict(), "num_classes": 1000},
    ).eval()
    assert parameters(ours) == parameters(reference) == 3_504_872
    x = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), reference(x), rtol=0, atol=1e-5)


def test_x1_has_the_channels_and_depths_of_table_4():
    model = timm.create_model("waveletnet_x1", device="meta")
    assert [len(stage) for stage in model.blocks] == [1, 2, 3, 4, 3, 3, 1]
    assert [stage[-1].conv_pwl.out_channels for stage in model.blocks] == [16, 24, 32, 64, 96, 160, 320]
    assert [stage[0].stride for stage in model.blocks] == [1, 2, 2, 2, 1, 2, 1]
    assert isinstance(model.blocks[0][0].conv_pw, torch.nn.Identity)
    units = [unit for stage in model.blocks for unit in stage]
    assert {unit.dfwt.depth for unit in units} == {3}
    assert {unit.conv_pwl.depth for unit in units} == {3}
    assert {unit.conv_pw.depth for unit in units[1:]} == {0}


def test_kappa_5_uses_the_largest_depth_of_each_layer():
    model = timm.create_model("waveletnet_x1_k5", device="meta")
    assert [stage[-1].conv_pwl.depth for stage in model.blocks] == [4, 3, 5, 5, 5, 5, 5]
    assert [stage[-1].dfwt.depth for stage in model.blocks] == [5, 4, 5, 5, 5, 5, 5]


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("waveletnet_x0_75", [12, 20, 24, 48, 72, 120, 240, 960]),
        ("waveletnet_x1_25", [20, 32, 40, 80, 120, 200, 400, 1600]),
    ],
)
def test_width_rounds_to_multiples_of_4_and_keeps_the_stem(name, channels):
    model = timm.create_model(name, device="meta")
    assert [stage[-1].conv_pwl.out_channels for stage in model.blocks] + [model.num_features] == channels
    assert model.conv_stem.out_channels == 32


@pytest.mark.parametrize(("units", "layers"), [(1, 11), (2, 20), (24, 218)])
def test_cifar_network_has_9_m_plus_2_layers(units, layers):
    model = timm.create_model(f"waveletnet_cifar_m{units}", device="meta")
    convolutions = [m for n, m in model.named_modules() if n.endswith(("conv_stem", "conv_pw", "conv_dw", "conv_pwl"))]
    assert len(convolutions) + 1 == layers


def test_use_dfwt_false_changes_logits_but_no_parameter():
    torch.manual_seed(0)
    with_dfwt = timm.create_model("waveletnet_cifar_m1", pretrained_cfg={}).eval()
    torch.manual_seed(0)
    without = timm.create_model("waveletnet_cifar_m1", use_dfwt=False, pretrained_cfg={}).eval()
    assert {k: v.shape for k, v in with_dfwt.state_dict().items()} == {
        k: v.shape for k, v in without.state_dict().items()
    }
    assert all(torch.equal(a, b) for a, b in zip(with_dfwt.parameters(), without.parameters()))
    x = torch.randn(1, 3, 32, 32)
    assert not torch.allclose(with_dfwt(x), without(x))


def test_skip_requires_stride_1_and_equal_channels():
    model = timm.create_model("waveletnet_x1", device="meta")
    assert [unit.has_skip for stage in model.blocks for unit in stage].count(True) == 10


def test_drop_path_rate_increases_from_first_to_last_unit():
    model = timm.create_model("waveletnet_cifar_m2", drop_path_rate=0.5, device="meta")
    rates = [getattr(unit.drop_path, "drop_prob", 0.0) for stage in model.blocks for unit in stage]
    assert rates[0] == 0.0 and rates[-1] == 0.5 and rates == sorted(rates)


@pytest.mark.parametrize("kappas", [(0, 3), (0, -1, 3)])
def test_invalid_kappas_are_rejected(kappas):
    with pytest.raises(ValueError, match="kappa"):
        timm.create_model("waveletnet_x1", kappas=kappas, device="meta")


def test_haar_neighbours_changes_logits_but_no_parameter():
    torch.manual_seed(0)
    halves = timm.create_model("waveletnet_cifar_m1").eval()
    torch.manual_seed(0)
    neighbours = timm.create_model("waveletnet_cifar_m1", haar="neighbours").eval()
    assert all(torch.equal(a, b) for a, b in zip(halves.parameters(), neighbours.parameters()))
    x = torch.randn(1, 3, 32, 32)
    assert not torch.allclose(halves(x), neighbours(x))


def test_dfwt_after_expand_precedes_the_depthwise_convolution():
    model = timm.create_model("waveletnet_cifar_m1", dfwt_after="expand").eval()
    unit = model.blocks[0][0]
    names = [name for name, _ in unit.named_children()]
    assert names.index("bn1") < names.index("dfwt") < names.index("conv_dw")
    x = torch.randn(1, 16, 8, 8)
    y = unit.bn3(unit.conv_pwl(unit.bn2(unit.conv_dw(unit.dfwt(unit.bn1(unit.conv_pw(x)))))))
    torch.testing.assert_close(unit(x), y + x)


@pytest.mark.parametrize("kwargs", [{"haar": "pairs"}, {"dfwt_after": "project"}])
def test_unknown_haar_and_dfwt_after_are_rejected(kwargs):
    with pytest.raises(ValueError, match=f"got '{next(iter(kwargs.values()))}'"):
        timm.create_model("waveletnet_cifar_m1", **kwargs)
