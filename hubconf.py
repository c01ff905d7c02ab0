"""Entry points for torch.hub: every WaveletNet, and weights that ``wavezoo publish`` wrote.

::

    torch.hub.load("wavenet-zoo/wavenet_zoo", "waveletnet_x1", pretrained=True)
    torch.hub.load("wavenet-zoo/wavenet_zoo", "from_hub", "ORG/NAME")
"""

from typing import Any as _Any

import timm as _timm

import wavenet_zoo.models  # noqa: F401  registers the architectures with timm

dependencies = ["torch", "timm", "pydantic", "wrapt"]

globals().update({name: _timm.model_entrypoint(name) for name in _timm.list_models(module="waveletnet")})


def from_hub(repo: str, **kwargs: _Any) -> _Any:
    """Load a model and its weights from ``ORG/NAME`` on the Hub; ``kwargs`` are those of ``timm.create_model``."""
    return _timm.create_model(f"hf-hub:{repo}", pretrained=True, **kwargs)
