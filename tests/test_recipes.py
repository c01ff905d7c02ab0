import pytest

from wavenet_zoo.errors import WavezooError
from wavenet_zoo.recipes import list_recipes, load_recipe

GOOD = """\
model:
  name: waveletnet_cifar_m1
data: {name: digits}
preprocessing:
  size: 32
  mean: [0.5, 0.5, 0.5]
  std: [0.5, 0.5, 0.5]
optimizer:
  lr: 3e-2
  weight_decay: 2e-4
schedule:
  name: linear
  epochs: 3
batch_size: 32
"""


@pytest.fixture
def write(tmp_path):
    def write_recipe(text):
        path = tmp_path / "recipe.yaml"
        path.write_text(text)
        return path

    return write_recipe


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_loads_by_name_and_path_and_builds(name, tmp_path, monkeypatch):
    from wavenet_zoo.training.build import check_recipe

    if name.endswith("nasnet_a_mobile"):
        pytest.importorskip("pytorchcv", reason="needs the extra peers")
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(name)
    assert load_recipe(list_recipes()[name]) == recipe == load_recipe(f"recipes/{name}.yaml")
    built = check_recipe(name)
    assert built["sha256"] == recipe.sha256() and built["params"] > 10_000


def test_numbers_that_yaml_reads_as_strings_are_numbers(write):
    recipe = load_recipe(write(GOOD))
    assert recipe.optimizer.lr == 0.03
    assert recipe.optimizer.weight_decay == 0.0002


def test_hash_depends_on_values_not_on_text(write):
    recipe = load_recipe(write(GOOD))
    assert load_recipe(write("# a comment\n" + GOOD)).sha256() == recipe.sha256()
    assert load_recipe(write(GOOD), ["seed=1"]).sha256() != recipe.sha256()


def test_resolved_recipe_round_trips(write):
    recipe = load_recipe(write(GOOD))
    assert load_recipe(write(recipe.to_yaml())) == recipe


def test_overrides_set_typed_values(write):
    recipe = load_recipe(write(GOOD), ["schedule.epochs=7", "optimizer.lr=1e-3", "model.kwargs.use_dfwt=false"])
    assert recipe.schedule.epochs == 7
    assert recipe.optimizer.lr == 0.001
    assert recipe.model.kwargs == {"use_dfwt": False}


@pytest.mark.reliability(22)
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace("epochs: 3", "epoch: 3"), "recipe.yaml:13: unknown key 'schedule.epoch'"),
        (GOOD.replace("epochs: 3", "epoch: 3"), "did you mean 'epochs'"),
        (
            GOOD.replace("epochs: 3", "epochs: three"),
            "recipe.yaml:13: schedule.epochs: input should be a valid integer",
        ),
        (GOOD.replace("epochs: 3", "epochs: 3.5"), "recipe.yaml:13: schedule.epochs"),
        (GOOD.replace("epochs: 3", "epochs: true"), "recipe.yaml:13: schedule.epochs"),
        (GOOD.replace("  lr: 3e-2\n", ""), "recipe.yaml:8: missing key 'optimizer.lr'"),
        (GOOD.replace("lr: 3e-2", "lr: -1"), "recipe.yaml:9: optimizer.lr: input should be greater than 0, got -1"),
        (
            GOOD.replace("name: linear", "name: lineal"),
            "recipe.yaml:12: schedule.name: input should be 'steps', 'linear', 'cosine' or",
        ),
        (GOOD.replace("[0.5, 0.5, 0.5]", "[0.5, 0.5]", 1), "recipe.yaml:6: preprocessing.mean"),
        (GOOD.replace("[0.5, 0.5, 0.5]", "[0.5, x, 0.5]", 1), "recipe.yaml:6: preprocessing.mean.1"),
        (GOOD.replace("name: linear", "name: steps"), "'steps' requires milestones"),
        (GOOD + "augmentation: {auto_augment: rand-m9, color_jitter: 0.4}\n", "remove one"),
        (GOOD + "ema: {decai: 0.9}\n", "unknown key 'ema.decai'"),
        (GOOD + "ema: {decai: 0.9}\n", "did you mean 'decay'"),
        (GOOD.replace("epochs: 3", "epochs: 3\n  milestones: [1]"), "only 'steps' accepts them"),
        (GOOD.replace("name: linear", "name: constant\n  min_lr: 0.1"), "only 'linear' and 'cosine' accept min_lr"),
        (GOOD + "batch_size: 64\n", "recipe.yaml:15: duplicate key 'batch_size'"),
        (GOOD + "1: 2\n", "recipe.yaml"),
        (GOOD + "? [a, b]\n: 2\n", "recipe.yaml"),
        (GOOD + "#" * (1 << 20), "exceeds the maximum size of a recipe"),
        (GOOD + "\tseed: 1\n", "recipe.yaml:15: not valid YAML"),
        (GOOD + "seed: .nan\n", "recipe.yaml:15: seed"),
        ("", "a recipe must be a mapping of sections, got empty"),
        ("- a\n- b\n", "a recipe must be a mapping of sections, got a list"),
        ("seed: !!python/object/apply:os.system ['touch canary']\n", "not valid YAML"),
    ],
)
def test_invalid_recipe_raises_one_line_with_file_line_and_key(write, text, message):
    path = write(text)
    with pytest.raises(WavezooError) as error:
        load_recipe(path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (path.parent / "canary").exists()


@pytest.mark.reliability(22)
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("schedule.epoch=3", "--set schedule.epoch=3: unknown key 'schedule.epoch' (did you mean 'epochs'"),
        ("schedule.epochs=x", "--set schedule.epochs=x: schedule.epochs: input should be a valid integer, got 'x'"),
        ("nothing.like.it=1", "--set nothing.like.it=1: unknown key 'nothing'"),
        ("schedule.epochs", "--set schedule.epochs: expected key=value"),
        ("batch_size.x=1", "'batch_size' is not a section"),
        ("seed=[", "the value is not valid YAML"),
        ("model.pretrained=none", "pretrained is a tag or a file; use null for random weights"),
        ("model={name: m, pretrained: t, initial_weights_of: {}}", "are exclusive: remove one"),
    ],
)
def test_invalid_override_names_the_override(write, override, message):
    with pytest.raises(WavezooError) as error:
        load_recipe(write(GOOD), [override])
    assert message in str(error.value)


def test_differences_name_every_key_whose_value_differs(write):
    here = load_recipe(write(GOOD), ["schedule.epochs=7", "ema.decay=0.9"])
    there = load_recipe(write(GOOD), ["model.kwargs.use_dfwt=false"])
    assert set(here.differences(there)) == {
        "schedule.epochs: 7, 3",
        "ema.decay: 0.9, None",
        "ema.warmup: True, None",
        "model.kwargs.use_dfwt: None, False",
        "model.kwargs: {}, None",
    }
    assert here.differences(here) == []


def test_default_value_written_out_keeps_the_hash(write):
    recipe = load_recipe(write(GOOD))
    assert load_recipe(write(GOOD + "accumulation: 1\nema: null\nregularization: {drop_path: 0}\n")).sha256() == (
        recipe.sha256()
    )
    assert load_recipe(write(GOOD), ["ema.decay=0.9"]).sha256() != recipe.sha256()


# What every system of a table is trained with: one protocol, so that only the model may differ.
@pytest.mark.parametrize(
    ("folder", "epochs"), [("imagenet", 120), ("tiny_imagenet", 15), ("cifar10", 164), ("cifar10", 16)]
)
def test_recipes_of_one_table_share_one_protocol(folder, epochs):
    recipes = [load_recipe(path) for name, path in list_recipes().items() if name.startswith(f"{folder}/")]
    protocols = {
        recipe.model_copy(update={"model": recipes[0].model}).sha256()
        for recipe in recipes
        if recipe.schedule.epochs == epochs
    }
    assert len(protocols) == 1


def test_recipes_of_the_papers_rows_state_its_error():
    headers = {name: path.read_text(encoding="utf-8").partition("model:")[0] for name, path in list_recipes().items()}
    for name, error in {
        "cifar10/waveletnet_m24": "5.15 %",
        "cifar10/waveletnet_m24_no_dfwt": "8.74 %",
        "imagenet/waveletnet_x1": "30.6 %",
        "imagenet/waveletnet_x0_75": "32.7 %",
        "imagenet/waveletnet_x1_25": "28.5 %",
        "imagenet/waveletnet_x1_k3": "30.6 %",
        "imagenet/waveletnet_x1_k5": "31.5 %",
    }.items():
        assert f"error {error} in the paper" in headers[name]
        assert "Inferred" in headers[name]
    for name, header in headers.items():
        if load_recipe(name).schedule.epochs in (15, 16):
            assert "shortened" in header and "Not a row of the paper" in header


def test_table_3_recipes_differ_only_in_dfwt():
    for depth in ("m1", "m2", "m24"):
        recipe, without = (load_recipe(f"cifar10/waveletnet_{depth}{suffix}") for suffix in ("", "_no_dfwt"))
        assert recipe.differences(without) == ["model.kwargs: {}, None", "model.kwargs.use_dfwt: None, False"]


def test_transfer_recipes_differ_only_in_initial_weights():
    transfer, scratch = (load_recipe(f"cifar10/waveletnet_x1_{side}") for side in ("transfer", "scratch"))
    assert transfer.differences(scratch) == ["model.pretrained: tiny_in200, None"]


def test_unknown_recipe_gets_a_suggestion():
    with pytest.raises(WavezooError, match=r"digit: recipe not found \(did you mean 'digits'"):
        load_recipe("digit")


@pytest.mark.reliability(22)
def test_yaml_alias_bomb_does_not_exhaust_memory(write):
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{chr(ord(k) + 1)}: &{chr(ord(k) + 1)} [{', '.join(['*' + k] * 9)}]\n" for k in "abcdefghij"
    )
    with pytest.raises(WavezooError, match="unknown key"):
        load_recipe(write(bomb))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["schedule.warmup_epochs=20"], "schedule: warmup_epochs 20 must be below epochs 20"),
        (["schedule.epochs=1", "schedule.warmup_epochs=5"], "schedule: warmup_epochs 5 must be below epochs 1"),
        (
            ["schedule.name=steps", "schedule.milestones=[2, 5]", "schedule.warmup_epochs=3"],
            "schedule: milestones must not be below warmup_epochs 3",
        ),
    ],
)
def test_warm_up_must_fit_the_schedule(overrides, message):
    with pytest.raises(WavezooError, match=message):
        load_recipe("digits", overrides)
