"""WaveletNet for timm: models, weights, recipes, evaluation, training and deployment.

``import wavenet_zoo`` registers the models with timm, before or after timm is imported, and imports neither torch nor
timm itself. The functions behind the commands, ``wavenet_zoo.evaluate`` or ``wavenet_zoo.train`` for example, are
imported on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

from wrapt.importer import when_imported

__version__ = "0.1.0"

__all__ = [
    "WavezooError",
    "__version__",
    "ablate",
    "bench",
    "compare",
    "connectivity",
    "count",
    "dry_run",
    "edge_table",
    "evaluate",
    "export",
    "info",
    "list_models",
    "predict",
    "publish",
    "reproduce",
    "table",
    "train",
]

_LAZY = {
    "WavezooError": "wavenet_zoo.errors",
    "ablate": "wavenet_zoo.paper.ablation",
    "bench": "wavenet_zoo.deployment.bench",
    "compare": "wavenet_zoo.evaluation.compare",
    "connectivity": "wavenet_zoo.paper.connectivity",
    "count": "wavenet_zoo.complexity",
    "dry_run": "wavenet_zoo.training.dry_run",
    "edge_table": "wavenet_zoo.edge.table",
    "evaluate": "wavenet_zoo.evaluation.evaluate",
    "export": "wavenet_zoo.edge.export",
    "info": "wavenet_zoo.zoo.catalog",
    "list_models": "wavenet_zoo.zoo.catalog",
    "predict": "wavenet_zoo.evaluation.predict",
    "publish": "wavenet_zoo.zoo.publish",
    "reproduce": "wavenet_zoo.paper.reproduction",
    "table": "wavenet_zoo.paper.tables",
    "train": "wavenet_zoo.training.train",
}

if TYPE_CHECKING:
    from wavenet_zoo.complexity import count
    from wavenet_zoo.deployment.bench import bench
    from wavenet_zoo.edge.export import export
    from wavenet_zoo.edge.table import edge_table
    from wavenet_zoo.errors import WavezooError
    from wavenet_zoo.evaluation.compare import compare
    from wavenet_zoo.evaluation.evaluate import evaluate
    from wavenet_zoo.evaluation.predict import predict
    from wavenet_zoo.paper.ablation import ablate
    from wavenet_zoo.paper.connectivity import connectivity
    from wavenet_zoo.paper.reproduction import reproduce
    from wavenet_zoo.paper.tables import table
    from wavenet_zoo.training.dry_run import dry_run
    from wavenet_zoo.training.train import train
    from wavenet_zoo.zoo.catalog import info, list_models
    from wavenet_zoo.zoo.publish import publish


@when_imported("timm.models")  # not "timm": it is in sys.modules before timm.models, which the models require
def _register_models(models: Any) -> None:
    importlib.import_module(models.__name__)  # waits if another thread is importing it
    importlib.import_module("wavenet_zoo.models")


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
