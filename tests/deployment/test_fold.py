import copy

import pytest
import timm
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from wavenet_zoo.deployment.fold import fold, forms_of, units_of
from wavenet_zoo.errors import WavezooError


def batch_norms(model):
    return sum(isinstance(module, _BatchNorm) for module in model.modules())


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("waveletnet_x1", 0),
        ("mobilenetv2_100", 0),
        ("resnet18", 0),
        ("tf_efficientnet_b0", 0),  # Conv2dSame
        ("preresnet164_cifar", 54),  # pre-activation: these batch norms precede a convolution
        ("resnetv2_50x1_bit", 0),  # standardized weights and group norm are kept
    ],
)
def test_fold_keeps_the_outputs_of_any_timm_model(name, kept):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=10).eval()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    before = copy.deepcopy(model.state_dict())
    folded = fold(model)
    assert batch_norms(folded) == kept
    size = model.pretrained_cfg["input_size"][-1]
    images = torch.randn(1, 3, min(size, 64), min(size, 64))
    with torch.no_grad():
        expected = model(images)
        torch.testing.assert_close(folded(images), expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())  # the model is unchanged


def test_convolution_with_two_users_or_two_calls_is_not_folded():
    class Shared(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 1)
            self.norm = torch.nn.BatchNorm2d(4)
            self.twice = torch.nn.Conv2d(4, 4, 1)
            self.after = torch.nn.BatchNorm2d(4)

        def forward(self, x):
            y = self.conv(x)
            y = self.norm(y) + y
            return self.after(self.twice(y)) + self.twice(y)

    model = Shared().eval()
    model.norm.running_mean.normal_()
    model.after.running_mean.normal_()
    folded = fold(model)
    assert batch_norms(folded) == 2
    images = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(folded(images), model(images))


def test_each_unit_can_have_its_own_form():
    model = timm.create_model("waveletnet_cifar_m1").eval()
    assert units_of(model) == ["blocks.0.0", "blocks.1.0", "blocks.2.0"]
    folded = fold(model, {"blocks.1.0": "halves", "blocks.2.0": "split2"})
    assert forms_of(folded) == {"blocks.0.0": "dense", "blocks.1.0": "halves", "blocks.2.0": "split2"}
    with pytest.raises(WavezooError, match=r"no unit 'blocks\.9\.0'"):
        fold(model, {"blocks.9.0": "dense"})
    with pytest.raises(WavezooError, match="unknown form 'slit'") as error:
        fold(model, "slit")
    assert "split" in error.value.hint


def test_network_without_batch_norms_is_not_traced():
    class Engine(torch.nn.Module):
        def forward(self, x):
            raise SystemExit("called with a tracer's values")  # ONNX Runtime ends in a segmentation fault

    fold(Engine())
