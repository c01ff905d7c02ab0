"""The main models: cost, size, throughput, and errors of the shipped weights beside printed ones."""

from typing import Any

from pydantic import BaseModel

from wavenet_zoo.paper.measured import count_epochs
from wavenet_zoo.paper.published import SYSTEMS
from wavenet_zoo.paper.system_tables import count_model
from wavenet_zoo.paper.table import Column, PaperTable
from wavenet_zoo.runtime.manifest import checkpoints_folder, read_collection
from wavenet_zoo.runtime.records import read_record
from wavenet_zoo.runtime.resources import CHECKOUT
from wavenet_zoo.weights.loading import build_model
from wavenet_zoo.weights.manifest import ManifestEntry

__all__ = ["MODELS", "model_table"]

MODELS = (
    "waveletnet_x0_75",
    "waveletnet_x1",
    "waveletnet_x1_25",
    "waveletnet_x1_k5",
    "mobilenetv2_100",
    "waveletnet_cifar_m1",
    "waveletnet_cifar_m2",
)
IMAGENET_TABLES = (5, 6, 7)

ENGINE, FORM, BATCH_SIZE, SIZE = "onnxruntime", "dense", 1, 224
ENGINE_TITLE = "ONNX Runtime"
BENCHMARK = CHECKOUT / "benchmarks" / "results" / "inference.json"

COLUMNS = (
    Column("model", "model"),
    Column("params", "params", "count"),
    Column("macs", "MACs", "count"),
    Column("fp32_bytes", "fp32 weights, MB", "megabytes"),
    Column("images_per_second", f"images/s, {ENGINE_TITLE}", "decimal", 1),
    Column("weights", "shipped weights"),
    Column("error", "error %, measured", "decimal"),
    Column("measured_on", "measured on"),
    Column("error_paper", "error %, paper (ImageNet)", "decimal", 1),
)


class BenchmarkRow(BaseModel):
    """The keys of a measurement of ``wavezoo bench`` that the table needs."""

    model: str
    form: str
    engine: str
    batch_size: int
    size: int
    images_per_second: float


class Benchmark(BaseModel):
    """The keys of ``benchmarks/results/inference.json`` that the table needs."""

    rows: list[BenchmarkRow]
    threads: int
    versions: dict[str, str]


def model_table() -> PaperTable:
    """Build the table of the main models.

    Throughput is that of ``benchmarks/results/inference.json``, which only a checkout has. Measured errors are those of
    the manifest of shipped weights.
    """
    benchmark = _read_benchmark()
    entries = _shipped_entries()
    printed = {system.model: system.error for system in SYSTEMS if system.table in IMAGENET_TABLES}
    rows = []
    classifiers: dict[str, None] = {}  # in order, without duplicates
    for model in MODELS:
        network = build_model(model, device="meta")
        cost = count_model(model)
        classifiers[f"{network.num_classes:,} classes at {cost.input_size[-1]} px"] = None
        rows.append(
            {
                "model": model,
                "input_size": cost.input_size,
                "params": cost.params,
                "macs": cost.macs,
                "fp32_bytes": sum(value.nbytes for value in network.state_dict().values()),
                "images_per_second": _throughput(benchmark, model),
                **_error_columns(next((e for e in entries if e.model == model), None)),
                "error_paper": printed.get(model),
                "remark": None,
            }
        )
    notes = [
        f"Parameters, MACs and size (all tensors in fp32) are those with {' or '.join(classifiers)}.",
        _describe_benchmark(benchmark),
        "Errors are top-1. Measured errors are those of the shipped weights; printed errors are on other data and not "
        "comparable.",
    ]
    return PaperTable("models", "Cost and error of the main models", list(COLUMNS), rows, notes)


def _error_columns(entry: ManifestEntry | None) -> dict[str, Any]:
    """Return the columns of the shipped weights and the first result that the manifest lists for them."""
    if entry is None or not entry.results:
        return {"weights": None, "error": None, "measured_on": None, "measured": None}
    tag = entry.name.partition(".")[2]
    name, result = next(iter(entry.results.items()))
    size = f", {entry.preprocessing.input_size[-1]} px" if entry.preprocessing else ""
    return {
        "weights": f"{tag}, {count_epochs(entry.epoch)}" if entry.epoch else tag,
        "error": 100 * (result["images"] - result["correct_top1"]) / result["images"],
        "measured_on": f"{name}{size}, {result['images']:,} images",
        "measured": {"weights": entry.name, "weights_sha256": entry.sha256, "results": entry.results},
    }


def _shipped_entries() -> list[ManifestEntry]:
    """Return the manifest of shipped weights, without the user's own collection."""
    folder = checkpoints_folder()
    if folder is None:
        return []
    return [ManifestEntry.from_json(values) for values in read_collection(folder).entries.values()]


def _read_benchmark() -> Benchmark | None:
    is_checkout = (CHECKOUT / "pyproject.toml").is_file()
    if not is_checkout or not BENCHMARK.is_file():
        return None
    return read_record(BENCHMARK, Benchmark, "run benchmarks/run.py again")


def _throughput(benchmark: Benchmark | None, model: str) -> float | None:
    wanted = (model, ENGINE, FORM, BATCH_SIZE, SIZE)
    for row in benchmark.rows if benchmark else []:
        if (row.model, row.engine, row.form, row.batch_size, row.size) == wanted:
            return row.images_per_second
    return None


def _describe_benchmark(benchmark: Benchmark | None) -> str:
    if benchmark is None:
        return "Throughput is listed in a checkout only, from benchmarks/results/inference.json."
    return (
        f"Throughput: {ENGINE_TITLE} {benchmark.versions[ENGINE]}, batch size {BATCH_SIZE}, {SIZE} px, form {FORM}, "
        f"{benchmark.threads} CPU threads."
    )
