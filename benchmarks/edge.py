"""The edge tables: export models to each engine in fp32 and int8, and measure size, latency and top-1.

python benchmarks/edge.py --data tiny-imagenet-200 --exports exports     # exports are kept and measured again
"""

import argparse
import json
from pathlib import Path

from commands import versions_of, wavezoo

MODELS = ["mobilenetv2_100", "waveletnet_x1", "waveletnet_x0_75", "waveletnet_x1_k5"]  # with random weights
TRAINED, TRAINED_SIZE = "waveletnet_x1.tiny_in200", 64
FORMATS = {"onnx": ".onnx", "openvino": ".xml", "executorch": ".pte", "tflite": ".tflite"}
PRECISIONS = ("fp32", "int8")
SIZES = (64, 224)
THREADS = (1, 2)
SECONDS = 2
FLOOR = "no projection"  # form of the row of wavezoo bench --floor


def measure(data: Path, exports: Path) -> dict:
    """Export what is missing, and measure all files.

    Args:
        data: Tiny-ImageNet-200, for calibration and top-1.
        exports: Folder of the exported files.

    Returns:
        ``latency``: a benchmark for each size and format, all against mobilenetv2_100 in fp32; ``accuracy``: the edge
        table of the trained network, against fp32 in ONNX Runtime; ``bytes`` of each file.
    """
    exports.mkdir(parents=True, exist_ok=True)
    latency, files = [], []
    for size in SIZES:
        for to in FORMATS:
            group = [_export(model, to, precision, size, data, exports) for precision in PRECISIONS for model in MODELS]
            threads = ",".join(map(str, THREADS))
            options = ["--threads", threads, "--batch", 1, "--seconds", SECONDS, "--floor"]
            latency.append(wavezoo("bench", *group, *options))
            files += group
    trained = [
        _export(TRAINED, to, precision, TRAINED_SIZE, data, exports) for to in FORMATS for precision in PRECISIONS
    ]
    accuracy = wavezoo("bench", *trained, "--accuracy", "--data", data, "--threads", 1, "--seconds", SECONDS)
    for benchmark in [*latency, accuracy]:
        benchmark["against"] = Path(benchmark["against"]).name  # not the folders of this machine
        for row in benchmark["rows"]:
            row["model"] = Path(row["model"]).name
    accuracy["data"] = data.name
    return {"latency": latency, "accuracy": accuracy, "bytes": {file.name: _bytes(file) for file in files}}


def _export(model: str, to: str, precision: str, size: int, data: Path, exports: Path) -> Path:
    path = exports / f"{model}-{size}-{precision}{FORMATS[to]}"
    if not path.exists():
        options: list[object] = ["--to", to, "--out", path, "--size", size]
        if model != TRAINED:
            options += ["--weights", "none"]
        if precision == "int8":
            evaluated = ["--data", data] if model == TRAINED else ["--max-drop", "none"]
            options += ["--int8", "--calibrate", data, *evaluated]
        wavezoo("export", model, *options)
    return path


def _bytes(path: Path) -> int:
    sidecar = json.loads(path.with_name(f"{path.name}.json").read_text())
    return sum(file["bytes"] for file in sidecar["files"].values())


def table(result: dict) -> str:
    """Return the tables as Markdown."""
    environment = result["accuracy"]["environment"]
    machine = f"{environment['available_cpus']} cores, {environment['machine']} with {environment['cpu_capability']}"
    tables = [_accuracy_table(result), *(_latency_table(result, size) for size in SIZES)]
    return "\n\n".join([*tables, f"{machine}; {versions_of(result['accuracy'])}."])


def _accuracy_table(result: dict) -> str:
    lines = []
    for row in result["accuracy"]["rows"]:
        difference = "-"
        if row["difference"] is not None:
            low, high = row["difference_interval"]
            difference = f"{row['difference']:+.2f} ({low:+.2f} to {high:+.2f})"
        lines.append(
            f"| {row['engine']} | {row['precision']} | {row['bytes'] / 1e6:.2f} | {row['top1']:.2f} | {difference} | "
            f"{row['median_ms']:.2f} | {row['p90_ms']:.2f} | {row['ratio']:.2f} | {row['peak_bytes'] / 1e6:.1f} | "
            f"{row['load_ms']:.0f} |"
        )
    head = (
        f"| {TRAINED}, {TRAINED_SIZE} px | precision | MB | top-1, % | to ONNX Runtime fp32, points (95 % interval) | "
        "median, ms | p90, ms | ratio | peak memory, MB | load, ms |"
    )
    return "\n".join([head, "| --- | --- |" + " ---: |" * 8, *lines])


def _latency_table(result: dict, size: int) -> str:
    lines = []
    for benchmark in result["latency"]:
        rows = {(row["model"], row["form"], row["threads"]): row for row in benchmark["rows"] if row["size"] == size}
        for model, form in dict.fromkeys((model, form) for model, form, _ in rows):
            one = rows[model, form, THREADS[0]]
            name = model.partition(f"-{size}-")[0]
            megabytes = f"{result['bytes'][model] / 1e6:.2f}"
            if form == FLOOR:
                name, megabytes = f"{name}, {FLOOR}", "-"
            times = " | ".join(
                f"{row['median_ms']:.2f} | {row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})"
                for row in (rows[model, form, threads] for threads in THREADS)
            )
            lines.append(f"| {one['engine']} | {one['precision']} | {name} | {megabytes} | {times} |")
    columns = "".join(f" {n} thread{'s' * (n > 1)}, ms | ratio (quartiles) |" for n in THREADS)
    head = f"| {size} px | precision | model | MB |{columns}"
    return "\n".join([head, "| --- | --- | --- | ---: |" + " ---: | --- |" * len(THREADS), *lines])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Tiny-ImageNet-200")
    parser.add_argument("--exports", type=Path, default=Path("exports"), help="folder of the exported files")
    options = parser.parse_args()
    print(table(measure(options.data, options.exports)))
