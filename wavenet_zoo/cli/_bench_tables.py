"""The tables of ``wavezoo bench``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wavenet_zoo.cli._output import Facts, Table, facts, table

if TYPE_CHECKING:
    from wavenet_zoo.deployment.bench import Benchmark, Measurement
    from wavenet_zoo.edge.table import EdgeTable

__all__ = ["BenchTable", "describe", "edge_rows", "measured_rows"]

Cell = Callable[[Any], str]

TEXT = ("engine", "model", "form", "precision")


@dataclass(frozen=True)
class BenchTable:
    """Cells of a table.

    Attributes:
        columns: Titles.
        rows: Cells.
        optional: Titles of the columns to hide first on a narrow terminal.
    """

    columns: list[str]
    rows: list[list[str]]
    optional: list[str]

    def render(self) -> Table:
        """Return the table for a terminal."""
        return table(self.columns, self.rows, text=[c for c in self.columns if c in TEXT], optional=self.optional)

    def to_markdown(self) -> str:
        """Return the table in Markdown."""
        from wavenet_zoo.runtime.records import to_markdown

        return to_markdown(self.columns, self.rows, text=TEXT)


def measured_rows(rows: "Sequence[Measurement]") -> BenchTable:
    """Return the table of a benchmark."""
    cells: dict[str, Cell] = {
        "engine": lambda row: row.engine,
        "threads": lambda row: str(row.threads),
        "batch": lambda row: str(row.batch_size),
        "model": lambda row: row.model,
        "form": lambda row: row.form,
        "precision": lambda row: row.precision,
        "median, ms": lambda row: f"{row.median_ms:.2f}",
        "p90, ms": lambda row: f"{row.p90_ms:.2f}",
        "images/s": lambda row: f"{row.images_per_second:,.1f}",
        "ratio": lambda row: f"{row.ratio:.3f}",
        "quartiles": lambda row: f"{row.ratio_low:.3f} to {row.ratio_high:.3f}",
        "rounds": lambda row: str(row.rounds),
        **_memory_cells(rows),
    }
    if len({row.threads for row in rows}) == 1:
        del cells["threads"]
    if len({row.precision for row in rows}) == 1:
        del cells["precision"]
    return _table(cells, rows, ["rounds", "p90, ms", "quartiles", "load, ms", "precision"])


def edge_rows(rows: "Sequence[Any]") -> BenchTable:
    """Return the edge table."""
    cells: dict[str, Cell] = {
        "model": lambda row: row.model,
        "engine": lambda row: row.engine,
        "form": lambda row: row.form,
        "precision": lambda row: row.precision,
        "threads": lambda row: str(row.threads),
        "batch": lambda row: str(row.batch_size),
        "MB": lambda row: _or_dash(row.bytes, lambda size: f"{size / 1e6:.2f}"),
        "top-1, %": lambda row: _or_dash(row.top1, lambda top1: f"{top1:.2f}"),
        "95 % interval": lambda row: _or_dash(row.top1_interval, _interval),
        "difference, points": lambda row: _or_dash(row.difference, lambda points: f"{points:+.2f}"),
        "its 95 % interval": lambda row: _or_dash(row.difference_interval, lambda ends: _interval(ends, "+")),
        "median, ms": lambda row: f"{row.median_ms:.2f}",
        "p90, ms": lambda row: f"{row.p90_ms:.2f}",
        "ratio": lambda row: f"{row.ratio:.3f}",
        **_memory_cells(rows),
    }
    for title, values in (
        ("form", {row.form for row in rows}),
        ("threads", {row.threads for row in rows}),
        ("batch", {row.batch_size for row in rows}),
    ):
        if len(values) == 1:
            del cells[title]
    optional = ["95 % interval", "load, ms", "p90, ms", "its 95 % interval", "form", "memory, MB"]
    return _table(cells, rows, [*optional, "engine", "precision", "MB", "difference, points"])


def describe(result: "Benchmark | EdgeTable", task: str) -> Facts:
    """Return what was measured, against what, and in which versions."""
    baseline = result.rows[0]
    as_built = " (as timm builds it: not folded, NCHW)" if baseline.form == "plain" else ""
    folding = "" if any(row.folded for row in result.rows) else ", not folded"
    counts = list(dict.fromkeys(row.threads for row in result.rows))
    threads = f"{' and '.join(map(str, counts))} thread{'s' * (counts != [1])}"
    batches = list(dict.fromkeys(row.batch_size for row in result.rows))
    batch = f", batch size {batches[0]}" if len(batches) == 1 else ""
    versions = {**result.environment["versions"], **result.versions}
    device = "" if result.environment["device"] == "cpu" else f", {result.environment['accelerator'] or 'mps'}"
    rows = [
        ("measured", f"{task}{folding}, {baseline.size} px, {threads}{batch}{device}"),
        ("baseline", f"{result.against}{as_built}"),
        ("ratio", "to the baseline at the same batch size and threads, of a model in the same engine, round by round"),
    ]
    if any(row.form == "no projection" for row in result.rows):
        rows.append(("floor", "no projection: the baseline without the layers that DFWT and WConv replace"))
    if any(row.peak_bytes is not None for row in result.rows):
        rows.append(("memory", "peak that loading and running adds to a process that has imported the engine"))
    return facts([*rows, ("versions", ", ".join(f"{name} {version}" for name, version in versions.items()))])


def _memory_cells(rows: "Sequence[Measurement]") -> dict[str, Cell]:
    if all(row.peak_bytes is None for row in rows):
        return {}
    return {
        "memory, MB": lambda row: _or_dash(row.peak_bytes, lambda size: f"{size / 1e6:.1f}"),
        "load, ms": lambda row: _or_dash(row.load_ms, lambda load: f"{load:.1f}"),
    }


def _table(cells: dict[str, Cell], rows: "Sequence[Any]", optional: list[str]) -> BenchTable:
    return BenchTable(list(cells), [[cell(row) for cell in cells.values()] for row in rows], optional)


def _or_dash(value: Any, text: Cell) -> str:
    return "-" if value is None else text(value)


def _interval(ends: tuple[float, float], sign: str = "") -> str:
    return f"{ends[0]:{sign}.2f} to {ends[1]:{sign}.2f}"
