"""int8 in TFLite: top-1 by the method of calibration, moving average or minimum and maximum, and by type of the logits.

python benchmarks/calibration.py --data tiny-imagenet-200    # requires the extra tflite
"""

import argparse
import itertools
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

MODEL = "waveletnet_x1.tiny_in200"

RULES = {"moving average": "moving_average_update", "minimum and maximum": "min_max_update"}
LOGITS = ("int8", "float32")


def measure(data: Path) -> dict:
    """Quantize :data:`MODEL` in each way, and compare it with fp32.

    Args:
        data: Tiny-ImageNet-200, for calibration and top-1.

    Returns:
        ``rows``: for each way ``ranges``, ``logits``, and the checks of :func:`wavenet_zoo.export`.
    """
    from ai_edge_quantizer.utils import qsv_utils

    from wavenet_zoo import export
    from wavenet_zoo.deployment.formats import tflite
    from wavenet_zoo.runtime.results import to_plain

    rows = []
    for rule, logits in itertools.product(RULES, LOGITS):
        recipe = _quantize_everything if logits == "int8" else tflite._build_recipe
        with (
            tempfile.TemporaryDirectory() as folder,
            mock.patch.object(qsv_utils, "min_max_update", getattr(qsv_utils, RULES[rule])),  # which the export imports
            mock.patch.object(tflite, "_build_recipe", recipe),
        ):
            options = {"out": Path(folder, "x1.tflite"), "int8": True, "calibrate": data, "data": data}
            checks = to_plain(export(MODEL, "tflite", **options, max_drop=100.0).int8)
            rows.append({"ranges": rule, "logits": logits, **checks})
    return {"rows": rows}


def _quantize_everything() -> Any:
    """Return the quantizer's recipe for everything but the type of input and output."""
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.qtyping import TFLOperationName
    from ai_edge_quantizer.recipe_manager import RecipeManager

    recipe = RecipeManager()
    recipe.add_static_config(".*", TFLOperationName.ALL_SUPPORTED, activation_num_bits=8, weight_num_bits=8)
    for operation in (TFLOperationName.INPUT, TFLOperationName.OUTPUT):
        recipe.add_quantization_config(".*", operation, algorithm_key=AlgorithmName.NO_QUANTIZE)
    return recipe


def table(result: dict) -> str:
    """Return the table as Markdown."""
    lines = []
    for row in result["rows"]:
        low, high = row["interval"]
        difference = f"{row['difference']:+.2f} ({low:+.2f} to {high:+.2f})"
        lines.append(f"| {row['ranges']} | {row['logits']} | {row['top1']:.2f} | {difference} |")
    first = result["rows"][0]
    head = "| ranges of activations | logits | top-1, % | to fp32, points (95 % interval) |"
    note = f"{MODEL} on {first['images']:,} images of {first['data']}; fp32 has {first['top1_fp32']:.2f} %."
    return "\n".join([head, "|---|---|---:|---|", *lines, "", note])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Tiny-ImageNet-200")
    print(table(measure(parser.parse_args().data)))
