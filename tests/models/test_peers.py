"""Peers of Tables 2 and 5: their exact counts, and equality with other implementations."""

import pytest
import timm
import torch

from wavenet_zoo import WavezooError, count, train
from wavenet_zoo.models.peers import resnet50_v1

COUNTS = {  # parameters and MACs, measured on independent implementations
    "alexnet_2012": (60_965_224, 724_406_816),
    "shufflenet_v1_x0_5": (778_040, 37_468_832),
    "shufflenet_v1_x1": (2_434_768, 138_365_952),
    "shufflenet_v1_x1_5": (3_442_168, 292_443_552),
    "shufflenet_v1_x2": (5_450_776, 524_045_184),
    "nasnet_a_mobile": (5_289_978, 568_234_858),
    "densenet40_cifar": (1_019_722, 264_812_928),
    "preresnet164_cifar": (1_703_258, 247_646_720),
    "igcv2_cifar": (2_199_130, 432_682_880),
    "igcv3_cifar": (2_223_498, 166_064_640),
    "mobilenetv2_cifar": (2_236_682, 165_163_520),
}


TIMMS = ["vgg16", "resnet50", "mobilenetv1_100", "mobilenetv2_100", "mobilenetv2_140"]


def test_all_peers_build_on_the_meta_device():
    pytest.importorskip("pytorchcv", reason="needs the extra peers")
    for name in (*COUNTS, *TIMMS):
        model = timm.create_model(name, device="meta")
        assert all(tensor.is_meta for tensor in (*model.parameters(), *model.buffers())), name


@pytest.mark.parametrize("name", [*COUNTS, *TIMMS])
def test_training_step_has_finite_gradients_and_changes_weights(name):
    if name == "nasnet_a_mobile":
        pytest.importorskip("pytorchcv", reason="needs the extra peers")
    torch.manual_seed(0)
    model = timm.create_model(name).train()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    logits = model(torch.randn(2, *model.default_cfg["input_size"]))
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1])).backward()
    optimizer.step()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters()))


def test_resnet50_v1_counts_equal_pytorchcv():
    resnet50 = pytest.importorskip("pytorchcv.models.resnet", reason="needs the extra peers").resnet50
    ours, theirs = resnet50_v1(), resnet50()
    assert count(ours).macs == count(theirs, 224).macs == 3_857_973_248
    assert count(ours).params == count(theirs, 224).params == 25_557_032
    assert count("resnet50").macs == 4_089_184_256  # timm's, which has the stride in the 3x3


@pytest.mark.parametrize("name", COUNTS)
def test_counts_equal_the_specification(name):
    if name == "nasnet_a_mobile":
        pytest.importorskip("pytorchcv", reason="needs the extra peers")
    cost = count(name)
    assert (cost.params, cost.macs) == COUNTS[name]


def same_logits(ours, theirs, size):
    """Copy weights by position, layer by layer, and compare outputs."""
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    x = torch.randn(2, 3, size, size)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=1e-3, atol=1e-4)


def randomise(model):
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return model


@pytest.mark.parametrize("name", ["shufflenet_v1_x1", "shufflenet_v1_x1_5", "shufflenet_v1_x2"])
def test_shufflenet_units_equal_pytorchcv(name):
    shufflenet = pytest.importorskip("pytorchcv.models.shufflenet", reason="needs the extra peers")
    settings = {
        "shufflenet_v1_x1": {"groups": 8, "channels": [[384] * 4, [768] * 8, [1536] * 4], "init_block_channels": 24},
        "shufflenet_v1_x1_5": {"groups": 3, "channels": [[360] * 4, [720] * 8, [1440] * 4], "init_block_channels": 24},
        "shufflenet_v1_x2": {"groups": 3, "channels": [[480] * 4, [960] * 8, [1920] * 4], "init_block_channels": 48},
    }
    theirs = shufflenet.ShuffleNet(**settings[name]).eval()
    ours = randomise(timm.create_model(name).eval())
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    their_units = [unit for stage in list(theirs.features)[1:4] for unit in stage]
    for unit, their_unit in zip([unit for stage in ours.blocks for unit in stage], their_units, strict=True):
        x = torch.randn(1, unit.conv1.in_channels, 8, 8)
        with torch.no_grad():
            expected, y = their_unit(x), unit(x)
        if unit.concat:  # they put the pooled input last
            y = torch.cat([y[:, x.shape[1] :], y[:, : x.shape[1]]], 1)
        torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)


def test_preresnet_and_igcv3_logits_equal_pytorchcv():
    pytest.importorskip("pytorchcv", reason="needs the extra peers")
    from pytorchcv.models.igcv3 import IGCV3
    from pytorchcv.models.preresnet_cifar import preresnet164bn_cifar10

    same_logits(randomise(timm.create_model("preresnet164_cifar")), preresnet164bn_cifar10(), 32)
    channels = [[16] + [24] * 4, [32] * 6, [64] * 8 + [96] * 6 + [160] * 6 + [320]]
    theirs = IGCV3(channels=channels, init_block_channels=32, final_block_channels=1280, num_classes=10)
    theirs.features.init_block.conv.stride = (1, 1)
    theirs.features.final_pool = torch.nn.AdaptiveAvgPool2d(1)
    same_logits(randomise(timm.create_model("igcv3_cifar")), theirs, 32)


def test_mobilenetv2_cifar_equals_timms_with_other_strides():
    from timm.models._efficientnet_builder import decode_arch_def
    from timm.models.efficientnet import EfficientNet

    blocks = ["ds_r1_k3_s1_c16", "ir_r2_k3_s1_e6_c24", "ir_r3_k3_s2_e6_c32", "ir_r4_k3_s2_e6_c64"]
    blocks += ["ir_r3_k3_s1_e6_c96", "ir_r3_k3_s1_e6_c160", "ir_r1_k3_s1_e6_c320"]
    theirs = EfficientNet(
        decode_arch_def([[block] for block in blocks]), num_features=1280, stem_size=32, act_layer=torch.nn.ReLU6,
        norm_layer=torch.nn.BatchNorm2d, num_classes=10,
    )  # fmt: skip
    theirs.conv_stem.stride = (1, 1)
    same_logits(randomise(timm.create_model("mobilenetv2_cifar")), theirs, 32)


@pytest.mark.parametrize(
    "name",
    [
        "densenet40_cifar",
        pytest.param("mobilenetv2_cifar", marks=pytest.mark.long),
        pytest.param("igcv3_cifar", marks=pytest.mark.long),
        pytest.param("preresnet164_cifar", marks=pytest.mark.long),
    ],
)
def test_cifar_peers_train_by_their_recipes(name, digit_folder, tmp_path):
    recipe = f"cifar10/{name.removesuffix('_cifar')}"
    overrides = ["schedule.epochs=1", "schedule.milestones=[1]", "batch_size=20", "optimizer.lr=0.01"]
    run = train(recipe, digit_folder, tmp_path / "run", overrides, workers=0)
    assert run.model == name and run.last["train_loss"] < 6


def test_igcv2_block_connects_every_pair_by_exactly_one_path():
    model = timm.create_model("igcv2_cifar").eval()
    for stage in model.blocks:
        block = stage[1]
        pointwise = [module for module in block if isinstance(module, torch.nn.Conv2d)][1:]
        for conv in pointwise:
            torch.nn.init.ones_(conv.weight)
        with torch.no_grad():
            channels = pointwise[0].in_channels
            paths = torch.eye(channels)[:, :, None, None]
            for layer in list(block)[1:5]:
                paths = layer(paths)
        assert torch.equal(paths[..., 0, 0], torch.ones(channels, channels))


def test_nasnet_without_pytorchcv_names_the_extra(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pytorchcv.models.nasnet", None)
    with pytest.raises(WavezooError, match=r"pip install pytorchcv"):
        count("nasnet_a_mobile")
