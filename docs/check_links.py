"""Check a built site: every link, anchor and image is in it, and no page or style sheet loads from the network.

Usage: python docs/check_links.py build/docs
"""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """A page.

    Attributes:
        ids: Anchors that it has.
        links: Addresses that it links to.
        loads: Addresses of images, scripts and style sheets.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.loads: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Record the anchor and the addresses of a tag."""
        values = {name: value for name, value in attributes if value}
        self.ids |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.add(values["href"])
        elif tag == "link" and not {"stylesheet", "icon", "preload"}.isdisjoint(values.get("rel", "").split()):
            self.loads.add(values.get("href", ""))
        elif tag != "a":
            self.loads |= {values[name] for name in ("src", "data", "poster") if name in values}
            self.loads |= {part.split()[0] for part in values.get("srcset", "").split(",") if part.strip()}


def check_site(site: Path) -> list[str]:
    """Return what is wrong with the pages of a site, one line each."""
    pages = {path.resolve(): Page(path) for path in sorted(site.rglob("*.html"))}
    mistakes = [] if pages else [f"{site}: no pages"]
    for path, page in pages.items():
        where = path.relative_to(site.resolve())
        for address in sorted(page.links | page.loads):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                if address in page.loads and parts.scheme != "data":
                    mistakes.append(f"{where}: loads {address} from the network")
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_relative_to(site.resolve()):
                mistakes.append(f"{where}: {address}: outside of the site")
            elif not target.is_file():
                mistakes.append(f"{where}: {address}: no such file")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids:
                mistakes.append(f"{where}: {address}: no such anchor")
    for path in sorted(site.rglob("*.css")):
        style = path.read_text(encoding="utf-8")
        for address in re.findall(r"(?:url\(|@import )\s*[\"']?(https?:[^\"')\s]+)", style):
            mistakes.append(f"{path.relative_to(site)}: loads {address} from the network")
    return mistakes


def main() -> None:
    """Print what is wrong, and exit with 1 if anything is."""
    mistakes = check_site(Path(sys.argv[1]))
    for mistake in mistakes:
        print(mistake)
    sys.exit(1 if mistakes else 0)


if __name__ == "__main__":
    main()
