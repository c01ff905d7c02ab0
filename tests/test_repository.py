"""What is true of the repository as a whole: sizes, and that README says what the commands print."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import torch

from wavenet_zoo import count
from wavenet_zoo.models._manifest import read_manifest
from wavenet_zoo.recipes import list_recipes, load_recipe

REPOSITORY = Path(__file__).resolve().parent.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def tracked_files():
    listing = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [REPOSITORY / name for name in listing.stdout.splitlines() if (REPOSITORY / name).is_file()]


def test_only_checkpoints_may_be_large_and_none_above_12_mb():
    for path in tracked_files():
        limit = 12_000_000 if path.parent.name == "checkpoints" else 500_000
        assert path.stat().st_size < limit, path


def test_ci_runs_the_test_command_of_the_readme():
    commands = re.findall(r"^pip install .*$", README, re.MULTILINE)
    assert commands == [
        'pip install ".[digits]" && wavezoo eval waveletnet_cifar_m1',
        'pip install -e ".[test]" && pytest',
    ]
    assert commands[1] in (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")


def test_the_readme_shows_the_counts_that_the_command_prints():
    table = re.search(r"<!-- counts -->\n(.*?)<!-- /counts -->", README, re.DOTALL).group(1)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    assert len(rows) == 5
    for names, *numbers, published in rows:
        for name in re.findall(r"`(\w+)`", names):
            cost = count(name)
            figures = [cost.params, cost.macs, cost.macs_paper_convention, cost.dfwt_adds]
            assert numbers == [f"{figure:,}" for figure in figures], name
        millions = re.match(r"([\d.]+)M(?:, (\d+)M)?", published)
        # Table 2 cuts 1.105786M off after two digits; the others round
        assert millions.group(1) in (f"{cost.params / 1e6:.2f}", str(cost.params // 10_000 / 100) + "0")
        assert millions.group(2) in (None, f"{cost.macs_paper_convention / 1e6:.0f}")


def test_readme_and_changelog_show_the_result_that_the_manifest_states():
    (stated,) = [e["results"]["digits/test"] for e in read_manifest().values() if e["data"] == "digits"]
    line = f"{stated['top1']:.2f} %  ({stated['correct_top1']} of {stated['images']})"
    assert f"top-1          {line}\n" in README and f"manifest       states top-1 {line}\n" in README
    assert line.replace("  ", " ") in (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    assert read_manifest()["waveletnet_cifar_m1.digits"]["sha256"][:12] in README


def test_the_readme_shows_the_run_whose_curve_it_shows():
    result = json.loads((REPOSITORY / "docs" / "cifar10_waveletnet_m1.json").read_text(encoding="utf-8"))
    assert (REPOSITORY / "docs" / "cifar10_waveletnet_m1.png").read_bytes().startswith(b"\x89PNG")
    text = " ".join(re.search(r"<!-- m1 -->\n(.*?)<!-- /m1 -->", README, re.DOTALL).group(1).split())
    assert f"top-1 {result['last']['top1']:.2f} %" in text and f"{result['epochs']} epochs" in text
    assert f"went on {len(result['resumed'])} times" in text
    assert (
        result["recipe"] == "cifar10/waveletnet_m1"
        and result["recipe_sha256"] == load_recipe(result["recipe"]).sha256()
    )


def test_the_python_of_the_readme_runs_as_printed():
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 2
    names = {"x": torch.randn(1, 384, 4, 4)}
    for block in blocks:
        exec(block, names)
    assert names["y"].shape == (1, 64, 4, 4)


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_has_a_header_with_its_command(name):
    text = list_recipes()[name].read_text(encoding="utf-8")
    assert text.startswith("#") and f"wavezoo train recipes/{name}.yaml" in text
