"""``wavezoo connectivity``: what the matrices of a model's units say, computed in two ways."""

import json

import pytest
import torch

from wavenet_zoo import WavezooError, connectivity
from wavenet_zoo.models import WaveletNetUnit
from wavenet_zoo.paper import connectivity as module


def test_with_dfwt_every_unit_is_full_and_without_it_no_projection_is():
    whole, cut = connectivity("waveletnet_x1"), connectivity("waveletnet_x1", model_kwargs={"use_dfwt": False})
    assert len(whole.units) == len(cut.units) == 17
    assert all(unit.projection.full and unit.whole.full for unit in whole.units)
    assert not any(unit.projection.full for unit in cut.units)
    assert {unit.projection.share for unit in cut.units} == {3 / 16}


def test_the_dense_first_convolution_connects_a_unit_without_dfwt_too_and_it_says_so():
    cut = connectivity("waveletnet_x1", model_kwargs={"use_dfwt": False})
    assert [unit.unit for unit in cut.units if not unit.whole.full] == ["blocks.0.0"]  # t = 1: it has none
    assert any("dense" in finding and "What DFWT restores" in finding for finding in cut.findings)


def test_where_the_first_convolution_is_sparse_too_dfwt_is_what_connects_a_unit():
    sparse = {"kappas": (3, 3, 3)}
    assert all(unit.whole.full for unit in connectivity("waveletnet_cifar_m1", model_kwargs=sparse).units)
    cut = connectivity("waveletnet_cifar_m1", model_kwargs={**sparse, "use_dfwt": False})
    assert not any(unit.whole.full for unit in cut.units)


@pytest.mark.parametrize("name", ["waveletnet_x1", "waveletnet_x1_k5", "waveletnet_x0_75"])
def test_non_zeros_of_wconv_are_those_of_claim_6_2(name):
    for unit in connectivity(name).units:
        assert unit.wconv.connected == unit.wconv.claim
        assert unit.dfwt.connected == unit.dfwt.claim
        assert unit.wconv.connected * 2 ** (unit.depths[2] + 2) == (
            unit.wconv.inputs * unit.wconv.outputs * (unit.depths[2] + 3)
        )


@pytest.mark.parametrize(
    "kwargs", [{"haar": "neighbours"}, {"dfwt_after": "expand"}, {"haar": "neighbours", "dfwt_after": "expand"}]
)
def test_the_other_forms_are_full_as_well(kwargs):
    assert all(unit.projection.full for unit in connectivity("waveletnet_cifar_m1", model_kwargs=kwargs).units)


def test_the_gradient_finds_what_a_unit_with_known_holes_does_not_connect():
    torch.manual_seed(0)
    unit = WaveletNetUnit(4, 4, expand_ratio=2, kappas=(0, 0, 0))
    with torch.no_grad():
        unit.conv_pw.weight[0][:, 1] = 0  # nothing sees input 1 but the shortcut
        unit.conv_pwl.weight[0][2] = 0  # output 2 sees nothing but the shortcut
    expected = torch.ones(4, 4).long()
    expected[:, 1] = 0
    expected[2] = 0
    assert torch.equal(module.adjacency_by_gradient(unit, 4), (expected + torch.eye(4).long()).clamp(max=1))


def test_definition_and_gradient_that_do_not_agree_are_an_error(monkeypatch):
    monkeypatch.setattr(module, "adjacency_by_gradient", lambda module, channels: torch.zeros(1, 1).long())
    with pytest.raises(WavezooError, match=r"blocks\.0\.0.*by gradient") as error:
        connectivity("waveletnet_cifar_m1")
    assert error.value.exit_code == 1


def test_other_models_are_refused_by_name():
    with pytest.raises(WavezooError, match="mobilenetv2_100 is not a WaveletNet"):
        connectivity("mobilenetv2_100")


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_the_picture_is_written_the_same_each_time(tmp_path, suffix):
    for name in ("one", "two"):
        connectivity("waveletnet_cifar_m1", plot=tmp_path / f"{name}.{suffix}")
    one, two = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in ("one", "two"))
    assert one == two and len(one) > 5000


def test_a_picture_that_write_error_is_refused_before_the_work(tmp_path):
    for path in (tmp_path / "picture.jpeg", tmp_path / "nowhere" / "picture.png"):
        with pytest.raises(WavezooError, match=path.name):
            connectivity("waveletnet_cifar_m1", plot=path)


def test_the_command_prints_the_units_and_what_follows(wavezoo):
    finished = wavezoo("connectivity", "waveletnet_cifar_m1", "--no-dfwt")
    assert finished.code == 0
    assert "18.75%" in finished.out and "0 of 3 units are fully connected" in finished.out
    values = json.loads(wavezoo("connectivity", "waveletnet_cifar_m1", "--json").out)
    assert [unit["projection"]["share"] for unit in values["units"]] == [1, 1, 1]
    assert "matrix" not in values["units"][0]["wconv"]
