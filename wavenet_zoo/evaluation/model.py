"""The model of an evaluation: a timm model, an exported file or a module, folded and on its device."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wavenet_zoo.data.preprocessing import Preprocessing, preprocessing_of
from wavenet_zoo.deployment.choose import resolve_forms
from wavenet_zoo.deployment.exported import is_exported_file, open_exported_file
from wavenet_zoo.deployment.fold import fold as fold_model
from wavenet_zoo.deployment.forms import check_unfolded_form, one_form
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.models import set_form
from wavenet_zoo.weights.loading import Weights, load_model
from wavenet_zoo.weights.locations import resolve_model
from wavenet_zoo.weights.metadata import WeightsMetadata

__all__ = ["OpenedModel", "open_model"]


@dataclass
class OpenedModel:
    """A model with its weights.

    Attributes:
        network: The network: logits (B, num_classes) of images (B, C, H, W).
        weights: Its weights.
        name: Name of the model.
        form: Form of WaveletNet's units; None before they are folded.
        folded: Whether batch norms are folded into convolutions, or will be.
        exported: Whether it is an exported file.
        precision: Precision of an exported file, ``fp32`` or ``int8``; None for other models.
    """

    network: Any
    weights: Weights
    name: str
    form: str | None
    folded: bool
    exported: bool = False
    precision: str | None = None

    def preprocessing(self, size: int | None, crop_pct: float | None, interpolation: str | None) -> Preprocessing:
        """Return the preprocessing of the weights, with overrides.

        Raises:
            WavezooError: If an override is invalid, or its size differs from that of an exported file.
        """
        own = self.weights.metadata.preprocessing or preprocessing_of(self.network)
        if self.exported and size not in (None, own.input_size[-1]):
            raise WavezooError(
                f"{self.weights.name}: is exported for {own.input_size[-1]} px",
                f"remove --size, or export the model with --size {size}",
            )
        return own.with_overrides(size, crop_pct, interpolation)

    def prepare(
        self, form: str | None, input_size: tuple[int, int, int], device: torch.device, progress: bool = False
    ) -> nn.Module:
        """Fold the network if requested, and move it to a device.

        Args:
            form: Form of WaveletNet's units. Default: ``dense``.
            input_size: (C, H, W) of the images, by which ``auto`` measures.
            device: The device.
            progress: Show progress on stderr.
        """
        network = self.network
        if self.folded and not self.exported:
            forms = resolve_forms(form or "dense", network, input_size, progress=progress)
            network = fold_model(network, forms)
            self.form = one_form(forms)
        prepared: nn.Module = network.to(device).to(memory_format=torch.channels_last)
        return prepared


def open_model(
    model: str | nn.Module,
    weights: str | Path | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    form: str | None = None,
    fold: bool = True,
    device: torch.device = torch.device("cpu"),  # noqa: B008  a device is immutable
) -> OpenedModel:
    """Open a model with its weights.

    Args:
        model: Name, with or without a tag; weights alone, see :func:`wavenet_zoo.weights.locations.resolve_model`; a
            file of :func:`wavenet_zoo.export`; or a module with timm's ``pretrained_cfg``.
        weights: A tag, a file, or ``none`` for random weights. Default: the model's pretrained weights.
        model_kwargs: Model arguments.
        form: Form of WaveletNet's units.
        fold: Fold batch norms into convolutions.
        device: Device that the model will run on.

    Raises:
        WavezooError: If the model or the weights do not exist, are damaged, or do not match the other arguments.
    """
    if isinstance(model, nn.Module):
        if weights is not None:
            raise WavezooError(
                "weights cannot be combined with a module, which has its own",
                "load the weights into the module, or pass the model's name",
            )
        name = getattr(model, "pretrained_cfg", {}).get("architecture", type(model).__name__)
        network, known = model, Weights("as given", "module", WeightsMetadata(model=name))
    elif not isinstance(model, str | Path):
        raise WavezooError(f"a {type(model).__name__} is not a model", "pass its name, its path or a module")
    elif is_exported_file(model):
        if weights is not None or model_kwargs or form is not None or not fold:
            raise WavezooError(
                f"{model}: weights and form of an exported file are fixed",
                "remove --weights, --model-kwargs, --form and --no-fold",
            )
        if device.type != "cpu":
            raise WavezooError(f"{model}: exported files run on the CPU only", "use --device cpu")
        exported, known, metadata = open_exported_file(Path(model))
        return OpenedModel(
            exported, known, metadata.model, metadata.form, folded=True, exported=True, precision=metadata.precision
        )
    else:
        name, weights = resolve_model(model, weights)
        network, known = load_model(name, weights, model_kwargs)
    if fold:
        if form == "auto" and device.type != "cpu":
            raise WavezooError(
                "form 'auto' measures on the CPU", f"for device {device.type} name a form, or use --device cpu"
            )
        return OpenedModel(network, known, name, None, True)
    form = form or "factored"
    check_unfolded_form(form, "without folding")
    set_form(network, form)
    return OpenedModel(network, known, name, form, False)
