"""``wavezoo info``."""

from typing import TYPE_CHECKING, Any

import click

from wavenet_zoo.cli._command import Command
from wavenet_zoo.cli._complete import complete_models
from wavenet_zoo.cli._options import model_kwargs_option, output_options
from wavenet_zoo.cli._output import Output, facts, table

if TYPE_CHECKING:
    from wavenet_zoo.zoo.catalog import ModelInfo, Stage


@click.command(
    name="info",
    cls=Command,
    short_help="Describe a model by stage, with its weights.",
    examples=[
        "wavezoo info waveletnet_x1",
        "wavezoo info waveletnet_x1 --model-kwargs kappas=0,5,5",
        "wavezoo info mobilenetv2_100 --json",
    ],
)
@click.argument("model", shell_complete=complete_models)
@model_kwargs_option
@output_options
def command(model: str, model_kwargs: dict[str, Any], as_json: bool, quiet: bool) -> None:
    """Describe MODEL, a timm model, a run folder or a weights file: architecture by stage, preprocessing and weights.

    For a WaveletNet the architecture is Table 4 of the paper: C output channels, n units, s stride of the first unit, t
    expansion, and the depths κ of the first WConv, DFWT and the last WConv, as the numbers of channels allow.
    """
    from wavenet_zoo import info

    output = Output(as_json, quiet)
    about = info(model, model_kwargs=model_kwargs)
    if as_json:
        output.json(about.to_dict())
        return
    wavelet = any(stage.kappas for stage in about.stages)
    columns = ["input", "operator", "C"] + (["n", "s", "t", "κ1", "κ2", "κ3"] if wavelet else [])
    rows = [_row(stage, wavelet) for stage in about.stages]
    cost = about.complexity
    output.show(
        facts([("model", f"{about.model}: {about.description}")]),
        table(
            [*columns, "params", "MACs"], [*rows, ["total", *[""] * (len(columns) - 1), *_cost(cost)]], text=columns[:2]
        ),
        facts(_preprocessing(about) + _weights(about.weights)),
    )


def _row(stage: "Stage", wavelet: bool) -> list[str]:
    row = ["x".join(map(str, stage.input)), stage.operator, f"{stage.channels:,}"]
    if wavelet:
        row += [str(stage.repeat), str(stage.stride), "-" if stage.expansion is None else f"{stage.expansion:g}"]
        row += [_depths(depths) for depths in stage.kappas or [None] * 3]
    return [*row, *_cost(stage)]


def _cost(part: Any) -> list[str]:
    return [f"{part.params:,}", f"{part.macs:,}"]


def _depths(depths: list[int] | None) -> str:
    if depths is None:
        return "-"
    smallest, largest = depths
    return str(largest) if smallest == largest else f"{smallest}-{largest}"


def _preprocessing(about: "ModelInfo") -> list[tuple[str, str]]:
    """Return one row, or one for each weights if they differ."""
    from wavenet_zoo.data.preprocessing import Preprocessing

    texts = [str(Preprocessing.from_dict(entry["preprocessing"])) for entry in about.weights]
    if len(set(texts)) == 1:
        return [("preprocessing", texts[0])]
    rows = [("preprocessing", f"{about.preprocessing} (without weights)")]
    return rows + [("", f"{text} ({entry['name']})") for entry, text in zip(about.weights, texts)]


def _weights(weights: list[dict[str, Any]]) -> list[tuple[str, str]]:
    if not weights:
        return [("weights", "none")]
    rows = []
    for entry in weights:
        rows.append(("weights", f"{entry['name']}, {entry['origin']}"))
        for name, result in entry.get("results", {}).items():
            rows.append(("", f"{name}: top-1 {result['top1']:.2f} % of {result['images']:,} images"))
        if "recipe" in entry:
            rows.append(("", f"recipe {entry['recipe']}, {entry['size']:,} bytes, license {entry['license']}"))
    return rows
