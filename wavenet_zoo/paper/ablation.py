"""Ablations: train the network of a recipe and changed versions of it under equal seeds, and compare the errors."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wavenet_zoo.complexity import count
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.models import WaveletNet
from wavenet_zoo.paper.measured import count_epochs
from wavenet_zoo.paper.published import ABLATIONS, PublishedAblation
from wavenet_zoo.paper.statistics import Estimate, estimate
from wavenet_zoo.paper.training_runs import PlannedRun, train_runs
from wavenet_zoo.recipes import Recipe, load_recipe, recipe_name
from wavenet_zoo.runtime.records import read_record
from wavenet_zoo.runtime.results import Result
from wavenet_zoo.training.build import check_recipe
from wavenet_zoo.training.records import RunRecord
from wavenet_zoo.weights.loading import build_model

__all__ = ["DEFAULT_RECIPE", "Ablation", "Arm", "ArmResult", "ablate"]

logger = logging.getLogger(__name__)

DEFAULT_RECIPE = "digits"  # minutes on a laptop; too small to support a claim about the paper's setting


@dataclass(frozen=True)
class Arm:
    """One side of a comparison.

    Attributes:
        name: Name of its folder.
        title: Name in the table.
        overrides: Overrides of the recipe's values, each ``section.key=value``.
        published: Errors that the paper prints for it.
    """

    name: str
    title: str
    overrides: tuple[str, ...] = ()
    published: PublishedAblation | None = None


@dataclass
class ArmResult:
    """Result of an arm.

    Attributes:
        name: Name of its folder.
        title: Name in the table.
        overrides: Overrides of the recipe's values.
        params: Parameters, with the classifier for this data set.
        macs: Standard count of MACs at the recipe's input size.
        error: Top-1 error in percent after the last epoch, over the seeds.
        gap: Its error minus the original's error with the same seed, over the seeds; None for the original.
        published: Errors that the paper prints, on its own data and budget.
        runs: Seed, folder, error, hash of the weights and seconds of every run.
    """

    name: str
    title: str
    overrides: list[str]
    params: int
    macs: int
    error: Estimate
    gap: Estimate | None
    published: PublishedAblation | None
    runs: list[dict[str, Any]]


@dataclass
class Ablation(Result):
    """Result of :func:`ablate`.

    Attributes:
        model: Name of the model.
        recipe: Name of the recipe.
        recipe_sha256: Hash of the recipe's values, with the first seed.
        data: Name of the data set.
        images: Number of images that the errors are measured on; None if the runs did not record it.
        epochs: Epochs of each run.
        seeds: Seeds of the runs, equal in every arm.
        arms: Results of the arms, the original first.
        out: Folder of the runs.
        picture: Path of the figure that ``wavezoo ablate`` draws.
    """

    model: str
    recipe: str
    recipe_sha256: str
    data: str
    images: int | None
    epochs: int
    seeds: list[int]
    arms: list[ArmResult]
    out: str
    picture: str


def ablate(
    recipe_path: str | Path | None = None,
    data: str | Path | None = None,
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    *,
    no_dfwt: bool = False,
    kappas: Sequence[tuple[int, int, int]] = (),
    widths: Sequence[float] = (),
    haar: str | None = None,
    dfwt_after: str | None = None,
    paper_setting: bool = False,
    seeds: int = 3,
    workers: int | None = None,
    device: str = "auto",
    progress: bool = False,
) -> Ablation:
    """Train the network of a recipe and changed versions of it with equal seeds, and compare the errors.

    A seed determines the initial weights, the order of the images and their augmentation. All arms start from equal
    weights wherever shapes agree, and see the same batches. The error is that after the last epoch, so that no epoch is
    selected on the images that it is measured on.

    Runs are stored in ``out/ARM/seedN``. Called again, finished runs are reused and a stopped run is resumed.

    Args:
        recipe_path: A YAML file, or the name of a shipped recipe. Default: ``digits``, minutes on a laptop.
        data: Data set; overrides the recipe's.
        out: Folder of the runs. Default: ``runs/ablate/`` and the recipe's name.
        overrides: Overrides of the recipe's values for all arms, each ``section.key=value``.
        no_dfwt: Remove the DFWT (Table 3).
        kappas: Depths (kappa1, kappa2, kappa3) to compare (Table 7).
        widths: Widths to compare (Table 6).
        haar: ``neighbours``: pair neighbouring channels, the other reading of Algorithm 2.
        dfwt_after: ``expand``: the DFWT before the depthwise convolution.
        paper_setting: Use the recipe of the paper's setting, which takes days on a GPU.
        seeds: Number of runs per arm, with the recipe's seed and the following ones.
        workers: Loader workers. Default: one per available CPU, at most 8; 0 for images in memory.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        progress: Show progress on stderr.

    Raises:
        WavezooError: If no change is given, the model is not a WaveletNet, or training fails or is stopped.

    Source: paper, section 5.2, Tables 3, 6 and 7.
    """
    arms = _arms(no_dfwt, kappas, widths, haar, dfwt_after)
    if paper_setting and recipe_path is not None:
        raise WavezooError(f"the paper's setting and recipe {recipe_path} exclude each other", "pass only one of them")
    if paper_setting:
        recipe_path = "imagenet/waveletnet_x1" if kappas or widths else "cifar10/waveletnet_m24"
    recipe_path = recipe_path or DEFAULT_RECIPE
    recipe = load_recipe(recipe_path, overrides)
    original, arms = _check_arms(recipe_path, overrides, recipe, arms)
    arms = [original, *arms]
    folder = Path(out) if out is not None else Path("runs") / "ablate" / recipe_name(recipe_path)
    seed_values = [recipe.seed + i for i in range(seeds)]
    load_recipe(recipe_path, [*overrides, f"seed={seed_values[-1]}"])  # before the first run: a seed has a maximum
    total = len(arms) * seeds
    logger.info("%d runs of recipe %s, %s each", total, recipe_name(recipe_path), count_epochs(recipe.schedule.epochs))

    planned = [  # seed by seed, so that complete pairs exist at any time
        PlannedRun(
            arm.name, arm.title, seed, recipe_path, (*overrides, *arm.overrides), folder / arm.name / f"seed{seed}"
        )
        for seed in seed_values
        for arm in arms
    ]
    runs: dict[str, list[dict[str, Any]]] = {arm.name: [] for arm in arms}
    for plan, run in train_runs(planned, data, workers=workers, device=device, progress=progress):
        runs[plan.name].append(
            {
                "seed": plan.seed,
                "out": str(plan.out),  # not run.out: a finished run may have been moved
                "error": 100 - run.last["top1"],
                "weights_sha256": run.weights_sha256,
                "seconds": run.seconds,
            }
        )
    record = read_record(folder / original.name / f"seed{seed_values[0]}" / "run.json", RunRecord)
    results: list[ArmResult] = []
    for arm in arms:
        baseline = results[0] if results else None
        arm_recipe = load_recipe(recipe_path, [*overrides, *arm.overrides])
        results.append(_result(arm_recipe, arm, runs[arm.name], baseline, len(record.metadata.classes or [])))
    return Ablation(
        model=recipe.model.name,
        recipe=recipe_name(recipe_path),
        recipe_sha256=recipe.sha256(),
        data=str(record.metadata.data),
        images=record.validation_images,
        epochs=recipe.schedule.epochs,
        seeds=seed_values,
        arms=results,
        out=str(folder),
        picture=f"{folder / '-'.join(arm.name for arm in arms[1:])}.png",
    )


def _arms(
    no_dfwt: bool, kappas: Sequence[tuple[int, int, int]], widths: Sequence[float], haar: str | None,
    dfwt_after: str | None,
) -> list[Arm]:  # fmt: skip
    arms = []
    if no_dfwt:
        arms.append(Arm("no_dfwt", "no DFWT", ("model.kwargs.use_dfwt=false",), ABLATIONS["no_dfwt"]))
    for depths in kappas:
        name = f"kappa_{'_'.join(map(str, depths))}"
        title = f"κ {','.join(map(str, depths))}"
        arms.append(Arm(name, title, (f"model.kwargs.kappas={list(depths)}",), ABLATIONS.get(name)))
    for width in widths:
        name = f"width_{width:g}"
        arms.append(Arm(name, f"width {width:g}", (f"model.kwargs.width={float(width)}",), ABLATIONS.get(name)))
    if haar is not None:
        arms.append(Arm(f"haar_{haar}", f"Haar {haar}", (f"model.kwargs.haar={haar}",)))
    if dfwt_after is not None:
        override = f"model.kwargs.dfwt_after={dfwt_after}"
        arms.append(Arm(f"dfwt_after_{dfwt_after}", f"DFWT after {dfwt_after}", (override,)))
    if not arms:
        raise WavezooError("no change to compare", "pass --no-dfwt, --kappa, --width, --haar or --dfwt-after")
    duplicate = next((arm.title for i, arm in enumerate(arms) if arm in arms[:i]), None)
    if duplicate:
        raise WavezooError(f"duplicate change: {duplicate}", "pass every change once")
    return arms


def _check_arms(
    recipe_path: str | Path, overrides: Sequence[str], recipe: Recipe, arms: Sequence[Arm]
) -> tuple[Arm, list[Arm]]:
    """Build the network of every arm, and add the override that gives it the original's initial weights.

    Returns:
        The original, and the arms that differ from it. An arm that equals the recipe's network names the original.
    """
    network = build_model(recipe.model.name, recipe.model.kwargs, device="meta")
    if not isinstance(network, WaveletNet):
        raise WavezooError(
            f"recipe {recipe_path}: {recipe.model.name} is not a WaveletNet", "pass the recipe of a WaveletNet"
        )
    check_recipe(recipe_path, overrides)
    shapes = {key: value.shape for key, value in network.state_dict().items()}
    original, others = Arm("original", "original"), []
    for arm in arms:
        check_recipe(recipe_path, [*overrides, *arm.overrides])
        arm_recipe = load_recipe(recipe_path, [*overrides, *arm.overrides])
        changed = build_model(recipe.model.name, arm_recipe.model.kwargs, device="meta")
        if repr(changed) == repr(network):
            logger.info("%s: equals the network of the recipe, so it is the original", arm.title)
            original = Arm("original", arm.title, published=arm.published)
            continue
        changed_shapes = {key: value.shape for key, value in changed.state_dict().items()}
        if changed_shapes != shapes and recipe.model.initial_weights_of is None:  # equal shapes draw equal weights
            initial_weights = f"model.initial_weights_of={json.dumps(recipe.model.kwargs)}"
            arm = replace(arm, overrides=(*arm.overrides, initial_weights))
        others.append(arm)
    if not others:
        raise WavezooError(
            f"{original.title}: nothing to compare, recipe {recipe_path} already has it", "pass another change"
        )
    return original, others


def _result(
    recipe: Recipe, arm: Arm, runs: list[dict[str, Any]], original: ArmResult | None, num_classes: int
) -> ArmResult:
    kwargs = {**recipe.model.kwargs, "num_classes": num_classes}
    cost = count(recipe.model.name, recipe.preprocessing.size, model_kwargs=kwargs)
    errors = [run["error"] for run in runs]
    gap = None if original is None else estimate([a - b for a, b in zip(errors, original.error.values)])
    return ArmResult(
        arm.name, arm.title, list(arm.overrides), cost.params, cost.macs, estimate(errors), gap, arm.published, runs
    )
