"""Show the examples of every command in its reference, as ``--help`` does, and its text without markup."""

import re
from typing import Any

import click
from sphinx.application import Sphinx


def escape_text(app: Sphinx, context: click.Context, lines: list[str]) -> None:
    """Escape markup, as in ``'waveletnet_*'``: the help is plain text, not reStructuredText."""
    lines[:] = [re.sub(r"([*_`|])", r"\\\1", line) for line in lines]


def add_examples(app: Sphinx, context: click.Context, lines: list[str]) -> None:
    """Append the examples of a command to its reference."""
    examples = getattr(context.command, "examples", ())
    if examples:
        lines += [
            "",
            ".. rubric:: Examples",
            "",
            ".. code-block:: sh",
            "",
            *(f"    {example}" for example in examples),
            "",
        ]


def read_again(app: Sphinx, *changes: Any) -> list[str]:
    """Return the page that any change of the package may change."""
    return ["reference/commands"]


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the events."""
    app.setup_extension("sphinx_click")
    app.connect("sphinx-click-process-description", escape_text)
    app.connect("sphinx-click-process-epilog", add_examples)
    app.connect("env-get-outdated", read_again)
    return {"parallel_read_safe": True}
