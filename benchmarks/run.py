"""Measure all figures of benchmarks/README.md, and update its tables, results/ and inference.png.

python benchmarks/run.py --images imagenet/val --timm-validate timm/validate.py    # all parts, 30 minutes on 2 cores
python benchmarks/run.py --only training                                           # one part: startup, units ...
"""

import argparse
import io
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
README = HERE / "README.md"
RESULTS = HERE / "results"
WAVEZOO = [sys.executable, "-m", "wavenet_zoo"]
PARTS = ["startup", "shards", "training", "evaluation", "decoding", "folders", "batches", "units", "inference"]
ON_IMAGES = ("evaluation", "decoding")  # parts that require --images
ENGINES = ["openvino", "torch", "onnxruntime", "compile", "executorch"]
FORMS = {  # auto takes minutes in the other engines, which export or compile every candidate
    "openvino": "factored,dense,auto",
    "torch": "factored,dense,auto",
}
FOLDER_SIZES = (25_000, 50_000, 100_000, 200_000)  # images in 1,000 class folders
SHARDS, SHARD_IMAGES = 20, 1000
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
    """Write random weights fitted to these images, which classify some of them correctly.

    The batch norms get the statistics of the images. The class is that of the nearest mean of mirrored images.
    """
    import torch
    from timm.data import ImageNetInfo

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
    chosen = range(0, len(source.targets), COPIES)
    synsets = ImageNetInfo().label_names()
    labels = torch.tensor([synsets.index(source.classes[source.targets[i]]) for i in chosen])
    with torch.no_grad():
        images = torch.stack([transform(source.load(i)) for i in chosen])
        network(images)
        mirrored = network.eval().forward_features(images.flip(3))
        features, classifier = network.forward_head(mirrored, pre_logits=True), network.get_classifier()
        classifier.weight.zero_()
        classifier.bias.fill_(-1e4)
        for label in labels.unique():
            mean = features[labels == label].mean(0)
            classifier.weight[label] = mean
            classifier.bias[label] = -mean.square().sum() / 2
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


def evaluation(images: Path, timm_validate: Path | None) -> dict:
    """Evaluate the same weights on the same images with each program in turn, three times, and compare the counts.

    Args:
        images: Images in folders named after ImageNet synsets.
        timm_validate: timm's validate.py, or the checkout that contains it; None to skip it.
    """
    workers = str(os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as weights_folder:
        for file in (path for path in sorted(images.rglob("*")) if path.is_file()):
            for copy in range(COPIES):
                target = Path(folder, file.parent.name, f"{copy}_{file.name}")
                target.parent.mkdir(exist_ok=True)
                shutil.copy(file, target)
        weights = Path(weights_folder, "x1.safetensors")
        _write_weights(weights, Path(folder))
        plain = [sys.executable, HERE / "plain_loop.py", "waveletnet_x1", weights, folder, workers]
        ours = ["waveletnet_x1", "--weights", weights, "--data", folder, "--workers", workers, "--batch-size", "64"]
        programs: dict[str, Callable[[], dict]] = {"plain": lambda: json.loads(_run(plain))}
        if timm_validate:
            script = timm_validate / "validate.py" if timm_validate.is_dir() else timm_validate
            options = [script, weights, folder, workers, Path(weights_folder)]
            programs["validate"] = lambda: _timm_validate(*options)
            programs["validate_channels_last"] = lambda: _timm_validate(*options, "--channels-last")
        programs["ours"] = lambda: _json("eval", *ours)
        runs: dict[str, list[dict]] = {name: [] for name in programs}
        for _ in range(3):
            for name, program in programs.items():
                started = time.perf_counter()
                runs[name].append(program())
                runs[name][-1]["command_seconds"] = time.perf_counter() - started
    ours_last = runs["ours"][-1]
    counts = [ours_last["correct_top1"], ours_last["correct_top5"]]
    for name, results in runs.items():
        for result in results:
            found = [result["correct_top1"], result["correct_top5"]]
            if found != counts:
                raise SystemExit(f"counts differ: {found} by {name}, and {counts} by wavezoo eval")
    return {
        **{name: [result["images_per_second"] for result in results] for name, results in runs.items()},
        "command_seconds": {name: [result["command_seconds"] for result in results] for name, results in runs.items()},
        "counts": [*counts, ours_last["images"]],
        "time": ours_last["time"] | {"all": ours_last["seconds"]},
        "workers": int(workers),
        "environment": ours_last["environment"],
    }


def _timm_validate(script: Path, weights: Path, folder: str, workers: str, temporary: Path, *options: str) -> dict:
    """Run timm's validate.py, in which the models of wavenet_zoo are registered, and return counts and throughput."""
    from timm.data import ImageNetInfo

    classes = temporary / "classes.txt"  # in the order of the outputs
    classes.write_text("\n".join(ImageNetInfo().label_names()))
    register = "import runpy, sys, wavenet_zoo; sys.argv.pop(0); runpy.run_path(sys.argv[0], run_name='__main__')"
    arguments = ["--data-dir", folder, "--class-map", classes, "--model", "waveletnet_x1", "--checkpoint", weights]
    arguments += ["--device", "cpu", "--workers", workers, "--batch-size", "64", "--log-freq", "1", *options]
    command = [str(word) for word in [sys.executable, "-c", register, script, *arguments]]
    print("$", *command, file=sys.stderr)
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    result = json.loads(run.stdout.partition("--result")[2])
    # of the last batch: number of batches, and the mean time of all batches in seconds
    batches, mean = re.findall(r"Test: \[ *\d+/(\d+)\] +Time: [\d.]+s \(([\d.]+)s,", run.stderr)[-1]
    images = sum(path.is_file() for path in Path(folder).rglob("*"))
    return {
        "images_per_second": images / (int(batches) * float(mean)),
        "correct_top1": round(result["top1"] / 100 * images),
        "correct_top5": round(result["top5"] / 100 * images),
    }


def decoding(images: Path) -> dict:
    return json.loads(_run([sys.executable, HERE / "decoding.py", images]))


def shards() -> dict:
    """Measure the time to open a data set of shards in a new process, without and with its index in the cache."""
    measure = """
import json, sys, time
from wavenet_zoo.data.open import open_data
started = time.perf_counter()
source = open_data(f"wds/{sys.argv[1]}", "val")
print(json.dumps({"seconds": time.perf_counter() - started, "fingerprint": source.fingerprint()}))
"""
    seconds: dict[str, list[float]] = {"headers": [], "cached": []}
    fingerprints = set()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as cache:
        _write_shards(Path(folder))
        for _ in range(5):
            shutil.rmtree(cache)
            for name in seconds:
                run = _run(["env", f"WAVEZOO_CACHE={cache}", sys.executable, "-c", measure, folder])
                seconds[name].append(json.loads(run)["seconds"])
                fingerprints.add(json.loads(run)["fingerprint"])
        Path(cache).mkdir(exist_ok=True)
        cache_bytes = sum(path.stat().st_size for path in Path(cache).rglob("*") if path.is_file())
    if len(fingerprints) != 1:
        raise SystemExit("the cached index differs from the headers")
    return {"seconds": seconds, "images": SHARDS * SHARD_IMAGES, "shards": SHARDS, "cache_bytes": cache_bytes}


def _write_shards(folder: Path) -> None:
    from PIL import Image

    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 60).convert("RGB").save(buffer, "JPEG")
    for shard in range(SHARDS):
        path = folder / f"x-val-{shard:04}.tar"
        with tarfile.open(path, "w") as tar:
            for number in range(SHARD_IMAGES):
                for suffix, content in (("jpg", buffer.getvalue()), ("cls", b"%d" % (number % 200))):
                    info = tarfile.TarInfo(f"{shard:04}_{number:06}.{suffix}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
        os.utime(path, (1_700_000_000, 1_700_000_000))  # files that were modified just now are not cached


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
        return _table_of_evaluation(result)
    if part == "decoding":
        return _table_of_decoding(result)
    if part == "shards":
        lines = [
            f"| {name} | {statistics.median(result['seconds'][key]):.3f} | {min(result['seconds'][key]):.3f} |"
            for name, key in (("headers of the tar files", "headers"), ("cached index", "cached"))
        ]
        head = f"| {result['images']:,} images in {result['shards']} shards | seconds, median of 5 | fastest |"
        size = f"The cached index has {result['cache_bytes'] / 1000:,.0f} kB."
        return "\n".join([head, "| --- | ---: | ---: |", *lines, "", size])
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


def _table_of_evaluation(result: dict) -> str:
    names = {
        "plain": "plain_loop.py: eager, NCHW",
        "validate": "timm's validate.py",
        "validate_channels_last": "timm's validate.py --channels-last",
        "ours": "wavezoo eval",
    }
    lines = []
    for name in (name for name in names if name in result):
        ratios = [ours / other for ours, other in zip(result["ours"], result[name])]
        lines.append(
            f"| {names[name]} | {statistics.median(result[name]):.1f} | {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}) | {statistics.median(result['command_seconds'][name]):.1f} |"
        )
    spent, (top1, top5, images) = result["time"], result["counts"]
    return "\n".join(
        [
            "| evaluation of waveletnet_x1 | images/s, median of 3 | wavezoo eval is faster by, run by run | "
            "whole command, s |",
            "| --- | ---: | ---: | ---: |",
            *lines,
            "",
            f"{result['workers']} loader workers and batches of 64 images each. All give the same counts: {top1} "
            f"(top-1) and {top5} (top-5) of {images}, with weights fitted to the images. The last run of wavezoo eval "
            f"took {spent['all']:.1f} s: {spent['model']:.1f} s for the model and {spent['waiting']:.1f} s waiting for "
            f"images, while its workers decoded for {spent['decoding']:.1f} s.",
        ]
    )


def _table_of_decoding(result: dict) -> str:
    lines = []
    for name, row in result["rows"].items():
        ratios = [time / pillow for time, pillow in zip(row["load_ms"], result["rows"]["Pillow"]["load_ms"])]
        number = result["versions"][name.partition(".")[0].lower()]
        lines.append(
            f"| {name} {number} | {statistics.median(row['decode_ms']):.2f} "
            f"| {statistics.median(row['load_ms']):.2f} | {statistics.median(ratios):.3f} ({min(ratios):.3f} to "
            f"{max(ratios):.3f}) | {row['different']} | {row['rejected']} | {row['accepted']} |"
        )
    head = (
        "| decoder | decoding, ms | with the transform, ms | ratio, round by round | other pixels | rejects | accepts |"
    )
    return "\n".join(
        [
            head,
            "| --- |" + " ---: |" * 6,
            *lines,
            "",
            f"CPU time per image on one core, {result['images']} images. Of these and {result['damaged']} damaged "
            "copies: those with *other pixels*, those that the decoder *rejects* and Pillow does not, and the reverse.",
        ]
    )


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
    words = [str(word) for word in command]
    print("$", *(word.strip().partition("\n")[0] for word in words), file=sys.stderr)  # the first line of a program
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="full-size images in folders named after ImageNet synsets")
    parser.add_argument("--timm-validate", type=Path, help="checkout of timm, or its validate.py, to compare with")
    parser.add_argument("--only", choices=PARTS, help="measure one part only")
    parser.add_argument("--engine", choices=ENGINES, help="with --only inference: measure this engine only")
    options = parser.parse_args()
    parts = [options.only] if options.only else PARTS
    for part in parts:
        if part in ON_IMAGES and options.images is None:
            print(f"skipping {part}: it requires --images", file=sys.stderr)
        elif part == "inference":
            inference([options.engine] if options.engine else ENGINES)
        elif part == "evaluation":
            _write(part, evaluation(options.images, options.timm_validate))
        elif part == "decoding":
            _write(part, decoding(options.images))
        else:
            _write(part, globals()[part]())


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
