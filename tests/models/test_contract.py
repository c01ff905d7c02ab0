"""timm's model interface, after timm's own tests (tests/test_models.py of timm 1.0.31)."""

import pytest
import timm
import torch
from timm.models import group_parameters

import wavenet_zoo  # noqa: F401  registers the models

WAVELETNETS = timm.list_models(module="waveletnet")
PEERS = timm.list_models(module="peers")
NAMES = [*WAVELETNETS, *PEERS]
STAGED = [name for name in NAMES if name != "nasnet_a_mobile"]  # its cells have two inputs, so it has no stages
SMALL = ["waveletnet_cifar_m2", "waveletnet_x0_75", "shufflenet_v1_x0_5", "densenet40_cifar", "igcv3_cifar"]


@pytest.fixture(params=NAMES)
def name(request):
    if request.param == "nasnet_a_mobile":
        pytest.importorskip("pytorchcv", reason="needs the extra peers")
    return request.param


def on_meta(name, **kwargs):
    return timm.create_model(name, device="meta", dtype=torch.float32, **kwargs).eval()


def image(model, batch=1, device="meta"):
    return torch.randn(batch, *model.default_cfg["input_size"], device=device)


def test_all_waveletnet_variants_are_registered():
    assert sorted(WAVELETNETS) == sorted(
        [
            *(f"waveletnet_{v}" for v in ("x0_75", "x1", "x1_25", "x1_k3", "x1_k5")),
            *(f"waveletnet_cifar_m{m}" for m in (1, 2, 3, 6, 12, 24)),
        ]
    )


def test_only_peers_missing_from_timm_are_registered():
    imagenet = ["alexnet_2012", "nasnet_a_mobile", *(f"shufflenet_v1_x{width}" for width in ("0_5", "1", "1_5", "2"))]
    cifar = [f"{name}_cifar" for name in ("densenet40", "preresnet164", "igcv2", "igcv3", "mobilenetv2")]
    assert sorted(PEERS) == sorted([*imagenet, *cifar])
    for name in ("vgg16", "resnet50", "mobilenetv1_100", "mobilenetv2_100", "mobilenetv2_140"):
        assert timm.create_model(name, device="meta").__module__.startswith("timm.")


def test_features_head_and_config_agree(name):
    model = on_meta(name)
    x = image(model)
    features = model.forward_features(x)
    assert features.shape[1] == model.num_features
    assert tuple(features.shape[2:]) == tuple(model.default_cfg["pool_size"])
    pooled = model.forward_head(features, pre_logits=True)
    assert pooled.shape == (1, model.head_hidden_size)
    assert model(x).shape == (1, model.num_classes)
    assert model.get_submodule(model.default_cfg["first_conv"]).in_channels == model.in_chans == 3
    assert model.get_submodule(model.default_cfg["classifier"]) is model.get_classifier()


def test_classifier_can_be_removed_and_replaced(name):
    model = on_meta(name)
    x = image(model)
    model.reset_classifier(0)
    assert model(x).shape == (1, model.head_hidden_size)
    model.reset_classifier(0, "")
    assert model(x).ndim == 4
    model.reset_classifier(7, "avg")
    assert model(x).shape == (1, 7)
    assert on_meta(name, num_classes=0)(x).shape == (1, model.head_hidden_size)
    assert on_meta(name, num_classes=0, global_pool="")(x).ndim == 4


def test_new_classifier_keeps_device_dtype_and_mode(name):
    model = on_meta(name).to(torch.float64)
    model.reset_classifier(2)
    assert model.classifier.weight.dtype == torch.float64 and model.classifier.weight.is_meta
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("name", STAGED)
def test_parameters_group_by_depth(name):
    model = on_meta(name)
    groups = group_parameters(model, model.group_matcher(coarse=False), reverse=True)
    units = sum(any(True for _ in unit.parameters()) for stage in model.blocks for unit in stage)
    assert len(set(groups.values())) == 1 + units + 1  # stem, units, classifier; a head goes with the last unit


def test_unknown_arguments_raise_type_error(name):
    with pytest.raises(TypeError):
        on_meta(name, not_a_model_argument=1)


@pytest.mark.parametrize("name", STAGED)
def test_feature_maps_match_feature_info(name):
    model = timm.create_model(name, features_only=True, device="meta").eval()
    size = 224 if "cifar" not in name else 32
    outputs = model(torch.randn(1, 3, size, size, device="meta"))
    assert len(outputs) == (2 if "alexnet" in name else 5 if "waveletnet_x" in name else 3)
    for output, channels, reduction in zip(outputs, model.feature_info.channels(), model.feature_info.reduction()):
        side = size // reduction - (1 if "alexnet" in name else 0)  # its pooling has no padding
        assert output.shape == (1, channels, side, side)


@pytest.mark.parametrize("name", SMALL)
def test_intermediates_equal_features_only(name):
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained_cfg={}).eval()
    torch.manual_seed(0)
    features = timm.create_model(name, features_only=True, pretrained_cfg={}).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        final, intermediates = model.forward_intermediates(x)
        torch.testing.assert_close(final, model.forward_features(x))
        for a, b in zip(intermediates, features(x), strict=True):
            torch.testing.assert_close(a, b)
        only = model.forward_intermediates(x, indices=[1], stop_early=True, intermediates_only=True)
        torch.testing.assert_close(only[0], intermediates[1])
        assert model.prune_intermediate_layers(indices=[1]) == [1]
        torch.testing.assert_close(model(x), intermediates[1])


@pytest.mark.parametrize("name", SMALL)
def test_gradients_reach_every_parameter_with_checkpointing(name):
    model = timm.create_model(name, drop_rate=0.0).train()
    x = torch.randn(2, 3, 64, 64)
    torch.manual_seed(0)
    model(x).mean().backward()
    expected = {key: p.grad.clone() for key, p in model.named_parameters()}
    assert all(grad.isfinite().all() for grad in expected.values())
    model.zero_grad()
    model.set_grad_checkpointing()
    torch.manual_seed(0)
    model(x).mean().backward()
    for key, p in model.named_parameters():
        torch.testing.assert_close(p.grad, expected[key], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
def test_torchscript_gives_the_same_logits(name):
    model = timm.create_model(name, scriptable=True).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.script(model)(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_torch_export_gives_the_same_logits_at_any_batch_size(name):
    model = timm.create_model(name).eval()
    batch = torch.export.Dim("batch", min=2)
    x = torch.randn(2, 3, 64, 64)
    program = torch.export.export(model, (x,), dynamic_shapes=({0: batch},))
    x = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_torch_compile_traces_the_model_without_graph_breaks():
    model = timm.create_model("waveletnet_cifar_m1").eval()
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_fx_traces_the_model(name):
    model = timm.create_model(name).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(torch.fx.symbolic_trace(model)(x), model(x))


def test_other_image_channels_and_dtypes_work():
    model = timm.create_model("waveletnet_cifar_m1", in_chans=1, num_classes=3).eval()
    assert model(torch.randn(2, 1, 32, 32)).shape == (2, 3)
    model.to(torch.bfloat16)
    assert model(torch.randn(2, 1, 32, 32, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_frozen_model_stays_frozen_after_head_removal(name):
    model = on_meta(name).requires_grad_(False)
    model.reset_classifier(0)
    model.reset_classifier(0, "")
    assert not any(p.requires_grad for p in model.parameters())
