"""Click commands and groups with an Examples section, deprecated options and suggestions."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import click

from wavenet_zoo.errors import WavezooError, did_you_mean

__all__ = ["Command", "Group"]


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
        """Replace deprecated options, then parse."""
        return super().parse_args(ctx, self._replace_deprecated(args))

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

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find the command.

        Raises:
            WavezooError: If it does not exist.
        """
        names = self.list_commands(ctx)
        if args and args[0] not in names and not args[0].startswith("-"):
            path = ctx.command_path.partition(" ")[2]
            hint = did_you_mean(args[0], names, f"commands: {', '.join(names)}")
            raise WavezooError(f"no command '{f'{path} {args[0]}'.strip()}'", hint)
        return super().resolve_command(ctx, args)


def _write_examples(formatter: click.HelpFormatter, examples: Sequence[str]) -> None:
    if examples:
        with formatter.section("Examples"):
            for example in examples:
                formatter.write(f"  {example}\n")
