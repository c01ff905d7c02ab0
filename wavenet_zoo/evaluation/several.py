"""Evaluation of several models, one after the other."""

import fnmatch
import glob
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from timm.models import list_models
from torch import nn

from wavenet_zoo.data.splits import natural_key
from wavenet_zoo.deployment.exported import is_exported_file
from wavenet_zoo.errors import WavezooError, did_you_mean, one_line
from wavenet_zoo.evaluation.evaluate import prepare_evaluation
from wavenet_zoo.evaluation.result import Evaluation, identity
from wavenet_zoo.runtime.distributed import init_distributed
from wavenet_zoo.runtime.files import expand
from wavenet_zoo.runtime.results import NOT_IN_JSON, Result
from wavenet_zoo.runtime.seeds import preserve_rng_state
from wavenet_zoo.weights.locations import is_location

__all__ = ["FailedEvaluation", "SkippedEvaluation", "evaluate_models", "expand_models"]

logger = logging.getLogger(__name__)


@dataclass
class FailedEvaluation(Result):
    """An evaluation that failed.

    Attributes:
        model: The model, as it was given.
        error: The reason, in one line.
        exception: The exception. Not in JSON.
    """

    model: str
    error: str
    exception: Exception = field(repr=False, metadata=NOT_IN_JSON)


@dataclass
class SkippedEvaluation(Result):
    """An evaluation that was skipped, since its result exists.

    Attributes:
        model: The model, as it was given.
    """

    model: str


def expand_models(models: Sequence[str], weights: str | Path | None = None) -> list[str]:
    """Replace wildcards by the names of timm's models, or by files if they have a folder or the suffix of a file.

    Without ``weights`` a wildcard matches the models with pretrained weights, by their tags: ``mobilenetv2_*.ra_in1k``
    for example. An existing file or folder is no wildcard.

    Args:
        models: Names, files, folders, and names with ``*`` or ``?``.
        weights: Weights of all of them, ``none`` for example.

    Raises:
        WavezooError: If a wildcard matches no model.
    """
    expanded: list[str] = []
    for model in models:
        if not any(character in model for character in "*?") or Path(model).exists():
            expanded.append(model)
            continue
        if "/" in model or is_location(model) or is_exported_file(model):
            files = sorted(glob.glob(str(expand(model)), recursive=True), key=natural_key)  # noqa: PTH207  absolute too
            if not files:
                raise WavezooError(f"no file matches '{model}'")
            expanded += files
            continue
        every = fnmatch.filter(list_models(), model)
        found = list_models(model, pretrained=True) if weights is None else every
        if not found:
            hint = did_you_mean(model.rstrip("*?"), list_models(), "see 'wavezoo list'")
            if every:
                hint = f"{len(every)} models match without pretrained weights: pass --weights none"
            raise WavezooError(f"no model matches '{model}'", hint)
        without = len(set(every) - {name.partition(".")[0] for name in found})
        if without:
            logger.info("models: %s: skipped %d models without pretrained weights", model, without)
        expanded += found
    return list(dict.fromkeys(expanded))


def evaluate_models(
    models: Sequence[str | nn.Module],
    weights: str | Path | None = None,
    data: str | Path | None = None,
    *,
    device: str = "auto",
    skip: Callable[[Mapping[str, Any]], bool] = lambda identity: False,
    **options: Any,
) -> Iterator[Evaluation | FailedEvaluation | SkippedEvaluation]:
    """Evaluate models one after the other. One that fails does not stop the others.

    In distributed runs, where a single process may fail, the first failure ends the evaluation.

    Args:
        models: The models.
        weights: Weights of all of them.
        data: Data of all of them.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        skip: Whether to skip a model, by :func:`~.result.identity`. Rank 0 decides.
        **options: Other arguments of :func:`~.evaluate.evaluate`.

    Yields:
        The result for each model.
    """
    with init_distributed(device) as distributed:
        for number, model in enumerate(models, start=1):
            name = model if isinstance(model, str) else type(model).__name__
            if len(models) > 1:
                logger.info("model %d of %d: %s", number, len(models), name)
            try:
                with preserve_rng_state():
                    prepared = prepare_evaluation(model, weights, data, distributed=distributed, **options)
                    if distributed.broadcast(skip(identity(prepared)) if distributed.is_rank_zero else None):
                        yield SkippedEvaluation(name)
                        continue
                    result = prepared.run()
            except Exception as error:
                if distributed.world_size > 1:
                    raise
                logger.debug("%s: failed", name, exc_info=True)
                yield FailedEvaluation(name, _reason(error), error)
                continue
            yield result


def _reason(error: Exception) -> str:
    if isinstance(error, WavezooError):
        return one_line(str(error))
    return one_line(f"{type(error).__name__}: {error}")
