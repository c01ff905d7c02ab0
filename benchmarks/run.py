"""Measure the figures of benchmarks/README.md and docs/, and update their tables, results/ and the figure.

python benchmarks/run.py --images imagenet/val --timm-validate timm/validate.py    # 30 minutes on 2 cores
python benchmarks/run.py --only training --only units                              # some parts
python benchmarks/run.py --only edge --data tiny-imagenet-200 --exports exports    # exports are kept
python benchmarks/run.py --only cpu --data tiny-imagenet-200 --timm-train timm/train.py
python benchmarks/run.py --tables                                                  # from results/, in a second
python benchmarks/run.py --check                                                   # are the tables those of results/?
"""

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import batches
import calibration
import cpu
import decoding
import edge
import evaluation
import folders
import inference
import shards
import sizes
import startup
import training
import units

HERE = Path(__file__).resolve().parent
README = HERE / "README.md"
DOCS = HERE.parent / "docs"
RESULTS = HERE / "results"


class Part(NamedTuple):
    """A part of the page.

    Attributes:
        measure: Returns the result, given the options of the command line.
        table: Returns the tables of a result as Markdown.
        requires: Options without which the part is skipped.
        page: Document with the tables, between marks.
    """

    measure: Callable[[argparse.Namespace], dict]
    table: Callable[[dict], str]
    requires: tuple[str, ...] = ()
    page: Path = README


def _measure_inference(options: argparse.Namespace) -> dict:
    """Measure one engine after the other. After each, update the files."""
    result = (_stored("inference") if options.engine else None) or {}
    for engine in [options.engine] if options.engine else inference.ENGINES:
        result = inference.measure(engine, result)
        _write("inference", result)
        inference.plot()
    return result


PARTS = {
    "startup": Part(lambda options: startup.measure(), startup.table),
    "shards": Part(lambda options: shards.measure(), shards.table),
    "cpu": Part(lambda options: cpu.measure(options.data, options.timm_train), cpu.table, ("data", "timm_train")),
    "training": Part(lambda options: training.measure(), training.table),
    "evaluation": Part(
        lambda options: evaluation.measure(options.images, options.timm_validate), evaluation.table, ("images",)
    ),
    "decoding": Part(lambda options: decoding.measure(options.images), decoding.table, ("images",)),
    "folders": Part(lambda options: folders.measure(), folders.table),
    "batches": Part(lambda options: batches.measure(), batches.table),
    "units": Part(lambda options: units.measure(), units.table),
    "inference": Part(_measure_inference, inference.table),
    "edge": Part(lambda options: edge.measure(options.data, options.exports), edge.table, ("data", "exports")),
    "calibration": Part(
        lambda options: calibration.measure(options.data), calibration.table, ("data",), DOCS / "guides" / "deploy.md"
    ),
    "extras": Part(lambda options: sizes.measure_extras(), sizes.table_of_extras, page=DOCS / "guides" / "deploy.md"),
    "runtimes": Part(
        lambda options: sizes.measure_runtimes(), sizes.table_of_runtimes, page=DOCS / "guides" / "device.md"
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="full-size images in folders named after ImageNet synsets")
    parser.add_argument("--timm-validate", type=Path, help="checkout of timm, or its validate.py, to compare with")
    parser.add_argument("--timm-train", type=Path, help="timm's train.py, for the part cpu")
    parser.add_argument("--data", type=Path, help="Tiny-ImageNet-200, for the parts cpu, edge and calibration")
    parser.add_argument("--exports", type=Path, help="folder of the exported files of the part edge")
    parser.add_argument("--only", choices=PARTS, action="append", help="this part only; may be given several times")
    parser.add_argument("--engine", choices=inference.ENGINES, help="part inference: measure this engine only")
    parser.add_argument("--tables", action="store_true", help="write the tables from results/, and measure nothing")
    parser.add_argument("--check", action="store_true", help="check that the tables are those of results/")
    options = parser.parse_args()
    for name in options.only or PARTS:
        missing = [
            f"--{option.replace('_', '-')}" for option in PARTS[name].requires if getattr(options, option) is None
        ]
        if options.tables or options.check:
            _update_table(name, write=options.tables)
        elif missing:
            print(f"skipping {name}: it requires {' and '.join(missing)}", file=sys.stderr)
        else:
            _write(name, PARTS[name].measure(options))


def _update_table(name: str, write: bool) -> None:
    """Write the table of a stored result, or stop if it differs from that in the page."""
    result = _stored(name)
    if result is None:
        print(f"skipping {name}: it has no stored result", file=sys.stderr)
    elif write:
        _write_table(name, result)
    elif _page_with_table(name, result) != PARTS[name].page.read_text():
        raise SystemExit(f"{PARTS[name].page}: part {name} is not the table of results/{name}.json: run with --tables")


def _stored(name: str) -> dict | None:
    file = RESULTS / f"{name}.json"
    return json.loads(file.read_text()) if file.exists() else None


def _write(name: str, result: dict) -> None:
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    _write_table(name, result)


def _write_table(name: str, result: dict) -> None:
    PARTS[name].page.write_text(_page_with_table(name, result))


def _page_with_table(name: str, result: dict) -> str:
    """Return the page of a part with the table of a result between its marks."""
    first, last = f"<!-- {name} -->", f"<!-- /{name} -->"
    body, page = f"{first}\n{PARTS[name].table(result)}\n{last}", PARTS[name].page
    text, count = re.subn(f"{first}.*?{last}", lambda _: body, page.read_text(), flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"{page}: expected {first} and {last} once, found them {count} times")
    return text


if __name__ == "__main__":
    main()
