import pytest

from wavenet_zoo import WavezooError, info, list_models


def test_list_has_all_waveletnets_with_cost_and_weights():
    models = {m.model: m for m in list_models()}
    assert len(models) == 11
    assert (models["waveletnet_x1"].params, models["waveletnet_x1"].macs) == (2_722_272, 204_806_400)
    assert models["waveletnet_cifar_m1"].weights == ["digits"]
    assert models["waveletnet_cifar_m24"].weights == []


def test_a_pattern_matches_all_models_of_timm():
    assert [m.model for m in list_models("mobilenetv2_1?0")] == ["mobilenetv2_100", "mobilenetv2_140"]
    with pytest.raises(WavezooError, match=r"no model matches 'waveletnet_x9' .did you mean"):
        list_models("waveletnet_x9")


def test_stages_of_x1_are_those_of_table_4():
    stages = info("waveletnet_x1").stages
    printed = [  # input side, operator, C, repeat, stride, kappas
        (224, "conv 3x3", 32, 1, 2, None),
        (112, "unit", 16, 1, 1, (None, 3, 3)),
        (112, "unit", 24, 2, 2, (0, 3, 3)),
        (56, "unit", 32, 3, 2, (0, 3, 3)),
        (28, "unit", 64, 4, 2, (0, 3, 3)),
        (14, "unit", 96, 3, 1, (0, 3, 3)),
        (14, "unit", 160, 3, 2, (0, 3, 3)),
        (7, "unit", 320, 1, 1, (0, 3, 3)),
        (7, "conv 1x1", 1280, 1, 1, None),
        (7, "average pool", 1280, 1, 1, None),
        (None, "linear", 1000, 1, 1, None),
    ]
    for stage, (side, operator, channels, repeat, stride, kappas) in zip(stages, printed, strict=True):
        assert stage.input[1:] == ([side, side] if side else [])
        assert (stage.operator, stage.channels, stage.repeat, stage.stride) == (operator, channels, repeat, stride)
        depths = stage.kappas and tuple(d if d is None else d[0] for d in stage.kappas)
        assert depths == kappas
    assert [s.expansion for s in stages if s.kappas] == [1, 6, 6, 6, 6, 6, 6]


@pytest.mark.parametrize("name", ["waveletnet_x0_75", "waveletnet_cifar_m3", "resnet18"])
def test_counts_of_stages_sum_to_those_of_the_model(name):
    about = info(name)
    assert sum(stage.params for stage in about.stages) == about.complexity.params
    assert sum(stage.macs for stage in about.stages) == about.complexity.macs


def test_info_shows_depths_limited_by_the_channels():
    stages = [stage for stage in info("waveletnet_x0_75").stages if stage.kappas]
    assert stages[0].kappas[2] == [2, 2]  # 12 channels


def test_info_shows_the_origin_of_weights():
    (weights,) = info("waveletnet_cifar_m1").weights
    assert weights["name"] == "waveletnet_cifar_m1.digits" and "shipped" in weights["origin"]
    assert info("mobilenetv2_100").weights[0]["origin"] == "hf-hub:timm/mobilenetv2_100.ra_in1k"
    assert [entry["name"] for entry in info("waveletnet_x1").weights] == [
        "waveletnet_x1.modern_tiny_in200",  # the default
        "waveletnet_x1.tiny_in200",
    ]
    assert info("waveletnet_x1_25").weights == []


def test_info_shows_the_preprocessing_of_the_weights(wavezoo):
    about = info("waveletnet_cifar_m1")
    assert about.weights[0]["preprocessing"]["mean"] == [0.5, 0.5, 0.5]
    assert list(about.preprocessing.mean) != [0.5, 0.5, 0.5]
    assert "mean (0.5, 0.5, 0.5)" in wavezoo("info", "waveletnet_cifar_m1").out


def test_info_and_list_leave_global_state_unchanged(unchanged_state):
    with unchanged_state():
        info("waveletnet_cifar_m1", model_kwargs={"kappas": (0, 2, 2)})
        info("resnet18")
        list_models("waveletnet_cifar_m*")


def test_info_shows_one_preprocessing_per_weights_if_they_differ(wavezoo):
    described = wavezoo("info", "vit_tiny_patch16_224", "--json").json["weights"]
    assert {len(entry["preprocessing"]) for entry in described} == {6}
    assert wavezoo("info", "resnet50").out.count("resize to") > 2
    assert wavezoo("info", "waveletnet_x1.tiny_in200").out.count("resize to") == 1
