"""Measure all figures of benchmarks/README.md, and update its tables, results/ and inference.png.

python benchmarks/run.py --images imagenet/val        # all parts, 25 minutes on 2 cores
python benchmarks/run.py --only training              # one part: startup, evaluation, units ...
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
README = HERE / "README.md"
RESULTS = HERE / "results"
WAVEZOO = [sys.executable, "-m", "wavenet_zoo"]
PARTS = ["startup", "training", "evaluation", "folders", "batches", "units", "inference"]
ENGINES = ["openvino", "torch", "onnxruntime", "compile", "executorch"]
FORMS = {  # auto takes minutes in the other engines, which export or compile every candidate
    "openvino": "factored,dense,auto",
    "torch": "factored,dense,auto",
}
FOLDER_SIZES = (25_000, 50_000, 100_000, 200_000)  # images in 1,000 class folders
COPIES = 6  # copies of each image, to reduce the share of the time that loader processes take to start


def inference(engines: list[str]) -> dict:
    """Measure one engine after the other. After each, write its rows beside the stored rows of the others."""
    file = RESULTS / "inference.json"
    result: dict = json.loads(file.read_text()) if file.exists() else {"rows": [], "versions": {}}
    for engine in engines:
        forms = FORMS.get(engine, "factored,dense,split2,halves")
        models = ["waveletnet_x1", "--against", "mobilenetv2_100", "--seconds", "2"]
        part = _json("bench", *models, "--engine", engine, "--form", forms)
        rows = [row for row in result["rows"] if row["engine"] != engine] + part["rows"]
        result = {**part, "rows": rows, "versions": {**result["versions"], **part["versions"]}}
        _write("inference", result)
    return result


def _write_weights(path: Path, folder: Path) -> None:
    """Write random weights with batch norm statistics of these images; without them all images get the same class."""
    import torch

    from wavenet_zoo.data.open import open_data
    from wavenet_zoo.data.preprocessing import evaluation_transform, preprocessing_of
    from wavenet_zoo.weights.files import weights_bytes
    from wavenet_zoo.weights.loading import load_model
    from wavenet_zoo.weights.metadata import WeightsMetadata

    network = load_model("waveletnet_x1", "none")[0].train()
    transform, source = evaluation_transform(preprocessing_of(network)), open_data(folder, "val")
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network(torch.stack([transform(source.load(i)) for i in range(0, len(source.targets), COPIES)]))
    path.write_bytes(weights_bytes(network.state_dict(), WeightsMetadata(model="waveletnet_x1")))


def batches() -> dict:
    return _json("bench", "waveletnet_x1", "--form", "dense", "--batch", "1,4,16,64", "--seconds", "2")


def training() -> dict:
    parts = [
        _json("bench", "waveletnet_x1", "--train", "--size", "64", "--batch", "64", "--seconds", "4"),
        _json("bench", "waveletnet_cifar_m2", "--train", "--batch", "128", "--seconds", "6"),
    ]
    parts[0]["rows"] += parts[1]["rows"]
    return parts[0]


def evaluation(images: Path) -> dict:
    workers = str(os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as weights_folder:
        for file in (path for path in sorted(images.rglob("*")) if path.is_file()):
            for copy in range(COPIES):
                target = Path(folder, file.parent.name, f"{copy}_{file.name}")
                target.parent.mkdir(exist_ok=True)
                shutil.copy(file, target)
        weights = Path(weights_folder, "x1.safetensors")
        _write_weights(weights, Path(folder))
        command = ["waveletnet_x1", "--weights", weights, "--data", folder, "--workers", workers]
        runs = []
        for _ in range(3):
            plain = json.loads(
                _run([sys.executable, HERE / "plain_loop.py", "waveletnet_x1", weights, folder, workers])
            )
            runs.append({"plain": plain, "ours": _json("eval", *command)})
    for run in runs:
        same = all(run["plain"][key] == run["ours"][key] for key in ("correct_top1", "correct_top5"))
        if not same:
            raise SystemExit(f"counts differ: {run['plain']}, and {run['ours']['correct_top1']} by wavezoo eval")
    ours = runs[-1]["ours"]
    return {
        "plain": [run["plain"]["images_per_second"] for run in runs],
        "ours": [run["ours"]["images_per_second"] for run in runs],
        "counts": [ours["correct_top1"], ours["correct_top5"], ours["images"]],
        "time": ours["time"] | {"all": ours["seconds"]},
        "workers": int(workers),
        "environment": ours["environment"],
    }


def folders() -> dict:
    """Measure by number of images: listing, fingerprint, sampling, evaluation and its peak memory."""
    measure = """
import json, sys, time
from wavenet_zoo.data.open import open_data
from wavenet_zoo.data.loaders import EpochSampler
times = [time.perf_counter()]
source = open_data(sys.argv[1], "val")
times.append(time.perf_counter())
source.fingerprint()
times.append(time.perf_counter())
steps = sum(1 for rank in range(8) for _ in EpochSampler(len(source.targets), 256, seed=0, rank=rank, world_size=8))
times.append(time.perf_counter())
print(json.dumps({k: b - a for k, a, b in zip(("listing", "fingerprint", "sharing"), times, times[1:])}))
"""
    rows = []
    for images in FOLDER_SIZES:
        with tempfile.TemporaryDirectory() as folder:
            _write_tiny_images(Path(folder), images)
            row, _ = _json_and_peak([sys.executable, "-c", measure, folder])
            arguments = ["waveletnet_cifar_m1", "--weights", "none", "--model-kwargs", "num_classes=1000"]
            result, peak = _json_and_peak([*WAVEZOO, "eval", *arguments, "--data", folder, "--json"])
        rows.append({"images": images, **row, "evaluation": result["seconds"], "peak_bytes": peak})
    return {"rows": rows, "workers": result["workers"], "environment": result["environment"]}


def _write_tiny_images(folder: Path, images: int) -> None:
    from PIL import Image

    for label in range(1000):
        (folder / f"{label:04}").mkdir()
        Image.new("RGB", (8, 8), (label % 256, label // 4, 0)).save(folder / f"{label:04}" / "0.png")
        content = (folder / f"{label:04}" / "0.png").read_bytes()
        for number in range(1, images // 1000):
            (folder / f"{label:04}" / f"{number}.png").write_bytes(content)


def _json_and_peak(command: list) -> tuple[dict, int]:
    """Run a command. Return the JSON that it prints, and its peak memory in bytes."""
    print("$", *command[:3], "...", file=sys.stderr)
    with subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        text = run.stdout.read()
        _, status, usage = os.wait4(run.pid, 0)
        run.returncode = os.waitstatus_to_exitcode(status)
    if run.returncode:
        raise SystemExit(run.returncode)
    return json.loads(text), usage.ru_maxrss * 1024


def units() -> dict:
    """Measure the units of waveletnet_x1 separately in each form."""
    import torch

    from wavenet_zoo.deployment.choose import measure_units
    from wavenet_zoo.weights.loading import load_model

    network = load_model("waveletnet_x1", "none")[0].eval()
    images = torch.randn(16, 3, 224, 224)
    return {e: [asdict(kind) for kind in measure_units(network, images, e)] for e in ("openvino",)}


def startup() -> dict:
    commands = {
        "wavezoo --help": [*WAVEZOO, "--help"],
        "completion of a command": ["env", "_WAVEZOO_COMPLETE=bash_complete", "COMP_WORDS=wavezoo ev", "COMP_CWORD=1",
                                    shutil.which("wavezoo") or "wavezoo"],
        "import timm": [sys.executable, "-c", "import timm"],
        "wavezoo count waveletnet_x1": [*WAVEZOO, "count", "waveletnet_x1"],
    }  # fmt: skip
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(5):
        for name, command in commands.items():
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - started)
    return {"seconds": seconds}


def table_of(part: str, result: dict) -> str:
    """Return the table of a part as Markdown."""
    if part == "evaluation":
        ratios = sorted(b / a for a, b in zip(result["plain"], result["ours"]))
        spent, (top1, top5, images) = result["time"], result["counts"]
        return "\n".join(
            [
                "| evaluation of waveletnet_x1 | images/s, median of 3 |",
                "| --- | ---: |",
                f"| plain_loop.py: eager, NCHW | {statistics.median(result['plain']):.1f} |",
                f"| wavezoo eval | {statistics.median(result['ours']):.1f} |",
                f"| ratio, run by run | {ratios[1]:.2f} ({ratios[0]:.2f} to {ratios[2]:.2f}) |",
                "",
                f"{result['workers']} loader workers each. Both give the same counts: {top1} (top-1) and {top5} "
                f"(top-5) of {images}, with random weights and fitted batch norm statistics. The last run of wavezoo "
                f"eval took {spent['all']:.1f} s: {spent['model']:.1f} s for the model and {spent['waiting']:.1f} s "
                f"waiting for images, while its workers decoded for {spent['decoding']:.1f} s.",
            ]
        )
    if part == "folders":
        lines = [
            f"| {row['images']:,} | {row['listing']:.2f} | {row['fingerprint']:.2f} | {row['sharing']:.2f} | "
            f"{row['evaluation']:.1f} | {row['images'] / row['evaluation']:,.0f} | {row['peak_bytes'] / 2**20:,.0f} |"
            for row in result["rows"]
        ]
        head = "| images | listing, s | fingerprint, s | sampling, s | evaluation, s | images/s | peak memory, MiB |"
        return "\n".join([head, "| ---: |" + " ---: |" * 6, *lines])
    if part == "units":
        return "\n\n".join(_table_of_units(engine, kinds) for engine, kinds in result.items())
    if part == "startup":
        lines = [f"| {name} | {statistics.median(s):.2f} | {min(s):.2f} |" for name, s in result["seconds"].items()]
        return "\n".join(["| start-up | seconds, median of 5 | fastest |", "| --- | ---: | ---: |", *lines])
    lines = [
        f"| {row['engine']} | {row['batch_size']} | {row['model']} | {row['form']} | {row['median_ms']:.2f} | "
        f"{row['p90_ms']:.2f} | {row['images_per_second']:,.1f} | {row['ratio']:.3f} | "
        f"{row['ratio_low']:.3f} to {row['ratio_high']:.3f} | {_forms(row['forms'])} |"
        for row in result["rows"]
    ]
    head = (
        "| engine | batch | model | form | median, ms | p90, ms | images/s | ratio | quartiles | forms of the units |"
    )
    environment = result["environment"]
    versions = ", ".join(
        f"{name} {number}" for name, number in {**environment["versions"], **result["versions"]}.items()
    )
    rules = "| --- | ---: | --- | --- | ---: | ---: | ---: | ---: | --- | --- |"
    return "\n".join([head, rules, *lines, "", f"{result['threads']} threads; {versions}."])


def _table_of_units(engine: str, kinds: list[dict]) -> str:
    forms = list(dict.fromkeys(form for kind in kinds for form in kind["milliseconds"]))
    all_dense = sum(len(kind["names"]) * kind["milliseconds"]["dense"] for kind in kinds)
    lines = [f"| {engine}: size, channels | units | {' | '.join(forms)} | share of the dense time |",
             "| --- | ---: |" + " ---: |" * (len(forms) + 1)]  # fmt: skip
    for kind in kinds:
        milliseconds = " | ".join(f"{kind['milliseconds'][form]:.2f}" for form in forms)
        share = len(kind["names"]) * kind["milliseconds"]["dense"] / all_dense
        channels = " -> ".join(map(str, kind["channels"]))
        lines.append(f"| {kind['shape'][-1]} px, {channels} | {len(kind['names'])} | {milliseconds} | {share:.0%} |")
    return "\n".join(lines)


def _forms(forms: dict[str, str]) -> str:
    counts = {form: list(forms.values()).count(form) for form in sorted(set(forms.values()))}
    return ", ".join(f"{count} {form}" for form, count in counts.items()) or "-"


def _json(*arguments: object) -> dict:
    return json.loads(_run([*WAVEZOO, *arguments, "--json"]))


def _run(command: list) -> str:
    print("$", *command, file=sys.stderr)
    return subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="full-size images in folders named after ImageNet synsets")
    parser.add_argument("--only", choices=PARTS, help="measure one part only")
    parser.add_argument("--engine", choices=ENGINES, help="with --only inference: measure this engine only")
    options = parser.parse_args()
    parts = [options.only] if options.only else PARTS
    for part in parts:
        if part == "evaluation" and options.images is None:
            print("skipping evaluation: it requires --images", file=sys.stderr)
            continue
        if part == "inference":
            inference([options.engine] if options.engine else ENGINES)
        else:
            _write(part, evaluation(options.images) if part == "evaluation" else globals()[part]())


def _write(part: str, result: dict) -> None:
    (RESULTS / f"{part}.json").write_text(json.dumps(result, indent=1) + "\n")
    if part == "inference":
        from wavenet_zoo.deployment.bench import Benchmark, Measurement
        from wavenet_zoo.deployment.plots import plot_benchmark

        rows = [Measurement(**{"folded": True, **row}) for row in result["rows"]]  # older rows have no such key
        plot_benchmark(HERE / "inference.png", Benchmark(**{**result, "rows": rows}))
    text = README.read_text()
    marks = f"<!-- {part} -->", f"<!-- /{part} -->"
    body = f"{marks[0]}\n{table_of(part, result)}\n{marks[1]}"
    README.write_text(re.sub(f"{marks[0]}.*?{marks[1]}", lambda _: body, text, flags=re.DOTALL))


if __name__ == "__main__":
    main()
