"""Tables inside Markdown documents, between markers, so that a document says what the command prints."""

import re
from pathlib import Path

from wavenet_zoo.errors import BELOW_THRESHOLD, WavezooError
from wavenet_zoo.paper.formats import to_markdown
from wavenet_zoo.paper.tables import Number, table
from wavenet_zoo.runtime.files import write_atomically

__all__ = ["check_tables", "update_tables"]

MARKED = re.compile(r"(<!-- wavezoo table (\d+|measured) -->\n)(.*?)(<!-- /wavezoo table \2 -->)", re.DOTALL)


def update_tables(document: str | Path) -> list[Number]:
    """Write every table between its markers, ``<!-- wavezoo table 6 -->`` and ``<!-- /wavezoo table 6 -->``, anew.

    Returns:
        Which tables changed.

    Raises:
        WavezooError: If the document cannot be read or written, or has no such markers.
    """
    text, new, changed = _render(Path(document))
    if new != text:
        write_atomically(Path(document), new.encode())
    return changed


def check_tables(document: str | Path) -> None:
    """Make sure that every table of a document is what ``wavezoo table`` prints.

    Raises:
        WavezooError: If one is not; or if the document cannot be read, or has no markers.
    """
    changed = _render(Path(document))[2]
    if changed:
        raise WavezooError(
            f"{document}: not what the command prints: Table {', '.join(map(str, changed))}",
            f"wavezoo table --update {document}",
            exit_code=BELOW_THRESHOLD,
        )


def _render(document: Path) -> tuple[str, str, list[Number]]:
    try:
        text = document.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WavezooError(f"{document}: cannot be read: {error}") from error
    if not MARKED.search(text):
        raise WavezooError(
            f"{document}: has no marked table",
            "a table goes between <!-- wavezoo table 6 --> and <!-- /wavezoo table 6 -->, each on a line of its own",
        )
    changed: list[Number] = []

    def replace(match: re.Match[str]) -> str:
        number: Number = "measured" if match[2] == "measured" else int(match[2])
        body = to_markdown(table(number))
        if body != match[3]:
            changed.append(number)
        return match[1] + body + match[4]

    return text, MARKED.sub(replace, text), changed
