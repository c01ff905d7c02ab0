"""The networks that a benchmark measures: which models, in which forms, folded or not."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wavenet_zoo.complexity import count
from wavenet_zoo.deployment.choose import choose_forms
from wavenet_zoo.deployment.floor import FLOOR, remove_projections
from wavenet_zoo.deployment.fold import fold
from wavenet_zoo.deployment.forms import check_form, check_unfolded_form, read_forms, summarize_forms
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.models import UNFOLDED_FORMS, set_form
from wavenet_zoo.weights.loading import load_model
from wavenet_zoo.weights.locations import is_location, resolve_model

__all__ = ["PLAIN", "Candidate", "Forms", "choose_auto_forms", "list_candidates", "parse_forms"]

logger = logging.getLogger(__name__)

Forms = str | dict[str, str]  # one form for all units, or a form by name of the unit

PLAIN = "plain"  # form in results of a network as timm builds it: not folded, factored, NCHW


@dataclass(frozen=True)
class Candidate:
    """A network to measure.

    Attributes:
        model: Name of the model, or its weights.
        model_kwargs: Model arguments.
        form: Form in the result.
        forms: Forms of the units.
        folded: Whether batch norms are folded.
        macs: Multiply-accumulate operations per image.
        pretrained: Whether a model that is given by its name gets its pretrained weights, instead of random ones.
    """

    model: str
    model_kwargs: Mapping[str, Any] | None
    form: str
    forms: Forms
    folded: bool
    macs: int
    pretrained: bool = False

    @property
    def description(self) -> str:
        """The model, and whether it is folded."""
        return f"{self.model}, {PLAIN if self.form == PLAIN else 'folded' if self.folded else 'not folded'}"

    def build(self) -> nn.Module:
        """Build the model in evaluation mode, not folded."""
        named = (self.model, None if self.pretrained else "none")
        model, weights = resolve_model(self.model) if is_location(self.model) else named
        network: nn.Module = load_model(model, weights, self.model_kwargs)[0]
        return network.eval()

    def prepare(self) -> nn.Module:
        """Build the model in its forms, folded or not."""
        network = self.build()
        if self.folded:
            network = fold(network, self.forms)
        else:
            set_form(network, str(self.forms))
        return remove_projections(network) if self.form == FLOOR else network

    def floor(self, folded: bool, size: int) -> "Candidate":
        """Return this network without its projections.

        Args:
            folded: Whether batch norms are folded.
            size: Input size in pixels.

        Raises:
            WavezooError: If it has none.
        """
        network = remove_projections(self.build())
        return replace(self, form=FLOOR, forms="dense", folded=folded, macs=count(network, size=size).macs)


def parse_forms(forms: Sequence[str] | None, folded: bool, train: bool, fixed: str | None = None) -> dict[str, Forms]:
    """Check forms and read files of forms.

    Args:
        forms: Names of forms. Default: ``auto``, or ``factored`` and ``dense`` without folding.
        folded: Whether batch norms are folded.
        train: Whether a training step is measured.
        fixed: Why ``auto``, which measures fp32 on the CPU, is not supported; None if it is. The default is then
            ``dense``.

    Returns:
        Forms of the units by the name in ``forms``.

    Raises:
        WavezooError: If a form is unknown or requires folding, or a file cannot be read.
    """
    parsed: dict[str, Forms] = {}
    for form in forms or (("dense" if fixed else "auto",) if folded else UNFOLDED_FORMS):
        if form == PLAIN:
            logger.warning("form '%s' is deprecated: use --no-fold; the default baseline is not folded", PLAIN)
            parsed[PLAIN] = "factored"
            continue
        check_form(form)
        if not folded:
            check_unfolded_form(form, "for training" if train else "without folding")
        if fixed and form == "auto":
            raise WavezooError(f"form 'auto' measures in fp32 on the CPU, not {fixed}", "name a form: --form dense")
        parsed[form] = read_forms(Path(form)) if form.endswith(".json") else form
    return parsed


def list_candidates(
    models: Sequence[str],
    forms: Mapping[str, Forms],
    folded: bool,
    size: int | None,
    model_kwargs: Mapping[str, Any] | None,
    pretrained: bool,
) -> list[Candidate]:
    """List the networks to measure: each model in each form."""
    macs = {model: count(model, size=size, model_kwargs=model_kwargs).macs for model in dict.fromkeys(models)}
    return [
        Candidate(model, model_kwargs or None, form, units, folded and form != PLAIN, macs[model], pretrained)
        for model in models
        for form, units in forms.items()
    ]


def choose_auto_forms(
    candidates: Sequence[Candidate], engine: str, images: torch.Tensor, progress: bool
) -> list[Candidate]:
    """Replace ``auto`` by the fastest form of each unit in this engine at this batch size."""
    chosen = []
    for candidate in candidates:
        if candidate.forms == "auto":
            forms = choose_forms(candidate.build(), images, engine, progress)
            summary = summarize_forms(forms)
            logger.info("forms of %s, %s, batch size %d: %s", candidate.model, engine, len(images), summary)
            candidate = replace(candidate, forms=forms)
        chosen.append(candidate)
    return chosen
