"""``wavezoo publish``."""

import json
from typing import TYPE_CHECKING, Any

import click

from wavenet_zoo.cli._command import Command
from wavenet_zoo.cli._complete import complete_data, complete_models
from wavenet_zoo.cli._options import data_option, max_drop_option, output_options
from wavenet_zoo.cli._output import Output, facts

if TYPE_CHECKING:
    from wavenet_zoo.zoo.publish import Published


def _parse_words(ctx: click.Context, parameter: click.Parameter, value: str) -> list[str]:
    return [word.strip() for word in value.split(",") if word.strip()]


@click.command(
    name="publish",
    cls=Command,
    short_help="Publish weights on the Hub, with a model card.",
    examples=[
        "wavezoo publish waveletnet_cifar_m1 --weights runs/digits/model.safetensors --repo ORG/NAME --dry-run",
        "wavezoo publish waveletnet_cifar_m1 --weights runs/digits/model.safetensors --repo ORG/NAME --private",
        "wavezoo publish waveletnet_cifar_m1 --weights runs/digits/model.safetensors --repo ORG/NAME --pr",
        "wavezoo publish waveletnet_cifar_m1 --weights runs/digits/model.safetensors --repo ORG/NAME --with onnx,pt2",
        "wavezoo publish waveletnet_cifar_m1 --weights runs/digits/model.safetensors --repo ORG/NAME "
        "--with onnx-int8 --calibrate digits --max-drop 0.5",
    ],
    deprecated_options={"--record": "--write-manifest"},
)
@click.argument("model", shell_complete=complete_models)
@click.option("--weights", required=True, metavar="FILE", help="The safetensors file of a run.")
@click.option("--repo", required=True, metavar="ORG/NAME", help="Repository; created if it does not exist.")
@click.option("--results", metavar="FILE", help="Evaluation record.  [default: evaluation.json beside FILE]")
@click.option("--tag", metavar="TAG", help="Tag of the weights.  [default: name of the data set]")
@click.option("--private", is_flag=True, help="Create a new repository as private.")
@click.option("--pr", "pull_request", is_flag=True, help="Open a pull request instead of a commit.")
@click.option("--dry-run", is_flag=True, help="Write the files to a folder; upload nothing.")
@click.option("--out", metavar="DIR", help="Folder of a dry run.  [default: publications/ORG/NAME]")
@click.option("--write-manifest", is_flag=True, help="Write the entry into the checkout's manifest.json.")
@click.option(
    "--with", "exports", metavar="FORMAT,...", default="", callback=_parse_words,
    help="Exported files to add: formats of 'wavezoo export --to', or FORMAT-int8.",
)  # fmt: skip
@data_option("Images that exported files are compared on.", default="crops of a photograph")
@click.option("--calibrate", metavar="DIR|NAME", shell_complete=complete_data, help="Training images, for int8.")
@max_drop_option
@output_options
def command(model: str, weights: str, repo: str, as_json: bool, quiet: bool, **options: Any) -> None:
    """Publish weights of MODEL on the Hub in one commit: weights, configuration, card, recipe and results.

    The figures of the card come from an evaluation of the same weights, written by 'wavezoo eval MODEL --weights FILE
    --save-json evaluation.json'. The token is that of 'hf auth login', or HF_TOKEN.
    """
    from wavenet_zoo import publish

    given = click.get_current_context().get_parameter_source("max_drop") is not click.core.ParameterSource.DEFAULT
    if given and not any(word.endswith("-int8") for word in options["exports"]):
        raise click.UsageError("--max-drop requires --with FORMAT-int8")
    output = Output(as_json, quiet)
    published = publish(model, weights, repo, progress=output.progress, **options)
    output.json(published.to_dict()) if as_json else _show(output, published)


def _show(output: Output, published: "Published") -> None:
    if published.folder:
        output.text(published.card + "\n")
        output.show(facts([("folder", published.folder)]))
        return
    rows = [
        ("published" if published.changed else "unchanged", str(published.url)),
        ("revision", str(published.revision)),
    ]
    rows += [("file", f"{name}, {file['size']:,} bytes") for name, file in published.files.items()]
    rows.append(("load", f'import timm, wavenet_zoo; timm.create_model("hf-hub:{published.repo}", pretrained=True)'))
    if published.entry:
        rows.append(("manifest", json.dumps(published.entry)))
    output.show(facts(rows))
