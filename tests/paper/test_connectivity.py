"""``wavezoo connectivity``: adjacency matrices of a model's units, by definition and by gradient."""

import json

import pytest
import torch
from matplotlib.text import Text

from wavenet_zoo import WavezooError, connectivity
from wavenet_zoo.models import WaveletNetUnit
from wavenet_zoo.paper import connectivity as module
from wavenet_zoo.paper.connectivity_figure import draw_connectivity, name_units, plot_connectivity


@pytest.mark.long
def test_dfwt_makes_every_projection_full():
    whole, cut = connectivity("waveletnet_x1"), connectivity("waveletnet_x1", model_kwargs={"use_dfwt": False})
    assert len(whole.units) == len(cut.units) == 17
    assert all(unit.projection.full and unit.whole.full for unit in whole.units)
    assert not any(unit.projection.full for unit in cut.units)
    assert {unit.projection.share for unit in cut.units} == {3 / 16}


def test_dense_first_convolution_connects_a_unit_without_dfwt():
    cut = connectivity("waveletnet_x1", model_kwargs={"use_dfwt": False})
    assert [unit.unit for unit in cut.units if not unit.whole.full] == ["blocks.0.0"]  # t = 1: it has none
    assert any("dense" in finding and "DFWT restores" in finding for finding in cut.findings)


def test_dfwt_connects_a_unit_with_a_sparse_first_convolution():
    sparse = {"kappas": (3, 3, 3)}
    assert all(unit.whole.full for unit in connectivity("waveletnet_cifar_m1", model_kwargs=sparse).units)
    cut = connectivity("waveletnet_cifar_m1", model_kwargs={**sparse, "use_dfwt": False})
    assert not any(unit.whole.full for unit in cut.units)


@pytest.mark.parametrize(
    "name", ["waveletnet_x1", pytest.param("waveletnet_x1_k5", marks=pytest.mark.long), "waveletnet_x0_75"]
)
def test_nonzeros_of_wconv_equal_claim_6_2(name):
    for unit in connectivity(name).units:
        assert unit.wconv.connected == unit.wconv.claim
        assert unit.dfwt.connected == unit.dfwt.claim
        assert unit.wconv.connected * 2 ** (unit.depths[2] + 2) == (
            unit.wconv.inputs * unit.wconv.outputs * (unit.depths[2] + 3)
        )


@pytest.mark.parametrize(
    "kwargs", [{"haar": "neighbours"}, {"dfwt_after": "expand"}, {"haar": "neighbours", "dfwt_after": "expand"}]
)
def test_other_readings_of_dfwt_make_every_projection_full(kwargs):
    assert all(unit.projection.full for unit in connectivity("waveletnet_cifar_m1", model_kwargs=kwargs).units)


def test_gradient_finds_the_holes_of_a_unit():
    torch.manual_seed(0)
    unit = WaveletNetUnit(4, 4, expand_ratio=2, kappas=(0, 0, 0))
    with torch.no_grad():
        unit.conv_pw.weight[0][:, 1] = 0  # input 1 is used by the shortcut only
        unit.conv_pwl.weight[0][2] = 0  # output 2 uses the shortcut only
    expected = torch.ones(4, 4).long()
    expected[:, 1] = 0
    expected[2] = 0
    assert torch.equal(module.adjacency_by_gradient(unit, 4), (expected + torch.eye(4).long()).clamp(max=1))


def test_disagreement_of_definition_and_gradient_is_an_error(monkeypatch):
    monkeypatch.setattr(module, "adjacency_by_gradient", lambda module, channels: torch.zeros(1, 1).long())
    with pytest.raises(WavezooError, match=r"blocks\.0\.0.*by gradient") as error:
        connectivity("waveletnet_cifar_m1")
    assert error.value.exit_code == 1


def test_other_models_are_refused():
    with pytest.raises(WavezooError, match="mobilenetv2_100 is not a WaveletNet"):
        connectivity("mobilenetv2_100")


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_figure_has_equal_bytes_each_time(tmp_path, suffix):
    result = connectivity("waveletnet_cifar_m1")
    for name in ("one", "two"):
        plot_connectivity(tmp_path / f"{name}.{suffix}", result)
    one, two = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in ("one", "two"))
    assert one == two and len(one) > 5000


def test_units_that_look_alike_are_drawn_once(assert_legible):
    figure = draw_connectivity(connectivity("waveletnet_cifar_m1"))
    assert_legible(figure)
    assert [part.get_suptitle() for part in figure.subfigs[1:]] == ["Units 0.0 to 2.0, κ = 0, 3, 3; drawn: 0.0"]
    assert len(figure.subfigs[1].axes) == 4


def test_names_of_units_are_ranges_of_the_network():
    units = connectivity("waveletnet_cifar_m3").units
    names = [unit.unit.removeprefix("blocks.") for unit in units]
    assert name_units(units[:1], units) == f"unit {names[0]}"
    assert name_units([*units[:3], units[5]], units) == f"units {names[0]} to {names[2]}, {names[5]}"


@pytest.mark.parametrize("kwargs", [{}, {"kappas": (3, 3, 3)}])
def test_figure_without_dfwt_does_not_show_one(kwargs, assert_legible):
    figure = draw_connectivity(connectivity("waveletnet_cifar_m1", model_kwargs={**kwargs, "use_dfwt": False}))
    assert_legible(figure)
    texts = [text.get_text() for text in figure.findobj(Text) if text.get_text()]
    assert [text for text in texts if "DFWT" in text] == [figure.get_suptitle()]
    assert figure.get_suptitle().startswith("waveletnet_cifar_m1 without DFWT")
    assert {len(part.axes) for part in figure.subfigs} == {2}
    assert "−1" not in texts  # no H of Algorithm 2


@pytest.mark.parametrize("path", ["figure.jpeg", "nowhere/figure.png"])
def test_unwritable_figure_is_refused_before_the_work(wavezoo, monkeypatch, path):
    monkeypatch.setattr("wavenet_zoo.connectivity", lambda *args, **kwargs: pytest.fail("computed"), raising=False)
    finished = wavezoo("connectivity", "waveletnet_cifar_m1", "--plot", path)
    assert finished.code == 2 and path in finished.err


def test_command_prints_units_and_findings(wavezoo, tmp_path):
    finished = wavezoo("connectivity", "waveletnet_cifar_m1", "--no-dfwt", "--plot", "figure.png")
    assert finished.code == 0
    assert "18.75%" in finished.out and "0 of 3 units are fully connected" in finished.out
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    values = json.loads(wavezoo("connectivity", "waveletnet_cifar_m1", "--json").out)
    assert [unit["projection"]["share"] for unit in values["units"]] == [1, 1, 1]
    assert "matrix" not in values["units"][0]["wconv"]
