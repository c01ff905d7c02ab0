"""The figure of a run's training curves."""

import pytest
from matplotlib.text import Text

from wavenet_zoo.recipes import load_recipe
from wavenet_zoo.training.curves import describe_run, draw_curves, rate_drops


def history_of(epochs):
    keys = ("train_loss", "loss", "top1")
    return [{"epoch": epoch, **dict.fromkeys(keys, 5.0 / epoch)} for epoch in range(1, epochs + 1)]


def draw(recipe, name="cifar10/waveletnet_m1", data="cifar10-jpeg"):
    return draw_curves(history_of(recipe.schedule.epochs), recipe, name, data)


def curves_of(axes):
    return [line for line in axes.get_lines() if len(set(line.get_xdata())) > 1]


def test_title_says_what_varies():
    recipe = load_recipe("cifar10/waveletnet_m1", ["model.kwargs.use_dfwt=false", "seed=3", "precision=bf16"])
    title, note = describe_run(recipe, "cifar10/waveletnet_m1", "cifar10-jpeg")
    assert title == "waveletnet_cifar_m1 without DFWT on cifar10-jpeg, 16 epochs, seed 3"
    assert note == "recipe cifar10/waveletnet_m1, precision=bf16"


def test_title_has_no_path():
    recipe = load_recipe("digits", ["schedule.epochs=1", "model.kwargs.kappas=[0,2,2]"])
    title, note = describe_run(recipe, "/home/me/runs/mine.yaml", "/data/my/photos")
    assert title == "waveletnet_cifar_m1, kappas=[0, 2, 2], on photos, 1 epoch, seed 0"
    assert note == "recipe mine"


def test_drops_of_the_rate_are_marked_between_epochs(assert_legible):
    recipe = load_recipe("cifar10/waveletnet_m1")
    figure = draw(recipe)
    assert_legible(figure)
    assert rate_drops(recipe) == recipe.schedule.milestones == [8, 12]
    for axes in figure.axes:
        lines = [line.get_xdata()[0] for line in axes.get_lines() if len(set(line.get_xdata())) == 1]
        assert lines == [8.5, 12.5]
    assert "learning rate drops" in [text.get_text() for text in figure.findobj(Text)]


@pytest.mark.parametrize("overrides", [["schedule.epochs=4"], ["schedule.name=cosine", "schedule.milestones=[]"]])
def test_no_drop_is_marked_outside_of_the_run(overrides):
    assert rate_drops(load_recipe("cifar10/waveletnet_m1", overrides)) == []


@pytest.mark.parametrize(("epochs", "style", "marker"), [(3, "None", "o"), (4, "-", "o"), (16, "-", "none")])
def test_short_runs_are_points_and_longer_ones_lines(epochs, style, marker, assert_legible):
    figure = draw(load_recipe("cifar10/waveletnet_m1", [f"schedule.epochs={epochs}"]))
    assert_legible(figure)
    curve = curves_of(figure.axes[0])[0]
    assert (curve.get_linestyle(), curve.get_marker()) == (style, marker)


@pytest.mark.parametrize("epochs", [1, 2, 20, 200])
def test_ticks_are_whole_epochs(epochs):
    overrides = ["schedule.name=cosine", "schedule.milestones=[]", f"schedule.epochs={epochs}"]
    for axes in draw(load_recipe("cifar10/waveletnet_m1", overrides)).axes:
        ticks = axes.get_xticks()
        assert 1 <= len(ticks) <= 10 and all(tick == int(tick) for tick in ticks)
