"""The model card of a repository of weights."""

from collections.abc import Mapping
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from wavenet_zoo.complexity import Complexity
from wavenet_zoo.weights.metadata import WeightsMetadata
from wavenet_zoo.zoo.record import EvaluationRecord

__all__ = ["model_card"]

SEEN = {
    "training": ", the training images",
    "validation": ", the validation images of the training run",
    "partly": ", some of them training or validation images",
}


def model_card(
    repo: str, license: str, metadata: WeightsMetadata, record: EvaluationRecord, cost: Complexity, sha256: str
) -> str:
    """Return README.md of a repository of weights; its figures come from the evaluation and the counter.

    Args:
        repo: ORG/NAME.
        license: License of the weights.
        metadata: Metadata of the weights.
        record: An evaluation of these weights, without paths of this machine.
        cost: Parameters and MACs of the model, at the input size of the evaluation.
        sha256: Hash of the weights.
    """
    data, environment = record.data, record.environment
    images = f"{data.name}{f', {data.split}' if data.split else ''}: {record.images:,} images"
    dataset: dict[str, Any] = {
        "task_type": "image-classification",
        "dataset_type": data.name,
        "dataset_name": data.name,
        "dataset_split": data.split or None,
    }
    header = ModelCardData(
        license=license,
        library_name="timm",
        pipeline_tag="image-classification",
        tags=["image-classification", "timm", "waveletnet", "wavenet_zoo"],
        model_name=repo.partition("/")[2],
        eval_results=[
            EvalResult(metric_type="accuracy", metric_name=name, metric_value=round(value, 4), **dataset)
            for name, value in (("top-1", record.top1), ("top-5", record.top5))
        ],
    )
    arguments = "".join(f", {key}={value!r}" for key, value in metadata.model_kwargs.items())
    return f"""---
{header.to_yaml()}
---

# {metadata.model}{f" ({arguments[2:]})" if arguments else ""}, trained on {metadata.data}

A model of wavenet_zoo, which implements *WaveletNet: Logarithmic Scale Efficient Convolutional Neural Networks for Edge
Devices* (Jing, Dangovski, Soljačić) on timm. It has {len(metadata.classes or [])} classes.

```python
import timm
import wavenet_zoo  # registers the architecture; without this import timm raises "Unknown model"

model = timm.create_model("hf-hub:{repo}", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
```

| | |
|---|---|
| evaluated on | {images}{SEEN.get(str(data.seen), "")} |
| top-1 | {record.top1:.2f} % ({record.correct_top1} of {record.images}) |
| top-5 | {record.top5:.2f} % ({record.correct_top5} of {record.images}) |
| preprocessing | {record.preprocessing} |
| parameters | {cost.params:,} |
| MACs at {cost.input_size[1]} px | {cost.macs:,} |
| recipe | {metadata.recipe}, seed {metadata.seed}, {metadata.epoch} epochs, sha256 {str(metadata.recipe_sha256)[:12]} |
| weights | {"moving average (EMA) of the weights" if metadata.variant == "ema" else "weights of the last epoch"} |
| sha256 of model.safetensors | `{sha256}` |
| license | {license} |

Trained with {_software(metadata.versions, metadata.git)}. Evaluated with
{_software(environment.versions, environment.git)}. `recipe.yaml` is the recipe with every default, `results.json` the
evaluation. To reproduce it: `wavezoo eval {metadata.model} --weights model.safetensors`.
"""


def _software(versions: Mapping[str, str], git: Mapping[str, Any] | None) -> str:
    """Return versions and commit in words."""
    parts = [f"{name} {versions[name]}" for name in ("wavenet_zoo", "timm", "torch") if name in versions]
    if git:
        parts.append(f"commit {str(git.get('commit'))[:12]}{' (modified)' if git.get('dirty') else ''}")
    return ", ".join(parts)
