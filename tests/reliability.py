"""Faults and invalid inputs that the tests cover, and the document that lists them."""

from collections.abc import Iterable
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "reliability.md"

# fault or input, and what must happen
CASES = {
    1: ("kill -9 at any moment of a run or of a save", "resumes and ends bit for bit like an uninterrupted run"),
    2: (
        "a run stopped at or within an epoch, with everything that has a state or draws random numbers",
        "loss and learning rate of every step equal those of an uninterrupted run",
    ),
    3: (
        "several processes killed and restarted, or resumed with another world size",
        "the same result; another world size is rejected unless it is allowed",
    ),
    4: ("SIGTERM in training or validation, to the whole process group", "a checkpoint of that step, exit code 143"),
    5: (
        "Ctrl-C once, twice, or while a checkpoint is written",
        "once: saved, exit code 130; twice: stopped at once; the checkpoint is the old or the new one, complete",
    ),
    6: ("a full disk under a checkpoint, an export or a log", "one line with file and space; old files are unchanged"),
    7: ("an output folder that is read-only, a file, or missing", "rejected before anything is computed"),
    8: (
        "a checkpoint that is truncated, empty or has a flipped bit",
        "detected by its hash; training resumes from the previous checkpoint",
    ),
    9: ("a safetensors file that is damaged, foreign or not finite", "one line with file and reason, exit code 2"),
    10: ("a pickle that would run code", "rejected, no code runs"),
    11: ("an image that cannot be decoded, in training", "an error that names it; it is never replaced"),
    12: (
        "an image that cannot be decoded, in evaluation",
        "an error, or skipped and counted on request; it is never replaced",
    ),
    13: ("CMYK, gray, palette, alpha, EXIF orientation, several frames", "RGB by documented rules"),
    14: ("16 bits per channel", "scaled to 8 bits, not clipped"),
    15: ("a decompression bomb", "rejected by its header, with its path, before memory is allocated"),
    16: ("class folders that are empty, missing or additional", "an error that names them; labels never shift"),
    17: ("a split that does not exist", "an error that lists the available splits"),
    18: ("data that is missing, empty or not readable", "one line with the path, exit code 2"),
    19: ("hidden folders and files among the images", "ignored"),
    20: ("symbolic links in the data, to a parent folder or to a class", "every image once; loops are reported"),
    21: ("a loss that is not finite", "exit code 4 with the step; the last finite checkpoint is kept"),
    22: ("a recipe with a mistake, a YAML bomb or code in it", "one line with file, line and key; no code runs"),
    23: ("names that lead out of a folder", "rejected; no file is written outside"),
    24: (
        "two processes in one folder, or the lock of a dead process",
        "the second process is rejected; the lock of a dead process is taken over",
    ),
    25: ("evaluation with any number of processes and batch size", "equal counts, every image once"),
    26: (
        "publishing without a token, with a wrong token, or to another owner",
        "rejected, nothing is sent; no traceback contains the token",
    ),
    27: ("publishing weights that are incomplete, not finite or not evaluated", "rejected before any request"),
    28: (
        "a Hub that fails, rejects, drops or hangs; a kill before the commit",
        "a retry, or an error in one line; never a partial upload",
    ),
    29: ("secrets, links and checkpoints beside the weights", "not uploaded"),
    30: ("published, then loaded by a new process with an empty cache", "equal logits, with and without Xet"),
    31: (
        "an unreachable Hub, a damaged download, a malformed manifest",
        "an error in one line that says what to do",
    ),
    32: ("permissions and order of writing", "those of the umask; write, sync, rename, sync the folder"),
    33: ("closed stdout, no terminal, NO_COLOR, ASCII", "no traceback; training continues"),
    34: ("temporary files of a killed process", "removed, never read"),
    35: (
        "evaluation of images that were trained on: copied, renamed, replaced, or a part of them",
        "the overlap is counted by content; unknown where the run recorded nothing",
    ),
    36: (
        "model arguments that the tool decides: pretrained, num_classes, device, ...",
        "rejected in options, recipes and metadata",
    ),
    37: (
        "labels that are negative, missing, text, or beyond the outputs of the model",
        "rejected with the first of them; no image gets the label of another class",
    ),
    38: (
        "shards that are truncated, named like another split, or with incomplete, duplicate or linked samples",
        "the number of images and labels is right, or an error that names the shard",
    ),
    39: (
        "image files with rare extensions, and files of the system among them",
        "read, or named; never skipped silently",
    ),
    40: (
        "a split that is missing, the folder of a split as data, one archive for training and validation",
        "the recorded split is the evaluated one; rejected if it does not exist",
    ),
    41: (
        "class and file names in upper and lower case, with leading zeros, or in two forms of Unicode",
        "the same order, labels and fingerprint on every file system",
    ),
    42: (
        "several processes with unequal batches, or with other images, labels or recipes on one of them",
        "the result of one process; a process that differs is named",
    ),
    43: ("RANK and WORLD_SIZE left by a job system", "a result, or an error in one line; no silence, no hang"),
    44: (
        "a learning rate schedule with warm-up",
        "continuous and positive from the first step; a warm-up as long as the run is rejected",
    ),
    45: (
        "a CSV file without a last newline, with other columns, or that is no CSV file",
        "one row is appended, or the file is unchanged and the error is raised before the work",
    ),
    46: (
        "a finished or stopped run whose weights or last checkpoint are missing or damaged",
        "reported; never called finished",
    ),
    47: ("weights of integers or complex numbers for a network of floats", "rejected with the first tensor"),
    48: (
        "an output that cannot be written, or a reader of stdout that ends first",
        "checked before the work; files are written before anything is printed",
    ),
    49: (
        "a named pipe, a device or a huge sparse file as image, weights, manifest, recipe or record",
        "rejected without reading it",
    ),
    50: ("a thin image that is huge after resizing, a huge input size", "rejected before memory is allocated"),
    51: (
        "YAML with multiplying aliases, deep nesting, tags, or numbers that do not parse, in recipes and options",
        "one line with file and line, within a second and 100 MB",
    ),
    52: ("a compressed checkpoint or archive that unpacks to gigabytes", "rejected before it is unpacked"),
    53: ("one of several processes is killed", "the others end within the time-out and name it"),
    54: ("a long TMPDIR, few file descriptors, a small /dev/shm", "works, or one line that says what to change"),
    55: (
        "control characters and escape sequences in class names, file names, metadata and manifests",
        "escaped in every output",
    ),
    56: ("a token that a server or a file name repeats", "replaced in messages and tracebacks"),
    57: ("a manifest or a run folder with paths and links that lead elsewhere", "rejected; nothing is written there"),
    58: ("an exported file with pickled sample inputs", "loaded without them, or rejected; no code runs"),
    59: ("a path of the machine as the name of a data set or of weights", "not stored, not published"),
    60: ("text that a spreadsheet takes for a formula", "quoted in CSV files"),
    61: ("invalid preprocessing in metadata", "one line with the key"),
    62: ("an EPS file under another name", "rejected; Ghostscript does not start"),
    63: (
        "run.json, result.json, log.jsonl and other records that are damaged or incomplete",
        "one line with file and key",
    ),
    64: (
        "values in a recipe that are not finite, out of range or incompatible",
        "one line with file, line and key, before anything is built",
    ),
    65: ("a recipe with several mistakes", "'recipe check' lists all; other commands the first and their number"),
    66: ("JSON in metadata and manifests that is nested deep, incomplete or of other types", "one line with the key"),
    67: ("damaged images of every supported format", "an error that names the image, whatever the decoder raises"),
    68: (
        "image sizes, channels, batches or classes that a network does not accept; no compiler",
        "one line that says which; exit code 2",
    ),
    69: ("names that are too long, a missing home, a full TMPDIR", "one line with the path"),
}

FAMILIES = {  # number of the first case
    1: "Faults and invalid inputs",
    35: "Wrong results",
    49: "Hangs and memory",
    55: "Security and privacy",
    63: "One line instead of an internal error",
}


def listed(items: Iterable[pytest.Item]) -> dict[int, dict[str, set[str]]]:
    """Return the tests of every case: ids without parameters, with ``quick``, ``long`` or the reason of an xfail."""
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
        "# Reliability",
        "",
        "The faults and invalid inputs that the tests inject, the expected behavior, and the tests of each case. "
        "Generated from the",
        "markers of the tests by `pytest --write-reliability --collect-only`; a test fails if this file is not up to "
        "date. *tested*:",
        "by `pytest`. *tested (long)*: partly by `pytest -m long`, which CI runs as well.",
    ]
    found = listed(items)
    for number, (fault, expected) in CASES.items():
        if number in FAMILIES:
            lines += ["", f"## {FAMILIES[number]}", "", "| case | fault or input | expected behavior | state |"]
            lines.append("| ---: | --- | --- | --- |")
        lines.append(f"| {number} | {fault} | {expected} | {_state(found[number])} |")
    lines += ["", "## Tests", ""]
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
    return "tested (long)" if "long" in notes else "tested"
