"""``wavezoo publish``."""

import json

import click

from wavenet_zoo.cli._options import output_options
from wavenet_zoo.cli._output import Output, facts


@click.command(name="publish", short_help="Publish weights on the Hub, checked before and after.")
@click.argument("model")
@click.option("--weights", required=True, metavar="FILE", help="The safetensors file of a run.")
@click.option("--repo", required=True, metavar="ORG/NAME", help="Where to; made if it is not there.")
@click.option("--results", metavar="FILE",
              help="What 'wavezoo eval --save-json' wrote.  [default: evaluation.json beside the weights]")  # fmt: skip
@click.option("--tag", metavar="TAG", help="What comes after the dot in architecture.tag.  [default: the data set]")
@click.option("--private", is_flag=True, help="Make a new repository a private one.")
@click.option("--pr", "pull_request", is_flag=True, help="Open a pull request in place of a commit.")
@click.option("--dry-run", is_flag=True, help="Write everything to a folder, show the card, send nothing.")
@click.option("--out", metavar="DIR", help="Folder of a dry run.  [default: publications/ORG/NAME]")
@click.option("--record", is_flag=True, help="Write the entry into the checkout's checkpoints/manifest.json.")
@output_options
def command(
    model: str,
    weights: str,
    repo: str,
    results: str | None,
    tag: str | None,
    private: bool,
    pull_request: bool,
    dry_run: bool,
    out: str | None,
    record: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Publish weights of MODEL on the Hub in one commit: weights, configuration, card, recipe and results.

    The figures of the card come from an evaluation of these very weights: "wavezoo eval MODEL --weights FILE
    --save-json evaluation.json". The token is that of 'hf auth login', or HF_TOKEN.
    """
    from wavenet_zoo import publish

    output = Output(as_json, quiet)
    done = publish(
        model, weights, repo, results=results, tag=tag, private=private, pull_request=pull_request, dry_run=dry_run,
        out=out, record=record, note=output.note,
    )  # fmt: skip
    if as_json:
        output.json(done.to_dict())
        return
    if done.folder:
        output.text(done.card + "\n")
        output.show(facts([("folder", done.folder)]))
        return
    output.show(
        facts(
            [
                ("published" if done.changed else "unchanged", str(done.url)),
                ("revision", str(done.revision)),
                *(("file", f"{name}, {file['size']:,} bytes, sha256 {file['sha256'][:12]}")
                  for name, file in done.files.items()),
                ("load", f'import timm, wavenet_zoo; timm.create_model("hf-hub:{done.repo}", pretrained=True)'),
                *([("manifest", json.dumps(done.entry))] if done.entry else []),
            ]
        )
    )  # fmt: skip
