"""``wavezoo reproduce``."""

import re
from typing import TYPE_CHECKING, Any

import click

from wavenet_zoo.cli._command import Command
from wavenet_zoo.cli._options import data_option, device_option, output_options, workers_option
from wavenet_zoo.cli._output import Output, facts, table

if TYPE_CHECKING:
    from wavenet_zoo.paper.reproduction import Reproduction


class Shard(click.ParamType):
    """A part of the runs: ``1/2``."""

    name = "shard"

    def convert(
        self, value: str | tuple[int, int], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Read the part."""
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d{1,4})/(\d{1,4})", value)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            self.fail(f"'{value}' is not a part of the runs: 1/2 is the first of two")
        return int(match[1]), int(match[2])


@click.command(
    name="reproduce",
    cls=Command,
    short_help="Train every run that a table of the paper requires, and fill the table.",
    examples=[
        "wavezoo reproduce 3 --scale digits",
        "wavezoo reproduce 3 --scale small --data cifar10 --dry-run",
        "wavezoo reproduce 6 --scale small --data tiny-imagenet-200 --only x1 --seeds 1",
        "wavezoo reproduce 3 --scale small --data cifar10 --shard 2/6",
        "torchrun --nproc-per-node 8 -m wavenet_zoo reproduce 7 --scale paper --data imagenet",
    ],
)
@click.argument("number", type=click.Choice(["2", "3", "5", "6", "7"]), metavar="TABLE")
@click.option(
    "--scale",
    default="small",
    show_default=True,
    metavar="NAME|FILE",
    help="digits, small, gpu, paper, or a YAML file.",
)
@click.option("--only", multiple=True, metavar="ROW", help="Train this row only. May be repeated.")
@click.option(
    "--seeds", type=click.IntRange(min=1), metavar="N", help="Number of runs per row.  [default: the scale's]"
)
@click.option("--shard", type=Shard(), default="1/1", metavar="I/N", help="Train part I of N, on one of N machines.")
@data_option("Data set: a name, or a folder with train/ and val/.", default="that of the recipes")
@click.option("--out", metavar="DIR", help="Folder of the runs.  [default: runs/reproduce/SCALE]")
@click.option("--dry-run", is_flag=True, help="List the runs with their state, time and memory; write no file.")
@workers_option
@click.option("--cache-images", is_flag=True, help="Decode all images once, and keep them in the device's memory.")
@device_option
@output_options
def command(
    number: str,
    scale: str,
    only: tuple[str, ...],
    seeds: int | None,
    shard: tuple[int, int],
    data: str | None,
    out: str | None,
    dry_run: bool,
    workers: int | None,
    cache_images: bool,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Train every run that TABLE of the paper requires, and fill it with the measured errors.

    A scale states recipes, overrides and seeds: small for CPUs, gpu for one GPU, paper for the paper's setting, digits
    to see that everything works. The same command resumes a stopped run and reuses finished ones. With torchrun each
    run uses all processes; --shard splits the list over machines that share the folder of the runs.
    """
    from wavenet_zoo import reproduce
    from wavenet_zoo.paper.reproduction import plan_reproduction

    output = Output(as_json, quiet)
    options: dict[str, Any] = {
        "seeds": seeds, "only": only, "shard": shard, "workers": workers, "device": device,
        "cache_images": cache_images,
    }  # fmt: skip
    if dry_run:
        result = plan_reproduction(int(number), scale, data, out, **options)
    else:
        result = reproduce(int(number), scale, data, out, **options, progress=output.progress)
    if as_json:
        output.json(result.to_dict())
        return
    if dry_run:
        _show_plan(output, result)
    else:
        _show(output, result)


def _show_plan(output: Output, result: "Reproduction") -> None:
    rows = [
        [
            run.name,
            str(run.seed),
            run.recipe,
            run.state,
            "-" if run.seconds is None else _hours(run.seconds),
            "-" if run.memory_bytes is None else f"{run.memory_bytes / 2**20:,.0f}",
        ]
        for run in result.runs
    ]
    titles = ["run", "seed", "recipe", "state", "time, h", "memory, MiB"]
    total = f"{len(result.runs)} runs, about {_hours(result.seconds)} hours at the current load of this machine"
    output.show(
        facts([("scale", f"{result.scale}: {result.title}")]),
        table(titles, rows, text=["run", "recipe", "state"], optional=["recipe"]),
        facts([("total", total), ("folder", result.out)]),
    )


def _show(output: Output, result: "Reproduction") -> None:
    from wavenet_zoo.paper.table import cells, remarks_of

    if result.filled is None:
        output.show(facts([("runs", "none is finished")]))
        return
    filled = result.filled
    text = [column.title for column in filled.columns if column.kind == "text"]
    output.show(
        facts([(filled.title, filled.caption)]),
        table([column.title for column in filled.columns], cells(filled.columns, filled.rows), text=text),
        facts([(f"[{i}]", remark) for i, remark in enumerate(remarks_of(filled.rows), 1)]),
        facts([("", note) for note in filled.notes]),
        facts([("scale", f"{result.scale}: {result.title}"), ("folder", result.out)]),
    )


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f}" if seconds >= 360 else f"{seconds / 3600:.3f}"
