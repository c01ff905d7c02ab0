"""Units: the time of each unit of waveletnet_x1 by form."""

from dataclasses import asdict

ENGINES = ("openvino",)


def measure() -> dict:
    """Measure the units of waveletnet_x1 separately in each form."""
    import torch

    from wavenet_zoo.deployment.choose import measure_units
    from wavenet_zoo.weights.loading import load_model

    network = load_model("waveletnet_x1", "none")[0].eval()
    images = torch.randn(16, 3, 224, 224)
    return {engine: [asdict(kind) for kind in measure_units(network, images, engine)] for engine in ENGINES}


def table(result: dict) -> str:
    """Return a table for each engine as Markdown."""
    return "\n\n".join(_engine_table(engine, kinds) for engine, kinds in result.items())


def _engine_table(engine: str, kinds: list[dict]) -> str:
    forms = list(dict.fromkeys(form for kind in kinds for form in kind["milliseconds"]))
    all_dense = sum(len(kind["names"]) * kind["milliseconds"]["dense"] for kind in kinds)
    lines = [f"| {engine}: size, channels | units | {' | '.join(forms)} | share of the dense time |",
             "| --- | ---: |" + " ---: |" * (len(forms) + 1)]  # fmt: skip
    for kind in kinds:
        milliseconds = " | ".join(f"{kind['milliseconds'][form]:.2f}" for form in forms)
        share = len(kind["names"]) * kind["milliseconds"]["dense"] / all_dense
        channels = " -> ".join(map(str, kind["channels"]))
        lines.append(f"| {kind['shape'][-1]} px, {channels} | {len(kind['names'])} | {milliseconds} | {share:.0%} |")
    return "\n".join(lines)
