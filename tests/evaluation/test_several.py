import csv
import json
import shutil

import pytest

from wavenet_zoo import WavezooError, evaluate
from wavenet_zoo.evaluation.several import expand_models
from wavenet_zoo.weights.loading import load_model
from wavenet_zoo.weights.manifest import list_entries

MODEL = "waveletnet_cifar_m1"
TEN = ("--model-kwargs", "num_classes=10")


def test_wildcards_match_weights_or_architectures():
    assert expand_models(["waveletnet_cifar_*"]) == ["waveletnet_cifar_m1.digits", "waveletnet_cifar_m2.cifar10_jpeg"]
    assert "waveletnet_cifar_m24" in expand_models(["waveletnet_cifar_*"], "none")
    assert expand_models([f"{MODEL}.*", MODEL, f"{MODEL}.digits"]) == [f"{MODEL}.digits", MODEL]


def test_wildcards_do_not_hide_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights?.onnx").touch()
    assert expand_models(["weights?.onnx"]) == ["weights?.onnx"]
    for name in ("w10.onnx", "w9.onnx"):
        (tmp_path / name).touch()
    (tmp_path / "waveletnet_cifar_m1.onnx").touch()
    assert expand_models(["waveletnet_cifar_m1*"]) == [f"{MODEL}.digits"]
    with pytest.raises(WavezooError, match="no file matches 'runs/"):
        expand_models(["runs/*"])
    assert expand_models(["w?*0.onnx", "w9*.onnx", MODEL]) == ["w10.onnx", "w9.onnx", MODEL]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("wavelettnet_x*", "no model matches 'wavelettnet_x*'"), ("waveletnet_x1_*", "3 models match without")],
)
def test_wildcard_without_a_match_is_an_error(pattern, message):
    with pytest.raises(WavezooError) as error:
        expand_models([pattern])
    assert message in str(error.value)


def test_a_model_that_fails_does_not_stop_the_others(wavezoo, small_digits):
    arguments = ("--data", small_digits, "--workers", 0, "--weights", "none", *TEN, "--size", 32)
    finished = wavezoo(
        "eval", MODEL, "nosuchmodel", "vit_tiny_patch16_224", MODEL + "x", "waveletnet_cifar_m2", *arguments
    )
    assert finished.code == 2
    assert "error: nosuchmodel: unknown model 'nosuchmodel'" in finished.err
    assert "error: vit_tiny_patch16_224: the model does not accept images of 32 x 32 px" in finished.err
    assert f"did you mean '{MODEL}'" in finished.err
    lines = [line.split()[0] for line in finished.out.splitlines()[2:]]
    assert lines == [MODEL, "waveletnet_cifar_m2"]


def test_json_has_results_and_failures(wavezoo, small_digits):
    finished = wavezoo("eval", MODEL, "no", "--data", small_digits, "--workers", 0, "--json", "--save-json", "all.json")
    assert [result["model"] for result in finished.json["results"]] == [MODEL]
    assert finished.json["failed"] == [{"model": "no", "error": "unknown model 'no' (see 'wavezoo list')"}]
    assert "predictions" not in finished.json["results"][0]
    assert json.loads(finished.out) == finished.json


def test_results_that_a_csv_contains_are_skipped(wavezoo, small_digits, tmp_path):
    command = ("eval", MODEL, "--data", small_digits, "--workers", 0, "--append-csv", "r.csv")
    rows = lambda: list(csv.DictReader((tmp_path / "r.csv").open()))  # noqa: E731
    wavezoo(*command)
    again = wavezoo(*command)
    assert again.code == 0 and f"{MODEL}: skipped, r.csv contains this evaluation" in again.err and again.out == ""
    assert len(rows()) == 1
    for different in (("--size", 28), ("--limit", 20), ("--split", "train"), ("--weights", "none", *TEN)):
        before = len(rows())
        assert wavezoo(*command, *different).code == 0 and len(rows()) == before + 1
    assert wavezoo(*command, "--again").code == 0 and len(rows()) == 6
    assert wavezoo(*command, "--min-top1", 100).code == 3 and len(rows()) == 6  # a threshold is always checked


def test_models_of_one_row_share_a_csv(wavezoo, small_digits, tmp_path):
    (tmp_path / "data").symlink_to(small_digits)
    wavezoo("eval", MODEL, "--data", small_digits, "--workers", 0, "--append-csv", "r.csv")
    finished = wavezoo(
        "eval", MODEL, f"{MODEL}.digits", "--data", "data", "--workers", 0, "--append-csv", "r.csv", "--json"
    )
    assert [skipped["model"] for skipped in finished.json["skipped"]] == [MODEL, f"{MODEL}.digits"]


@pytest.mark.parametrize("option", ["--save-predictions", "--confusion", "--report"])
def test_files_of_several_models_need_a_placeholder(wavezoo, small_digits, option):
    finished = wavezoo("eval", MODEL, "waveletnet_cifar_m2", "--data", small_digits, option, "one.csv")
    assert finished.code == 2 and f"{option} one.csv: several models would write the same file" in finished.err


def test_files_of_models_with_equal_names_do_not_collide(wavezoo, small_digits, tmp_path):
    _, source = load_model(MODEL)
    models = [tmp_path / name / "model.safetensors" for name in "ab"]
    for model in models:
        model.parent.mkdir()
        shutil.copy(next(entry.path for entry in list_entries().values() if entry.name == source.name), model)
    files = ("--save-predictions", "{model}.csv", "--data", small_digits, "--workers", 0)
    finished = wavezoo("eval", "a/model.safetensors", "b/model.safetensors", MODEL, *files)
    assert finished.code == 0, finished.err
    wavezoo("eval", *(str(model) for model in models), *files[2:], "--append-csv", "rows")
    assert len((tmp_path / "rows").read_text().splitlines()) == 2  # both have one hash
    assert {file.name for file in tmp_path.glob("*.csv")} == {
        "a_model.safetensors.csv", "b_model.safetensors.csv", f"{MODEL}.csv",
    }  # fmt: skip
    assert "written: a_model.safetensors.csv" in finished.err
    shown = [line.split()[0] for line in finished.out.splitlines()[2:]]
    assert shown == ["a/model.safetensors", "b/model.safetensors", MODEL]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--again",), "--again requires --append-csv"),
        (("--no-images",), "--no-images requires --report"),
        (("--save-json", "x.csv", "--append-csv", "./x.csv"), "--save-json and --append-csv name the same file"),
        (("--append-csv", "{model}.csv"), "--append-csv {model}.csv: is one file for all models"),
        (("--labels", "real", "--among", "data"), "--labels real: is scored among all classes"),
        (("--limit", "0"), "--limit 0: is neither a number of images nor a share"),
        (("--min-top1", "120"), "120.0 is not in the range"),
    ],
)
def test_options_that_contradict_each_other_are_refused(wavezoo, small_digits, options, message):
    finished = wavezoo("eval", MODEL, "--data", small_digits, "--workers", 0, *options)
    assert finished.code == 2 and message in finished.err and not finished.out


@pytest.mark.parametrize("options", [{"labels": "foo"}, {"among": "foo"}, {"batch_size": 0}])
def test_invalid_arguments_of_the_function_are_refused(small_digits, options):
    with pytest.raises(WavezooError, match=next(iter(options))):
        evaluate(MODEL, None, small_digits, **options)


def test_a_list_is_not_a_model():
    with pytest.raises(WavezooError, match="a list is not a model"):
        evaluate([MODEL], data="digits")
