"""The edge tables: export models to each engine in fp32 and int8, and measure size, latency and top-1.

python benchmarks/edge.py --data tiny-imagenet-200 --exports exports     # exports are kept and measured again
"""

import argparse
import json
from pathlib import Path

from commands import wavezoo

MODELS = {  # name in the tables: model, its weights
    "mobilenetv2_100": "none",
    "waveletnet_x1": "tiny_in200",
    "waveletnet_x0_75": "none",
    "waveletnet_x1_k5": "none",
}
FORMATS = {"onnx": ".onnx", "openvino": ".xml", "executorch": ".pte", "tflite": ".tflite"}
PRECISIONS = ("fp32", "int8")
SIZES = (64, 224)
THREADS = (1, 2)
SECONDS = 2


def measure(data: Path, exports: Path) -> dict:
    """Export what is missing, and measure all files.

    Args:
        data: Tiny-ImageNet-200, for calibration and top-1.
        exports: Folder of the exported files.

    Returns:
        ``latency``: a benchmark for each size and format, all against mobilenetv2_100 in fp32; ``accuracy``: the edge
        table of waveletnet_x1 with its weights, against fp32 in ONNX Runtime; ``bytes`` of each file.
    """
    exports.mkdir(parents=True, exist_ok=True)
    files = {
        (size, to, model, precision): _export(model, to, precision, size, data, exports)
        for size in SIZES for to in FORMATS for model in MODELS for precision in PRECISIONS
    }  # fmt: skip
    latency = []
    for size in SIZES:
        for to in FORMATS:
            group = [files[size, to, model, precision] for precision in PRECISIONS for model in MODELS]
            threads = ",".join(map(str, THREADS))
            latency.append(wavezoo("bench", *group, "--threads", threads, "--batch", 1, "--seconds", SECONDS))
    own = [files[64, to, "waveletnet_x1", precision] for to in FORMATS for precision in PRECISIONS]
    accuracy = wavezoo("bench", *own, "--accuracy", "--data", data, "--threads", 1, "--seconds", SECONDS)
    return {"latency": latency, "accuracy": accuracy, "bytes": {str(f): _bytes(f) for f in files.values()}}


def _export(model: str, to: str, precision: str, size: int, data: Path, exports: Path) -> Path:
    path = exports / f"{model}-{size}-{precision}{FORMATS[to]}"
    if not path.exists():
        options: list[object] = ["--to", to, "--out", path, "--size", size]
        if MODELS[model] == "none":
            options += ["--weights", "none"]
        if precision == "int8":  # random weights, and images of another size than the training's, have no top-1 to lose
            evaluated = ["--data", data] if MODELS[model] != "none" and size == 64 else ["--max-drop", "none"]
            options += ["--int8", "--calibrate", data, *evaluated]
        wavezoo("export", model, *options)
    return path


def _bytes(path: Path) -> int:
    sidecar = json.loads(path.with_name(f"{path.name}.json").read_text())
    return sum(file["bytes"] for file in sidecar["files"].values())


def table(result: dict) -> str:
    """Return the tables as Markdown."""
    return "\n\n".join([_accuracy_table(result), *(_latency_table(result, size) for size in SIZES)])


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
        "| waveletnet_x1, 64 px | precision | MB | top-1, % | to fp32, points (95 % interval) | median, ms | p90, ms | "
        "ratio | peak memory, MB | load, ms |"
    )
    return "\n".join([head, "| --- | --- |" + " ---: |" * 8, *lines])


def _latency_table(result: dict, size: int) -> str:
    lines = []
    for benchmark in result["latency"]:
        rows = {(row["model"], row["threads"]): row for row in benchmark["rows"] if row["size"] == size}
        for model in dict.fromkeys(model for model, _ in rows):
            one = rows[model, THREADS[0]]
            name = Path(model).name.partition(f"-{size}-")[0]
            times = " | ".join(
                f"{row['median_ms']:.2f} | {row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})"
                for row in (rows[model, threads] for threads in THREADS)
            )
            lines.append(
                f"| {one['engine']} | {one['precision']} | {name} | {result['bytes'][model] / 1e6:.2f} | {times} |"
            )
    columns = "".join(f" {n} thread{'s' * (n > 1)}, ms | ratio (quartiles) |" for n in THREADS)
    head = f"| {size} px | precision | model | MB |{columns}"
    return "\n".join([head, "| --- | --- | --- | ---: |" + " ---: | --- |" * len(THREADS), *lines])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Tiny-ImageNet-200")
    parser.add_argument("--exports", type=Path, default=Path("exports"), help="folder of the exported files")
    options = parser.parse_args()
    print(table(measure(options.data, options.exports)))
