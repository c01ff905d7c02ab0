"""Generated tables in Markdown documents, between markers."""

import re
from pathlib import Path

from wavenet_zoo.errors import BELOW_THRESHOLD, WavezooError
from wavenet_zoo.paper.table import NAMED_TABLES, Number, parse_number, to_markdown
from wavenet_zoo.paper.tables import table
from wavenet_zoo.runtime.files import check_writable, read_regular_file, write_atomically

__all__ = ["check_tables", "update_tables"]

MAX_DOCUMENT_BYTES = 1 << 20
NUMBER = "|".join((r"\d{1,4}", *map(str, NAMED_TABLES)))
MARKED = re.compile(rf"(<!-- wavezoo table ({NUMBER}) -->\n)(.*?)(<!-- /wavezoo table \2 -->)", re.DOTALL)


def update_tables(document: str | Path) -> list[Number]:
    """Update every table between ``<!-- wavezoo table 6 -->`` and ``<!-- /wavezoo table 6 -->``.

    Returns:
        The tables that changed.

    Raises:
        WavezooError: If the document cannot be read or written, or has no markers.
    """
    check_writable(Path(document))
    text, new, changed = _render(Path(document))
    if new != text:
        write_atomically(Path(document), new.encode())
    return changed


def check_tables(document: str | Path) -> None:
    """Check that every marked table of a document equals the output of ``wavezoo table``.

    Raises:
        WavezooError: If a table differs, or the document cannot be read or has no markers.
    """
    changed = _render(Path(document))[2]
    if changed:
        raise WavezooError(
            f"{document}: outdated tables: {', '.join(map(str, changed))}",
            f"wavezoo table --update {document}",
            exit_code=BELOW_THRESHOLD,
        )


def _render(document: Path) -> tuple[str, str, list[Number]]:
    try:
        text = read_regular_file(document, MAX_DOCUMENT_BYTES).decode().replace("\r\n", "\n")
    except OSError as error:
        raise WavezooError(f"{document}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise WavezooError(f"{document}: cannot be read: not in UTF-8 at byte {error.start}") from error
    if not MARKED.search(text):
        raise WavezooError(
            f"{document}: no marked table",
            "add <!-- wavezoo table 6 --> and <!-- /wavezoo table 6 -->, each on its own line",
        )
    changed: list[Number] = []

    def replace(match: re.Match[str]) -> str:
        number = parse_number(match[2])
        body = to_markdown(table(number))
        if body != match[3]:
            changed.append(number)
        return match[1] + body + match[4]

    return text, MARKED.sub(replace, text), changed
