import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config, resolve_model_data_config
from timm.models import get_arch_pretrained_cfgs

import wavenet_zoo  # noqa: F401
from wavenet_zoo.data.preprocessing import Preprocessing, evaluation_transform, preprocessing_of, training_transform
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.recipes import AugmentationSection


@pytest.mark.parametrize("name", ["waveletnet_x1", "waveletnet_cifar_m2", "resnet18", "vit_base_patch16_clip_224"])
def test_evaluation_transform_equals_timms(name):
    model = timm.create_model(name, device="meta")
    image = Image.effect_mandelbrot((300, 200), (-2, -1, 1, 1), 50).convert("RGB")
    expected = create_transform(**resolve_model_data_config(model), is_training=False)(image)
    assert torch.equal(evaluation_transform(preprocessing_of(model))(image), expected)


def test_imagenet_evaluation_resizes_to_256_and_crops_224():
    model = timm.create_model("waveletnet_x1", device="meta")
    assert str(preprocessing_of(model)).startswith("resize to 256 px (bicubic), center crop 224 x 224")


def test_preprocessing_round_trips_through_json():
    import json

    preprocessing = preprocessing_of(timm.create_model("waveletnet_x1", device="meta"))
    assert Preprocessing.from_dict(json.loads(json.dumps(preprocessing.to_dict()))) == preprocessing


@pytest.mark.parametrize("crop_pct", [0.0, 1.5])
def test_invalid_crop_pct_is_rejected(crop_pct):
    preprocessing = preprocessing_of(timm.create_model("waveletnet_x1", device="meta"))
    with pytest.raises(WavezooError, match="crop-pct"):
        preprocessing.with_overrides(crop_pct=crop_pct)


@pytest.mark.parametrize("crop", ["none", "pad", "resized"])
def test_augmentation_keeps_shape_and_normalization(crop):
    preprocessing = Preprocessing((3, 32, 32), "bilinear", 0.875, "center", (0.5,) * 3, (0.5,) * 3)
    transform = training_transform(preprocessing, AugmentationSection(crop=crop, hflip=0.5))
    tensor = transform(Image.new("RGB", (50, 40), (255, 255, 255)))
    assert tensor.shape == (3, 32, 32) and tensor.max() == 1.0


def test_training_without_augmentation_equals_evaluation():
    preprocessing = Preprocessing((3, 32, 32), "bilinear", 1.0, "center", (0.5,) * 3, (0.5,) * 3)
    image = Image.effect_mandelbrot((50, 40), (-2, -1, 1, 1), 50).convert("RGB")
    train = training_transform(preprocessing, AugmentationSection())(image)
    torch.testing.assert_close(train, evaluation_transform(preprocessing)(image))


VALID = {
    "input_size": [3, 32, 48], "interpolation": "bicubic", "crop_pct": 0.9, "crop_mode": "center",
    "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5],
}  # fmt: skip


@pytest.mark.reliability(9, 61)
@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("input_size", v) for v in ([3, 0, 0], [3, -5, 5], [1, 32, 32], [3, 32], [3, 100_000, 32], [3, 1.5, 8], 32)),
        *(("interpolation", v) for v in ("evil", "random", None, 3)),
        *(("crop_pct", v) for v in (0, -1, 1e-9, float("nan"), float("inf"), "x", 1e9, 10**400)),
        ("crop_mode", "evil"),
        *(("mean", v) for v in ([0.5], [0.5] * 4, [1e308] * 3, [float("nan")] * 3, "abc", [10**400, 0, 0])),
        *(("std", v) for v in ([0, 0, 0], [1e-320] * 3, [-1] * 3, [None] * 3)),
        ("evil", 1),
    ],
)
def test_invalid_values_are_refused_with_their_key(key, value):
    with pytest.raises(WavezooError, match=rf"^w\.pt: .*{key}") as error:
        Preprocessing.from_dict({**VALID, key: value}, "w.pt")
    assert len(str(error.value)) < 200


def test_valid_values_and_those_of_every_timm_model_are_accepted():
    Preprocessing.from_dict(VALID)
    for name in timm.list_models():
        for cfg in get_arch_pretrained_cfgs(name).values():
            Preprocessing.from_dict(resolve_data_config(pretrained_cfg=cfg.to_dict()))


@pytest.mark.reliability(50)
def test_size_and_resized_size_have_a_limit():
    preprocessing = Preprocessing.from_dict(VALID)
    with pytest.raises(WavezooError, match="--size 8193: must be 1 to 8192 pixels"):
        preprocessing.with_overrides(size=8193)
    with pytest.raises(WavezooError, match=r"crop_pct 0\.001: resizes images to 4\.8e\+04 px"):
        preprocessing.with_overrides(crop_pct=0.001)
    assert preprocessing.with_overrides(size=7000).input_size == (3, 7000, 7000)
