"""``wavezoo table models``: cost, size, throughput and errors of the main models."""

import json

import pytest
from safetensors.torch import save
from timm import create_model

from wavenet_zoo import WavezooError, count, table
from wavenet_zoo.paper import model_table
from wavenet_zoo.paper.table import to_markdown
from wavenet_zoo.runtime.manifest import checkpoints_folder, read_manifest


@pytest.fixture(scope="module")
def models():
    return {row["model"]: row for row in table("models").rows}


def test_models_are_counted_with_their_default_classifier(models):
    assert tuple(models) == model_table.MODELS
    for name, row in models.items():
        cost = count(name)
        assert (row["params"], row["macs"], row["input_size"]) == (cost.params, cost.macs, cost.input_size)


@pytest.mark.parametrize("name", ["waveletnet_cifar_m1", "waveletnet_x1"])
def test_size_is_that_of_the_tensors_in_a_safetensors_file(models, name):
    content = save(create_model(name).state_dict())
    header = 8 + int.from_bytes(content[:8], "little")
    assert models[name]["fp32_bytes"] == len(content) - header


def test_measured_errors_are_those_of_the_manifest(models):
    measured = {name: row for name, row in models.items() if row["measured"]}
    assert set(measured) == {"waveletnet_x1", "waveletnet_cifar_m1", "waveletnet_cifar_m2"}
    for row in measured.values():
        entry = read_manifest()[row["measured"]["weights"]]
        ((data, result),) = entry["results"].items()
        assert row["error"] == pytest.approx(100 - result["top1"])
        assert data in row["measured_on"] and f"{result['images']:,} images" in row["measured_on"]
        assert row["measured"]["weights_sha256"] == entry["sha256"]
        assert row["weights"] == f"{entry['name'].split('.')[1]}, {entry['epoch']} epochs"


def test_printed_errors_are_those_of_tables_5_to_7(models):
    printed = {name: row["error_paper"] for name, row in models.items()}
    assert printed == {
        "waveletnet_x0_75": 32.7,
        "waveletnet_x1": 30.6,
        "waveletnet_x1_25": 28.5,
        "waveletnet_x1_k5": 31.5,
        "mobilenetv2_100": 28.0,
        "waveletnet_cifar_m1": None,
        "waveletnet_cifar_m2": None,
    }


def test_own_collection_does_not_change_the_table(tmp_path, monkeypatch):
    before = to_markdown(table("models"))
    manifest = json.loads((checkpoints_folder() / "manifest.json").read_text())
    for entry in manifest["checkpoints"]:
        (tmp_path / entry["file"]).touch()
        for result in entry["results"].values():
            result["correct_top1"] = 0
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setenv("WAVEZOO_CHECKPOINTS", str(tmp_path))
    read_manifest.cache_clear()
    try:
        assert read_manifest()["waveletnet_cifar_m1.digits"]["results"]["digits/test"]["correct_top1"] == 0
        assert to_markdown(table("models")) == before
    finally:
        read_manifest.cache_clear()


def benchmark_file(folder, rows):
    path = folder / "inference.json"
    path.write_text(json.dumps({"rows": rows, "threads": 3, "versions": {"onnxruntime": "1.2.3"}}))
    return path


def test_throughput_is_read_from_the_benchmark(tmp_path, monkeypatch):
    row = {"model": "waveletnet_x1", "form": "dense", "engine": "onnxruntime", "batch_size": 1, "size": 224,
           "images_per_second": 123.4}  # fmt: skip
    others = [{**row, key: value, "images_per_second": 1.0} for key, value in
              (("form", "factored"), ("engine", "torch"), ("batch_size", 16), ("size", 64))]  # fmt: skip
    monkeypatch.setattr(model_table, "BENCHMARK", benchmark_file(tmp_path, [*others, row]))
    made = table("models")
    rates = {row["model"]: row["images_per_second"] for row in made.rows}
    assert rates.pop("waveletnet_x1") == 123.4 and set(rates.values()) == {None}
    assert any("ONNX Runtime 1.2.3, batch size 1, 224 px, form dense, 3 CPU threads" in note for note in made.notes)


def test_throughput_is_empty_outside_of_a_checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(model_table, "BENCHMARK", tmp_path / "inference.json")
    assert all(row["images_per_second"] is None for row in table("models").rows)
    benchmark_file(tmp_path, [])
    monkeypatch.setattr(model_table, "CHECKOUT", tmp_path)
    made = table("models")
    assert any("in a checkout only" in note for note in made.notes)


def test_invalid_benchmark_is_named_with_its_key(tmp_path, monkeypatch):
    monkeypatch.setattr(model_table, "BENCHMARK", benchmark_file(tmp_path, [{"model": "waveletnet_x1"}]))
    with pytest.raises(WavezooError, match=r"inference\.json: missing key 'rows\.0\.form'"):
        table("models")


def test_command_prints_each_format(wavezoo):
    assert wavezoo("table", "models").out.startswith("Models")
    markdown = wavezoo("table", "models", "--format", "markdown").out
    assert "| waveletnet_x1 | 2,722,272 | 204,806,400 | 11.03 | " in markdown
    assert wavezoo("table", "models", "--format", "csv").out.splitlines()[2].startswith("waveletnet_x1,2722272,")
    assert list(wavezoo("table", "models", "--json").json) == ["table", "caption", "rows", "notes"]
