"""Click commands and groups with an Examples section, deprecated options and suggestions."""

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import click

from wavenet_zoo.errors import WavezooError, did_you_mean

__all__ = ["Command", "Group"]

OTHER_COMMANDS = {  # names of other tools: the command here
    "benchmark": "bench",
    "classify": "predict",
    "convert": "weights convert",
    "download": "weights download",
    "evaluate": "eval",
    "finetune": "train",
    "fit": "train",
    "flops": "count",
    "infer": "predict",
    "inference": "predict",
    "models": "list",
    "profile": "count",
    "push": "publish",
    "recipes": "recipe list",
    "test": "eval",
    "upload": "publish",
    "val": "eval",
    "validate": "eval",
    "verify": "weights verify",
}
OTHER_OPTIONS = {  # names of other tools: the option here, for the commands that have it
    "--batch": ("--batch-size",),
    "--batch-size": ("--batch", "--set batch_size=N"),
    "--bs": ("--batch-size", "--batch", "--set batch_size=N"),
    "--ckpt": ("--weights",),
    "--checkpoint": ("--weights",),
    "--config": ("--recipe",),
    "--dataset": ("--data",),
    "--data-dir": ("--data",),
    "--epochs": ("--set schedule.epochs=N",),
    "--img-size": ("--size",),
    "--image-size": ("--size",),
    "--input-size": ("--size",),
    "--learning-rate": ("--set optimizer.lr=RATE",),
    "--lr": ("--set optimizer.lr=RATE",),
    "--model-ema": ("--set ema.decay=DECAY",),
    "--num-classes": ("--model-kwargs num_classes=N",),
    "--num-workers": ("--workers",),
    "--opt": ("--set optimizer.name=NAME",),
    "--output": ("--out",),
    "--output-dir": ("--out",),
    "--resume": ("--out DIR: the same command resumes a run",),
    "--seed": ("--set seed=N",),
    "--weight-decay": ("--set optimizer.weight_decay=X",),
}


class Command(click.Command):
    """A command whose help ends with examples.

    Args:
        examples: Complete command lines, each with a comment after ``#`` if needed.
        deprecated_options: New option by deprecated option, ``{"--inexact": "--allow-world-size-change"}``. Deprecated
            options work for one release, print a warning and are not listed in the help.
    """

    def __init__(
        self,
        *args: Any,
        examples: Sequence[str] = (),
        deprecated_options: Mapping[str, str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        self.examples = examples
        self.deprecated_options = dict(deprecated_options or {})

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Replace deprecated options, then parse.

        Raises:
            WavezooError: If an option does not exist.
            click.BadParameter: If a number is infinite or not a number, which ranges of click accept.
        """
        try:
            rest = super().parse_args(ctx, self._replace_deprecated(args))
        except click.NoSuchOption as error:
            names = [name for parameter in self.params for name in (*parameter.opts, *parameter.secondary_opts)]
            others = [other for other in OTHER_OPTIONS.get(error.option_name, ()) if other.split()[0] in names]
            options = [name for name in names if name.startswith("-")]
            hint = f"use {others[0]}" if others else did_you_mean(error.option_name, options)
            raise WavezooError(f"no option '{error.option_name}'", hint or f"see '{ctx.command_path} --help'") from None
        for parameter in self.params:
            value = ctx.params.get(parameter.name or "")
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, float) and not math.isfinite(number):
                    raise click.BadParameter(f"{number} is not a finite number", ctx, parameter)
        return rest

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the epilog and the Examples section."""
        super().format_epilog(ctx, formatter)
        _write_examples(formatter, self.examples)

    def _replace_deprecated(self, args: list[str]) -> list[str]:
        replaced: list[str] = []
        remaining = list(args)
        while remaining:
            if remaining[0] == "--":
                return replaced + remaining
            for old, new in self.deprecated_options.items():
                tokens = shlex.split(old)
                joined = "=".join(tokens)
                if remaining[: len(tokens)] == tokens or remaining[0] == joined:
                    click.echo(f"warning: {old} is deprecated: use {new}", err=True)
                    del remaining[: len(tokens) if remaining[0] != joined else 1]
                    replaced += shlex.split(new)
                    break
            else:
                replaced.append(remaining.pop(0))
        return replaced


class Group(click.Group):
    """A group of commands that suggests the closest name for an unknown one, and whose help ends with examples.

    Args:
        examples: Complete command lines.
    """

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.examples = examples

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the epilog and the Examples section."""
        super().format_epilog(ctx, formatter)
        _write_examples(formatter, self.examples)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; without arguments print the help."""
        if not args and not ctx.resilient_parsing:  # click: an error whose message is the help
            click.echo(ctx.get_help(), color=ctx.color)
            ctx.exit()
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find the command.

        Raises:
            WavezooError: If it does not exist.
        """
        names = self.list_commands(ctx)
        if args and args[0] not in names and not args[0].startswith("-"):
            path = ctx.command_path.partition(" ")[2]
            other = None if path else OTHER_COMMANDS.get(args[0])
            hint = f"use {other}" if other else did_you_mean(args[0], names, f"commands: {', '.join(names)}")
            raise WavezooError(f"no command '{f'{path} {args[0]}'.strip()}'", hint)
        return super().resolve_command(ctx, args)


def _write_examples(formatter: click.HelpFormatter, examples: Sequence[str]) -> None:
    if examples:
        with formatter.section("Examples"):
            for example in examples:
                formatter.write(f"  {example}\n")
