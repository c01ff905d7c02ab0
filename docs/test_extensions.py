"""The extensions of the site: links to files of the repository, tables of fields, escaped help."""

import re
import sys
from importlib import import_module
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS / "_ext"))

import click_examples  # noqa: E402
import field_tables  # noqa: E402
import repository_links  # noqa: E402

TABLES = re.findall(
    r"^```{fields} (\S+)",
    "".join((DOCS / "reference" / f"{name}.md").read_text() for name in ("recipe-keys", "file-formats")),
    re.MULTILINE,
)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("[x](../results/README.md#plan)", "[x](runs.md#plan)"),
        ("[x](../recipes/digits.yaml)", f"[x]({repository_links.GITHUB}/blob/main/recipes/digits.yaml)"),
        ("[x](../recipes)", f"[x]({repository_links.GITHUB}/tree/main/recipes)"),
        ("[x](guides/train.md)", "[x](guides/train.md)"),
        (
            "[![a](images/unit.svg)](../README.md)",
            f"[![a](images/unit.svg)]({repository_links.GITHUB}/blob/main/README.md)",
        ),
        ("[x](https://example.org) [y](#here)", "[x](https://example.org) [y](#here)"),
        ("```sh\n[x](../recipes)\n```", "```sh\n[x](../recipes)\n```"),
        ("`[x](../recipes)`", "`[x](../recipes)`"),
    ],
)
def test_link_leads_to_a_page_of_the_site_or_to_github(source, expected):
    page = DOCS / "results.md"
    assert repository_links.rewrite(source, page, page) == expected


def test_link_of_an_included_document_is_seen_from_its_page():
    path = repository_links.REPOSITORY / "benchmarks" / "README.md"
    rewritten = repository_links.rewrite("![a](../docs/images/unit.svg) [b](README.md)", path, DOCS / "benchmarks.md")
    assert rewritten == "![a](images/unit.svg) [b](benchmarks.md)"


@pytest.mark.parametrize("source", ["[x](../missing.md)", '[x](paper.md "title")', "[x]: paper.md", "<img src=x.png>"])
def test_missing_file_and_unsupported_link_are_warnings(source, caplog):
    repository_links.rewrite(source, DOCS / "results.md", DOCS / "results.md")
    assert "does not exist" in caplog.text or "is not supported" in caplog.text


@pytest.mark.parametrize("name", TABLES)
def test_every_field_has_a_type_and_a_description(name):
    module, _, kind = name.rpartition(".")
    for field in field_tables.describe_fields(getattr(import_module(module), kind)):
        assert field.description and field.kind != field_tables.ANY, field.name


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("recipes.OptimizerSection", "layer_decay", ("number > 0, ≤ 1 or null", "`null`")),
        ("recipes.DataSection", "validation", ("text or number > 0, < 1", '`"val"`')),
        ("recipes.Recipe", "batch_size", ("integer from 1 to 1,000,000", "")),
        ("recipes.PreprocessingSection", "mean", ("list of 3 numbers", "")),
        ("runtime.manifest.ManifestFile", "results", ("mapping", "`{}`")),
        ("deployment.metadata.ExportMetadata", "input", ("mapping", "the defaults below")),
    ],
)
def test_type_limits_and_default_are_those_of_the_model(kind, name, expected):
    module, _, kind = kind.rpartition(".")
    fields = field_tables.describe_fields(getattr(import_module(f"wavenet_zoo.{module}"), kind))
    (field,) = [field for field in fields if field.name == name]
    assert (field.kind, field.default) == expected


def test_help_is_shown_without_markup():
    lines = ["A MODEL is 'waveletnet_*' or `x`."]
    click_examples.escape_text(None, None, lines)
    assert lines == [r"A MODEL is 'waveletnet\_\*' or \`x\`."]
