"""Training: the time of a training step."""

from commands import bench_table, wavezoo


def measure() -> dict:
    """Measure a step of two networks in each form."""
    result = wavezoo("bench", "waveletnet_x1", "--train", "--size", "64", "--batch", "64", "--seconds", "4")
    second = wavezoo("bench", "waveletnet_cifar_m2", "--train", "--batch", "128", "--seconds", "6")
    result["rows"] += second["rows"]
    return result


def table(result: dict) -> str:
    """Return the table as Markdown."""
    return bench_table(result)
