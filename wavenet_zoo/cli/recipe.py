"""``wavezoo recipe``: list, show, copy, check."""

from pathlib import Path
from typing import Any

import click

from wavenet_zoo.cli._options import output_options, set_option
from wavenet_zoo.cli._output import Output, table
from wavenet_zoo.errors import BAD_INPUT, WavezooError, did_you_mean


class _Group(click.Group):
    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            hint = did_you_mean(args[0], self.commands, f"commands: {', '.join(self.commands)}")
            raise WavezooError(f"no command 'recipe {args[0]}'", hint)
        return super().resolve_command(ctx, args)


@click.group(name="recipe", cls=_Group, short_help="List, show, copy and check recipes.")
def command() -> None:
    """List, show, copy and check recipes: YAML files, each with everything about a training run."""


@command.command(name="list")
@output_options
def list_command(as_json: bool, quiet: bool) -> None:
    """List the recipes that ride in the package."""
    from wavenet_zoo.recipes import describe_recipes

    output = Output(as_json, quiet)
    recipes = describe_recipes()
    if as_json:
        output.json([recipe.to_dict() for recipe in recipes])
        return
    rows = [(r.name, r.model, r.data, str(r.epochs), f"{r.batch_size:,}", r.title) for r in recipes]
    output.show(table(["recipe", "model", "data", "epochs", "batch", "what it is"], rows, text=_TEXT))


@command.command()
@click.argument("recipe")
@set_option
@click.option("--resolved", is_flag=True, help="Write every default out, as a run records it.")
@output_options
def show(recipe: str, overrides: tuple[str, ...], resolved: bool, as_json: bool, quiet: bool) -> None:
    """Print RECIPE as it is written; with --resolved or --set, every value in effect."""
    from wavenet_zoo.recipes import find_recipe, load_recipe, recipe_name

    output = Output(as_json, quiet)
    plan = load_recipe(recipe, overrides)
    if as_json:
        output.json({"name": recipe_name(recipe), "sha256": plan.sha256(), "recipe": plan.model_dump()})
    elif resolved or overrides:
        click.echo(f"# {recipe_name(recipe)}, sha256 {plan.sha256()}\n{plan.to_yaml()}", nl=False)
    else:
        click.echo(find_recipe(recipe).read_text(encoding="utf-8"), nl=False)


@command.command()
@click.argument("recipe")
@click.argument("destination", required=False, type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@output_options
def copy(recipe: str, destination: Path | None, force: bool, as_json: bool, quiet: bool) -> None:
    """Copy RECIPE to DESTINATION, a file or a folder, to change it there; without, into this folder."""
    from wavenet_zoo.recipes import find_recipe
    from wavenet_zoo.runtime.files import write_atomically

    output = Output(as_json, quiet)
    source = find_recipe(recipe)
    target = destination or Path()
    if target.is_dir():
        target = target / source.name
    if target.exists() and not force:
        raise WavezooError(f"{target}: is there already", "pass another name, or --force to replace it")
    if not target.parent.is_dir():
        raise WavezooError(f"{target}: its folder does not exist", f"mkdir -p {target.parent}")
    write_atomically(target, source.read_bytes())
    if as_json:
        output.json({"recipe": recipe, "file": str(target)})
    else:
        click.echo(str(target))
        output.info(f"change it, then: wavezoo train {target}")


@command.command()
@click.argument("recipes", nargs=-1, required=True, metavar="RECIPE...")
@set_option
@output_options
@click.pass_context
def check(ctx: click.Context, recipes: tuple[str, ...], overrides: tuple[str, ...], as_json: bool, quiet: bool) -> None:
    """Check each RECIPE without data: keys and values, and that model, optimizer and augmentation can be built."""
    from wavenet_zoo.training.build import check_recipe

    output = Output(as_json, quiet)
    results: list[dict[str, Any]] = []
    for recipe in recipes:
        try:
            results.append({"recipe": recipe, "ok": True, **check_recipe(recipe, overrides)})
        except WavezooError as error:
            results.append({"recipe": recipe, "ok": False, "error": str(error)})
    if as_json:
        output.json(results)
    else:
        for result in results:
            about = f"{result['model']}, {result['params']:,} parameters" if result["ok"] else result["error"]
            click.echo(f"{'ok' if result['ok'] else 'bad'}  {result['recipe']}: {about}")
    if not all(result["ok"] for result in results):
        ctx.exit(BAD_INPUT)


_TEXT = ["recipe", "model", "data", "what it is"]
