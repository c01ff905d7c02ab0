"""``wavezoo recipe``: list, show, copy, check."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from wavenet_zoo.cli._command import Command, Group
from wavenet_zoo.cli._complete import complete_recipes
from wavenet_zoo.cli._options import output_options, set_option
from wavenet_zoo.cli._output import Output, table
from wavenet_zoo.errors import BAD_INPUT, WavezooError

COLUMNS = ("recipe", "model", "data", "epochs", "batch", "description")


@click.group(
    name="recipe",
    cls=Group,
    short_help="List, show, copy and check recipes.",
    examples=[
        "wavezoo recipe list",
        "wavezoo recipe copy cifar10/waveletnet_m1 mine.yaml",
        "wavezoo recipe check mine.yaml",
    ],
)
def command() -> None:
    """List, show, copy and check recipes: YAML files that define a training run."""


@command.command(name="list", cls=Command, examples=["wavezoo recipe list", "wavezoo recipe list --json"])
@output_options
def list_command(as_json: bool, quiet: bool) -> None:
    """List the shipped recipes."""
    from wavenet_zoo.recipes import describe_recipes

    output = Output(as_json, quiet)
    recipes = describe_recipes()
    if as_json:
        output.json([recipe.to_dict() for recipe in recipes])
        return
    rows = [(r.name, r.model, r.data, str(r.epochs), f"{r.batch_size:,}", r.title) for r in recipes]
    output.show(table(COLUMNS, rows, ["recipe", "model", "data", "description"], ["batch", "epochs", "data", "model"]))


@command.command(
    cls=Command,
    examples=[
        "wavezoo recipe show digits",
        "wavezoo recipe show digits --resolved",
        "wavezoo recipe show digits --set schedule.epochs=5",
    ],
)
@click.argument("recipe", shell_complete=complete_recipes)
@set_option
@click.option("--resolved", is_flag=True, help="Print every value, defaults included.")
@output_options
def show(recipe: str, overrides: tuple[str, ...], resolved: bool, as_json: bool, quiet: bool) -> None:
    """Print RECIPE as written. With --resolved or --set, print every value."""
    from wavenet_zoo.recipes import load_recipe, read_recipe, recipe_name

    output = Output(as_json, quiet)
    loaded = load_recipe(recipe, overrides)
    if as_json:
        output.json({"name": recipe_name(recipe), "sha256": loaded.sha256(), "recipe": loaded.model_dump()})
    elif resolved or overrides:
        output.text(f"# {recipe_name(recipe)}, sha256 {loaded.sha256()}\n{loaded.to_yaml()}")
    else:
        output.text(read_recipe(recipe))


@command.command(
    cls=Command,
    examples=["wavezoo recipe copy digits", "wavezoo recipe copy cifar10/waveletnet_m1 mine.yaml"],
)
@click.argument("recipe", shell_complete=complete_recipes)
@click.argument("destination", required=False, type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@output_options
def copy(recipe: str, destination: Path | None, force: bool, as_json: bool, quiet: bool) -> None:
    """Copy RECIPE to DESTINATION, a file or a folder.  [default: the current folder]"""  # noqa: D415
    from wavenet_zoo.recipes import find_recipe, read_recipe
    from wavenet_zoo.runtime.files import write_atomically

    output = Output(as_json, quiet)
    source, text = find_recipe(recipe), read_recipe(recipe)
    target = destination or Path()
    if target.is_dir():
        target = target / source.name
    if target.exists() and not force:
        raise WavezooError(f"{target}: already exists", "pass another name, or --force to overwrite it")
    if not target.parent.is_dir():
        raise WavezooError(f"{target}: its folder does not exist", f"mkdir -p {target.parent}")
    write_atomically(target, text.encode())
    if as_json:
        output.json({"recipe": recipe, "file": str(target)})
    else:
        output.text(f"{target}\n")
        output.info(f"edit it, then run: wavezoo train {target}")


@command.command(
    cls=Command,
    examples=["wavezoo recipe check mine.yaml", "wavezoo recipe check digits --set optimizer.name=adamw"],
)
@click.argument("recipes", nargs=-1, required=True, metavar="RECIPE...", shell_complete=complete_recipes)
@set_option
@output_options
@click.pass_context
def check(ctx: click.Context, recipes: tuple[str, ...], overrides: tuple[str, ...], as_json: bool, quiet: bool) -> None:
    """Check each RECIPE without data: its keys and values, and that model and optimizer can be built.

    All mistakes are listed.
    """
    from wavenet_zoo.recipes import InvalidRecipe, Mistake
    from wavenet_zoo.training.build import check_recipe

    output = Output(as_json, quiet)
    results: list[dict[str, Any]] = []
    lines: list[str] = []
    for recipe in recipes:
        try:
            built = check_recipe(recipe, overrides)
            results.append({"recipe": recipe, "ok": True, **built})
            lines.append(f"ok  {recipe}: {built['model']}, {built['params']:,} parameters\n")
        except WavezooError as error:
            mistakes = error.mistakes if isinstance(error, InvalidRecipe) else [Mistake("", error.message, error.hint)]
            found = [asdict(mistake) for mistake in mistakes]
            results.append({"recipe": recipe, "ok": False, "error": str(mistakes[0]), "mistakes": found})
            lines += [f"bad  {recipe}: {mistake}\n" for mistake in mistakes]
    if as_json:
        output.json(results)
    else:
        output.text("".join(lines))
    if not all(result["ok"] for result in results):
        ctx.exit(BAD_INPUT)
