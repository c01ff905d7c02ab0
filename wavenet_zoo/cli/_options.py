"""Options that several commands share."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from wavenet_zoo.cli._complete import complete_data, complete_weights
from wavenet_zoo.data.workers import WORKERS_HELP
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.cpus import keep_freed_memory, use_threads, wait_passively

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
Decorator = Callable[[Decorated], Decorated]

DEBUG = "wavenet_zoo.debug"  # key in the context's meta
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
DATA_HELP = "A folder, a tar file, digits, cifar10, cifar100, hfds/NAME, wds/DIR or torch/NAME."
FORMS = "factored, dense, split, split2, halves, auto or a json file"


def output_options(command: Decorated) -> Decorated:
    """Add --json, --quiet and --debug."""
    debug = click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_remember_debug,
        help="Show debug messages, and the traceback of an error.",
    )
    quiet = click.option("--quiet", "-q", is_flag=True, help="Show only warnings and errors on stderr.")
    as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
    return as_json(quiet(debug(command)))


def data_option(help: str = "Data set to use.", default: str = "that of the weights") -> Decorator:
    """Add --data."""
    help = f"{help}  [default: {default}]"
    return click.option("--data", metavar="DIR|NAME", shell_complete=complete_data, help=help)


def weights_option(command: Decorated) -> Decorated:
    """Add --weights."""
    help = "Weights; 'none' for random weights.  [default: pretrained]"
    return click.option("--weights", metavar="FILE|TAG|none", shell_complete=complete_weights, help=help)(command)


def size_option(default: str = "that of the weights") -> Decorator:
    """Add --size."""
    help = f"Input size in pixels.  [default: {default}]"
    return click.option("--size", type=click.IntRange(min=1), metavar="N", help=help)


def batch_size_option(default: int) -> Decorator:
    """Add --batch-size."""
    return click.option(
        "--batch-size", type=click.IntRange(min=1), default=default, show_default=True, metavar="N",
        help="Images per batch.",
    )  # fmt: skip


def workers_option(command: Decorated) -> Decorated:
    """Add --workers, and --threads and --keep-memory, which take effect before torch is imported."""
    keep_memory = click.option(
        "--keep-memory/--no-keep-memory",
        default=True,
        show_default=True,
        is_eager=True,
        expose_value=False,
        callback=_keep_memory,
        help="Keep freed memory for the next step, instead of returning it to the system (Linux).",
    )
    threads = click.option(
        "--threads",
        type=click.IntRange(min=1),
        metavar="N",
        is_eager=True,
        expose_value=False,
        callback=_use_threads,
        help="CPU threads of the model.  [default: that of torch, at most one per available CPU]",
    )
    help = f"Loader workers.  [default: {WORKERS_HELP}]"
    workers = click.option("--workers", type=click.IntRange(min=0), metavar="N", help=help)
    return workers(threads(keep_memory(command)))


def device_option(command: Decorated) -> Decorated:
    """Add --device."""
    return click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda", "mps"]),
        default="auto",
        show_default=True,
        help="Device to use.",
    )(command)


def form_option(default: str = "dense", choices: str = FORMS) -> Decorator:
    """Add --form: how WaveletNet's units compute DFWT and WConv."""
    return click.option("--form", metavar="FORM", help=f"Form of DFWT and WConv: {choices}.  [default: {default}]")


def fold_option(command: Decorated) -> Decorated:
    """Add --fold/--no-fold."""
    help = "Fold batch norms into convolutions.  [default: fold]"
    return click.option("--fold/--no-fold", "fold", default=True, help=help)(command)


def preprocessing_options(command: Decorated) -> Decorated:
    """Add --size, --crop-pct and --interpolation."""
    default = "[default: that of the weights]"
    interpolation = click.option(
        "--interpolation", type=click.Choice(INTERPOLATIONS), help=f"Interpolation of the resize.  {default}"
    )
    crop_pct = click.option("--crop-pct", type=float, help=f"Fraction of the resized image to crop.  {default}")
    return size_option()(crop_pct(interpolation(command)))


def inference_options(command: Decorated) -> Decorated:
    """Add the options of a forward pass over images, --batch-size to --device."""
    precision = click.option(
        "--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True,
        help="Precision of the forward pass; bf16 uses autocast.",
    )  # fmt: skip
    skip = click.option("--skip-bad-images", is_flag=True, help="Skip and list images that cannot be decoded.")
    form = form_option(default="dense; with --no-fold factored")
    last = skip(model_kwargs_option(device_option(command)))
    return batch_size_option(64)(preprocessing_options(precision(form(fold_option(workers_option(last))))))


def split_option(command: Decorated) -> Decorated:
    """Add --split."""
    return click.option(
        "--split", default="val", show_default=True,
        help="Split of the data: train, val, test, its own name, or a fraction held out of train: 0.1.",
    )(command)  # fmt: skip


def evaluation_options(command: Decorated) -> Decorated:
    """Add the options of an evaluation: data, labels and the forward pass."""
    limit = click.option(
        "--limit", metavar="N|FRACTION", help="Evaluate every k-th image of every class: N images, or a fraction."
    )
    among = click.option(
        "--among", type=click.Choice(["all", "data"]),
        help="Score among all classes, or the data's.  [default: all; for ImageNet-A and -R data]",
    )  # fmt: skip
    labels = click.option(
        "--labels", type=click.Choice(["real"]), help="Labels of ImageNet-ReaL instead of the class folders."
    )
    return data_option(DATA_HELP)(split_option(limit(among(labels(inference_options(command))))))


def set_option(command: Decorated) -> Decorated:
    """Add --set, which may be repeated."""
    return click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="Override a value of the recipe, for example schedule.epochs=1. May be repeated.",
    )(command)


def model_kwargs_option(command: Decorated) -> Decorated:
    """Add --model-kwargs, which may be repeated."""
    return click.option(
        "--model-kwargs",
        "model_kwargs",
        multiple=True,
        metavar="KEY=VALUE",
        callback=_parse_model_kwargs,
        help="Model argument, for example kappas=0,5,5 or use_dfwt=false. May be repeated.",
    )(command)


def max_drop_option(command: Decorated) -> Decorated:
    """Add --max-drop of an export to int8."""
    return click.option(
        "--max-drop", default="1.0", show_default=True, metavar="POINTS|none", callback=_parse_points,
        help="Refuse an int8 file that may lose more top-1; none: do not evaluate it.",
    )(command)  # fmt: skip


def plot_option(command: Decorated) -> Decorated:
    """Add --plot."""
    return click.option("--plot", metavar="FILE", help="Also draw a figure: a png, svg or pdf file.")(command)


def report_options(command: Decorated) -> Decorated:
    """Add --report and --no-images."""
    path = click.Path(dir_okay=False, path_type=Path)
    report = click.option("--report", metavar="FILE", type=path, help="Also write a report: an html file.")
    no_images = click.option("--no-images", is_flag=True, help="With --report: without thumbnails of images.")
    return report(no_images(command))


def check_outputs(**paths: Path | None) -> None:
    """Check that the output options of a command name different files.

    Args:
        **paths: File by the name of its option; None for none.

    Raises:
        WavezooError: If two name the same file.
    """
    named = [(f"--{option.replace('_', '-')}", path) for option, path in paths.items() if path is not None]
    for i, (option, path) in enumerate(named):
        for other, previous in named[:i]:
            if os.path.realpath(path) == os.path.realpath(previous):
                raise WavezooError(f"{other} and {option} name the same file {path}", "pass different files")


def _parse_model_kwargs(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    from wavenet_zoo.recipes import parse_value  # pydantic is slow to import

    parsed = {}
    for text in values:
        key, equals, value = text.partition("=")
        if not key.isidentifier() or not equals:
            raise click.BadParameter(f"'{text}' is not KEY=VALUE")
        parsed[key] = parse_value(value)
        if isinstance(parsed[key], list):
            parsed[key] = tuple(parsed[key])
    return parsed


def _parse_points(ctx: click.Context, parameter: click.Parameter, value: str) -> float | None:
    if value == "none":
        return None
    try:
        points = float(value)
    except ValueError:
        points = -1.0
    if not 0 <= points <= 100:
        raise click.BadParameter(f"'{value}' is neither a number of points from 0 to 100 nor 'none'")
    return points


def _use_threads(ctx: click.Context, param: click.Parameter, threads: int | None) -> None:
    if not ctx.resilient_parsing:
        wait_passively()
        if threads is not None:
            use_threads(threads)


def _keep_memory(ctx: click.Context, param: click.Parameter, keep: bool) -> None:
    if keep and not ctx.resilient_parsing:
        keep_freed_memory()


def _remember_debug(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    ctx.meta[DEBUG] = value
