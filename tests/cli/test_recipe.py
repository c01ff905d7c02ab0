"""``wavezoo recipe list | show | copy | check``."""

import pytest
import yaml

from wavenet_zoo.recipes import list_recipes, load_recipe


def test_list_shows_every_recipe_with_its_title(wavezoo):
    result = wavezoo("recipe", "list", "--json")
    assert result.code == 0 and [entry["name"] for entry in result.json] == list(list_recipes())
    entry = next(entry for entry in result.json if entry["name"] == "cifar10/waveletnet_m24_no_dfwt")
    assert entry["model"] == "waveletnet_cifar_m24" and entry["epochs"] == 164 and "Table 3" in entry["title"]
    assert "imagenet/waveletnet_x1 " in wavezoo("recipe", "list").out


def test_show_prints_the_file_or_the_resolved_values(wavezoo):
    assert wavezoo("recipe", "show", "digits").out == list_recipes()["digits"].read_text(encoding="utf-8")
    resolved = wavezoo("recipe", "show", "digits", "--set", "schedule.epochs=3")
    assert yaml.safe_load(resolved.out) == load_recipe("digits", ["schedule.epochs=3"]).model_dump()
    assert load_recipe("digits", ["schedule.epochs=3"]).sha256() in resolved.out
    shown = wavezoo("recipe", "show", "digits", "--json").json
    assert shown["sha256"] == load_recipe("digits").sha256() and shown["recipe"]["ema"] is None


def test_copy_does_not_overwrite_a_file_without_force(wavezoo, tmp_path):
    assert wavezoo("recipe", "copy", "cifar10/waveletnet_m2").out == "waveletnet_m2.yaml\n"
    copy = tmp_path / "waveletnet_m2.yaml"
    assert load_recipe(copy) == load_recipe("cifar10/waveletnet_m2")
    copy.write_text(copy.read_text().replace("epochs: 16", "epochs: 20"))
    refused = wavezoo("recipe", "copy", "cifar10/waveletnet_m2")
    assert refused.code == 2 and "waveletnet_m2.yaml: already exists" in refused.err
    assert load_recipe(copy).schedule.epochs == 20
    assert wavezoo("recipe", "copy", "cifar10/waveletnet_m2", "--force").code == 0
    assert load_recipe(copy).schedule.epochs == 16
    assert wavezoo("recipe", "copy", "digits", "mine.yaml", "--json").json["file"] == "mine.yaml"
    assert "mkdir -p nowhere" in wavezoo("recipe", "copy", "digits", "nowhere/mine.yaml").err


def test_check_reports_every_recipe_and_fails_if_one_is_invalid(wavezoo, tmp_path):
    (tmp_path / "bad.yaml").write_text(list_recipes()["digits"].read_text().replace("epochs:", "epoch:"))
    result = wavezoo("recipe", "check", "digits", "bad.yaml", "imagenet/waveletnet_x1")
    assert result.code == 2
    lines = result.out.splitlines()
    assert lines[0] == "ok  digits: waveletnet_cifar_m1, 18,714 parameters"
    assert lines[1].startswith("bad  bad.yaml: bad.yaml:") and "did you mean 'epochs'" in lines[1]
    assert lines[2] == "bad  bad.yaml: bad.yaml:33: missing key 'schedule.epochs'"
    assert lines[3].startswith("ok  imagenet/waveletnet_x1")
    assert [entry["ok"] for entry in wavezoo("recipe", "check", "digits", "bad.yaml", "--json").json] == [True, False]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.name=waveletnet_x2", "unknown model 'waveletnet_x2'"),
        ("model.kwargs.kapas=[0, 3, 3]", "did you mean 'kappas'"),
        ("optimizer.name=momentun", "did you mean 'momentum'"),
        ("augmentation.auto_augment=nothing", "augmentation.auto_augment: input should be a policy of timm"),
        ("ema.decay=2", "ema.decay: input should be less than 1, got 2"),
        ("ema.decai=0.9", "unknown key 'ema.decai' (did you mean 'decay'"),
    ],
)
def test_check_finds_errors_that_only_building_finds(wavezoo, override, message):
    result = wavezoo("recipe", "check", "digits", "--set", override)
    assert result.code == 2 and message in result.out, result.out


MISTAKES = {  # in another recipe, and in the values of its parts
    "optimiser": "recipe.yaml:7: unknown key 'optimiser' (did you mean 'optimizer'?)",
    "schedule.epoch": "recipe.yaml:11: unknown key 'schedule.epoch' (did you mean 'epochs'?)",
    "seed": "recipe.yaml:14: duplicate key 'seed'",
    "preprocessing.std.1": "recipe.yaml:6: preprocessing.std.1: input should be greater than 0, got 0",
    "batch_size": "--set batch_size=x: batch_size: input should be a valid integer, got 'x'",
    "optimizer": "recipe.yaml:1: missing key 'optimizer'",
    "schedule.epochs": "recipe.yaml:9: missing key 'schedule.epochs'",
}


@pytest.mark.reliability(65)
def test_check_lists_every_mistake_and_train_the_first_with_their_number(wavezoo, tmp_path):
    lines = ["model: {name: waveletnet_cifar_m1}", "data: {name: digits}", "preprocessing:", "  size: 32"]
    lines += ["  mean: [0.5, 0.5, 0.5]", "  std: [0.5, 0, 0.5]", "optimiser:", "  lr: 0.1", "schedule:"]
    lines += ["  name: linear", "  epoch: 3", "batch_size: 32", "seed: 1", "seed: 2"]
    (tmp_path / "recipe.yaml").write_text("\n".join(lines))
    args = ["recipe.yaml", "--set", "batch_size=x"]
    result = wavezoo("recipe", "check", *args)
    assert result.code == 2
    assert sorted(result.out.splitlines()) == sorted(f"bad  recipe.yaml: {text}" for text in MISTAKES.values())
    found = wavezoo("recipe", "check", *args, "--json").json[0]["mistakes"]
    assert {m["key"]: f"{m['message']} ({m['hint']})" if m["hint"] else m["message"] for m in found} == MISTAKES
    refused = wavezoo("train", *args)
    assert refused.code == 2 and refused.err == (
        "error: recipe.yaml:14: duplicate key 'seed' (and 6 more: wavezoo recipe check recipe.yaml "
        "--set batch_size=x)\n"
    )


@pytest.mark.reliability(65)
def test_check_builds_the_other_parts_if_one_cannot_be_built(wavezoo):
    overrides = ["--set", "model.kwargs.kapas=1", "--set", "optimizer.name=momentun"]
    result = wavezoo("recipe", "check", "digits", *overrides, "--json")
    assert [mistake["key"] for mistake in result.json[0]["mistakes"]] == ["model", "optimizer"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["recipe", "lst"], "error: no command 'recipe lst' (did you mean 'list'?)"),
        (["recipe", "show", "digit"], "error: digit: recipe not found (did you mean 'digits'?)"),
        (["recipe", "show"], "error: missing argument 'RECIPE'"),
    ],
)
def test_invalid_input_is_one_line(wavezoo, args, message):
    result = wavezoo(*args)
    assert result.code == 2 and result.out == "" and message in result.err.splitlines()[-1]


@pytest.mark.parametrize("command", ["list", "show", "copy", "check"])
def test_every_subcommand_has_help(wavezoo, command):
    result = wavezoo("recipe", command, "--help")
    assert result.code == 0 and "--json" in result.out
