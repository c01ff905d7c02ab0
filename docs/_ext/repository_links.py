"""Links of documents to files of the repository that are outside ``docs/``.

In the checkout and on GitHub they are relative paths. On the site, a file that is a page of the site becomes a link to
that page, and any other file a link to GitHub. A file that does not exist and a link that is not rewritten are
warnings.
"""

import os
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util import logging

REPOSITORY = Path(__file__).resolve().parent.parent.parent
GITHUB = "https://github.com/wavenet-zoo/wavenet_zoo"
PAGES = {  # documents that a page of the site includes
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "benchmarks.md",
    "results/README.md": "runs.md",
}
LINK = re.compile(r"(?P<image>!?)\[(?P<text>(?:[^\[\]]|\[[^\[\]]*\])*)\]\((?P<target>[^()\s]+)\)")

OTHER_LINK = re.compile(r"\]\((?:<|[^()\s]+ [\"'])|^\[[^\]]+\]: (?!https?:)|<img |\]\([^()\s]*\(", re.MULTILINE)

logger = logging.getLogger(__name__)


def rewrite_source(app: Sphinx, docname: str, content: list[str]) -> None:
    """Rewrite the links of a page."""
    path = Path(app.env.doc2path(docname))
    if path.suffix == ".md":
        content[0] = rewrite(content[0], path, path)


def rewrite_included(app: Sphinx, relative_path: Path, parent: str, content: list[str]) -> None:
    """Rewrite the links of a document that a page includes."""
    path = (Path(app.srcdir) / relative_path).resolve()
    page = PAGES.get(str(path.relative_to(REPOSITORY)))
    content[0] = rewrite(content[0], path, Path(app.srcdir) / (page or f"{parent}.md"))


def rewrite(text: str, path: Path, page: Path) -> str:
    """Return the text of ``path`` with its links as seen from ``page``."""

    def replace(match: re.Match[str]) -> str:
        target, image = match["target"], match["image"]
        if re.match(r"[a-z]+:|#", target):
            inner = LINK.sub(replace, match["text"])  # an image that is a link
            return f"{image}[{inner}]({target})"
        file, _, anchor = target.partition("#")
        inner = LINK.sub(replace, match["text"])
        return f"{image}[{inner}]({resolve(file, path, page, bool(image))}{anchor and f'#{anchor}'})"

    parts = re.split(r"(^ *(?:```|~~~).*?^ *(?:```|~~~)|`[^`\n]+`(?!\]))", text, flags=re.MULTILINE | re.DOTALL)
    for part in parts[::2]:
        for other in OTHER_LINK.findall(part):
            logger.warning("%s: this form of link is not supported: %s", path, other)
    return "".join(LINK.sub(replace, part) if i % 2 == 0 else part for i, part in enumerate(parts))


def resolve(file: str, path: Path, page: Path, image: bool) -> str:
    """Return the address of a file that ``path`` links to."""
    found = Path(os.path.normpath(path.parent / file))
    if not found.exists():
        logger.warning("%s: link to a file that does not exist: %s", path, file)
        return file
    name = found.relative_to(REPOSITORY).as_posix()
    if name in PAGES:
        found = REPOSITORY / "docs" / PAGES[name]
    elif not image and not name.startswith("docs/"):
        return f"{GITHUB}/{'tree' if found.is_dir() else 'blob'}/main/{name}"
    return os.path.relpath(found, page.parent)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the events."""
    app.connect("source-read", rewrite_source)
    app.connect("include-read", rewrite_included)
    return {"parallel_read_safe": True}
