"""``wavezoo ablate``."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from wavenet_zoo.cli._command import Command
from wavenet_zoo.cli._complete import complete_recipes
from wavenet_zoo.cli._options import data_option, device_option, output_options, set_option, workers_option
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


@click.command(
    name="ablate",
    cls=Command,
    short_help="Train a network with and without a change, and compare the errors.",
    examples=[
        "wavezoo ablate --no-dfwt",
        "wavezoo ablate --no-dfwt --set 'model.kwargs.kappas=[3,3,3]' --seeds 5",
        "wavezoo ablate --kappa 0,5,5 --recipe tiny_imagenet/waveletnet_x1 --data tiny-imagenet-200",
        "wavezoo ablate --no-dfwt --paper-setting",
    ],
    deprecated_options={"--paper": "--paper-setting"},
)
@click.option("--no-dfwt", is_flag=True, help="Remove the DFWT (Table 3).")
@click.option("--kappa", "kappas", type=Depths(), multiple=True, metavar="K1,K2,K3",
              help="Depths, for example 0,5,5 (Table 7). May be repeated.")  # fmt: skip
@click.option("--width", "widths", type=click.FloatRange(min=0, min_open=True), multiple=True, metavar="W",
              help="Width, for example 0.75 (Table 6). May be repeated.")  # fmt: skip
@click.option("--haar", type=click.Choice(["neighbours"]), help="Pair neighbouring channels (Algorithm 2 as printed).")
@click.option("--dfwt-after", type=click.Choice(["expand"]), help="Put the DFWT before the depthwise convolution.")
@click.option(
    "--recipe",
    metavar="RECIPE",
    shell_complete=complete_recipes,
    help="Recipe of a WaveletNet.  [default: digits, minutes on a laptop]",
)
@click.option("--paper-setting", is_flag=True, help="Use the recipe of the paper's setting: days on a GPU.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, metavar="N",
              help="Number of runs per arm.")  # fmt: skip
@data_option("Data set: a name, or a folder with train/ and val/.", default="the recipe's")
@click.option("--out", metavar="DIR", help="Folder of the runs.  [default: runs/ablate/RECIPE]")
@set_option
@workers_option
@device_option
@output_options
def command(
    no_dfwt: bool,
    kappas: tuple[tuple[int, int, int], ...],
    widths: tuple[float, ...],
    haar: str | None,
    dfwt_after: str | None,
    recipe: str | None,
    paper_setting: bool,
    seeds: int,
    data: str | None,
    out: str | None,
    overrides: tuple[str, ...],
    workers: int | None,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Train a WaveletNet with and without a change, by one recipe and with equal seeds, and compare the errors.

    All arms start from equal weights and see the same batches. The error is that after the last epoch. --set overrides
    values of the recipe in all arms. The same command resumes a stopped run and reuses finished ones. It writes the
    result and a figure of the curves to the folder of the runs.

    The default recipe, digits, shows that everything works; it supports no claim about the paper's setting.
    """
    from wavenet_zoo import ablate
    from wavenet_zoo.paper.ablation_figure import plot_ablation
    from wavenet_zoo.runtime.records import write_json

    output = Output(as_json, quiet)
    result = ablate(
        recipe, data, out, overrides, no_dfwt=no_dfwt, kappas=kappas, widths=widths, haar=haar, dfwt_after=dfwt_after,
        paper_setting=paper_setting, seeds=seeds, workers=workers, device=device, progress=output.progress,
    )  # fmt: skip
    if output.is_rank_zero:
        figure = Path(result.picture)
        write_json(figure.with_suffix(".json"), result.to_dict())
        plot_ablation(figure, result)
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
    images = f", {result.images:,} images: one is {100 / result.images:.2f} points" if result.images else ""
    about = [
        ("measured", f"{result.model} on {result.data}{images}"),
        ("recipe", f"{result.recipe}, error after epoch {result.epochs}, the last one"),
        *(("gap", line) for arm in others if (line := _gap_warning(arm))),
        ("figure", result.picture),
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


def _gap_warning(arm: "ArmResult") -> str | None:
    """Return a warning if the runs do not show a gap."""
    if arm.gap is None or arm.gap.standard_error is None:
        return f"{arm.title}: a single seed gives no standard error"
    if abs(arm.gap.mean) < 2 * arm.gap.standard_error:
        return f"{arm.title}: below two standard errors, so the runs do not show a difference"
    return None
