"""Runs of unknown origin as a source of measured errors."""

import json
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wavenet_zoo import WavezooError
from wavenet_zoo.paper.measured import find_runs, read_history
from wavenet_zoo.runtime.resources import shipped_folder

RUN = shipped_folder("results") / "digits" / "waveletnet_m1" / "seed0"
FILES = ("run.json", "result.json", "recipe.yaml", "log.jsonl")
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=6,
)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The files of a finished run, in a folder that may be changed; the shipped runs are not read."""
    monkeypatch.setattr("wavenet_zoo.paper.measured.shipped_folder", lambda name: None)
    folder = tmp_path / "run"
    folder.mkdir()
    for name in FILES:
        shutil.copy(RUN / name, folder)
    return folder


def change(path, *keys, value):
    """Set a value of a JSON object."""
    document = inner = json.loads((RUN / path.name).read_text(encoding="utf-8"))
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path.write_text(json.dumps(document), encoding="utf-8")


def keys_of(value, path=()):
    """Yield the keys of a JSON object and of the objects in it."""
    for key, inner in value.items():
        yield (*path, key)
        if isinstance(inner, dict):
            yield from keys_of(inner, (*path, key))


KEYS = {name: list(keys_of(json.loads((RUN / name).read_text(encoding="utf-8")))) for name in FILES[:2]}


@pytest.mark.reliability(63)
@pytest.mark.parametrize("top1", [-1, 100.5, float("nan"), float("inf"), "x", None])
def test_run_with_an_impossible_accuracy_is_refused(run, top1):
    change(run / "result.json", "last", "top1", value=top1)
    with pytest.raises(WavezooError, match=r"result\.json: invalid key 'last\.top1'"):
        find_runs([run])


@pytest.mark.reliability(63)
@pytest.mark.parametrize("name", ["recipe.yaml", "run.json", "result.json"])
def test_damaged_file_of_a_run_is_named_with_a_hint(run, name):
    (run / name).write_bytes(b"\xff\0")
    with pytest.raises(WavezooError) as error:
        find_runs([run])
    assert str(run / name) in error.value.message and error.value.hint == f"copy the run again, or remove {run}"


@pytest.mark.reliability(63)
@pytest.mark.parametrize("name", sorted(KEYS))
@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_run_with_random_values_is_read_or_rejected(run, name, data):
    change(run / name, *data.draw(st.sampled_from(KEYS[name])), value=data.draw(json_values))
    try:
        assert find_runs([run])
    except WavezooError as error:
        assert str(run / name) in error.message and len(str(error).splitlines()) == 1


@pytest.mark.reliability(63)
@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"epoch": 1, "top1": 1, "train_loss": 1}'], r"log\.jsonl: has 1 lines, but the run has 2 epochs"),
        (['{"epoch": 1, "top1": 1, "train_loss": 1}', "{"], r"log\.jsonl:2: not valid JSON"),
        (['{"epoch": 1, "top1": 1, "train_loss": 1}', "[]"], r"log\.jsonl:2: missing or invalid key ''"),
        (['{"epoch": 1, "top1": "x", "train_loss": 1}', "{}"], r"log\.jsonl:1: missing or invalid key 'top1'"),
        (['{"epoch": 1, "top1": 1}', '{"epoch": 2, "top1": 1}'], r"log\.jsonl:1: missing or invalid key 'train_loss'"),
    ],
)
def test_log_that_does_not_match_the_run_is_refused(run, lines, message):
    (run / "log.jsonl").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(WavezooError, match=message):
        read_history(run, 2)


def test_log_of_a_finished_run_is_read():
    assert [record["epoch"] for record in read_history(RUN, 20)] == list(range(1, 21))
