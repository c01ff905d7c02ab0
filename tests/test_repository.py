"""The repository as a whole: sizes of files, generated tables, code blocks and headers."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from wavenet_zoo.paper.documents import check_tables
from wavenet_zoo.recipes import list_recipes, load_recipe

REPOSITORY = Path(__file__).resolve().parent.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def tracked_files():
    listing = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [REPOSITORY / name for name in listing.stdout.splitlines() if (REPOSITORY / name).is_file()]


def test_only_checkpoints_are_large_and_none_exceeds_12_mb():
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


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("README.md", {"models"}),
        ("docs/tables.md", {*"1234567", "measured"}),
        ("docs/results.md", {"3", "depth", "pairs"}),
        ("docs/reference/models.md", {"models"}),
    ],
)
def test_tables_in_documents_are_what_the_command_prints(name, numbers):
    pytest.importorskip("pytorchcv", reason="needs the extra peers, which counts NASNet")
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    assert set(re.findall(r"<!-- wavezoo table (\w+) -->", text)) == numbers
    check_tables(REPOSITORY / name)


def test_figures_in_documents_exist_and_have_a_command():
    """Every figure of the documents exists, and ``draw.py`` draws all of them but the picture of a report."""
    embedded = {
        (document.parent / name).resolve()
        for document in tracked_files()
        if document.suffix == ".md"
        for name in re.findall(r"!\[[^\]]*\]\(([^)]+\.(?:svg|png))\)", document.read_text(encoding="utf-8"))
        if not name.startswith("http")
    }
    images = REPOSITORY / "docs" / "images"
    assert embedded == {path for path in images.iterdir() if path.suffix in (".svg", ".png")}
    listed = subprocess.run([sys.executable, images / "draw.py", "nothing"], capture_output=True, text=True).stderr
    names = re.findall(r"\w+", listed.partition("use ")[2])
    assert {path.stem for path in embedded} - {"report"} == set(names)
    assert all(path.stat().st_size < 150_000 for path in embedded if path.suffix == ".svg")


def test_every_result_has_a_shipped_recipe_and_no_local_path():
    runs = sorted((REPOSITORY / "results").rglob("result.json"))
    assert runs
    for path in runs:
        result, record = (json.loads((path.parent / n).read_text()) for n in ("result.json", "run.json"))
        kept, shipped = load_recipe(path.parent / "recipe.yaml"), load_recipe(result["recipe"])
        assert kept.sha256() == result["recipe_sha256"] == record["recipe_sha256"]
        differing = {line.split(":")[0] for line in kept.differences(shipped)}
        overrides = {key for key in differing - {"seed", "schedule.epochs"} if not key.startswith("model.")}
        allowed = {"schedule.milestones", "schedule.warmup_epochs", "precision", "batch_size", "optimizer.lr"}
        assert overrides <= allowed, path
        assert "/" not in record["data"] and result["weights"] is None and not result["out"].startswith("/")


def test_python_blocks_of_the_readme_run():
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 2
    names = {"x": torch.randn(1, 384, 4, 4)}
    for block in blocks:
        exec(block, names)
    assert names["y"].shape == (1, 64, 4, 4)


@pytest.mark.parametrize("name", list_recipes())
def test_recipe_has_a_header_with_its_command(name):
    text = list_recipes()[name].read_text(encoding="utf-8")
    assert text.startswith("#") and f"wavezoo train recipes/{name}.yaml" in text


def test_list_of_faults_is_generated_from_the_tests(list_of_faults):
    document, expected = list_of_faults
    assert document.read_text(encoding="utf-8") == expected, "pytest --write-reliability --collect-only"
    assert "no test" not in expected
