"""Sphinx configuration. ``make docs`` builds the site into ``build/docs``."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

from wavenet_zoo import __version__

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "wavenet_zoo"
author = "wavenet_zoo contributors"
project_copyright = author
release = version = __version__

extensions = [
    "click_examples",
    "field_tables",
    "mathml",
    "repository_links",
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_ext"]
nitpicky = True
smartquotes = False  # --option stays --option

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
myst_links_external_new_tab = False

nb_execution_mode = "auto"  # notebooks are stored without outputs, so each is executed
nb_execution_timeout = 300  # seconds per cell: a hang guard
nb_execution_raise_on_error = True
nb_merge_streams = True

add_module_names = False
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
maximum_signature_line_length = 80
python_display_short_literal_types = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
# Names of other packages (no intersphinx: the build needs no network), literals, and names that other pages describe
nitpick_ignore_regex = [
    (r"py:.*", r"'.*'"),
    (r"py:.*", r"wavenet_zoo\.(recipes\.\w+Section|deployment\.metadata\.\w+|deployment\.memory\.Footprint)"),
    (r"py:.*", r"wavenet_zoo\.paper\.(published\.PublishedAblation|statistics\.Estimate)"),
    (r"py:.*", r"(?!wavenet_zoo\b)[\w.]+"),
    (
        r"py:.*",
        r"wavenet_zoo\.(data|deployment\.(floor|formats|timing)|edge\.int8|evaluation\.p(aired|redictions))\b.*",
    ),
    (r"py:.*", r"wavenet_zoo\.(runtime|zoo\.client)\b.*"),
]

copybutton_prompt_text = "$ "
html_theme = "furo"
html_title = f"wavenet_zoo {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_show_sphinx = False
html_copy_source = False
html_theme_options = {
    "source_repository": "https://github.com/wavenet-zoo/wavenet_zoo/",
    "source_branch": "main",
    "source_directory": "docs/",
}


def hide_signature_of_results(app: Sphinx, what: str, name: str, obj: Any, *other: Any) -> tuple[str, None] | None:
    """Hide the constructors of results and records, which callers do not use: their fields are documented."""
    if what == "class" and dataclasses.is_dataclass(obj):
        return "", None
    return None


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-signature", hide_signature_of_results)
