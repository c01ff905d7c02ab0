import csv
import io
import json
import subprocess
import sys
import textwrap
import weakref
from dataclasses import replace
from unittest.mock import MagicMock

import pytest
import torch
from torch.nn import BatchNorm2d

from wavenet_zoo import WavezooError, bench, export
from wavenet_zoo.deployment import _entries
from wavenet_zoo.deployment.bench import Benchmark, Measurement
from wavenet_zoo.deployment.engines import _capture, build_runner
from wavenet_zoo.deployment.fold import UNIT_FORMS
from wavenet_zoo.deployment.forms import read_forms
from wavenet_zoo.deployment.plots import draw_benchmark, plot_benchmark

MODEL = "waveletnet_cifar_m1"
UNITS = {"blocks.0.0", "blocks.1.0", "blocks.2.0"}


@pytest.mark.parametrize(
    "engine",
    [
        "torch",
        *(pytest.param(name, marks=pytest.mark.long) for name in ("compile", "onnxruntime", "openvino", "executorch")),
    ],
)
def test_benchmark_measures_each_form_against_the_baseline(engine):
    if engine != "compile":
        pytest.importorskip(engine, reason=f"needs {engine}")
    result = bench([MODEL], "mobilenetv2_cifar", engines=[engine], batches=[2], forms=["factored", "dense"], seconds=0)
    assert [(row.model, row.form) for row in result.rows] == [
        ("mobilenetv2_cifar", "dense"),
        (MODEL, "factored"),
        (MODEL, "dense"),
    ]
    assert result.against == "mobilenetv2_cifar, folded"
    assert result.rows[0].ratio == 1
    assert all(row.ratio_low <= row.ratio <= row.ratio_high for row in result.rows)
    assert all(row.median_ms <= row.p90_ms and row.rounds >= 5 and row.folded for row in result.rows)
    assert set(result.rows[2].forms.values()) == {"dense"}
    assert engine in result.versions


@pytest.mark.parametrize(
    "engine",
    [
        "torch",
        *(pytest.param(name, marks=pytest.mark.long) for name in ("compile", "onnxruntime", "openvino", "executorch")),
    ],
)
def test_no_fold_measures_factored_and_dense_with_batch_norms(engine, monkeypatch):
    if engine != "compile":
        pytest.importorskip(engine, reason=f"needs {engine}")
    monkeypatch.delattr("wavenet_zoo.deployment._candidates.fold")  # folding would raise a NameError
    result = bench([MODEL], engines=[engine], batches=[2], fold=False, seconds=0)
    assert [row.form for row in result.rows] == ["plain", "factored", "dense"]
    assert not any(row.folded or row.forms for row in result.rows)
    assert result.against == f"{MODEL}, plain"


def test_no_fold_applies_to_the_named_baseline_too():
    result = bench([MODEL], "mobilenetv2_cifar", batches=[2], forms=["dense"], fold=False, seconds=0)
    assert result.against == "mobilenetv2_cifar, not folded"
    assert [row.folded for row in result.rows] == [False, False]


def test_default_baseline_is_the_first_model_as_timm_builds_it(monkeypatch):
    measured = []

    def recorded(engine, network, images, channels_last=True):
        measured.append((channels_last, any(isinstance(module, BatchNorm2d) for module in network.modules())))
        return build_runner(engine, network, images, channels_last)

    monkeypatch.setattr("wavenet_zoo.deployment._entries.build_runner", recorded)
    result = bench([MODEL, "mobilenetv2_cifar"], batches=[2], forms=["dense"], seconds=0)
    assert [(row.model, row.form, row.folded) for row in result.rows] == [
        (MODEL, "plain", False),
        (MODEL, "dense", True),
        ("mobilenetv2_cifar", "dense", True),
    ]
    assert measured == [(False, True), (True, False), (True, False)]  # channels_last, batch norms


@pytest.mark.parametrize("options", [[], ["--no-fold"], ["--train"]])
def test_form_plain_still_works_with_a_deprecation_warning(options, wavezoo):
    arguments = ("bench", MODEL, "mobilenetv2_cifar", *options, "--form", "plain,dense", "--batch", "2", "--json")
    finished = wavezoo(*arguments, "--seconds", "0")
    assert finished.code == 0, finished.err
    assert [(row["model"], row["form"]) for row in finished.json["rows"]] == [
        (MODEL, "plain"),  # the baseline is measured once
        (MODEL, "dense"),
        ("mobilenetv2_cifar", "plain"),
        ("mobilenetv2_cifar", "dense"),
    ]
    assert finished.err.startswith("warning: form 'plain' is deprecated: use --no-fold")


@pytest.mark.long
def test_ctrl_c_works_after_a_benchmark_in_openvino():
    pytest.importorskip("openvino", reason="needs openvino")
    script = """
        import gc, signal, wavenet_zoo
        signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore SIGINT
        wavenet_zoo.bench(["waveletnet_cifar_m1"], engines=["openvino"], batches=[2], forms=["factored", "dense"],
                          seconds=0)
        gc.collect()
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            print("interrupted")
    """
    finished = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True)
    assert (finished.returncode, finished.stdout) == (0, "interrupted\n"), finished.stderr


def test_chosen_forms_can_be_saved_and_exported(wavezoo, tmp_path):
    finished = wavezoo(
        "bench", MODEL, "--form", "auto", "--batch", "1", "--seconds", "0", "--save-forms", "f.json", "--json"
    )
    assert finished.code == 0, finished.err
    assert finished.err.splitlines()[-1] == "forms: f.json"
    chosen = finished.json["rows"][1]["forms"]
    assert read_forms(tmp_path / "f.json") == chosen
    saved = json.loads((tmp_path / "f.json").read_text())
    assert [saved[key] for key in ("model", "engine", "batch_size", "size")] == [MODEL, "torch", 1, 32]
    assert saved["environment"] == finished.json["environment"]
    assert set(chosen.values()) <= set(UNIT_FORMS)
    assert chosen.keys() == UNITS
    measured = wavezoo("bench", MODEL, "--form", "f.json", "--batch", "1", "--seconds", "0", "--json").json
    assert measured["rows"][1]["forms"] == chosen
    exported = wavezoo("export", MODEL, "--to", "pt2", "--form", "f.json", "--json").json
    assert exported["forms"] == chosen


def test_training_step_is_measured_against_the_plain_one(wavezoo):
    finished = wavezoo("bench", MODEL, "--train", "--batch", "4", "--seconds", "0", "--csv")
    assert finished.code == 0, finished.err
    rows = list(csv.DictReader(io.StringIO(finished.out)))
    assert [row["form"] for row in rows] == ["plain", "factored", "dense"]
    assert float(rows[0]["ratio"]) == 1
    assert list(rows[0]) == [
        "model", "form", "engine", "batch_size", "size", "median_ms", "p90_ms", "images_per_second", "rounds", "ratio",
        "ratio_low", "ratio_high", "macs", "folded", "threads", "precision", "peak_bytes", "load_ms",
    ]  # fmt: skip


def test_training_batch_size_defaults_to_64():
    result = bench([MODEL], train=True, forms=["dense"], size=8, seconds=0)
    assert {row.batch_size for row in result.rows} == {64}


def test_table_names_the_baseline_and_what_was_measured(wavezoo):
    finished = wavezoo("bench", MODEL, "--no-fold", "--batch", "2", "--seconds", "0", "--plot", "b.png")
    assert finished.code == 0, finished.err
    assert f"baseline  {MODEL}, plain (as timm builds it: not folded, NCHW)" in finished.out
    assert "measured  inference, not folded, 32 px" in finished.out
    messages = finished.err.splitlines()
    assert [line for line in messages if not line.startswith("warning: ")] == ["figure: b.png"]  # of wide quartiles


def benchmark_of(**ratios):
    """Return a benchmark in which each form has a ratio with quartiles, in two engines at two batch sizes."""
    rows = [
        Measurement("m", form, {}, engine, batch, 32, 1.0, 2.0, 10.0, 5, ratio, low, high, 7_000_000, True, 1, "fp32")
        for engine in ("torch", "openvino")
        for batch in (1, 2)
        for form, (ratio, low, high) in ratios.items()
    ]
    return Benchmark("inference", "m, folded", rows, 1, {}, {}, 1.0)


def test_plot_has_a_bar_per_form_with_quartiles_of_the_ratio(assert_legible):
    figure = draw_benchmark(benchmark_of(plain=(1.0, 1.0, 1.0), factored=(1.5, 1.4, 1.7), dense=(0.9, 0.8, 0.95)))
    assert_legible(figure)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["1 thread, batch size 1", "1 thread, batch size 2"]
    for axes in figure.axes:
        assert [bar.get_width() for bar in axes.patches] == [1.0, 1.5, 0.9] * 2
        ends = [tuple(path.vertices[:, 0]) for bars in axes.collections for path in bars.get_paths()]
        assert ends == [pytest.approx((1.4, 1.7)), pytest.approx((0.8, 0.95))] * 2  # none for the baseline
        colors = [bar.get_facecolor() for bar in axes.patches]
        assert colors[:3] == colors[3:] and len(set(colors)) == 3


def test_plot_of_files_has_a_panel_per_number_of_threads(tmp_path):
    result = benchmark_of(dense=(1.0, 1.0, 1.0))
    rows = [replace(row, threads=threads, model="a$b_" + "c" * 90) for threads in (1, 2) for row in result.rows]
    plot_benchmark(tmp_path / "b.png", replace(result, rows=rows))
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--engine", "tensorrt"], "unknown engine 'tensorrt'"),
        (["--form", "densee"], "unknown form 'densee' (did you mean 'dense'?)"),
        (["--form", "split3"], "unknown form 'split3'"),
        (["--batch", "0"], "batch size 0: must be at least 1"),
        (["--batch", "many"], "'many' is not a list of integers"),
        (["--train", "--engine", "openvino"], "engine 'openvino' does not support training"),
        (["--train", "--batch", "1"], "batch norm requires at least 2"),
        (["--train", "--form", "split"], "form 'split' requires folding"),
        (["--no-fold", "--form", "halves"], "form 'halves' requires folding (without folding use factored or dense)"),
        (["--no-fold", "--form", "auto"], "form 'auto' requires folding"),
        (["--no-fold", "--form", "densee"], "unknown form 'densee'"),
        (["--save-forms", "f.json"], "one model, one engine, one batch size"),
        (["--save-forms", "f.json", "--batch", "1", "--no-fold"], "one model, one engine, one batch size"),
        (["--save-forms", "missing/f.json", "--batch", "1"], "its folder does not exist"),
        (["--form", "missing.json"], "missing.json"),
        (["--plot", "bench.bmp"], "bench.bmp"),
        (["--json", "--csv"], "--json, --csv and --markdown cannot be combined"),
        (["--threads", "0"], "0 threads: must be at least 1"),
        (["--engine", "cudagraph"], "engine 'cudagraph' does not run on device 'cpu' (use --device cuda"),
        (["--precision", "bf16", "--engine", "onnxruntime"], "engine 'onnxruntime' does not support --precision bf16"),
        (["--precision", "bf16", "--form", "auto"], "form 'auto' measures in fp32 on the CPU, not in bf16"),
        (["--memory", "--engine", "onnxruntime"], "--memory: engine 'onnxruntime' converts a model before it runs"),
        (["--train", "--floor"], "--floor measures inference"),
        (["--against", "preresnet164_cifar", "--floor"], "--floor: the baseline has no projections"),
        (["missing.onnx"], "missing.onnx: file not found"),
        (["missing.onnx", "--train"], "missing.onnx: an exported file cannot be trained"),
        (["missing.onnx", "--precision", "bf16"], "missing.onnx: the precision of an exported file is fixed"),
        (["--data", "digits"], "--data requires --accuracy"),
        (["--accuracy", "--train"], "--accuracy and --train cannot be combined"),
        (["--accuracy", "--model-kwargs", "use_dfwt=false"], "--model-kwargs cannot be combined with --accuracy"),
        (["--accuracy", "--data", "missing"], "missing"),
    ],
)
def test_invalid_options_are_refused_in_one_line_before_measuring(arguments, message, wavezoo, monkeypatch):
    monkeypatch.delattr("wavenet_zoo.deployment.bench.time_interleaved")
    finished = wavezoo("bench", MODEL, *arguments)
    assert finished.code == 2
    assert message in finished.err
    assert len(finished.err.strip().splitlines()) == 1


@pytest.mark.parametrize("content", ["[]", "{}", '{"forms": ["dense"]}', '{"forms": {"blocks.0.0": 1}}', "{"])
def test_invalid_file_of_forms_is_named(content, tmp_path):
    (tmp_path / "f.json").write_text(content)
    with pytest.raises(WavezooError, match=r"f\.json: not") as error:
        read_forms(tmp_path / "f.json")
    assert "--save-forms" in error.value.hint


def test_each_number_of_threads_has_its_rows():
    before = torch.get_num_threads()
    result = bench([MODEL], batches=[2], forms=["dense"], seconds=0, threads=[1, before + 1])
    counts = [(row.threads, row.form, row.ratio == 1) for row in result.rows]
    assert [(threads, form) for threads, form, _ in counts] == [
        (1, "plain"),
        (1, "dense"),
        (before + 1, "plain"),
        (before + 1, "dense"),
    ]
    assert [is_baseline for _, _, is_baseline in counts] == [True, False, True, False]
    assert result.threads == before + 1 and torch.get_num_threads() == before


def test_floor_follows_the_baseline_which_is_measured_once():
    models = [MODEL, "mobilenetv2_cifar"]
    result = bench(models, "mobilenetv2_cifar", batches=[2], forms=["dense"], seconds=0, floor=True)
    assert [(row.model, row.form) for row in result.rows] == [
        ("mobilenetv2_cifar", "dense"),
        ("mobilenetv2_cifar", "no projection"),
        (MODEL, "dense"),
    ]
    assert result.rows[1].macs < result.rows[0].macs


@pytest.mark.parametrize("train", [False, True])
def test_bf16_converts_networks_for_inference_only(train, monkeypatch):
    dtypes = set()

    def recorded(name):
        build = getattr(_entries, name)

        def recording(engine, network, images, *rest):
            dtypes.update({images.dtype, *(parameter.dtype for parameter in network.parameters())})
            return build(engine, network, images, *rest)

        monkeypatch.setattr(_entries, name, recording)

    recorded("build_runner"), recorded("build_training_runner")
    result = bench([MODEL], batches=[2], precision="bf16", train=train, forms=["dense"], seconds=0)
    assert dtypes == {torch.float32 if train else torch.bfloat16}
    assert {row.precision for row in result.rows} == {"bf16"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("engine", ["torch", "compile", "cudagraph"])
def test_networks_run_on_cuda(engine):
    result = bench([MODEL], "mobilenetv2_cifar", engines=[engine], device="cuda", batches=[2], seconds=0, memory=True)
    assert all(row.median_ms > 0 and row.peak_bytes > 0 for row in result.rows)


def test_captured_graph_holds_the_memory_that_it_reads(monkeypatch):
    for name in ("Stream", "current_stream", "stream", "graph", "CUDAGraph"):
        monkeypatch.setattr(torch.cuda, name, MagicMock())
    network, images = torch.nn.Conv2d(3, 4, 1), torch.zeros(1, 3, 8, 8)
    read = [weakref.ref(network), weakref.ref(images)]
    run = _capture(network, images)
    del network, images
    assert all(reference() is not None for reference in read)
    assert run().shape == (1, 4, 8, 8) and run.graph.replay.called


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_device_that_is_not_available_is_refused(wavezoo):
    finished = wavezoo("bench", MODEL, "--device", "cuda", "--engine", "cudagraph")
    assert finished.code == 2 and "--device cuda: not available on this machine" in finished.err


@pytest.mark.parametrize(("spread", "warned"), [(0.09, False), (0.3, True)])
def test_wide_quartiles_are_reported(spread, warned, monkeypatch, wavezoo):
    quartiles = (1.0, 1 - spread / 2, 1 + spread / 2)
    monkeypatch.setattr("wavenet_zoo.deployment.bench.ratio_quartiles", lambda ours, baseline: quartiles)
    finished = wavezoo("bench", MODEL, "--batch", 2, "--form", "dense", "--seconds", 0, "--threads", 1)
    assert finished.code == 0 and ", 1 thread, batch size 2\n" in finished.out
    assert ("2 of 2 ratios have quartiles more than 10 % apart" in finished.err) is warned


@pytest.fixture(scope="module")
def pt2_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("exports") / "m1.pt2"
    export(MODEL, "pt2", path)
    return str(path)


@pytest.mark.long
def test_file_is_measured_beside_models_once_per_group(pt2_file):
    result = bench([MODEL, pt2_file], engines=["torch", "torch"], batches=[1, 2], forms=["dense"], seconds=0)
    group = [(MODEL, "torch"), (MODEL, "torch")] * 2 + [(pt2_file, "PyTorch")]
    assert [(row.model, row.engine) for row in result.rows] == 2 * group
    file = result.rows[4]
    assert (file.form, file.precision, file.size, file.folded) == ("dense", "fp32", 32, True)
    assert file.macs == result.rows[0].macs and result.versions["PyTorch"] == result.versions["torch"]


@pytest.mark.long
def test_file_as_baseline_is_the_baseline_of_all_rows(pt2_file, monkeypatch):
    baselines = []
    monkeypatch.setattr(
        "wavenet_zoo.deployment.bench.ratio_quartiles", lambda _, other: baselines.append(other) or (1.0,) * 3
    )
    result = bench([pt2_file, MODEL], batches=[2], forms=["dense"], seconds=0, floor=True)
    assert [(row.model, row.form) for row in result.rows] == [
        (pt2_file, "dense"),
        (pt2_file, "no projection"),
        (MODEL, "dense"),
    ]
    assert result.against == f"{pt2_file}, fp32, PyTorch"
    assert all(baseline is baselines[0] for baseline in baselines)


@pytest.mark.long
def test_file_with_another_input_size_is_refused(pt2_file):
    with pytest.raises(WavezooError, match=r"m1\.pt2: is exported for 32 px, and --size is 24 px"):
        bench([MODEL, pt2_file], size=24)


@pytest.mark.long
def test_memory_of_a_larger_batch_is_larger(pt2_file):
    result = bench([pt2_file], batches=[1, 256], seconds=0, memory=True)
    small, large = result.rows
    images = 255 * 3 * 32 * 32 * 4  # bytes of the additional images; features take more
    assert large.peak_bytes - small.peak_bytes > images and small.load_ms > 0
