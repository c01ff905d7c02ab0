"""Options that several commands share, defined once."""

import ast
from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def output_options(command: Command) -> Command:
    """Add --json, --quiet and --debug."""
    for option in (
        click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error."),
        click.option("--quiet", "-q", is_flag=True, help="No progress and no notes on stderr."),
        click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
    ):
        command = option(command)
    return command


def set_option(command: Command) -> Command:
    """Add --set, which may be repeated."""
    return click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="Replace a value of the recipe, schedule.epochs=1 for example; may be repeated.",
    )(command)


def plot_option(command: Command) -> Command:
    """Add --plot."""
    return click.option("--plot", metavar="FILE", help="Write the picture too: a png, svg or pdf file.")(command)


def device_option(command: Command) -> Command:
    """Add --device."""
    return click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda", "mps"]),
        default="auto",
        show_default=True,
        help="Where to compute.",
    )(command)


def model_kwargs_option(command: Command) -> Command:
    """Add --model-kwargs, which may be repeated."""
    return click.option(
        "--model-kwargs",
        "model_kwargs",
        multiple=True,
        metavar="KEY=VALUE",
        callback=_parse_model_kwargs,
        help="Argument for the model, kappas=0,5,5 or use_dfwt=False for example; may be repeated.",
    )(command)


def _parse_model_kwargs(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    parsed = {}
    for text in values:
        key, equals, value = text.partition("=")
        if not key.isidentifier() or not equals:
            raise click.BadParameter(f"'{text}' is not KEY=VALUE")
        parsed[key] = _parse_value(value)
    return parsed


def _parse_value(text: str) -> Any:
    try:
        return ast.literal_eval({"true": "True", "false": "False", "none": "None"}.get(text.lower(), text))
    except (ValueError, SyntaxError):
        return text
