import os
import time
import tracemalloc

import pytest

from wavenet_zoo.errors import WavezooError
from wavenet_zoo.recipes import InvalidRecipe, list_recipes, load_recipe, parse_value

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
HASH = "c9d9bfab670763f1183fcc04db4796a7fe0c78eba96ca4458c1c70203e24bd14"  # of GOOD


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
        (GOOD + "#" * (1 << 16), "recipe.yaml: cannot be read: has 65,760 bytes, the limit is 65,536"),
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
        ("seed=[", "--set seed=[: not valid YAML: while parsing"),
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
        if "/" in name and load_recipe(name).schedule.epochs in (15, 16):  # a small form of a row
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
    with pytest.raises(WavezooError, match=r"recipe.yaml:\d+: not valid YAML: more than 10,000 values"):
        load_recipe(write(bomb))


MODEL = "name: waveletnet_cifar_m1"
BOMB = "&a [x,x,x,x,x,x,x,x,x,x]" + "".join(
    f", &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 10)}]" for i in range(8)
)


@pytest.fixture
def bounded():
    """Hold a test to a minute and 100 MB: without limits, these texts take hours and gigabytes."""
    tracemalloc.start()
    started = time.perf_counter()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.perf_counter() - started < 60 and peak < 100_000_000  # tracing takes most of the time


@pytest.mark.reliability(51)
@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace(MODEL, f"{MODEL}\n  kwargs: {{x: [{BOMB}]}}"), "recipe.yaml:3: not valid YAML: more than 10,000"),
        (GOOD + f"x: &a {{b: [{'*a, ' * 9}1]}}\n", "recipe.yaml:15: not valid YAML: nested deeper than 32"),
        (GOOD + f"x: {'[' * 20_000}\n", "recipe.yaml:15: not valid YAML: nested deeper than 32 levels"),
        (GOOD + f"x: {'{a: ' * 5000}1{'}' * 5000}\n", "recipe.yaml:15: not valid YAML: nested deeper than 32 levels"),
        (GOOD + f"x:\n  {'- ' * 5000}\n", "not valid YAML: nested too deep"),
        (GOOD + f"x: {'[' * 33}{']' * 33}\n", "recipe.yaml:15: not valid YAML: nested deeper than 32 levels"),
        (GOOD + f"x: [{'1, ' * 20_000}]\n", "recipe.yaml:15: not valid YAML: more than 10,000 values"),
        (GOOD + f"seed: {'9' * 5000}\n", "recipe.yaml:15: not valid YAML: a number has 5,000 digits, the limit is 100"),
        (GOOD + f"seed: {':'.join(['1'] * 20_000)}\n", "recipe.yaml:15: not valid YAML: a number has 39,999 digits"),
        (GOOD + "seed: !!int abc\n", "recipe.yaml:15: not valid YAML: 'abc' is not a valid int"),
        (GOOD + "seed: !!int ''\n", "recipe.yaml:15: not valid YAML: '' is not a valid int"),
        (GOOD + "seed: !!bool abc\n", "recipe.yaml:15: not valid YAML: 'abc' is not a valid bool"),
        (GOOD + "seed: 0x_\n", "recipe.yaml:15: not valid YAML: '0x_' is not a valid int"),
        (GOOD + f"seed: 1{':1' * 40}.{'9' * 5}\n", "recipe.yaml:15: seed"),
        (GOOD + "seed: !!timestamp abc\n", "recipe.yaml:15: not valid YAML: the tag tag:yaml.org,2002:timestamp"),
        (GOOD + "seed: !!binary abc\n", "recipe.yaml:15: not valid YAML: the tag tag:yaml.org,2002:binary"),
        (GOOD + "seed: !!set {a}\n", "recipe.yaml:15: not valid YAML: the tag tag:yaml.org,2002:set"),
        (GOOD + "seed: !!map 1\n", "recipe.yaml:15: not valid YAML: expected a mapping node"),
        (GOOD + 'seed: "\\UFFFFFFFF"\n', "recipe.yaml: not valid YAML: "),
        (f"%YAML 1.{'9' * 5000}\n---\n" + GOOD, "recipe.yaml: not valid YAML: "),
        (GOOD + "<<: 5\n", "recipe.yaml:15: not valid YAML: while constructing a mapping, expected a mapping"),
        (GOOD + "---\n" + GOOD, "recipe.yaml:15: not valid YAML: expected a single document"),
        (GOOD + "a\0b: 1\n", r"recipe.yaml:15: not valid YAML: the character '\x00' is not allowed"),
        (GOOD + "a\x1b[2J: 1\n", r"recipe.yaml:15: not valid YAML: the character '\x1b' is not allowed"),
        (GOOD.encode("utf-16"), "recipe.yaml: not valid YAML: not in UTF-8 at byte 0"),
        (GOOD + "seed:\t64\n", "recipe.yaml:15: not valid YAML: while scanning for the next token, found character"),
    ],
)
def test_yaml_that_exceeds_a_limit_or_does_not_parse_is_refused(tmp_path, text, message):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(WavezooError) as error:
        load_recipe(path)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.reliability(51)
@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize(
    "text",
    [
        *(f"[{BOMB}]", "[" * 5000, "-" * 5000 + "1", "- " * 5000, "9" * 5000, "!!int x", "2001-99-99: [", "0b_"),
        *("x" * 100_000, "1," * 40_000 + "x", "1," + " " * 60_000 + "x", "{a: 1, a: 2}", ".nan", "[1, .inf]", "1e999"),
        *("!!python/name:os.system", "a: &x *x", "\x1b", "\udcff", "%YAML 1.9", "? [a]", "--- a\n--- b"),
    ],
)
def test_value_that_is_not_plain_yaml_is_refused_or_text(text):
    try:
        value = parse_value(text)
    except WavezooError as error:
        assert "\n" not in str(error)
    else:
        assert value == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2001-01-01", "2001-01-01"),
        ("=", "="),
        ("0,3,3", [0, 3, 3]),
        ("(0.5, 1e-3 ,2 , )", [0.5, "1e-3", 2]),
        ("1e-3", 1e-3),
        ("None", None),
        ("yes", True),
        ("[a, {b: 1}]", ["a", {"b": 1}]),
    ],
)
def test_value_is_parsed_as_json_would_hold_it(text, value):
    assert parse_value(text) == value


def test_recipe_with_byte_order_mark_crlf_and_aliases_is_valid(tmp_path):
    path = tmp_path / "recipe.yaml"
    text = GOOD.replace("mean: [0.5", "mean: &half [0.5").replace("std: [0.5, 0.5, 0.5]", "std: *half")
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    recipe = load_recipe(path)
    path.write_text(GOOD)
    assert load_recipe(path) == recipe


def test_override_does_not_change_what_an_alias_repeats(write):
    text = GOOD.replace(MODEL, f"{MODEL}\n  kwargs: &k {{use_dfwt: true}}\n  initial_weights_of: *k")
    recipe = load_recipe(write(text), ["model.kwargs.use_dfwt=false"])
    assert recipe.model.kwargs == {"use_dfwt": False} and recipe.model.initial_weights_of == {"use_dfwt": True}


def test_mistake_in_a_merged_mapping_has_the_line_of_the_value_that_counts(write):
    text = GOOD.replace("data: {name: digits}", "data:\n  <<: {name: digits, train: a}\n  train: ../b")
    with pytest.raises(WavezooError, match=r"recipe\.yaml:5: data\.train: input should be the name of a split"):
        load_recipe(write(text))


@pytest.mark.reliability(64)
@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "optimizer.lr=1e300",
            "optimizer.lr: input should be 0 or have an absolute value from 1e-30 to 1e30, got 1e+300",
        ),
        ("optimizer.lr=1e-320", "optimizer.lr: input should be 0 or"),
        ("optimizer.lr=-0.0", "optimizer.lr: input should be greater than 0, got -0.0"),
        ("optimizer.lr=nan", "optimizer.lr: input should be a finite number, got nan"),
        ("optimizer.lr=.nan", "a number is not finite"),
        ("optimizer={lr: 0.1, clip_grad: 1e999}", "optimizer.clip_grad: input should be a finite number, got inf"),
        ("optimizer.betas=[0.9, 1]", "optimizer.betas.1: input should be less than 1"),
        ("preprocessing.std=[1e-300,1,1]", "preprocessing.std.0: input should be 0 or"),
        ("preprocessing.std=[0,1,1]", "preprocessing.std.0: input should be greater than 0, got 0"),
        ("preprocessing.mean=[1e400,0,0]", "preprocessing.mean.0: input should be a finite number, got inf"),
        ("preprocessing.size=0", "preprocessing.size: input should be greater than or equal to 1, got 0"),
        ("preprocessing.size=100000", "preprocessing: size / crop_pct is 100000 pixels, the limit is 8192"),
        ("preprocessing.crop_pct=0.001", "preprocessing: size / crop_pct is 32000 pixels, the limit is 8192"),
        ("preprocessing.crop_pct=0", "preprocessing.crop_pct: input should be greater than 0"),
        ("preprocessing.interpolation=cubic", "preprocessing.interpolation: input should be 'nearest', 'bilinear'"),
        ("augmentation.padding=100000", "augmentation.padding: input should be less than or equal to 1024"),
        ("augmentation.scale=[0.9, 0.1]", "augmentation: scale should be a minimum above 0 and a maximum"),
        ("augmentation.scale=[0, 1]", "augmentation: scale should be a minimum above 0 and a maximum"),
        ("augmentation.auto_augment=rand-m9-n1000000", "augmentation.auto_augment: input should be a policy of timm"),
        ("augmentation.auto_augment=rand-mX", "augmentation.auto_augment: input should be a policy of timm"),
        ("augmentation.auto_augment=augmix-w99999999", "augmentation.auto_augment: input should be a policy of timm"),
        ("augmentation.auto_augment=''", "augmentation.auto_augment: input should be a policy of timm"),
        (
            "augmentation.mixing_probability=2",
            "augmentation.mixing_probability: input should be less than or equal to 1",
        ),
        ("augmentation={mixup: 0.5, cutmix: 1e300}", "augmentation.cutmix: input should be 0 or"),
        ("ema.decay=1.5", "ema.decay: input should be less than 1, got 1.5"),
        ("schedule.epochs=1000000000000", "schedule.epochs: input should be less than or equal to 1000000"),
        ("schedule={name: steps, epochs: 9, milestones: [5, 1]}", "schedule: milestones should increase, got [5, 1]"),
        ("schedule={name: steps, epochs: 9, milestones: [5, 5]}", "schedule: milestones should increase, got [5, 5]"),
        (f"batch_size={10**30}", "batch_size: input should be less than or equal to 1000000, got 1000"),
        ("accumulation=3", "recipe.yaml: batch_size 32 is not divisible by accumulation 3"),
        ("seed=9223372036854775808", "seed: input should be less than 4294967296"),
        ("seed=-1", "seed: input should be greater than or equal to 0"),
        ('data.name="a\\e[2J"', r"data.name: control characters are not allowed, got 'a\x1b[2J'"),
        ("data.name=''", "data.name: string should have at least 1 character"),
        ("data.train=../../etc", "data.train: input should be the name of a split, not a path, got '../../etc'"),
        ("data.validation=/etc", "data.validation: input should be the name of a split, not a path"),
        ("data.validation=1", "data.validation: input should be less than 1, got 1"),
        ("data.validation=0", "data.validation: input should be greater than 0, got 0"),
        ("data.validation=[0.1]", "data.validation: input should be a valid number, got [0.1]"),
        ("data={name: x, train: all, validation: 0.1}", "data: a fraction for validation is held out of the split"),
        ("optimizer.layer_decay=0", "optimizer.layer_decay: input should be greater than 0, got 0"),
        ("optimizer.layer_decay=1.1", "optimizer.layer_decay: input should be less than or equal to 1, got 1.1"),
        ("optimizer.freeze_backbone=1", "optimizer.freeze_backbone: input should be a valid boolean, got 1"),
        ("optimizer.freeze_backbone=true", "optimizer.freeze_backbone requires model.pretrained: random weights"),
        (
            "optimizer={lr: 0.1, freeze_backbone: true, layer_decay: 0.7}",
            "optimizer: freeze_backbone and layer_decay are exclusive, since only the classifier is trained",
        ),
        ("model.kwargs.width=.inf", "a number is not finite"),
        ("model.kwargs={width: [1e999]}", "model.kwargs"),
        (".=1", "--set .=1: expected key=value"),
        (f"{'a.' * 5000}b=1", "nested deeper than 32 levels"),
        (f"data.name={'x' * 5000}", "data.name: string should have at most 4096 characters"),
    ],
)
def test_absurd_value_is_refused_with_its_key(write, override, message):
    path = write(GOOD)
    if override.endswith("{width: [1e999]}"):  # a number of YAML, unlike 1e999
        override = override.replace("1e999", ".inf")
    with pytest.raises(WavezooError) as error:
        load_recipe(path, [override])
    assert message in str(error.value) and len(str(error.value)) < 400


def test_fraction_for_validation_is_a_number_in_any_notation(write):
    for text in ("0.1", "1e-1", ".1"):
        recipe = load_recipe(write(GOOD.replace("{name: digits}", f"{{name: digits, validation: {text}}}")))
        assert recipe.data.validation == 0.1
        assert load_recipe(write(recipe.to_yaml())) == recipe
    assert load_recipe(write(GOOD)).sha256() == load_recipe(write(GOOD), ["data.validation=val"]).sha256()


def test_keys_of_fine_tuning_do_not_change_older_hashes(write):
    same = ["optimizer.layer_decay=null", "optimizer.freeze_backbone=false"]
    assert load_recipe(write(GOOD), same).sha256() == load_recipe(write(GOOD)).sha256() == HASH
    for value in ("optimizer.layer_decay=1", "data.validation=0.1"):
        assert load_recipe(write(GOOD), [value]).sha256() != HASH


@pytest.mark.reliability(64)
def test_number_in_model_arguments_that_is_not_finite_has_its_line(write):
    text = GOOD.replace(MODEL, f"{MODEL}\n  kwargs:\n    use_dfwt: false\n    width: [1, .inf]")
    with pytest.raises(
        WavezooError, match=r"yaml:5: model\.kwargs\.width\.1: input should be a finite number, got inf"
    ):
        load_recipe(write(text))


@pytest.mark.parametrize(
    "override",
    [
        *(
            "optimizer.lr=1e-6",
            "optimizer.lr=1e30",
            "preprocessing.size=1",
            "preprocessing.size=1024",
            "seed=4294967295",
        ),
        *("augmentation.auto_augment=rand-m9-mstd0.5-inc1", "augmentation.auto_augment=rand-m7-n3-p0.5-mmax20-t3aw"),
        *("augmentation.auto_augment=augmix-m5-w4-d2", "augmentation.auto_augment=original-mstd0.5", "data.train=a/b"),
        *(
            "augmentation.auto_augment=3a",
            "augmentation.auto_augment=v0r",
            "data.name=/data/my images",
            "batch_size=65536",
        ),
        *(
            "augmentation.scale=[0.08, 1]",
            "ema.decay=0.99999",
            "optimizer.betas=[0, 0.999]",
            "data.train='train[:90%]'",
        ),
        *(
            "schedule={name: steps, epochs: 1, milestones: [82, 123]}",
            "augmentation.mixup=0.2",
            "optimizer.weight_decay=0",
        ),
        *("data.validation=0.1", "data.validation=train[90%:]", "optimizer.layer_decay=1", "optimizer.layer_decay=0.7"),
    ],
)
def test_sane_value_is_accepted(write, override):
    load_recipe(write(GOOD), [override])


@pytest.mark.reliability(49)
@pytest.mark.parametrize("kind", ["pipe", "device", "sparse", "folder", "long"])
def test_recipe_that_is_no_regular_file_is_refused_without_reading_it(tmp_path, kind):
    path = tmp_path / "recipe.yaml"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "sparse":
        path.touch()
        os.truncate(path, 20 << 30)
    elif kind == "folder":
        path.mkdir()
        (path / "mine.yaml").touch()
    else:
        path = tmp_path / ("x" * 300)
    with pytest.raises(WavezooError) as error:
        load_recipe(path)
    assert (
        str(error.value).removeprefix(f"{path}: ")
        == {
            "pipe": "cannot be read: is a named pipe, not a regular file",
            "device": "cannot be read: is a device, not a regular file",
            "sparse": "cannot be read: has 21,474,836,480 bytes, the limit is 65,536",
            "folder": f"is a folder, not a recipe (pass a file, for example {path / 'mine.yaml'})",
            "long": "cannot be read: File name too long",
        }[kind]
    )


@pytest.mark.reliability(65)
def test_every_mistake_is_in_the_error(write):
    path = write(GOOD.replace("lr: 3e-2", "lr: -1").replace("epochs: 3", "epoch: 3"))
    with pytest.raises(InvalidRecipe) as error:
        load_recipe(path, ["seed=x", "batch_size"])
    assert [mistake.key for mistake in error.value.mistakes] == [
        "",
        "schedule.epoch",
        "optimizer.lr",
        "schedule.epochs",
        "seed",
    ]
    assert error.value.hint == (
        f"for example --set schedule.epochs=1; and 4 more: wavezoo recipe check {path} --set seed=x --set batch_size"
    )


@pytest.mark.reliability(44)
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["schedule.warmup_epochs=20"], "schedule: warmup_epochs 20 must be below epochs 20, for example 0"),
        (
            ["schedule.epochs=1", "schedule.warmup_epochs=5"],
            "schedule: warmup_epochs 5 must be below epochs 1, for example 0",
        ),
        (
            ["schedule.name=steps", "schedule.milestones=[2, 5]", "schedule.warmup_epochs=3"],
            "schedule: milestones must not be below warmup_epochs 3",
        ),
    ],
)
def test_warm_up_must_fit_the_schedule(overrides, message):
    with pytest.raises(WavezooError, match=message):
        load_recipe("digits", overrides)
