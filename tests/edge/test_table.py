import csv
import io

import pytest

from wavenet_zoo import compare, edge_table, export
from wavenet_zoo.edge.plot import plot_edge_table
from wavenet_zoo.edge.table import EdgeRow, EdgeTable
from wavenet_zoo.errors import WavezooError

MODEL = "waveletnet_cifar_m1"


def row(model, form="dense", threads=1, **values):
    times = (1.0, 2.0, 10.0, 5, 1.0, 0.9, 1.1, 7_000_000, True)
    return EdgeRow(model, form, {}, "torch", 1, 32, *times, threads, "fp32", **values)


def test_plot_has_a_panel_per_number_of_threads(tmp_path):
    accuracy = {"bytes": 1000, "top1": 90.0, "top1_interval": (88.0, 92.0)}
    rows = [r for n in (1, 2) for r in (row("a$b", threads=n, **accuracy), row("a", "no projection", threads=n))]
    plot_edge_table(tmp_path / "e.svg", EdgeTable("a", rows, "digits", 100, None, "all", {}, {}, 1.0))
    drawn = (tmp_path / "e.svg").read_text()
    assert "<!-- 1 thread, batch size 1 -->" in drawn and "<!-- 2 threads, batch size 1 -->" in drawn


def test_plot_names_every_form_of_a_model(tmp_path):
    accuracy = {"bytes": 1000, "top1": 90.0, "top1_interval": (88.0, 92.0)}
    rows = [row("a", form, **accuracy) for form in ("dense", "factored")]
    plot_edge_table(tmp_path / "e.svg", EdgeTable("a", rows, "digits", 100, None, "all", {}, {}, 1.0))
    drawn = (tmp_path / "e.svg").read_text()
    assert "<!-- a, torch, fp32: 0.00 MB -->" in drawn and "<!-- a, factored, torch, fp32: 0.00 MB -->" in drawn


def test_models_with_different_input_sizes_are_refused():
    with pytest.raises(WavezooError, match="has an input of 64 px, and waveletnet_cifar_m1 of 32 px"):
        edge_table([MODEL, "waveletnet_x1.tiny_in200"], "digits")


@pytest.mark.long
def test_table_has_size_accuracy_latency_and_memory(tmp_path, wavezoo):
    pytest.importorskip("onnx", reason="needs the extra onnx")
    export(MODEL, "onnx", tmp_path / "m1.onnx")
    export(MODEL, "onnx", tmp_path / "int8.onnx", int8=True, calibrate="digits", max_drop=None)
    arguments = ["m1.onnx", "int8.onnx", "--limit", "100", "--threads", "1", "--seconds", "0", "--floor"]
    finished = wavezoo("bench", *arguments, "--accuracy", "--csv", "--plot", "edge.png")
    assert finished.code == 0, finished.err
    fp32, floor, int8 = csv.DictReader(io.StringIO(finished.out))
    assert [r["model"] for r in (fp32, floor, int8)] == ["m1.onnx", "m1.onnx", "int8.onnx"]
    assert [r["precision"] for r in (fp32, floor, int8)] == ["fp32", "fp32", "int8"]
    (pair,) = (comparison := compare([str(tmp_path / "m1.onnx"), str(tmp_path / "int8.onnx")], limit=100)).pairs
    assert [float(r["top1"]) for r in (fp32, int8)] == [model.top1 for model in comparison.models]
    assert float(int8["difference"]) == pair.difference
    assert (float(int8["difference_interval_low"]), float(int8["difference_interval_high"])) == pair.interval
    assert int(int8["bytes"]) == (tmp_path / "int8.onnx").stat().st_size
    assert all(int(r["peak_bytes"]) > 0 and float(r["load_ms"]) > 0 for r in (fp32, floor, int8))
    assert floor["top1"] == floor["bytes"] == fp32["difference"] == ""
    assert (tmp_path / "edge.png").read_bytes().startswith(b"\x89PNG")
