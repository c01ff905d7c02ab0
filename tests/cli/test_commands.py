"""The output of every command: stdout, stderr, exit code."""

import json
import re

import pytest

from wavenet_zoo.models import read_manifest

MODEL = "waveletnet_cifar_m1"
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.mark.parametrize("command", ["list", "info", "count", "train", "eval"])
def test_every_command_has_help_with_the_common_options(wavezoo, command):
    result = wavezoo(command, "--help")
    assert result.code == 0
    for option in ("--json", "--quiet", "--debug"):
        assert option in result.out


def test_list_shows_models_counts_and_weights(wavezoo):
    result = wavezoo("list")
    assert result.code == 0 and result.err == ""
    assert "waveletnet_x1 " in result.out and "2,722,272" in result.out and "204,806,400" in result.out
    assert {m["model"]: m["weights"] for m in wavezoo("list", "--json").json}[MODEL] == ["digits"]


def test_info_shows_table_4_preprocessing_and_weights(wavezoo):
    out = wavezoo("info", "waveletnet_x1").out
    assert "κ3" in out and "96x14x14" in out and "resize to 256 px" in out
    assert "tiny-imagenet-200/val: top-1 29.29 % of 10,000 images" in out
    assert re.search(r"weights +none", wavezoo("info", "waveletnet_x1_25").out)
    assert wavezoo("info", f"{MODEL}.digits", "--json").json["weights"][0]["results"]["digits/test"]["images"] == 360
    assert "layer4" in wavezoo("info", "resnet18").out


def test_count_prints_the_figures_of_the_specification(wavezoo):
    counts = wavezoo("count", "waveletnet_x1", "--json").json
    assert counts["params"] == 2_722_272
    assert counts["macs"] == 204_806_400
    assert counts["macs_paper_convention"] == 216_481_216
    assert counts["dfwt_adds"] == 4_028_192
    out = wavezoo("count", "waveletnet_x1").out
    for number in ("2,722,272", "204,806,400", "216,481,216", "4,028,192"):
        assert number in out


def test_count_accepts_size_depth_layers_and_model_kwargs(wavezoo):
    assert wavezoo("count", "waveletnet_x1", "--size", 64, "--json").json["input_size"] == [3, 64, 64]
    assert "blocks.6.0.dfwt" in wavezoo("count", "waveletnet_x1", "--per-layer").out
    assert "blocks.6" in (out := wavezoo("count", "waveletnet_x1", "--depth", 2).out) and "dfwt" not in out
    args = ("count", "waveletnet_x1", "--model-kwargs", "kappas=0,0,0", "--json")
    assert wavezoo(*args).json["params"] == 3_504_872


def test_eval_without_data_uses_the_data_of_the_weights(wavezoo):
    result = wavezoo("eval", MODEL, "--json")
    stated = read_manifest()[f"{MODEL}.digits"]["results"]["digits/test"]
    assert result.code == 0
    assert result.json["top1"] == stated["top1"] >= 97
    assert result.json["data"]["name"] == "digits"
    human = wavezoo("eval", f"{MODEL}.digits")
    shown = f"{stated['top1']:.2f} %  ({stated['correct_top1']} of {stated['images']})"
    assert f"top-1          {shown}" in human.out and f"states top-1 {shown}" in human.out
    assert "resize to 32 px (bicubic)" in human.out


def test_eval_with_random_weights_says_so(wavezoo, imagenet_sample):
    result = wavezoo("eval", "waveletnet_x0_75", "--weights", "none", "--data", imagenet_sample / "val", "--size", 64)
    assert result.code == 0
    assert "random weights" in result.out and "random weights" in result.err
    assert "100 images of 100 classes" in result.out


def test_eval_writes_json_and_appends_csv(wavezoo, digit_folder, tmp_path):
    args = ["eval", MODEL, "--data", digit_folder, "--workers", 0, "--save-json", "r.json", "--append-csv", "r.csv"]
    first, second = wavezoo(*args, "--json"), wavezoo(*args, "--json")
    assert json.loads((tmp_path / "r.json").read_text()) == second.json
    lines = (tmp_path / "r.csv").read_text().splitlines()
    assert len(lines) == 3 and lines[0].startswith(
        "date,model,weights,weights_sha256,data,split,data_fingerprint,images,top1,"
    )
    assert first.json["top1"] == second.json["top1"]


def test_result_is_shown_if_the_csv_has_other_columns(wavezoo, digit_folder, tmp_path):
    (tmp_path / "r.csv").write_text("something,else\n1,2\n")
    result = wavezoo("eval", MODEL, "--data", digit_folder, "--workers", 0, "--append-csv", "r.csv", "--json")
    assert result.code == 2 and "r.csv: its columns differ from those of this result" in result.err
    assert result.json["images"] == 30
    assert (tmp_path / "r.csv").read_text() == "something,else\n1,2\n"


def test_eval_shows_per_class_accuracy_and_skipped_images(wavezoo, digit_folder):
    (digit_folder / "val" / "3" / "1.png").write_bytes(b"")
    args = ("eval", MODEL, "--data", digit_folder, "--workers", 0, "--per-class")
    result = wavezoo(*args, "--skip-bad-images")
    assert "top-1, %" in result.out and "skipped" in result.out and "1.png" in result.out
    refused = wavezoo(*args)
    assert refused.code == 2 and "1.png: not an image file" in refused.err and refused.out == ""


def test_eval_below_min_top1_exits_with_3(wavezoo):
    assert wavezoo("eval", MODEL, "--min-top1", 50).code == 0
    result = wavezoo("eval", MODEL, "--min-top1", 99.99, "--json")
    assert result.code == 3 and result.json["top1"] < 99.99 and "below --min-top1 99.99" in result.err


def test_train_prints_progress_to_stderr_and_result_to_stdout(wavezoo, digit_folder, tmp_path):
    args = ["train", "digits", "--data", digit_folder, "--workers", 0, "--set", "schedule.epochs=1"]
    args += ["--out", "runs/digits"]
    result = wavezoo(*args, "--set", "batch_size=25", "--json")
    assert result.code == 0 and "epoch 1/1" in result.err
    assert result.json["epochs"] == 1 and (tmp_path / "runs" / "digits" / "model.safetensors").is_file()
    again = wavezoo(*args)
    assert (
        again.code == 2
        and "runs/digits: contains a run of another recipe: batch_size is 25, in this call 32" in again.err
    )
    finished = wavezoo(*args, "--set", "batch_size=25", "--json")
    assert finished.code == 0 and "this run is finished" in finished.err and finished.json == result.json
    evaluated = wavezoo("eval", MODEL, "--weights", result.json["weights"], "--data", digit_folder, "--workers", 0)
    assert evaluated.code == 0 and f"{result.json['last']['top1']:.2f} %" in evaluated.out


def test_quiet_leaves_stderr_empty(wavezoo, digit_folder):
    result = wavezoo("eval", MODEL, "--data", digit_folder, "--workers", 0, "--quiet")
    assert result.code == 0 and result.err == "" and "top-1" in result.out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["cont", MODEL], "error: no command 'cont' (did you mean 'count'?)"),
        (["count", "waveletnet_x0.75"], "error: unknown model 'waveletnet_x0.75' (did you mean 'waveletnet_x0_75'"),
        (["info", "resnet5"], "error: unknown model 'resnet5' (did you mean 'resnet50'"),
        (["eval", f"{MODEL}.digit"], "error: waveletnet_cifar_m1 has no weights 'digit' (did you mean 'digits'?)"),
        (["eval", MODEL, "--wieghts", "x"], "error: No such option"),
        (["eval", MODEL, "--weights", "no.safetensors"], "error: no.safetensors: weights file not found"),
        (["eval", MODEL, "--data", "/no/such"], "error: /no/such: no such data folder"),
        (["eval", MODEL, "--batch-size", "0"], "error: Invalid value for '--batch-size'"),
        (["eval", MODEL, "--save-json", "no/r.json"], "error: no/r.json: its folder does not exist"),
        (
            ["eval", "waveletnet_x1", "--weights", "none", "--data", "digits"],
            "the weights have 1000 classes and the data has 10",
        ),
        (["eval", "waveletnet_x1_25"], "error: no pretrained weights exist for waveletnet_x1_25 (pass --weights FILE"),
        (
            ["eval", "waveletnet_x1"],
            "error: waveletnet_x1 requires data to be evaluated on: its weights were trained on tiny-imagenet-200",
        ),
        (
            ["eval", "waveletnet_x1", "--data", "digits"],
            "waveletnet_x1.tiny_in200 is for the 200 classes of tiny-imagenet-200; use weights trained on these",
        ),
        (["train", "digit"], "error: digit: recipe not found (did you mean 'digits'?)"),
        (["train", "digits", "--set", "schedule.epoch=1"], "unknown key 'schedule.epoch' (did you mean 'epochs'"),
        (["count", MODEL, "--model-kwargs", "x"], "error: Invalid value for '--model-kwargs': 'x' is not KEY=VALUE"),
        (["list", "nothing_like_it_*"], "error: no model matches 'nothing_like_it_*'"),
        (["count", MODEL, "extra"], "error: Got unexpected extra argument"),
        (["count"], "error: Missing argument 'MODEL'"),
    ],
)
def test_invalid_input_is_one_line_on_stderr_and_exit_code_2(wavezoo, args, message):
    result = wavezoo(*args)
    errors = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert result.code == 2 and result.out == ""
    assert len(errors) == 1 and result.err.endswith(errors[0] + "\n")
    assert message.removeprefix("error: ") in errors[0]
    assert "Traceback" not in result.err


def test_internal_failure_shows_a_traceback_only_with_debug(wavezoo, monkeypatch):
    import wavenet_zoo

    def broken(*args, **kwargs):
        raise KeyError("surprise")

    monkeypatch.setattr(wavenet_zoo, "count", broken, raising=False)
    result = wavezoo("count", MODEL)
    assert result.code == 1 and result.err.startswith("internal error: KeyError: 'surprise'")
    assert len(result.err.splitlines()) == 1
    assert "Traceback" in wavezoo("count", MODEL, "--debug").err
