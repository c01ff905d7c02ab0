"""Self-contained HTML pages from the templates of this package.

A page makes no request: styles, plots, images and the script that sorts tables are part of it, and its content security
policy forbids everything else.
"""

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from wavenet_zoo import __version__
from wavenet_zoo.data.synsets import readable_name
from wavenet_zoo.errors import WavezooError, one_line
from wavenet_zoo.runtime.files import check_writable

__all__ = ["check_report_path", "render_page"]

TEMPLATES = Path(__file__).parent / "templates"
SORTING_SCRIPT = "sortable/sortable.auto.min.js"  # https://github.com/tofsjonas/sortable 4.1.7, unmodified


def check_report_path(path: Path) -> None:
    """Check before the work that a report can be written after it.

    Raises:
        WavezooError: If the suffix is not html, or the folder does not exist or is not writable.
    """
    if path.suffix.lower() != ".html":
        raise WavezooError(f"{path}: the file name of a report must end in .html")
    check_writable(path)


def render_page(template: str, **values: Any) -> bytes:
    """Render a template to a page in UTF-8. Text in ``values`` is escaped.

    Args:
        template: Name of the template.
        values: What the template shows. ``Markup`` is inserted as it is.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "comma": "{:,}".format,
        "decimals": _decimals,
        "readable": readable_name,
        "lemma": lambda lemmas: lemmas.partition(",")[0],
    }
    script = _read(SORTING_SCRIPT)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = environment.get_template(template).render(
        style=_read("style.css"), script=script, script_hash=f"sha256-{digest}", version=__version__, **values
    )
    return page.encode()


def _read(name: str) -> Markup:
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))


def _decimals(value: float, digits: int) -> str:
    return f"{value:.{digits}f}"


def _printable(value: Any) -> Any:
    """Escape control characters and bytes that are not UTF-8 in names, and remove secrets from commands."""
    return one_line(value) if isinstance(value, str) and not isinstance(value, Markup) else value
