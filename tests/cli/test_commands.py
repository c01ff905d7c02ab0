"""The output of every command: stdout, stderr, exit code."""

import csv
import json
import re

import pytest

from wavenet_zoo.errors import WavezooError
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
    assert {m["model"]: m["weights"] for m in wavezoo("list", MODEL, "--json").json}[MODEL] == ["digits"]


def test_info_shows_table_4_preprocessing_and_weights(wavezoo):
    out = wavezoo("info", "waveletnet_x1").out
    assert "κ3" in out and "96x14x14" in out and "resize to 64 px" in out
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
    (row,) = csv.DictReader((tmp_path / "r.csv").open())  # the second has the same result
    assert float(row["top1"]) == first.json["top1"] == second.json["top1"]
    timm_columns = "model top1 top1_err top5 top5_err param_count img_size crop_pct interpolation"
    assert set(row) >= set(timm_columns.split()) and row["img_size"] == "32"
    assert float(row["top1_low"]) < first.json["top1"] < float(row["top1_high"])


@pytest.mark.reliability(45)
def test_csv_with_other_columns_is_refused_before_the_evaluation(wavezoo, digit_folder, tmp_path):
    (tmp_path / "r.csv").write_text("something,else\n1,2\n")
    result = wavezoo("eval", MODEL, "--data", digit_folder, "--workers", 0, "--append-csv", "r.csv", "--json")
    assert result.code == 2 and "r.csv: its columns differ from those of this result" in result.err
    assert result.out == ""
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
        (["eval", MODEL, "--wieghts", "x"], "error: no option '--wieghts' (did you mean '--weights'"),
        (["eval", MODEL, "--weights", "no.safetensors"], "error: no.safetensors: weights file not found"),
        (["eval", MODEL, "--data", "/no/such"], "error: /no/such: no such data folder"),
        (["eval", MODEL, "--batch-size", "0"], "error: invalid value for '--batch-size'"),
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
            "waveletnet_x1.modern_tiny_in200 is for the 200 classes of tiny-imagenet-200; waveletnet_x1.tiny_in200 is",
        ),
        (["train", "digit"], "error: digit: recipe not found (did you mean 'digits'?)"),
        (["train", "digits", "--set", "schedule.epoch=1"], "unknown key 'schedule.epoch' (did you mean 'epochs'"),
        (["count", MODEL, "--model-kwargs", "x"], "error: invalid value for '--model-kwargs': 'x' is not KEY=VALUE"),
        (["list", "nothing_like_it_*"], "error: no model matches 'nothing_like_it_*'"),
        (["count", MODEL, "extra"], "error: got unexpected extra argument"),
        (["count"], "error: missing argument 'MODEL'"),
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


@pytest.mark.parametrize("group", [(), ("recipe",), ("weights",)])
def test_group_without_arguments_prints_its_help(wavezoo, group):
    result = wavezoo(*group)
    assert result.code == 0 and result.err == ""
    assert result.out == wavezoo(*group, "--help").out and len(result.out.splitlines()) > 10


@pytest.mark.parametrize(
    ("args", "hint"),
    [
        (["validate", MODEL], "no command 'validate' (use eval)"),
        (["download", f"{MODEL}.digits"], "no command 'download' (use weights download)"),
        (["recipe", "download"], "no command 'recipe download' (commands: check, copy, list, show)"),
        (["segment"], "no command 'segment' (commands: list,"),
        (["train", "digits", "--lr", "0.1"], "no option '--lr' (use --set optimizer.lr=RATE)"),
        (["train", "digits", "--epochs=3"], "no option '--epochs' (use --set schedule.epochs=N)"),
        (["train", "digits", "--batch-size", "8"], "no option '--batch-size' (use --set batch_size=N)"),
        (["train", "digits", "--resume"], "no option '--resume' (use --out DIR: the same command resumes a run)"),
        (["eval", MODEL, "--checkpoint", "x.pt"], "no option '--checkpoint' (use --weights)"),
        (["eval", MODEL, "--num-workers", "2"], "no option '--num-workers' (use --workers)"),
        (["bench", MODEL, "--batch-size", "2"], "no option '--batch-size' (use --batch)"),
        (["list", "--lr", "2"], "no option '--lr' (see 'wavezoo list --help')"),
        (["table", "8"], "'8' is not one of '1', '2', '3', '4', '5', '6', '7', 'measured', 'models'"),
    ],
)
def test_names_of_other_tools_are_answered_with_ours(wavezoo, args, hint):
    result = wavezoo(*args)
    assert result.code == 2 and result.out == ""
    assert hint in result.err and len(result.err.splitlines()) == 1 and result.err.count("(") == 1


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e999"])
@pytest.mark.parametrize(
    "args",
    [
        ["eval", MODEL, "--min-top1"],
        ["eval", MODEL, "--crop-pct"],
        ["train", "digits", "--checkpoint-minutes"],
        ["bench", MODEL, "--seconds"],
        ["ablate", "--no-dfwt", "--width"],
    ],
)
def test_numbers_of_options_must_be_finite(wavezoo, args, number):
    result = wavezoo(*args, number)
    assert result.code == 2 and f"error: invalid value for '{args[-1]}': " in result.err
    assert len(result.err.splitlines()) == 1


@pytest.mark.reliability(69)
@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["eval", MODEL, "--data", "~nosuchuser/x"], "~nosuchuser/x: the home folder of this user is unknown"),
        (["eval", MODEL, "--weights", "~nosuchuser/x.pt"], "~nosuchuser/x.pt: the home folder of this user is unknown"),
        (["eval", MODEL, "--data", "wds/~nosuchuser/x"], "~nosuchuser/x: the home folder of this user is unknown"),
        (["eval", MODEL, "--data", "x" * 300], "File name too long"),
        (["eval", MODEL, "--weights", "x" * 300], "File name too long"),
        (["eval", MODEL, "--save-json", "x" * 300], "File name too long"),
        (["export", MODEL, "--to", "onnx", "--out", "x" * 300 + ".onnx"], "File name too long"),
        (["eval", "x" * 300 + ".onnx"], "File name too long"),
        (["eval", MODEL, "--save-json", "/dev/null"], "/dev/null: is a device, not a regular file"),
        (["eval", MODEL, "--append-csv", "."], "File '.' is a directory"),
        (["eval", "a\x1b[2J\u202e\udcff"], r"unknown model 'a\x1b[2J\u202e\udcff'"),
    ],
)
def test_path_that_cannot_be_used_is_one_line(wavezoo, args, message):
    result = wavezoo(*args)
    assert result.code == 2 and message in result.err.splitlines()[-1]
    assert len(result.err.splitlines()) == 1 and "internal error" not in result.err and "\x1b" not in result.err


@pytest.mark.reliability(69)
@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(28, "No space left on device", "x"), "error: x: No space left on device (run with --debug"),
        (PermissionError(13, "Permission denied", "x"), "error: x: Permission denied (run with --debug"),
        (MemoryError(), "error: out of memory (reduce the batch size or the image size"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 1 bytes"), "error: out of memory (reduce"),
        (RecursionError("maximum recursion depth exceeded"), "error: an input is nested too deep (run with --debug"),
        (FileNotFoundError(2, "No such file or directory", "x"), "internal error: FileNotFoundError: "),
        (OSError("of a library"), "internal error: OSError: of a library"),
    ],
)
def test_trouble_of_the_machine_is_no_internal_error(wavezoo, monkeypatch, error, line):
    import wavenet_zoo

    def broken(*args, **kwargs):
        raise error

    monkeypatch.setattr(wavenet_zoo, "count", broken, raising=False)
    result = wavezoo("count", MODEL)
    assert result.code == 1 and result.err.startswith(line) and len(result.err.splitlines()) == 1


@pytest.mark.reliability(55)
def test_traceback_of_an_error_contains_no_control_characters(wavezoo, monkeypatch):
    import wavenet_zoo

    def broken(*args, **kwargs):
        raise KeyError("x") from ValueError("\x1b[2J")

    monkeypatch.setattr(wavenet_zoo, "count", broken, raising=False)
    err = wavezoo("count", MODEL, "--debug").err
    assert "Traceback" in err and r"ValueError: \x1b[2J" in err and "\x1b" not in err


@pytest.mark.parametrize(("option", "shown"), [((), True), (("-q",), False)])
def test_warnings_of_libraries_are_one_line_or_hidden(wavezoo, monkeypatch, option, shown):
    import warnings

    import wavenet_zoo

    def count(*args, **kwargs):
        warnings.warn("odd\nthing\x1b", FutureWarning, stacklevel=1)
        raise WavezooError("end")

    monkeypatch.setattr(wavenet_zoo, "count", count, raising=False)
    err = wavezoo("count", MODEL, *option).err
    assert err == (r"warning: odd thing\x1b" + "\n" if shown else "") + "error: end\n"


def test_data_and_split_of_equal_name_are_shown_once(wavezoo, digit_folder):
    args = ("eval", MODEL, "--data", digit_folder / "val", "--workers", 0)
    out = wavezoo(*args).out
    assert "val, val" not in out and "30 images of 10 classes" in out
