"""For maintainers: add a comparison of networks to ``results/``, from which ``wavezoo table pairs`` reads it."""

from collections.abc import Mapping
from pathlib import Path

from wavenet_zoo.evaluation.compare import compare
from wavenet_zoo.paper.pairs_table import COMPARISON_FILE, ComparisonRecord, PairRecord
from wavenet_zoo.runtime.files import sha256_of
from wavenet_zoo.runtime.records import write_json
from wavenet_zoo.runtime.resources import CHECKOUT
from wavenet_zoo.weights.files import read_metadata

__all__ = ["archive_comparison"]


def archive_comparison(
    question: str,
    models: Mapping[str, str | Path],
    data: str | Path,
    name: str,
    results_dir: str | Path | None = None,
) -> Path:
    """Compare networks image by image, and write ``comparison.json`` to ``results/``, without the paths of images.

    Args:
        question: What the comparison answers.
        models: Weights files of finished runs, by the name of the network. The first is the baseline.
        data: Validation images.
        name: Folder below ``results/``, for example ``tiny_imagenet/modern``.
        results_dir: Overrides the checkout's ``results/``.

    Returns:
        The file.

    Raises:
        WavezooError: If a file is not of weights, or the data is missing.
    """
    comparison = compare(list(models.values()), data)
    names = dict(zip((model.name for model in comparison.models), models))
    record = ComparisonRecord.model_validate(
        {
            "question": question,
            "data": str(read_metadata(Path(next(iter(models.values())))).data),
            "images": comparison.images,
            "models": [
                {"name": names[m.name], "weights_sha256": sha256_of(path), "top1": m.top1, "correct": m.correct}
                for m, path in zip(comparison.models, map(Path, models.values()))
            ],
            "pairs": [
                {**{key: getattr(pair, key) for key in PairRecord.model_fields}, "a": names[pair.a], "b": names[pair.b]}
                for pair in comparison.pairs
            ],
        }
    )
    folder = (Path(results_dir) if results_dir is not None else CHECKOUT / "results") / name
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / COMPARISON_FILE, record.model_dump(mode="json"))
    return folder / COMPARISON_FILE
