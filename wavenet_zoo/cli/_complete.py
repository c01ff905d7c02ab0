"""Shell completion of models, weights, recipes and data sets, without torch where possible."""

import logging
from collections.abc import Iterable

import click
from click.shell_completion import CompletionItem

__all__ = ["complete_data", "complete_models", "complete_recipes", "complete_weight_names", "complete_weights"]

WAVELETNETS = (
    "waveletnet_x0_75", "waveletnet_x1", "waveletnet_x1_25", "waveletnet_x1_k3", "waveletnet_x1_k5",
    "waveletnet_cifar_m1", "waveletnet_cifar_m2", "waveletnet_cifar_m3", "waveletnet_cifar_m6", "waveletnet_cifar_m12",
    "waveletnet_cifar_m24",
)  # fmt: skip
DATA = ("digits", "cifar10", "cifar100", "hfds/", "wds/", "torch/")


def complete_models(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete a WaveletNet, with or without the tag of weights; else a model of timm; else a file."""
    names = [*WAVELETNETS, *_weight_names()]
    if incomplete and "/" not in incomplete and not any(name.startswith(incomplete) for name in names):
        import timm

        names = timm.list_models(f"{incomplete}*")
    return _items(names, incomplete)


def complete_weight_names(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete ``architecture.tag``."""
    return _items(_weight_names(), incomplete)


def complete_weights(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the tag of weights, ``none``, or a file."""
    tags = [name.partition(".")[2] for name in _weight_names()]  # click does not know MODEL yet
    return _items([*tags, "none"], incomplete)


def complete_recipes(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a shipped recipe, or a file."""
    from wavenet_zoo.recipes import list_recipes

    return _items(list_recipes(), incomplete)


def complete_data(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a data set, or a folder or file."""
    return _items(DATA, incomplete)


def _items(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return found or [CompletionItem(incomplete, type="file")]


def _weight_names() -> list[str]:
    from wavenet_zoo.runtime.manifest import read_manifest

    logger = logging.getLogger("wavenet_zoo")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # a shell cannot show warnings
    try:
        return list(read_manifest())
    finally:
        logger.setLevel(level)
