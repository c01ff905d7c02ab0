"""The model card of a repository of weights."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from wavenet_zoo.complexity import Complexity
from wavenet_zoo.data.open import is_named
from wavenet_zoo.edge.int8 import Int8Checks
from wavenet_zoo.errors import one_line
from wavenet_zoo.weights.metadata import WeightsMetadata
from wavenet_zoo.zoo.record import EvaluationRecord

__all__ = ["exported_section", "model_card"]

TOP = 5  # with this many classes or fewer, top-5 is always 100 %
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
    has_top5 = not metadata.classes or len(metadata.classes) > TOP
    metrics = [("top-1", record.top1, record.correct_top1), ("top-5", record.top5, record.correct_top5)][: 1 + has_top5]
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
            for name, value, _ in metrics
        ],
    )
    arguments = "".join(f", {key}={value!r}" for key, value in metadata.model_kwargs.items())
    rows = "\n".join(f"| {name} | {value:.2f} % ({correct} of {record.images}) |" for name, value, correct in metrics)
    epochs = f", {metadata.epoch} epoch{'s' * (metadata.epoch != 1)}" if metadata.epoch is not None else ""
    return f"""---
{header.to_yaml()}
---

# {_text(f"{metadata.model}{f' ({arguments[2:]})' if arguments else ''}, trained on {metadata.data}")}

A model of wavenet_zoo, which implements *WaveletNet: Logarithmic Scale Efficient Convolutional Neural Networks for Edge
Devices* (Jing, Dangovski, Soljačić) on timm. It has {len(metadata.classes or [])} classes.

```python
import timm
import wavenet_zoo  # registers the architecture; without this import timm raises "Unknown model"

model = timm.create_model("hf-hub:{repo}", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
```

With transformers (`wavenet_zoo` must be installed; after `import wavenet_zoo`, `trust_remote_code` is not required):

```python
from transformers import AutoImageProcessor, AutoModelForImageClassification

model = AutoModelForImageClassification.from_pretrained("{repo}", trust_remote_code=True).eval()
processor = AutoImageProcessor.from_pretrained("{repo}")
```

With torch.hub (requires `timm`, `pydantic` and `wrapt`, but not an installed `wavenet_zoo`):

```python
import torch

model = torch.hub.load("wavenet-zoo/wavenet_zoo", "from_hub", "{repo}").eval()
```

| | |
|---|---|
| evaluated on | {_text(images)}{SEEN.get(str(data.seen), "")} |
{rows}
| preprocessing | {record.preprocessing} |
| parameters | {cost.params:,} |
| MACs at {cost.input_size[1]} px | {cost.macs:,} |
| recipe | {_text(str(metadata.recipe))}, seed {metadata.seed}{epochs}, sha256 {str(metadata.recipe_sha256)[:12]} |
| weights | {"moving average (EMA) of the weights" if metadata.variant == "ema" else "weights of the last epoch"} |
| sha256 of model.safetensors | `{sha256}` |
| license | {license} |

Trained with {_software(metadata.versions, metadata.git)}. Evaluated with
{_software(environment.versions, environment.git)}. `recipe.yaml` is the recipe with every default, `results.json` the
evaluation. To reproduce it{"" if is_named(data.name) else f", with the folder of images {_text(data.name)}"}:

```sh
{_command(repo, metadata, record)}
```
"""


def exported_section(
    repo: str,
    record: EvaluationRecord,
    models: Sequence[str],
    files: Mapping[str, bytes],
    int8: Mapping[str, Int8Checks],
) -> str:
    """Return the section of README.md that lists exported files.

    Args:
        repo: ORG/NAME.
        record: The evaluation of the weights.
        models: Names of the exported models.
        files: Content of the exported files by name, with their metadata.
        int8: What int8 costs, by name of the exported model.
    """
    rows = "\n".join(f"| `{name}` | {len(content):,} |" for name, content in files.items())
    return f"""
## Exported files

They map images, (B, C, H, W) of float32 after the preprocessing above, to logits. The accuracy above is that of
`model.safetensors`.

| file | bytes |
|---|---|
{rows}
{"".join(_int8_line(name, checks) for name, checks in int8.items())}
```sh
{shlex.join(["hf", "download", repo, "--include", f"{models[0].partition('/')[0]}/*", "--local-dir", "."])}
{shlex.join(["wavezoo", "eval", models[0], *_data_options(record)])}
```
"""


def _int8_line(name: str, checks: Int8Checks) -> str:
    text = f"the same class as fp32 for {checks.agreement:.1f} % of {checks.held_out_images:,} held-out images"
    if checks.interval is not None:
        low, high = checks.interval
        text += (
            f"; top-1 {checks.top1:.2f} % on {_text(str(checks.data))} ({checks.images:,} images), "
            f"{checks.difference:+.2f} points against fp32 (paired 95 % interval {low:+.2f} to {high:+.2f})"
        )
    return f"\n`{name}`: {text}.\n"


def _command(repo: str, metadata: WeightsMetadata, record: EvaluationRecord) -> str:
    """Return the command that repeats an evaluation, with what differs from the defaults of the weights."""
    own, used = metadata.preprocessing, record.preprocessing
    options = _data_options(record)
    if record.precision != "fp32":
        options += ["--precision", record.precision]
    if own is not None and own != used:
        options += ["--size", str(used.input_size[-1]), "--crop-pct", str(used.crop_pct)]
        options += ["--interpolation", used.interpolation]
    return shlex.join(["wavezoo", "eval", f"hf-hub:{repo}", *options])


def _data_options(record: EvaluationRecord) -> list[str]:
    split = ["--split", one_line(record.data.split)] if record.data.split else []
    return ["--data", one_line(record.data.name), *split]


def _text(text: str) -> str:
    """Return text of unknown origin for a line or a cell of Markdown."""
    return one_line(text).replace("|", "\\|").replace("<", "&lt;")


def _software(versions: Mapping[str, str], git: Mapping[str, Any] | None) -> str:
    """Return versions and commit in words."""
    parts = [f"{name} {versions[name]}" for name in ("wavenet_zoo", "timm", "torch") if name in versions]
    if git:
        parts.append(f"commit {str(git.get('commit'))[:12]}{' (modified)' if git.get('dirty') else ''}")
    return ", ".join(parts)
