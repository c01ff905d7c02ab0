import csv
import io
import json
import subprocess
import sys
import textwrap

import pytest
import timm
import torch

from wavenet_zoo import bench
from wavenet_zoo.deployment.choose import choose_forms, read_forms
from wavenet_zoo.deployment.fold import UNIT_FORMS, fold, forms_of, units_of
from wavenet_zoo.deployment.timing import Timing, quantile, ratio, take_turns


def test_contenders_take_turns_and_every_round_begins_with_another():
    order = []
    times = take_turns({name: (lambda name=name: order.append(name)) for name in "abc"}, seconds=0)
    rounds = ["".join(order[i : i + 3]) for i in range(0, len(order), 3)]
    assert rounds == ["abc", "abc", "abc", "bca", "cab", "abc", "bca"]  # two to warm up
    assert [len(timing.seconds) for timing in times.values()] == [5, 5, 5]


def test_ratios_are_taken_round_by_round():
    slow, fast = Timing([2.0, 4.0, 6.0]), Timing([1.0, 1.0, 6.0])
    assert ratio(slow, fast) == (2.0, 1.5, 3.0)
    assert slow.median == 4.0
    assert quantile([0.0, 10.0], 0.9) == 9.0


@pytest.mark.parametrize(
    "engine",
    ["torch", *(pytest.param(name, marks=pytest.mark.long) for name in ("onnxruntime", "openvino", "executorch"))],
)
def test_a_benchmark_measures_each_form_against_a_reference(engine, tmp_path):
    if engine != "torch":
        pytest.importorskip(engine, reason=f"needs {engine}")
    result = bench(
        ["waveletnet_cifar_m1"], "mobilenetv2_cifar", engines=[engine], batches=[2], forms=["factored", "dense"],
        seconds=0, plot=tmp_path / "bench.png",
    )  # fmt: skip
    assert [(row.model, row.form) for row in result.rows] == [
        ("mobilenetv2_cifar", "dense"),
        ("waveletnet_cifar_m1", "factored"),
        ("waveletnet_cifar_m1", "dense"),
    ]
    assert result.rows[0].ratio == 1
    assert all(row.ratio_low <= row.ratio <= row.ratio_high for row in result.rows)
    assert all(row.median_ms <= row.p90_ms and row.rounds >= 5 for row in result.rows)
    assert set(result.rows[2].forms.values()) == {"dense"}
    assert engine in result.versions
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.long
def test_ctrl_c_still_works_in_python_after_a_benchmark_in_openvino():
    pytest.importorskip("openvino", reason="needs openvino")
    script = """
        import gc, signal, wavenet_zoo
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job in the background begins deaf to it
        wavenet_zoo.bench(["waveletnet_cifar_m1"], engines=["openvino"], batches=[2], forms=["factored", "dense"],
                          seconds=0)
        gc.collect()
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            print("heard")
    """
    finished = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True)
    assert (finished.returncode, finished.stdout) == (0, "heard\n"), finished.stderr


def test_auto_picks_a_form_for_every_unit_and_the_choice_can_be_saved_and_used(wavezoo, tmp_path):
    finished = wavezoo(
        "bench", "waveletnet_cifar_m1", "--form", "auto", "--batch", "1", "--seconds", "0", "--save-forms", "f.json",
        "--json",
    )  # fmt: skip
    assert finished.code == 0, finished.err
    picked = finished.json["rows"][1]["forms"]
    assert read_forms(tmp_path / "f.json") == picked
    assert json.loads((tmp_path / "f.json").read_text())["engine"] == "torch"
    assert set(picked.values()) <= set(UNIT_FORMS)
    assert picked.keys() == {"blocks.0.0", "blocks.1.0", "blocks.2.0"}
    exported = wavezoo("export", "waveletnet_cifar_m1", "--to", "pt2", "--form", "f.json", "--json").json
    assert exported["forms"] == picked


def test_a_choice_is_one_that_the_network_can_have():
    torch.manual_seed(0)
    network = timm.create_model("waveletnet_cifar_m1", kappas=(0, 3, 1)).eval()
    images = torch.randn(2, 3, 32, 32)
    forms = choose_forms(network, images, "torch")
    assert list(forms) == units_of(network)
    folded = fold(network, forms)
    assert forms_of(folded) == forms
    with torch.no_grad():
        torch.testing.assert_close(folded(images), network(images), rtol=0, atol=1e-4)


def test_a_training_step_is_measured_against_the_plain_one(wavezoo):
    finished = wavezoo("bench", "waveletnet_cifar_m1", "--train", "--batch", "4", "--seconds", "0", "--csv")
    assert finished.code == 0, finished.err
    rows = list(csv.DictReader(io.StringIO(finished.out)))
    assert [row["form"] for row in rows] == ["plain", "factored", "dense"]
    assert float(rows[0]["ratio"]) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--engine", "tensorrt"], "no engine 'tensorrt'"),
        (["--form", "densee"], "no form 'densee'"),
        (["--batch", "0"], "at least one image"),
        (["--batch", "many"], "not a list of numbers"),
        (["--train", "--engine", "openvino"], "openvino does not train"),
        (["--train", "--batch", "1"], "2 images or more"),
        (["--train", "--form", "split"], "no form 'split' to train in"),
        (["--save-forms", "f.json"], "one model, engine and batch size"),
        (["--form", "missing.json"], "missing.json"),
        (["--plot", "bench.bmp"], "bench.bmp"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_line(arguments, message, wavezoo):
    finished = wavezoo("bench", "waveletnet_cifar_m1", *arguments)
    assert finished.code == 2
    assert message in finished.err
    assert len(finished.err.strip().splitlines()) == 1
