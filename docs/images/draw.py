"""Draw the figures of the documents again, in ``docs/images/``: ``python docs/images/draw.py [NAME ...]``.

``table_1`` to ``table_7``, ``depth`` and ``pairs`` are those of ``wavezoo table --plot``, from ``results/``;
``inference`` is that of ``wavezoo bench --plot``, from ``benchmarks/results/``; ``curve_*`` and ``dfwt_curves`` are
training curves of ``results/``; ``connectivity`` is that of ``wavezoo connectivity waveletnet_x1 --plot``; ``unit`` is
drawn by ``draw_unit.py``. One version of matplotlib always writes the same bytes.
"""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import draw_unit
from matplotlib.figure import Figure

from wavenet_zoo import connectivity, table
from wavenet_zoo.deployment.bench import Benchmark, Measurement
from wavenet_zoo.deployment.plots import plot_benchmark
from wavenet_zoo.paper.connectivity_figure import plot_connectivity
from wavenet_zoo.paper.measured import count_epochs, read_history
from wavenet_zoo.paper.plots import plot_table
from wavenet_zoo.paper.table import Number
from wavenet_zoo.recipes import load_recipe
from wavenet_zoo.runtime.figures import WIDTH, figure_style, new_figure, save_figure, set_heading
from wavenet_zoo.training.curves import draw_arms, draw_curves, rate_drops

IMAGES = Path(__file__).resolve().parent
REPOSITORY = IMAGES.parent.parent
RESULTS = REPOSITORY / "results"
CURVES = {"curve_m1": "cifar10/waveletnet_m1/seed0", "curve_x1": "tiny_imagenet/modern/x1_modern/seed0"}
DFWT_PAIRS = {  # folders of the runs with and without DFWT
    "waveletnet_cifar_m1": ("cifar10/depth/m1", "cifar10/depth/m1_no_dfwt"),
    "waveletnet_cifar_m3": ("cifar10/depth/m3", "cifar10/depth/m3_no_dfwt"),
    "waveletnet_cifar_m6": ("cifar10/depth/m6", "cifar10/depth/m6_no_dfwt"),
    "waveletnet_x1": ("tiny_imagenet/thirty_epochs/x1", "tiny_imagenet/thirty_epochs/no_dfwt"),
}
FIRST_ERRORS = 3  # epochs whose errors, far above the others, would hide the difference


def main() -> None:
    figures: dict[str, Callable[[], None]] = {
        **{f"table_{number}": partial(_draw_table, number) for number in (1, 2, 3, 5, 6, 7)},
        "depth": partial(_draw_table, "depth"),
        "pairs": partial(_draw_table, "pairs"),
        **{name: partial(_draw_curve, name, folder) for name, folder in CURVES.items()},
        "dfwt_curves": lambda: save_figure(draw_dfwt_curves(), IMAGES / "dfwt_curves.svg"),
        "inference": _draw_inference,
        "connectivity": lambda: plot_connectivity(IMAGES / "connectivity.svg", connectivity("waveletnet_x1")),
        "unit": draw_unit.main,
    }
    unknown = set(sys.argv[1:]) - set(figures)
    if unknown:
        raise SystemExit(f"unknown figures: {', '.join(sorted(unknown))}; use {', '.join(figures)}")
    for name in sys.argv[1:] or figures:
        figures[name]()
        print(IMAGES / f"{name}.svg")


def _draw_table(number: Number) -> None:
    name = number if isinstance(number, str) else f"table_{number}"
    plot_table(IMAGES / f"{name}.svg", table(number))


def _draw_curve(name: str, folder: str) -> None:
    record = json.loads((RESULTS / folder / "run.json").read_text())
    recipe = load_recipe(RESULTS / folder / "recipe.yaml")
    history = read_history(RESULTS / folder, recipe.schedule.epochs)
    save_figure(draw_curves(history, recipe, record["recipe"], record["data"]), IMAGES / f"{name}.svg")


@figure_style()
def draw_dfwt_curves() -> Figure:
    """Draw the errors by epoch with and without DFWT, one panel for each network."""
    figure = new_figure(WIDTH, 5.2)
    note = (
        "line: mean of the seeds; band: their range; vertical lines: the learning rate drops; the first epochs are cut"
    )
    set_heading(figure, "Does DFWT help at every point of the training?", note)
    panels = figure.subplots(2, 2).flat
    for axes, (model, folders) in zip(panels, DFWT_PAIRS.items(), strict=True):
        arms = {}
        for label, folder in zip(("with DFWT", "without DFWT"), folders, strict=True):
            runs = sorted((RESULTS / folder).glob("seed*"))
            recipe = load_recipe(runs[0] / "recipe.yaml")
            epochs = recipe.schedule.epochs
            arms[label] = [[100 - record["top1"] for record in read_history(run, epochs)] for run in runs]
        seeds = f"{len(runs)} seed{'s' * (len(runs) > 1)}"
        data = json.loads((runs[0] / "run.json").read_text())["data"]
        axes.set_title(f"{model}, {data}, {seeds}", fontweight="normal")
        draw_arms(axes, arms, rate_drops(recipe))
        later = [value for seeds_of_arm in arms.values() for values in seeds_of_arm for value in values[FIRST_ERRORS:]]
        axes.set_ylim(min(later) - 1, max(later) + 1)
        axes.set_ylabel("top-1 error, %")
        axes.legend()
        axes.set_xlabel(f"epoch, of {count_epochs(epochs).removesuffix(' epochs')}")
    return figure


def _draw_inference() -> None:
    """Draw ``benchmarks/results/inference.json``; the first results had no columns for what was fixed then."""
    result = json.loads((REPOSITORY / "benchmarks" / "results" / "inference.json").read_text())
    fixed = {"folded": True, "threads": result["threads"], "precision": "fp32"}
    rows = [Measurement(**{**fixed, **row}) for row in result["rows"]]
    plot_benchmark(IMAGES / "inference.svg", Benchmark(**{**result, "rows": rows}))


if __name__ == "__main__":
    main()
