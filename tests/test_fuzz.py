"""Files with random damage: they are read, or rejected in one line, and no other file is written."""

import contextlib
import functools
import io
import json
import math
import operator
import os
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import timm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from wavenet_zoo import WavezooError
from wavenet_zoo.data.decoding import IMAGE_FORMATS, ImageError, decode_image
from wavenet_zoo.data.open import open_data
from wavenet_zoo.models._pretrained import pretrained_cfg
from wavenet_zoo.recipes import Recipe, list_recipes, load_recipe, parse_value
from wavenet_zoo.runtime.manifest import checkpoints_folder, read_collection
from wavenet_zoo.runtime.records import parse_json, read_json, read_record
from wavenet_zoo.runtime.resources import shipped_folder
from wavenet_zoo.training.records import RunRecord, TrainingRun
from wavenet_zoo.weights.files import weights_bytes
from wavenet_zoo.weights.loading import load_model
from wavenet_zoo.weights.manifest import ManifestEntry
from wavenet_zoo.weights.metadata import WeightsMetadata

MODEL = "waveletnet_cifar_m1"
RECIPES = [path.read_text(encoding="utf-8") for path in list_recipes().values()]
WORDS = [
    *("null", "~", "true", ".nan", "1e999", "-1", "0x10", "1_000", "[", "]", "{", "}", ": ", "\n", "\t", "#", "'", '"'),
    *("&a", "*a", "<<: *a", "---", "!!python/name:os.system", "\0", "\ufeff", "model", "epochs", "../../x"),
    *(
        "!!int",
        "!!float",
        "!!set",
        "!!binary",
        "0b_",
        "1:1",
        "2001-99-99",
        "9" * 99,
        "[" * 40,
        "- ",
        "? ",
        "|",
        "%",
        "\\U",
    ),
]
many = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
cuts = st.lists(
    st.tuples(st.floats(0, 1), st.floats(0, 0.2), st.one_of(st.binary(max_size=12), st.just(b"\xff" * 4))),
    min_size=1,
    max_size=4,
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=6,
)


def spoil(content, cuts):
    """Replace pieces of ``content``: where each begins and how long it is, as shares of the whole, and by what."""
    for place, length, other in cuts:
        start = int(place * len(content))
        content = content[:start] + other + content[start + int(length * len(content)) :]
    return content


@pytest.fixture
def bounded(tmp_path):
    """Hold a function to a second, 100 MB, one line, and the folder that it works in."""

    def call(function):
        before = sorted(path for path in tmp_path.parent.iterdir())
        tracemalloc.start()
        started = time.perf_counter()
        try:
            return function()
        except WavezooError as error:
            assert len(str(error).splitlines()) == 1
            return None
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert time.perf_counter() - started < 5 and peak < 100_000_000
            assert sorted(path for path in tmp_path.parent.iterdir()) == before

    return call


@pytest.mark.reliability(22)
@many
@given(st.sampled_from(RECIPES), st.lists(st.tuples(st.floats(0, 1), st.sampled_from(WORDS)), min_size=1, max_size=4))
def test_recipe_with_random_text_loads_or_is_rejected(tmp_path, bounded, text, insertions):
    for place, word in insertions:
        start = int(place * len(text))
        text = text[:start] + word + text[start:]
    (tmp_path / "r.yaml").write_text(text, encoding="utf-8")
    recipe = bounded(lambda: load_recipe(tmp_path / "r.yaml"))
    assert recipe is None or isinstance(recipe, Recipe)


@pytest.mark.reliability(22)
@many
@given(st.sampled_from(RECIPES), cuts)
def test_recipe_with_random_bytes_loads_or_is_rejected(tmp_path, bounded, text, cuts):
    (tmp_path / "r.yaml").write_bytes(spoil(text.encode(), cuts))
    bounded(lambda: load_recipe(tmp_path / "r.yaml"))


KEYS = st.sampled_from(
    [
        *("model.name", "model.kwargs", "model.kwargs.x", "data", "preprocessing.mean", "augmentation.scale", "seed"),
        *("optimizer.lr", "schedule", "schedule.epochs", "ema", "ema.decay", "batch_size"),
    ]
)


@pytest.mark.reliability(22)
@many
@given(st.one_of(st.text(max_size=30), st.tuples(KEYS, st.text(max_size=12)).map("=".join),
                 st.tuples(KEYS, json_values.map(json.dumps)).map("=".join)))  # fmt: skip
def test_random_overrides_raise_only_wavezoo_error(bounded, override):
    bounded(lambda: load_recipe("digits", [override]))


@pytest.mark.reliability(51)
@many
@given(st.one_of(st.text(max_size=30), st.lists(st.sampled_from(WORDS), max_size=12).map("".join)))
def test_random_yaml_is_a_value_of_json_or_is_rejected(bounded, text):
    value = bounded(lambda: parse_value(text))
    assert json.loads(json.dumps(value, allow_nan=False)) == value or has_other_keys(value)


def has_other_keys(value):
    """Return whether a mapping has keys such as 1 or null, which JSON makes text."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return any(has_other_keys(item) for item in inner) or (
        isinstance(value, dict) and not all(isinstance(key, str) for key in value)
    )


RECORDS = {"run.json": RunRecord, "result.json": TrainingRun}
RUN = shipped_folder("results") / "digits" / "waveletnet_m1" / "seed0"


@pytest.mark.reliability(63)
@pytest.mark.parametrize("name", RECORDS)
@many
@given(cuts)
def test_record_with_random_bytes_is_read_or_rejected(tmp_path, bounded, name, cuts):
    (tmp_path / name).write_bytes(spoil((RUN / name).read_bytes(), cuts))
    record = bounded(lambda: read_record(tmp_path / name, RECORDS[name]))
    assert record is None or isinstance(record, RECORDS[name])


JSON_PIECES = ["[" * 3000, '{"a":' * 900, "1" * 5000, "NaN", "1e999", '"\\ud800"', "]", "}", ",", '"', "\ufeff", "null"]


@pytest.mark.reliability(63, 66)
@many
@given(
    st.one_of(
        st.binary(max_size=30),
        json_values.map(lambda value: json.dumps(value).encode()),
        st.lists(st.sampled_from(JSON_PIECES), max_size=6).map(lambda pieces: "".join(pieces).encode()),
    )
)
def test_random_json_is_parsed_or_rejected(tmp_path, bounded, content):
    (tmp_path / "x.json").write_bytes(content)
    bounded(lambda: parse_json(content, "x.json"))
    assert isinstance(bounded(lambda: read_json(tmp_path / "x.json")), dict | None)


@pytest.mark.reliability(22)
@given(
    st.sampled_from(sorted(list_recipes())),
    st.floats(1e-6, 10),
    st.integers(1, 500),
    st.integers(0, 2**32 - 1),
    st.booleans(),
    st.dictionaries(st.text(max_size=8), json_values, max_size=3),
    st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12),
)
def test_recipes_round_trip_through_yaml(tmp_path_factory, name, lr, epochs, seed, channels_last, kwargs, data):
    recipe = load_recipe(name)
    values = json.loads(recipe.model_dump_json())
    values["optimizer"]["lr"] = lr
    values["seed"], values["channels_last"] = seed, channels_last
    values["model"]["kwargs"], values["data"]["name"] = kwargs, data
    if not values["schedule"]["milestones"]:
        values["schedule"]["epochs"] = epochs
        values["schedule"]["warmup_epochs"] = 0
    recipe = Recipe.model_validate(values)
    path = tmp_path_factory.mktemp("recipe") / "r.yaml"
    path.write_text(recipe.to_yaml(), encoding="utf-8")
    again = load_recipe(path)
    assert again == recipe
    assert again.sha256() == recipe.sha256()


WEIGHTS = weights_bytes(timm.create_model(MODEL, num_classes=10).state_dict(), WeightsMetadata(model=MODEL))
HEADER = 8 + int.from_bytes(WEIGHTS[:8], "little")


@pytest.mark.reliability(9)
@many
@given(st.booleans(), cuts)
def test_weights_with_random_bytes_load_or_are_rejected(tmp_path, bounded, in_header, cuts):
    content = spoil(WEIGHTS[:HEADER], cuts) + WEIGHTS[HEADER:] if in_header else spoil(WEIGHTS, cuts)
    (tmp_path / "w.safetensors").write_bytes(content)
    bounded(lambda: load_model(MODEL, tmp_path / "w.safetensors"))


@pytest.mark.reliability(9)
@many
@given(st.lists(st.tuples(st.sampled_from(["dtype", "shape", "data_offsets"]), json_values), min_size=1, max_size=3))
def test_weights_with_random_header_load_or_are_rejected(tmp_path, bounded, changes):
    header = json.loads(WEIGHTS[8:HEADER])
    for number, (key, value) in enumerate(changes):
        header[sorted(header)[number]] = {**header[sorted(header)[number]], key: value}
    text = json.dumps(header).encode()
    (tmp_path / "w.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + WEIGHTS[HEADER:])
    bounded(lambda: load_model(MODEL, tmp_path / "w.safetensors"))


@pytest.mark.reliability(9)
@many
@given(json_values)
def test_weights_with_random_metadata_load_or_are_rejected(tmp_path, bounded, value):
    text = json.dumps({"model": MODEL, "classes": value, "preprocessing": value, "model_kwargs": value})
    tensors = safetensors.torch.load(WEIGHTS)
    (tmp_path / "w.safetensors").write_bytes(safetensors.torch.save(tensors, {"wavenet_zoo": text}))
    bounded(lambda: load_model(MODEL, tmp_path / "w.safetensors"))


ABSENT = object()
ENTRY_KEYS = [
    (0,),
    *((0, key) for key in json.loads((checkpoints_folder() / "manifest.json").read_text())["checkpoints"][0]),
    *((0, key) for key in ("hub", "path", "manifest", "model", "model_kwargs", "git")),
    *((0, "preprocessing", key) for key in ("input_size", "interpolation", "crop_pct", "mean", "std")),
    *((0, "results", "digits/test", key) for key in ("top1", "top5", "images", "correct_top1", "other")),
    *((0, "classes", 0), (0, "preprocessing", "input_size", 1), (0, "preprocessing", "std", 0)),
]
manifest_values = st.one_of(
    json_values,
    st.sampled_from(
        [ABSENT, "", "\0", "\ud800", "a/b c", math.nan, 10**400, -1, 0, True, {"digits/test": {"top1": 1e400}}]
    ),
    st.sampled_from(
        ["../x", "/etc/passwd", "..", ".", "a/../../b", "a/b", "a/b@../../x", "a/b@", "@", "a/b/c", "https://x/y"]
    ),
    st.sampled_from(["waveletnet_x1.tiny_in200.safetensors", "waveletnet_x1.tiny_in200"]),
)


@pytest.mark.reliability(23, 31, 66)
@many
@given(st.lists(st.tuples(st.sampled_from(ENTRY_KEYS), manifest_values), min_size=1, max_size=3))
def test_manifest_with_random_values_is_read_or_rejected(tmp_path, bounded, changes):
    manifest = json.loads((checkpoints_folder() / "manifest.json").read_text(encoding="utf-8"))
    for path, value in changes:
        with contextlib.suppress(KeyError, TypeError, IndexError):  # an earlier change replaced the parent
            parent = functools.reduce(operator.getitem, path[:-1], manifest["checkpoints"])
            if value is ABSENT:
                del parent[path[-1]]
            else:
                parent[path[-1]] = value
    for name in ("waveletnet_cifar_m1.digits.safetensors", "waveletnet_x1.tiny_in200.safetensors"):
        (tmp_path / name).touch()
    (tmp_path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    found = bounded(lambda: read_collection(tmp_path))
    for name, values in found.entries.items() if found else ():
        assert Path(os.path.realpath(values.get("path", tmp_path / "x"))).parent == tmp_path
        assert "/" not in name and pretrained_cfg(values)["num_classes"]
        entry = bounded(lambda values=values: ManifestEntry.from_json(values))
        assert entry is None or (json.dumps(entry.to_json(), indent=2) and (entry.file or entry.local_path() is None))


@pytest.mark.reliability(31)
@many
@given(cuts)
def test_manifest_with_random_bytes_is_read_or_rejected(tmp_path, bounded, cuts):
    content = (checkpoints_folder() / "manifest.json").read_bytes()
    (tmp_path / "manifest.json").write_bytes(spoil(content, cuts))
    bounded(lambda: read_collection(tmp_path))


def _picture(format):
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (24, 32, 3), dtype=np.uint8)).save(buffer, format)
    return buffer.getvalue()


@pytest.mark.reliability(11, 12, 15, 67)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("format", IMAGE_FORMATS)
@settings(max_examples=300)
@given(st.data())
def test_image_with_random_bytes_is_decoded_or_rejected(format, data):
    content = spoil(_picture(format), data.draw(cuts))
    started = time.perf_counter()
    with contextlib.suppress(ImageError):
        assert decode_image(content).mode == "RGB"
    assert time.perf_counter() - started < 5


@pytest.mark.reliability(18, 19)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "train", "val", ".c", "ä", "n01440764", "x" * 200]),
            st.sampled_from(["1.png", "2.PNG", ".3.png", "4.txt", "5", "sub/6.jpg", "-7.png"]),
        ),
        max_size=8,
    )
)
def test_random_folder_is_a_data_set_or_is_rejected(tmp_path_factory, files):
    root = tmp_path_factory.mktemp("data")
    for folder, name in files:
        (root / folder / name).parent.mkdir(parents=True, exist_ok=True)
        (root / folder / name).touch()
    try:
        source = open_data(root, "val")
    except WavezooError as error:
        assert len(str(error).splitlines()) == 1 and str(root) in str(error)
    else:
        assert len(source.targets) == len(set(source.files))
        assert not any(part.startswith(".") for path in source.files for part in path.relative_to(root).parts)
