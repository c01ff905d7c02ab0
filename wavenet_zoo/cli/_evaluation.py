"""How the result of an evaluation is shown."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wavenet_zoo.cli._output import Facts, Table, facts, table

if TYPE_CHECKING:
    from wavenet_zoo.evaluation.metrics import Scores
    from wavenet_zoo.evaluation.result import Evaluation

__all__ = ["describe_evaluation", "interval", "summarize", "table_of_classes"]


def describe_evaluation(result: "Evaluation") -> Facts:
    """Return the result of one evaluation as names and values."""
    data = result.data
    is_split = data["name"].rpartition("/")[2] == data["split"]  # the folder of a split, for example imagenet/val
    split = f", {data['split']}" if data["split"] and not is_split else ""
    rows = [
        ("model", result.model),
        ("weights", result.weights["description"]),
        ("data", f"{data['name']}{split}: {data['images']:,} images of {data['classes']:,} classes"),
    ]
    if result.limit:
        rows.append(("limit", f"limited evaluation of {result.limit['images']:,} of {result.limit['of']:,} images"))
    if result.weights["kind"] != "random":
        rows.append(("seen", _describe_overlap(data)))
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


def summarize(results: "Sequence[Evaluation]") -> Table:
    """Return one row per evaluation."""
    columns = [
        "model", "weights", "params, M", "px", "top-1, %", "95 % interval", "top-5, %", "macro, %", "loss", "ECE, %",
        "images/s",
    ]  # fmt: skip
    rows = [
        (
            r.model,
            r.weights["name"],
            f"{r.param_count / 1e6:.2f}" if r.param_count else "-",
            str(r.preprocessing["input_size"][-1]),
            f"{r.top1:.2f}",
            interval(r.top1_interval),
            f"{r.top5:.2f}",
            f"{r.macro_top1:.2f}",
            f"{r.loss:.4f}",
            f"{100 * r.ece:.2f}",
            f"{r.images_per_second:,.1f}",
        )
        for r in results
    ]
    optional = ["images/s", "ECE, %", "macro, %", "loss", "px", "params, M", "weights"]
    return table(columns, rows, text=["model", "weights"], optional=optional)


def interval(bounds: Sequence[float]) -> str:
    """Return an interval in percent as text."""
    return f"{bounds[0]:.2f} to {bounds[1]:.2f}"


def _describe_scores(result: "Evaluation") -> list[tuple[str, str]]:
    """Return the metrics. Where there are two ways of scoring, both are named and the chosen one is the first."""
    rows: list[tuple[str, str]] = []
    for among in sorted(result.scores, key=lambda name: name != result.among):
        scores = result.scores[among]
        where = ""
        if len(result.scores) > 1:
            where = f", among {'all classes of the model' if among == 'all' else 'the classes of the data'}"
        rows += _describe(scores, where)
    return rows


def _describe(scores: "Scores", where: str) -> list[tuple[str, str]]:
    error = f" ± {scores.loss_standard_error:.4f}" if scores.loss_standard_error is not None else ""
    return [
        ("top-1", _describe_share(scores.top1, scores.top1_interval, scores.correct_top1, scores.images) + where),
        ("top-5", _describe_share(scores.top5, scores.top5_interval, scores.correct_top5, scores.images) + where),
        ("macro top-1", f"{scores.macro_top1:.2f} %, mean over classes" + where),
        ("loss", f"{scores.loss:.4f}{error} (standard error)" + where),
        ("calibration", f"expected error {100 * scores.ece:.2f} %" + where),
    ]


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


def _describe_overlap(data: Mapping[str, Any]) -> str:
    overlap, images = data["overlap"], f"{data['images']:,}"
    if overlap is None and data["seen"]:
        return f"file names and sizes are those of the {data['seen']} images; their contents are not recorded"
    if overlap is None:
        return "unknown: the images that the weights were trained on are not recorded"
    if data["seen"] == "neither":
        return f"none of the {images} images was trained or validated on"
    words = {"training": "trained", "validation": "validated"}
    return ", ".join(
        f"{overlap[split]:,} of {images} images were {words[split]} on" for split in words if overlap[split]
    )


def _describe_time(result: "Evaluation") -> str:
    time = result.time
    where = f"in {result.workers} workers" if result.workers else "part of the waiting"
    return (
        f"{result.seconds:.1f} s: model {time['model']:.1f} s, waiting for images {time['waiting']:.1f} s "
        f"(decoding {time['decoding']:.1f} s, {where})"
    )
