"""``wavezoo ablate``."""

from typing import TYPE_CHECKING

import click

from wavenet_zoo.cli._options import device_option, output_options, set_option
from wavenet_zoo.cli._output import Output, facts, table

if TYPE_CHECKING:
    from wavenet_zoo.paper.ablation import Ablation, ArmResult


class Depths(click.ParamType):
    """Three depths: ``0,3,3``."""

    name = "depths"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int, int]:
        """Read the depths."""
        parts = value.split(",")
        if len(parts) != 3 or not all(part.strip().isdecimal() for part in parts):
            self.fail(f"'{value}' is not three depths: 0,3,3")
        kappa1, kappa2, kappa3 = map(int, parts)
        return kappa1, kappa2, kappa3


@click.command(name="ablate", short_help="Train a network as it is and changed, and compare.")
@click.option("--no-dfwt", is_flag=True, help="Leave the DFWT out (Table 3).")
@click.option("--kappa", "kappas", type=Depths(), multiple=True, metavar="K1,K2,K3",
              help="Depths, 0,5,5 for example (Table 7); may be repeated.")  # fmt: skip
@click.option("--width", "widths", type=click.FloatRange(min=0, min_open=True), multiple=True, metavar="W",
              help="Width, 0.75 for example (Table 6); may be repeated.")  # fmt: skip
@click.option("--haar", type=click.Choice(["neighbours"]), help="Pair neighbouring channels (Algorithm 2 as printed).")
@click.option("--dfwt-after", type=click.Choice(["expand"]), help="DFWT before the depthwise convolution.")
@click.option(
    "--recipe", metavar="RECIPE",
    help="What to train by.  [default: digits, minutes on a laptop: it shows that all works, no more]",
)  # fmt: skip
@click.option("--paper", is_flag=True, help="The paper's own setting: M = 24 on CIFAR-10, or ImageNet; days of a GPU.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Runs of each side.")
@click.option("--data", metavar="DIR|NAME", help="Data set in place of the recipe's, as in 'wavezoo train'.")
@click.option("--out", metavar="DIR", help="Folder of the runs.  [default: runs/ablate/RECIPE]")
@set_option
@click.option("--workers", type=click.IntRange(min=0), help="Decoding processes.  [default: one per core]")
@device_option
@output_options
def command(
    no_dfwt: bool,
    kappas: tuple[tuple[int, int, int], ...],
    widths: tuple[float, ...],
    haar: str | None,
    dfwt_after: str | None,
    recipe: str | None,
    paper: bool,
    seeds: int,
    data: str | None,
    out: str | None,
    overrides: tuple[str, ...],
    workers: int | None,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Train a WaveletNet as it is and changed, under one recipe and the same seeds, and compare the errors.

    Both sides of a pair begin with equal weights and see the same batches. Stopped, the same command goes on; what is
    finished is not trained again. The error is that after the last epoch. --set replaces values on both sides:
    "wavezoo ablate --no-dfwt --set model.kwargs.kappas=[3,3,3]".
    """
    from wavenet_zoo import ablate

    output = Output(as_json, quiet)
    result = ablate(
        recipe, data, out, overrides, no_dfwt=no_dfwt, kappas=kappas, widths=widths, haar=haar, dfwt_after=dfwt_after,
        paper=paper, seeds=seeds, workers=workers, device=device, progress=output.progress, note=output.note,
    )  # fmt: skip
    output.json(result.to_dict()) if as_json else _show(output, result)


def _show(output: Output, result: "Ablation") -> None:
    original, *others = result.arms
    columns = ["error %", original.title]
    for arm in others:
        columns += [arm.title, "gap"]
    rows = [_row(f"seed {seed}", result, i) for i, seed in enumerate(result.seeds)]
    rows.append(["mean", str(original.error), *(cell for arm in others for cell in _means(arm))])
    sources = [arm.published.source for arm in result.arms if arm.published]
    rows += [_published(result, source) for source in dict.fromkeys(sources)]
    for title, key in (("params", "params"), ("MACs", "macs")):
        numbers = [f"{getattr(arm, key):,}" for arm in result.arms]
        rows.append([title, numbers[0], *(cell for number in numbers[1:] for cell in (number, ""))])
    images = f"{result.images:,} images: one is {100 / result.images:.2f} points"
    about = [
        ("measured", f"{result.model} on {result.data}, {images}"),
        ("recipe", f"{result.recipe}, error after the last of its epochs, {result.epochs}"),
        *(("gap", line) for arm in others if (line := _resolution(arm))),
        ("picture", result.picture),
    ]
    output.show(table(columns, rows, text=["error %"]), facts(about))


def _row(title: str, result: "Ablation", i: int) -> list[str]:
    line = [title, f"{result.arms[0].error.values[i]:.2f}"]
    for arm in result.arms[1:]:
        gap = "" if arm.gap is None else f"{arm.gap.values[i]:+.2f}"
        line += [f"{arm.error.values[i]:.2f}", gap]
    return line


def _means(arm: "ArmResult") -> list[str]:
    sign = "+" if arm.gap is not None and arm.gap.mean >= 0 else ""
    return [str(arm.error), f"{sign}{arm.gap}"]


def _published(result: "Ablation", source: str) -> list[str]:
    stated = [arm.published if arm.published and arm.published.source == source else None for arm in result.arms]
    line = [source, next(f"{published.original:g}" for published in stated if published)]
    for published in stated[1:]:
        line += [f"{published.changed:g}", f"{published.gap:+g}"] if published else ["-", "-"]
    return line


def _resolution(arm: "ArmResult") -> str | None:
    """Say where the runs do not tell the two sides apart."""
    if arm.gap is None or arm.gap.standard_error is None:
        return f"{arm.title}: one seed says nothing about the spread"
    if abs(arm.gap.mean) < 2 * arm.gap.standard_error:
        return f"{arm.title}: less than two standard errors, so not told apart from none"
    return None
