"""``wavezoo ablate``: pairs of runs that differ in one change, resumed and compared."""

import json
import os
import signal
import statistics
import time

import pytest
import torch

from wavenet_zoo import WavezooError, ablate
from wavenet_zoo.models import WaveletNet
from wavenet_zoo.recipes import load_recipe
from wavenet_zoo.training.build import _initial_model

QUICK = ["schedule.epochs=2", "batch_size=50"]


@pytest.fixture
def quick(small_digits):
    return {"data": small_digits, "overrides": QUICK, "seeds": 2, "workers": 0}


def initial_weights(*overrides):
    model, _ = _initial_model(load_recipe("digits", overrides), [str(digit) for digit in range(10)])
    return dict(model.named_parameters())


def test_errors_and_gaps_are_those_of_the_runs(quick, tmp_path):
    result = ablate(out=tmp_path / "runs", no_dfwt=True, **quick)
    original, changed = result.arms
    errors = {}
    for arm in result.arms:
        errors[arm.name] = []
        for seed in (0, 1):
            run = json.loads((tmp_path / "runs" / arm.name / f"seed{seed}" / "result.json").read_text())
            errors[arm.name].append(100 - run["last"]["top1"])
        assert arm.error.values == errors[arm.name]
        assert arm.error.mean == statistics.fmean(errors[arm.name])
        assert arm.error.standard_error == pytest.approx(abs(errors[arm.name][0] - errors[arm.name][1]) / 2)
    assert changed.gap.values == [b - a for a, b in zip(errors["original"], errors["no_dfwt"])]
    assert (original.gap, original.params, changed.params) == (None, 18_714, 18_714)
    assert changed.published.gap == 3.59
    assert (result.images, result.epochs, result.seeds) == (30, 2, [0, 1])
    assert result.picture == str(tmp_path / "runs" / "no_dfwt.png")
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"original", "no_dfwt"}  # the command draws


@pytest.mark.long
def test_finished_runs_are_reused_when_an_arm_is_added(quick, tmp_path):
    first = ablate(out=tmp_path / "runs", no_dfwt=True, **quick)
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("model.safetensors")}
    assert len(written) == 4
    again = ablate(out=tmp_path / "runs", no_dfwt=True, haar="neighbours", **quick)
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert again.arms[:2] == first.arms
    assert again.arms[2].name == "haar_neighbours" and again.arms[2].gap is not None
    (tmp_path / "runs").rename(tmp_path / "moved")
    moved = ablate(out=tmp_path / "moved", no_dfwt=True, **quick)
    assert [arm.error for arm in moved.arms] == [arm.error for arm in first.arms]
    assert moved.arms[0].runs[0]["out"] == str(tmp_path / "moved" / "original" / "seed0")


@pytest.mark.reliability(1)
@pytest.mark.long
def test_killed_ablation_resumes_to_the_uninterrupted_result(process, quick, small_digits, tmp_path):
    settings = ["schedule.epochs=3", "batch_size=10"]
    whole = ablate(None, small_digits, tmp_path / "whole", settings, no_dfwt=True, seeds=1, workers=0)
    options = ["--no-dfwt", "--seeds", 1, "--data", small_digits, "--workers", 0, "--out", tmp_path / "broken"]
    command = ["-m", "wavenet_zoo", "ablate", *options, *(part for value in settings for part in ("--set", value))]
    for stop in (signal.SIGINT, signal.SIGKILL):  # the first in the original, the second in the other arm
        broken = process(*command)
        arm = "original" if stop == signal.SIGINT else "no_dfwt"
        steps = tmp_path / "broken" / arm / "seed0" / "steps.jsonl"
        deadline = time.monotonic() + 60
        while not (steps.exists() and len(steps.read_text().splitlines()) >= 13) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(broken.pid, stop)
        assert broken.wait(timeout=60) == (130 if stop == signal.SIGINT else -9)
    resumed = ablate(None, small_digits, tmp_path / "broken", settings, no_dfwt=True, seeds=1, workers=0)
    for arm, other in zip(whole.arms, resumed.arms, strict=True):
        assert arm.error == other.error
        assert [run["weights_sha256"] for run in arm.runs] == [run["weights_sha256"] for run in other.runs]


@pytest.mark.parametrize("change", [["model.kwargs.use_dfwt=false"], ["model.kwargs.haar=neighbours"]])
def test_changes_with_equal_shapes_start_from_equal_weights(change):
    one, other = initial_weights(), initial_weights(*change)
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_changed_shapes_start_from_equal_weights_where_shapes_agree(quick, tmp_path):
    result = ablate(out=tmp_path / "runs", kappas=[(0, 2, 2)], **{**quick, "seeds": 1})
    overrides = [override for override in result.arms[1].overrides if override.startswith("model.")]
    assert any("initial_weights_of" in override for override in overrides)
    one, other = initial_weights(), initial_weights(*overrides)
    alike = [key for key in other if key in one and one[key].shape == other[key].shape]
    assert alike and len(alike) < len(other)
    assert all(torch.equal(one[key], other[key]) for key in alike)
    assert any(key.startswith("blocks.2.0.conv_dw") for key in alike)  # drawn after the first tensor that differs


def test_arms_see_the_same_batches(quick, tmp_path):
    seen = []

    def record(module, inputs):
        if isinstance(module, WaveletNet) and module.training:
            seen.append(inputs[0].clone())

    hook = torch.nn.modules.module.register_module_forward_pre_hook(record)
    try:
        ablate(out=tmp_path / "runs", no_dfwt=True, **{**quick, "seeds": 1})
    finally:
        hook.remove()
    half = len(seen) // 2
    assert half == 4 and all(torch.equal(a, b) for a, b in zip(seen[:half], seen[half:]))


def test_arm_equal_to_the_recipe_names_the_original(quick, tmp_path):
    result = ablate(out=tmp_path / "runs", kappas=[(0, 3, 3), (0, 0, 0)], **{**quick, "seeds": 1})
    assert [arm.title for arm in result.arms] == ["κ 0,3,3", "κ 0,0,0"]
    assert result.arms[0].params == 18_714 < result.arms[1].params
    with pytest.raises(WavezooError, match="already has it"):
        ablate(out=tmp_path / "runs", kappas=[(0, 3, 3)], **quick)


def test_overrides_apply_to_all_arms(quick, tmp_path):
    settings = {**quick, "overrides": [*QUICK, "model.kwargs.kappas=[3, 3, 3]"], "seeds": 1}
    result = ablate(out=tmp_path / "runs", no_dfwt=True, **settings)
    for arm in result.arms:
        recipe = load_recipe(tmp_path / "runs" / arm.name / "seed0" / "recipe.yaml")
        assert recipe.model.kwargs["kappas"] == [3, 3, 3]
    assert result.arms[0].params == result.arms[1].params < 18_714


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({}, "no change to compare"),
        ({"no_dfwt": True, "recipe_path": "imagenet/vgg16"}, "vgg16 is not a WaveletNet"),
        ({"no_dfwt": True, "recipe_path": "digits", "paper_setting": True}, "pass only one of them"),
        ({"kappas": [(0, 5, 5), (0, 5, 5)]}, "duplicate change: κ 0,5,5"),
        ({"widths": [1.25], "paper_setting": True}, "pass --data DIR"),
        ({"no_dfwt": True, "recipe_path": "digit"}, "^digit: "),
    ],
)
def test_invalid_comparisons_are_refused_before_training(tmp_path, monkeypatch, arguments, reason):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WavezooError, match=reason):
        ablate(**arguments)
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize(
    ("options", "model", "epochs"),
    [
        ({"no_dfwt": True}, "waveletnet_cifar_m24", 164),
        ({"kappas": [(0, 5, 5)]}, "waveletnet_x1", 120),
        ({"widths": [0.75]}, "waveletnet_x1", 120),
    ],
)
def test_paper_setting_selects_the_recipe_of_the_paper(monkeypatch, tmp_path, options, model, epochs):
    recipes = []

    def record(recipe_path, data, out, overrides, **options):
        recipes.append(load_recipe(recipe_path, overrides))
        raise WavezooError("stopped by the test")

    monkeypatch.setattr("wavenet_zoo.paper.training_runs.train", record)
    with pytest.raises(WavezooError, match="stopped by the test"):
        ablate(out=tmp_path, paper_setting=True, **options)
    assert [(recipe.model.name, recipe.schedule.epochs) for recipe in recipes] == [(model, epochs)]


def test_old_option_paper_warns_and_works(wavezoo, monkeypatch):
    def stop(*arguments, **options):
        raise WavezooError(f"paper_setting={options['paper_setting']}")

    monkeypatch.setattr("wavenet_zoo.ablate", stop, raising=False)
    finished = wavezoo("ablate", "--no-dfwt", "--paper")
    assert "--paper is deprecated: use --paper-setting" in finished.err and "paper_setting=True" in finished.err


def test_command_prints_and_stores_table_3_beside_the_printed_one(wavezoo, small_digits, tmp_path):
    arguments = [
        "ablate",
        "--no-dfwt",
        "--seeds",
        2,
        "--data",
        small_digits,
        "--workers",
        0,
        "--out",
        tmp_path / "runs",
    ]
    sets = ["--set", "schedule.epochs=1", "--set", "batch_size=50"]
    finished = wavezoo(*arguments, *sets)
    assert finished.code == 0, finished.err
    for part in ("seed 0", "seed 1", "mean", "±", "the paper's Table 3: CIFAR-10, M = 24", "5.15", "8.74", "+3.59"):
        assert part in finished.out
    result = json.loads((tmp_path / "runs" / "no_dfwt.json").read_text())
    assert (tmp_path / "runs" / "no_dfwt.png").read_bytes().startswith(b"\x89PNG")
    assert result["picture"] == str(tmp_path / "runs" / "no_dfwt.png")
    assert f"{result['arms'][1]['gap']['values'][1]:+.2f}" in finished.out
    assert wavezoo(*arguments, *sets, "--json").json == result


@pytest.mark.parametrize("option", [["--kappa", "0,3"], ["--kappa", "a,b,c"], ["--width", "0"], ["--seeds", "0"], []])
def test_invalid_options_exit_with_one_line(wavezoo, option):
    finished = wavezoo("ablate", *option)
    assert finished.code == 2 and len(finished.err.splitlines()) == 1
