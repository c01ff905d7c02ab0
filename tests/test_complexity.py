import pytest
import timm
import torch
from torch import nn

from wavenet_zoo import WavezooError, count
from wavenet_zoo.layers import WConv2d


@pytest.mark.parametrize(
    ("name", "kwargs", "macs", "paper", "adds"),
    [
        ("waveletnet_x0_75", {}, 130_984_440, 139_994_568, 3_279_080),
        ("waveletnet_x1", {}, 204_806_400, 216_481_216, 4_028_192),
        ("waveletnet_x1_25", {}, 312_502_648, 327_350_184, 4_941_944),
        ("waveletnet_x1_k5", {}, 192_770_432, 204_445_248, 4_424_504),
        ("waveletnet_x1", {"kappas": (0, 0, 0)}, 300_774_272, 312_449_088, 0),
    ],
)
def test_imagenet_counts_equal_the_specification(name, kwargs, macs, paper, adds):
    cost = count(name, model_kwargs=kwargs)
    assert (cost.macs, cost.macs_paper_convention, cost.dfwt_adds) == (macs, paper, adds)


@pytest.mark.parametrize(
    ("name", "published_params", "published_macs"),
    [
        ("waveletnet_x0_75", "1.79M", "140M"),  # Table 6
        ("waveletnet_x1", "2.72M", "216M"),  # Tables 5, 6 and 7
        ("waveletnet_x1_25", "3.82M", "327M"),  # Table 6
        ("waveletnet_x1_k5", "2.60M", "204M"),  # Table 7
    ],
)
def test_counts_equal_the_published_figures_as_printed(name, published_params, published_macs):
    cost = count(name)
    assert f"{cost.params / 1e6:.2f}M" == published_params
    assert f"{cost.macs_paper_convention / 1e6:.0f}M" == published_macs


@pytest.mark.parametrize(
    ("m", "macs"), [(1, 6_967_936), (2, 14_119_552), (3, 21_271_168), (12, 85_635_712), (24, 171_455_104)]
)
def test_cifar_counts_equal_the_specification(m, macs):
    assert count(f"waveletnet_cifar_m{m}").macs == macs


@pytest.mark.parametrize("name", ["waveletnet_x1", "mobilenetv2_100", "resnet18", "vit_tiny_patch16_224", "pit_ti_224"])
def test_per_layer_counts_sum_to_the_total(name):
    cost = count(name, per_layer=True)
    for key in ("params", "macs", "activations", "dfwt_adds"):
        assert sum(getattr(layer, key) for layer in cost.modules) == getattr(cost, key), key


def test_macs_of_one_layer_equal_arithmetic():
    class Net(nn.Module):
        num_classes, default_cfg = 10, {"input_size": (16, 10, 12)}
        pretrained_cfg = default_cfg

        def __init__(self):
            super().__init__()
            self.conv = WConv2d(16, 32, 3, kappa=2)

        def forward(self, x):
            return self.conv(x)

    cost = count(Net())
    assert cost.macs == 10 * 12 * 9 * 16 * 32 * 5 // 16
    assert cost.activations == 10 * 12 * 32


def test_counts_of_timm_models_equal_known_values():
    resnet50 = count("resnet50")
    assert (resnet50.params, resnet50.macs) == (25_557_032, 4_089_184_256)
    assert resnet50.macs_paper_convention is None
    assert count("mobilenetv2_100").macs == count("waveletnet_x1", model_kwargs={"kappas": (0, 0, 0)}).macs


def test_size_and_depth_select_input_and_modules():
    cost = count("waveletnet_x1", size=112, depth=1)
    assert cost.input_size == [3, 112, 112]
    assert [m.name for m in cost.modules][:3] == ["conv_stem", "bn1", "blocks"]
    assert sum(m.macs for m in cost.modules) == cost.macs < count("waveletnet_x1").macs / 3


def test_count_does_not_modify_the_module():
    model = timm.create_model("waveletnet_cifar_m1").train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    count(model)
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_unsupported_size_names_the_model():
    with pytest.raises(WavezooError, match="vit_tiny_patch16_224 does not support images of 100 x 100 px"):
        count("vit_tiny_patch16_224", size=100)
