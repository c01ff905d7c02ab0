"""Batches: inference of waveletnet_x1 in torch by batch size."""

from commands import bench_table, wavezoo


def measure() -> dict:
    """Measure the network as timm builds it, and folded."""
    return wavezoo("bench", "waveletnet_x1", "--form", "dense", "--batch", "1,4,16,64", "--seconds", "2")


def table(result: dict) -> str:
    """Return the table as Markdown."""
    return bench_table(result)
