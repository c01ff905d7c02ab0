"""How the result of an evaluation is shown."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wavenet_zoo.cli._output import Facts, Table, facts, table

if TYPE_CHECKING:
    from wavenet_zoo.evaluation.result import Evaluation

__all__ = ["describe_evaluation", "interval", "summarize", "table_of_classes"]


def describe_evaluation(result: "Evaluation") -> Facts:
    """Return the result of one evaluation as names and values."""
    from wavenet_zoo.data.splits import describe_split
    from wavenet_zoo.evaluation.overlap import describe_overlap

    data = result.data
    is_split = data["name"].rpartition("/")[2] == data["split"]  # the folder of a split, for example imagenet/val
    split = f", {describe_split(data['split'])}" if data["split"] and not is_split else ""
    rows = [
        ("model", result.model),
        ("weights", result.weights["description"]),
        ("data", f"{data['name']}{split}: {data['images']:,} images of {data['classes']:,} classes"),
    ]
    if result.limit:
        rows.append(("limit", f"limited evaluation of {result.limit['images']:,} of {result.limit['of']:,} images"))
    if result.weights["kind"] != "random":
        rows.append(("seen", describe_overlap(data)))
    if result.label_set:
        rows.append(("label set", result.label_set["description"]))
    rows.append(("preprocessing", result.preprocessing["description"]))
    rows += _describe_scores(result)
    rows += [
        ("throughput", f"{result.images_per_second:,.1f} images/s on {result.environment['device']}, with decoding"),
        ("time", _describe_time(result)),
    ]
    if stated := _stated(result):
        counts = f"({stated['correct_top1']:,} of {stated['images']:,})"
        rows.append(("manifest", f"states top-1 {stated['top1']:.2f} %  {counts}"))
    if result.skipped:
        rows.append(("skipped", f"{len(result.skipped):,} images that cannot be decoded: {', '.join(result.skipped)}"))
    return facts(rows)


def table_of_classes(per_class: Mapping[str, Mapping[str, int]]) -> Table:
    """Return the accuracy of every class as a table."""
    rows = [
        (
            name,
            f"{c['images']:,}",
            f"{c['correct']:,}",
            f"{100 * c['correct'] / c['images']:.2f}" if c["images"] else "-",
        )
        for name, c in per_class.items()
    ]
    return table(["class", "images", "correct", "top-1, %"], rows, text=["class"])


def summarize(results: "Mapping[str, Evaluation]") -> Table:
    """Return one row per evaluation.

    Args:
        results: Evaluations by model, as it was given. Models of equal name are shown as they were given.
    """
    models = [result.model for result in results.values()]
    names = {id(r): given if models.count(r.model) > 1 else r.model for given, r in results.items()}
    cells: dict[str, Callable[[Evaluation], str]] = {
        "model": lambda r: names[id(r)],
        "weights": lambda r: r.weights["name"],
        "params, M": lambda r: f"{r.param_count / 1e6:.2f}" if r.param_count else "-",
        "px": lambda r: str(r.preprocessing["input_size"][-1]),
        "top-1, %": lambda r: f"{r.top1:.2f}",
        "95 % interval": lambda r: interval(r.top1_interval),
        "top-5, %": lambda r: f"{r.top5:.2f}",
        "macro, %": lambda r: f"{r.macro_top1:.2f}",
        "loss": lambda r: f"{r.loss:.4f}",
        "ECE, %": lambda r: f"{100 * r.ece:.2f}",
        "images/s": lambda r: f"{r.images_per_second:,.1f}",
    }
    if any(len(r.scores) > 1 for r in results.values()):
        both = {
            f"top-1 among {among}, %": lambda r, among=among: (
                f"{r.scores[among].top1:.2f}" if among in r.scores else "-"
            )
            for among in ("all", "data")
        }
        cells = {
            "model": cells.pop("model"),
            "weights": cells.pop("weights"),
            "among": lambda r: r.among,
            **cells,
            **both,
        }
    optional = ["images/s", "ECE, %", "macro, %", "loss", "px", "params, M", "weights"]
    rows = [[cell(result) for cell in cells.values()] for result in results.values()]
    return table(list(cells), rows, text=["model", "weights", "among"], optional=optional)


def interval(bounds: Sequence[float]) -> str:
    """Return an interval in percent as text."""
    return f"{bounds[0]:.2f} to {bounds[1]:.2f}"


def _describe_scores(result: "Evaluation") -> list[tuple[str, str]]:
    """Return the metrics. Of two ways of scoring both are named, and the chosen one has all its metrics."""
    scores = result.scores[result.among]
    error = f" ± {scores.loss_standard_error:.4f} (standard error)" if scores.loss_standard_error is not None else ""
    rows = [
        ("top-1", _describe_share(scores.top1, scores.top1_interval, scores.correct_top1, scores.images)),
        ("top-5", _describe_share(scores.top5, scores.top5_interval, scores.correct_top5, scores.images)),
        ("macro top-1", f"{scores.macro_top1:.2f} %, mean over the classes"),
        ("loss", f"{scores.loss:.4f}{error}"),
        ("calibration", f"expected calibration error {100 * scores.ece:.2f} %"),
    ]
    if len(result.scores) == 1:
        return rows
    words = {
        "all": f"all {len(result.predictions.class_names):,} classes of the model",
        "data": f"the {result.data['classes']:,} classes of the data",
    }
    other = next(among for among in result.scores if among != result.among)
    scores = result.scores[other]
    share = _describe_share(scores.top1, scores.top1_interval, scores.correct_top1, scores.images)
    summary = f"top-1 {share}; top-5 {scores.top5:.2f} %, loss {scores.loss:.4f} (--among {other})"
    return [("scored among", words[result.among]), *rows, ("also among", f"{words[other]}: {summary}")]


def _describe_share(percent: float, bounds: Sequence[float], correct: int, images: int) -> str:
    return f"{percent:.2f} %  ({correct:,} of {images:,}), 95 % interval {interval(bounds)} %"


def _stated(result: "Evaluation") -> Any:
    """Return the result that the manifest states for these weights and images, if any."""
    data = result.data
    is_validation = data["seen"] == "validation" and data["fingerprint"] == result.weights["validation_fingerprint"]
    dataset = result.weights["data"] if is_validation else data["name"]  # whatever its folder is called
    results = result.weights["results"]
    if result.limit:
        return None
    stated = results.get(f"{dataset}/{data['split']}")
    if stated is None and is_validation:  # the validation images may be in a folder of another name
        stated = results.get(f"{dataset}/val")
    return stated


def _describe_time(result: "Evaluation") -> str:
    time = result.time
    where = f"in {result.workers} workers" if result.workers else "part of the waiting"
    return (
        f"{result.seconds:.1f} s: model {time['model']:.1f} s, waiting for images {time['waiting']:.1f} s "
        f"(decoding {time['decoding']:.1f} s, {where})"
    )
