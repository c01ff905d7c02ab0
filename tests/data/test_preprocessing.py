import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config

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
