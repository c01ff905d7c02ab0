"""The documentation: every public name and key has its place, figures in prose are in tables, links are found."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

import wavenet_zoo
from wavenet_zoo import layers
from wavenet_zoo.recipes import Recipe

REPOSITORY = Path(__file__).resolve().parent.parent
DOCS = REPOSITORY / "docs"


def load(path):
    """Import a module of ``docs/``."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def test_every_public_function_is_in_the_python_api():
    text = (DOCS / "reference" / "python-api.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\.\. auto\w+:: wavenet_zoo\.(\w+)$", text, re.MULTILINE))
    assert documented == set(wavenet_zoo.__all__) - {"__version__"}


def test_every_layer_is_in_the_python_api():
    text = (DOCS / "reference" / "python-api.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\.\. auto\w+:: wavenet_zoo\.layers\.(\w+)$", text, re.MULTILINE))
    assert documented == set(layers.__all__) - {"halve"}


def test_every_section_of_a_recipe_has_a_table_of_keys():
    text = (DOCS / "reference" / "recipe-keys.md").read_text(encoding="utf-8")
    sections = {
        kind.__name__
        for field in Recipe.model_fields.values()
        for kind in (field.annotation, *getattr(field.annotation, "__args__", ()))
        if isinstance(kind, type) and issubclass(kind, BaseModel)
    }
    assert set(re.findall(r"^```{fields} wavenet_zoo\.recipes\.(\w+)$", text, re.MULTILINE)) == {"Recipe", *sections}


TABLES = r"<!-- wavezoo table \w+ -->.*?<!-- /wavezoo table \w+ -->"
FIGURE = re.compile(r"(?<![\w.])[-+]?\d+\.\d+(?!\w|\.\d)")
SETTINGS = {"0.8", "0.2", "0.998", "0.999"}  # of the runs


@pytest.mark.parametrize("name", ["docs/results.md", "README.md"])
def test_differences_in_prose_are_in_a_generated_table(name):
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    generated = "".join(
        match
        for page in ("results", "tables")
        for match in re.findall(TABLES, (DOCS / f"{page}.md").read_text(), re.DOTALL)
    )
    known = set(FIGURE.findall(generated))
    prose = re.sub(r"^```.*?^```", "", re.sub(TABLES, "", text, flags=re.DOTALL), flags=re.DOTALL | re.MULTILINE)
    if name == "README.md":  # of its other figures, sizes and versions among them, none is a difference
        prose = " ".join(re.findall(r"[-+]\d+\.\d\d|\d+\.\d\d ± \d+\.\d\d|\d+\.\d\d %", " ".join(prose.split())))
    figures = FIGURE.findall(prose)
    assert len(figures) > 10
    assert not [figure for figure in figures if figure not in known | SETTINGS]


@pytest.mark.parametrize(
    ("html", "mistake"),
    [
        ('<a href="other.html">', "other.html: no such file"),
        ('<h1 id="here"><a href="#there">', "#there: no such anchor"),
        ('<script src="https://cdn.example.org/x.js">', "loads https://cdn.example.org/x.js from the network"),
        ('<img srcset="https://example.org/x.png 2x">', "loads https://example.org/x.png from the network"),
        ('<link rel="shortcut icon" href="icon.png">', "icon.png: no such file"),
        ('<a href="../outside.html">', "../outside.html: outside of the site"),
        ('<h1 id="here"><a href="#here"><a href="https://example.org"><img src="data:image/png;base64,">', None),
    ],
)
def test_check_of_links_finds_what_is_missing_in_a_site(tmp_path, html, mistake):
    (tmp_path / "index.html").write_text(html)
    found = load(DOCS / "check_links.py").check_site(tmp_path)
    assert found == ([f"index.html: {mistake}"] if mistake else [])


def test_style_sheet_that_loads_from_the_network_is_a_mistake(tmp_path):
    (tmp_path / "index.html").write_text("<p>")
    (tmp_path / "site.css").write_text("@import url('https://example.org/font.css');")
    found = load(DOCS / "check_links.py").check_site(tmp_path)
    assert found == ["site.css: loads https://example.org/font.css from the network"]


def test_site_without_pages_is_a_mistake(tmp_path):
    assert load(DOCS / "check_links.py").check_site(tmp_path) == [f"{tmp_path}: no pages"]
