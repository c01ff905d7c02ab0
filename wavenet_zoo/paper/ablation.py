"""The ablation: one recipe trained as it is and with something changed, under the same seeds."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wavenet_zoo.complexity import count
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.models import WaveletNet
from wavenet_zoo.paper.published import ABLATIONS, PublishedAblation
from wavenet_zoo.paper.statistics import Estimate, estimate
from wavenet_zoo.recipes import Recipe, load_recipe, recipe_name
from wavenet_zoo.runtime.records import write_json
from wavenet_zoo.training.build import check_recipe
from wavenet_zoo.training.train import train
from wavenet_zoo.weights.loading import build_model

__all__ = ["DEFAULT_RECIPE", "Ablation", "Arm", "ArmResult", "ablate"]

DEFAULT_RECIPE = "digits"  # a laptop finishes it; small enough that no claim about the paper's setting follows


@dataclass(frozen=True)
class Arm:
    """One side of a comparison: the recipe with some of its values replaced.

    Attributes:
        name: Name of its folder.
        title: What it is called in the table.
        overrides: Values in place of the recipe's, each ``section.key=value``.
        published: What the paper states for it.
    """

    name: str
    title: str
    overrides: tuple[str, ...] = ()
    published: PublishedAblation | None = None


@dataclass
class ArmResult:
    """What came of an arm.

    Attributes:
        name: Name of its folder.
        title: What it is called in the table.
        overrides: Values in place of the recipe's.
        params: Parameters, with the classifier for this data.
        macs: Standard count at the recipe's image size.
        error: Top-1 error in percent after the last epoch, over the seeds.
        gap: Its error minus that of the original with the same seed, over the seeds; None for the original.
        published: What the paper states, on its own data and budget.
        runs: Seed, folder, hash of the weights and seconds of every run.
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
class Ablation:
    """The result of :func:`ablate`.

    Attributes:
        model: Name of the model.
        recipe: Name of the recipe.
        recipe_sha256: Hash of its values, those of the first seed.
        data: Name of the data set.
        images: Images that the errors are measured on.
        epochs: Length of each run.
        seeds: Of the runs; the same in every arm.
        arms: The original first.
        out: Folder of the runs.
        picture: Both sides' errors and losses by epoch.
    """

    model: str
    recipe: str
    recipe_sha256: str
    data: str
    images: int
    epochs: int
    seeds: list[int]
    arms: list[ArmResult]
    out: str
    picture: str

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values, for JSON."""
        return asdict(self)


def ablate(
    recipe: str | Path | None = None,
    data: str | Path | None = None,
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    *,
    no_dfwt: bool = False,
    kappas: Sequence[tuple[int, int, int]] = (),
    widths: Sequence[float] = (),
    haar: str | None = None,
    dfwt_after: str | None = None,
    paper: bool = False,
    seeds: int = 3,
    workers: int | None = None,
    device: str = "auto",
    progress: bool = False,
    note: Callable[[str], None] = lambda line: None,
) -> Ablation:
    """Train a network as it is and changed, with equal recipe and seeds, and compare the errors.

    A seed decides the initial weights, the order of the images and their augmentation; both sides of a pair begin with
    equal weights wherever shapes agree, and see the same batches. What is compared is the error after the last epoch,
    so that nothing is chosen on the images that it is measured on.

    Runs lie in ``out/ARM/seedN``. Called again, finished ones are taken as they are and a stopped one goes on.

    Args:
        recipe: A YAML file, or the name of a shipped recipe; by default one that a laptop finishes.
        data: Data set in place of the recipe's.
        out: Folder of the runs; by default ``runs/ablate/`` and the recipe's name.
        overrides: Values in place of the recipe's for both sides, each ``section.key=value``.
        no_dfwt: Leave the DFWT out (Table 3).
        kappas: Depths (kappa1, kappa2, kappa3) to compare (Table 7).
        widths: Widths to compare (Table 6).
        haar: ``neighbours``: pair neighbouring channels, the other reading of Algorithm 2.
        dfwt_after: ``expand``: the DFWT before the depthwise convolution.
        paper: Take the paper's own setting as the recipe: days of a GPU.
        seeds: How many runs of each side; the recipe's seed and those after it.
        workers: Decoding processes.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        progress: Show progress on stderr.
        note: Called with a line on what was decided.

    Raises:
        WavezooError: If nothing is to be compared, the recipe is not of a WaveletNet, or what :func:`~.engine.train`
            raises. A run that a signal stops is saved, and goes on with the next call.

    Source: paper, section 5.2, Tables 3, 6 and 7.
    """
    arms = _arms(no_dfwt, kappas, widths, haar, dfwt_after)
    if paper and recipe is not None:
        raise WavezooError(f"the paper's setting is a recipe of its own, and {recipe} is another", "pass one of them")
    if paper:
        recipe = "imagenet/waveletnet_x1" if kappas or widths else "cifar10/waveletnet_m24"
    recipe = recipe or DEFAULT_RECIPE
    plan = load_recipe(recipe, overrides)
    original, arms = _check(recipe, overrides, plan, arms, note)
    folder = Path(out) if out is not None else Path("runs") / "ablate" / recipe_name(recipe)
    numbers = [plan.seed + i for i in range(seeds)]
    total = (len(arms) + 1) * seeds
    note(f"{total} runs by recipe {recipe_name(recipe)}, epochs: {plan.schedule.epochs}")
    note_once = _once(note)

    runs: dict[str, list[dict[str, Any]]] = {arm.name: [] for arm in (original, *arms)}
    for seed in numbers:  # pair by pair, so that what there is can be compared at any time
        for arm in (original, *arms):
            note(f"{1 + sum(map(len, runs.values()))} of {total}: {arm.title}, seed {seed}")
            place = folder / arm.name / f"seed{seed}"  # not what a finished run says of itself: it may have been moved
            run = train(
                recipe,
                data,
                place,
                [*overrides, *arm.overrides, f"seed={seed}"],
                workers=workers,
                device=device,
                progress=progress,
                note=note_once,
            )
            runs[arm.name].append({"seed": seed, "out": str(place), "error": 100 - run.last["top1"],
                                   "weights_sha256": run.weights_sha256, "seconds": run.seconds})  # fmt: skip
    facts = json.loads((folder / original.name / f"seed{numbers[0]}" / "run.json").read_text(encoding="utf-8"))
    classes = len(facts["metadata"]["classes"])
    results: list[ArmResult] = []
    for arm in (original, *arms):
        results.append(_result(recipe, overrides, arm, runs[arm.name], results[0] if results else None, classes))
    stem = folder / "-".join(arm.name for arm in arms)
    ablation = Ablation(
        model=plan.model.name,
        recipe=recipe_name(recipe),
        recipe_sha256=plan.sha256(),
        data=facts["metadata"]["data"],
        images=facts["validation_images"],
        epochs=plan.schedule.epochs,
        seeds=numbers,
        arms=results,
        out=str(folder),
        picture=f"{stem}.png",
    )
    if os.environ.get("RANK", "0") == "0":  # of several processes, started by torchrun, the first one writes
        from wavenet_zoo.paper.ablation_plot import plot_ablation

        write_json(Path(f"{stem}.json"), ablation.to_dict())
        plot_ablation(Path(ablation.picture), ablation)
    return ablation


def _once(note: Callable[[str], None]) -> Callable[[str], None]:
    """Leave out what was said before: data and preprocessing are the same in every run."""
    said: set[str] = set()

    def note_once(line: str) -> None:
        if line not in said:
            said.add(line)
            note(line)

    return note_once


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
        arms.append(Arm(f"dfwt_after_{dfwt_after}", f"DFWT after {dfwt_after}",
                        (f"model.kwargs.dfwt_after={dfwt_after}",)))  # fmt: skip
    if not arms:
        raise WavezooError("nothing to compare", "--no-dfwt, --kappa, --width, --haar or --dfwt-after")
    twice = next((arm.title for i, arm in enumerate(arms) if arm in arms[:i]), None)
    if twice:
        raise WavezooError(f"{twice} is asked for twice")
    return arms


def _check(
    recipe: str | Path, overrides: Sequence[str], plan: Recipe, arms: list[Arm], note: Callable[[str], None]
) -> tuple[Arm, list[Arm]]:
    """Build every arm's network, give it the original's initial weights, and name the original if an arm is the same.

    Returns:
        The original, and the arms that differ from it.
    """
    network = build_model(plan.model.name, plan.model.kwargs, device="meta")
    if not isinstance(network, WaveletNet):
        raise WavezooError(f"recipe {recipe} is of {plan.model.name}, which is not a WaveletNet", "another --recipe")
    check_recipe(recipe, overrides)
    shapes = {key: value.shape for key, value in network.state_dict().items()}
    original, others = Arm("original", "original"), []
    for arm in arms:
        check_recipe(recipe, [*overrides, *arm.overrides])
        changed_plan = load_recipe(recipe, [*overrides, *arm.overrides])
        changed = build_model(plan.model.name, changed_plan.model.kwargs, device="meta")
        if repr(changed) == repr(network):
            note(f"{arm.title}: the network of the recipe as it is")
            original = Arm("original", arm.title, published=arm.published)
            continue
        own = {key: value.shape for key, value in changed.state_dict().items()}
        if own != shapes and plan.model.initial_weights_of is None:  # else the same numbers are drawn for both anyway
            weights = f"model.initial_weights_of={json.dumps(plan.model.kwargs)}"
            arm = Arm(arm.name, arm.title, (*arm.overrides, weights), arm.published)
        others.append(arm)
    if not others:
        raise WavezooError(f"{original.title} is what recipe {recipe} has already: there is nothing to compare it with")
    return original, others


def _result(
    recipe: str | Path,
    overrides: Sequence[str],
    arm: Arm,
    runs: list[dict[str, Any]],
    original: ArmResult | None,
    num_classes: int,
) -> ArmResult:
    plan = load_recipe(recipe, [*overrides, *arm.overrides])
    cost = count(
        plan.model.name, plan.preprocessing.size, model_kwargs={**plan.model.kwargs, "num_classes": num_classes}
    )
    errors = [run["error"] for run in runs]
    gap = None if original is None else estimate([a - b for a, b in zip(errors, original.error.values)])
    return ArmResult(
        arm.name, arm.title, list(arm.overrides), cost.params, cost.macs, estimate(errors), gap, arm.published, runs
    )
