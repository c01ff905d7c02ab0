"""The faults and bad inputs that the tests hold against, and the document that lists them."""

from collections.abc import Iterable
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "reliability.md"

# what goes wrong, and what is promised then
CASES = {
    1: ("kill -9 at any moment of a run or of a save", "goes on, and ends bit for bit like a run never stopped"),
    2: (
        "a run stopped at the end or in the middle of an epoch, with everything that has a state or draws at random",
        "loss and learning rate of every step are those of a run never stopped",
    ),
    3: (
        "several processes killed and started again, or continued by another number of them",
        "the same end; another number is refused unless it is asked for",
    ),
    4: ("SIGTERM in training, in validation, to the whole process group", "a checkpoint of that step, exit code 143"),
    5: ("Ctrl-C once, twice, while a checkpoint is written", "saved, exit code 130; at once; old file or new, whole"),
    6: (
        "a full disk under a checkpoint, an export, a log",
        "one line with file and space; old files stay whole",
    ),
    7: ("an output folder that is read-only, a file, or not there", "refused before anything is computed"),
    8: (
        "a checkpoint that is cut off, empty or has a flipped bit",
        "found by its hash; the one before it goes on",
    ),
    9: ("a safetensors file that is damaged, foreign or not finite", "one line with file and reason, exit code 2"),
    10: ("a pickle that would run code", "refused, and nothing is run"),
    11: ("an image that cannot be decoded, in training", "named, never replaced by another"),
    12: ("an image that cannot be decoded, in evaluation", "an error, or counted where asked for; never replaced"),
    13: ("CMYK, gray, palette, alpha, EXIF orientation, several frames", "RGB by rules that are written down"),
    14: ("16 bits per channel", "scaled to 8, not cut off at white"),
    15: ("a decompression bomb", "refused by its header, with its path, before it takes memory"),
    16: ("class folders that are empty, missing, too many", "an error that names them; labels never shift"),
    17: ("a split that is not there", "an error that names those that are"),
    18: ("data that is missing, empty or not readable", "one line with the path, exit code 2"),
    19: ("hidden folders and files among the images", "passed over"),
    20: ("links in the data, back to itself or to a class", "every image once; loops are reported"),
    21: ("a loss that is not finite", "exit code 4 with the step; the last good checkpoint stays"),
    22: ("a recipe with a mistake, a bomb or code in it", "one line with file, line and key; nothing is run"),
    23: ("names that lead out of a folder", "refused; nothing is written outside"),
    24: ("two processes in one folder, or the lock of a dead one", "the second is refused; a dead lock is taken over"),
    25: ("evaluation by any number of processes and batch size", "equal counts, every image once"),
    26: ("publishing without a token, with a wrong one, elsewhere", "refused, nothing sent; the token in no traceback"),
    27: ("publishing what is not whole, not finite or not evaluated", "refused before any request"),
    28: ("a Hub that fails, refuses, drops, hangs; a kill before the commit", "tried again, or one line; never half"),
    29: ("secrets, links and checkpoints beside the weights", "not uploaded"),
    30: ("published, then loaded by a fresh process with an empty cache", "equal logits, with Xet and without"),
    31: ("a Hub out of reach, a damaged download, a malformed manifest", "said within 5 s, with what to remove"),
    32: ("permissions and order of writing", "the umask's; written, synced, renamed, folder synced"),
    33: ("closed stdout, no terminal, NO_COLOR, ASCII", "no traceback; training goes on"),
    34: ("what a killed process has left half written", "cleared away, never read"),
}


def listed(items: Iterable[pytest.Item]) -> dict[int, dict[str, set[str]]]:
    """Return the tests of each case, by the part of their id before the parameters, with what is said of them."""
    found: dict[int, dict[str, set[str]]] = {number: {} for number in CASES}
    for item in items:
        for mark in item.iter_markers("reliability"):
            for number in mark.args:
                notes = found[number].setdefault(item.nodeid.partition("[")[0], set())
                notes.add("long" if item.get_closest_marker("long") else "quick")
                notes |= {str(known.kwargs["reason"]) for known in item.iter_markers("xfail")}
    return found


def document(items: Iterable[pytest.Item]) -> str:
    """Return ``docs/reliability.md``."""
    lines = [
        "# Faults and hostile input",
        "",
        "What has been made to go wrong, what happens then, and the test that makes it happen. Written from the tests' "
        "own ids by",
        "`pytest --write-reliability --collect-only`; a test holds the two together. A state is *holds* where every "
        "run of the",
        "tests shows it, *holds (long)* where part of that is left to `pytest -m long`, which CI runs too, and else "
        "what is missing.",
        "",
        "| case | what goes wrong | what happens | state |",
        "| ---: | --- | --- | --- |",
    ]
    found = listed(items)
    lines += [f"| {n} | {wrong} | {promise} | {_state(found[n])} |" for n, (wrong, promise) in CASES.items()]
    lines += ["", "## The tests", ""]
    for number, tests in found.items():
        lines.append(f"**{number}. {CASES[number][0]}**")
        lines += ["", *(f"- `{test}`{' (long)' * (notes == {'long'})}" for test, notes in sorted(tests.items())), ""]
    return "\n".join(lines)


def _state(tests: dict[str, set[str]]) -> str:
    notes = set().union(*tests.values())
    if not tests:
        return "no test"
    missing = notes - {"long", "quick"}
    if missing:
        return "; ".join(sorted(missing))
    return "holds (long)" if "long" in notes else "holds"
