"""Inference: waveletnet_x1 in each form and engine, against mobilenetv2_100."""

import sys
from pathlib import Path

from commands import bench_table, run, wavezoo

DRAW = Path(__file__).resolve().parent.parent / "docs" / "images" / "draw.py"
ENGINES = ["openvino", "torch", "onnxruntime", "compile", "executorch"]
FORMS = {  # auto takes minutes in the other engines, which export or compile every candidate
    "openvino": "factored,dense,auto",
    "torch": "factored,dense,auto",
}


def measure(engine: str, stored: dict) -> dict:
    """Measure one engine, and put its rows beside the stored rows of the others.

    Args:
        engine: Engine to measure.
        stored: The last result; empty if there is none.
    """
    forms = FORMS.get(engine, "factored,dense,split2,halves")
    models = ["waveletnet_x1", "--against", "mobilenetv2_100", "--seconds", "2"]
    part = wavezoo("bench", *models, "--engine", engine, "--form", forms)
    rows = [row for row in stored.get("rows", []) if row["engine"] != engine] + part["rows"]
    return {**part, "rows": rows, "versions": {**stored.get("versions", {}), **part["versions"]}}


def table(result: dict) -> str:
    """Return the table as Markdown."""
    return bench_table(result)


def plot() -> None:
    """Draw docs/images/inference.svg from the stored result."""
    run([sys.executable, DRAW, "inference"])
