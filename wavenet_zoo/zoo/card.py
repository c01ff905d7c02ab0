"""The model card: what the weights are, what was measured, and how to load them."""

from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from wavenet_zoo.complexity import Complexity
from wavenet_zoo.weights.metadata import WeightsMetadata

__all__ = ["model_card"]


def model_card(
    repo: str, license: str, metadata: WeightsMetadata, record: dict[str, Any], cost: Complexity, sha256: str
) -> str:
    """Return README.md of a repository of weights, all figures from the evaluation record and the counter.

    Args:
        repo: ORG/NAME.
        license: Of the weights.
        metadata: What the weights say of themselves.
        record: Of an evaluation of these very weights, without paths.
        cost: Of the model at the evaluated size.
        sha256: Of the weights.
    """
    data, preprocessing = record["data"], record["preprocessing"]
    dataset = {"task_type": "image-classification", "dataset_type": data["name"], "dataset_name": data["name"],
               "dataset_split": data["split"]}  # fmt: skip
    header = ModelCardData(
        license=license,
        library_name="timm",
        pipeline_tag="image-classification",
        tags=["image-classification", "timm", "waveletnet", "wavenet_zoo"],
        model_name=repo.partition("/")[2],
        eval_results=[
            EvalResult(metric_type="accuracy", metric_name=name, metric_value=round(record[key], 4), **dataset)
            for name, key in (("top-1", "top1"), ("top-5", "top5"))
        ],
    )
    arguments = "".join(f", {key}={value!r}" for key, value in metadata.model_kwargs.items())
    versions = record["environment"]["versions"]
    return f"""---
{header.to_yaml()}
---

# {metadata.model}{f" ({arguments[2:]})" if arguments else ""}, trained on {metadata.data}

A model of wavenet_zoo, which implements *WaveletNet: Logarithmic Scale Efficient Convolutional Neural Networks for Edge
Devices* (Jing, Dangovski, Soljačić) on timm. It tells {len(metadata.classes or [])} classes apart.

```python
import timm
import wavenet_zoo  # registers the architecture; without it timm says "Unknown model"

model = timm.create_model("hf-hub:{repo}", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
```

| | |
|---|---|
| evaluated on | {data["name"]}, {data["split"]}: {record["images"]:,} images{_seen(data)} |
| top-1 | {record["top1"]:.2f} % ({record["correct_top1"]} of {record["images"]}) |
| top-5 | {record["top5"]:.2f} % ({record["correct_top5"]} of {record["images"]}) |
| preprocessing | {preprocessing["description"]} |
| parameters | {cost.params:,} |
| MACs at {cost.input_size[1]} px | {cost.macs:,} |
| recipe | {metadata.recipe}, seed {metadata.seed}, {metadata.epoch} epochs, sha256 {str(metadata.recipe_sha256)[:12]} |
| weights | {"moving average of the weights" if metadata.variant == "ema" else "weights of the last epoch"} |
| sha256 of model.safetensors | `{sha256}` |
| licence | {license} |

Trained with {_versions(metadata.versions)}; evaluated with {_versions(versions)}. `recipe.yaml` is the recipe with
every value in effect, `results.json` the evaluation; repeat it with
`wavezoo eval {metadata.model} --weights model.safetensors`.
"""


def _seen(data: dict[str, Any]) -> str:
    return {"training": ", which it learned from", "validation": ", which it was validated on"}.get(data["seen"], "")


def _versions(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {versions[name]}" for name in ("wavenet_zoo", "timm", "torch") if name in versions)
