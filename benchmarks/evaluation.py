"""Evaluation: wavezoo eval against a plain loop and timm's validate.py on full-size images."""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from commands import json_of, run, wavezoo

PLAIN_LOOP = Path(__file__).with_name("plain_loop.py")
COPIES = 6  # copies of each image, to reduce the share of the time that loader processes take to start


def measure(images: Path, timm_validate: Path | None) -> dict:
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
        plain = [sys.executable, PLAIN_LOOP, "waveletnet_x1", weights, folder, workers]
        ours = ["waveletnet_x1", "--weights", weights, "--data", folder, "--workers", workers, "--batch-size", "64"]
        programs: dict[str, Callable[[], dict]] = {"plain": lambda: json_of(plain)}
        if timm_validate:
            script = timm_validate / "validate.py" if timm_validate.is_dir() else timm_validate
            options = [script, weights, folder, workers, Path(weights_folder)]
            programs["validate"] = lambda: _timm_validate(*options)
            programs["validate_channels_last"] = lambda: _timm_validate(*options, "--channels-last")
        programs["ours"] = lambda: wavezoo("eval", *ours)
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


def table(result: dict) -> str:
    """Return the table as Markdown."""
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


def _timm_validate(script: Path, weights: Path, folder: str, workers: str, temporary: Path, *options: str) -> dict:
    """Run timm's validate.py, in which the models of wavenet_zoo are registered, and return counts and throughput."""
    from timm.data import ImageNetInfo

    classes = temporary / "classes.txt"  # in the order of the outputs
    classes.write_text("\n".join(ImageNetInfo().label_names()))
    register = "import runpy, sys, wavenet_zoo; sys.argv.pop(0); runpy.run_path(sys.argv[0], run_name='__main__')"
    arguments = ["--data-dir", folder, "--class-map", classes, "--model", "waveletnet_x1", "--checkpoint", weights]
    arguments += ["--device", "cpu", "--workers", workers, "--batch-size", "64", "--log-freq", "1", *options]
    process = run([sys.executable, "-c", register, script, *arguments], stderr=subprocess.PIPE)
    result = json.loads(process.stdout.partition("--result")[2])
    # of the last batch: number of batches, and the mean time of all batches in seconds
    batches, mean = re.findall(r"Test: \[ *\d+/(\d+)\] +Time: [\d.]+s \(([\d.]+)s,", process.stderr)[-1]
    images = sum(path.is_file() for path in Path(folder).rglob("*"))
    return {
        "images_per_second": images / (int(batches) * float(mean)),
        "correct_top1": round(result["top1"] / 100 * images),
        "correct_top5": round(result["top5"] / 100 * images),
    }
