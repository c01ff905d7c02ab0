"""int8 in TFLite: top-1 by the rule that joins the ranges of activations over the calibration images.

python benchmarks/calibration.py --data tiny-imagenet-200    # requires the extra tflite
"""

import argparse
import tempfile
from pathlib import Path
from unittest import mock

RULES = {"moving average": "moving_average_update", "minimum and maximum": "min_max_update"}


def measure(data: Path) -> dict:
    """Quantize waveletnet_x1 by each rule, and compare it with fp32.

    Args:
        data: Tiny-ImageNet-200, for calibration and top-1.

    Returns:
        The checks of :func:`wavenet_zoo.export` for each rule.
    """
    from ai_edge_quantizer.utils import qsv_utils

    from wavenet_zoo import export
    from wavenet_zoo.runtime.results import to_plain

    result = {}
    for name, rule in RULES.items():
        with (
            tempfile.TemporaryDirectory() as folder,
            mock.patch.object(qsv_utils, "min_max_update", getattr(qsv_utils, rule)),  # as the export imports it
        ):
            options = {"out": Path(folder, "x1.tflite"), "int8": True, "calibrate": data, "data": data}
            result[name] = to_plain(export("waveletnet_x1", "tflite", **options, max_drop=100.0).int8)
    return result


def table(result: dict) -> str:
    """Return the table as Markdown."""
    lines = []
    for name, checks in result.items():
        low, high = checks["interval"]
        lines.append(
            f"| static int8, {name} | {checks['top1']:.2f} | {checks['difference']:+.2f} ({low:+.2f} to {high:+.2f}) |"
        )
    first = next(iter(result.values()))
    head = f"| waveletnet_x1, {first['images']:,} images | top-1, % | to fp32, points (95 % interval) |"
    return "\n".join([head, "|---|---|---|", f"| fp32 | {first['top1_fp32']:.2f} | |", *lines])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Tiny-ImageNet-200")
    print(table(measure(parser.parse_args().data)))
