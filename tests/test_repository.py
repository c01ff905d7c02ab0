"""What is true of the repository as a whole: sizes, and that README says what the commands print."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import torch

from wavenet_zoo.models import read_manifest
from wavenet_zoo.paper.documents import check_tables
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


@pytest.mark.parametrize(("name", "numbers"), [("README.md", {*"367", "measured"}), ("docs/tables.md", set("1234567"))])
def test_the_tables_in_documents_are_what_the_command_prints(name, numbers):
    pytest.importorskip("pytorchcv", reason="needs the extra peers, which counts NASNet")
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    assert set(re.findall(r"<!-- wavezoo table (\w+) -->", text)) == numbers
    check_tables(REPOSITORY / name)


def test_readme_and_changelog_show_the_result_that_the_manifest_states():
    (stated,) = [e["results"]["digits/test"] for e in read_manifest().values() if e["data"] == "digits"]
    line = f"{stated['top1']:.2f} %  ({stated['correct_top1']} of {stated['images']})"
    assert f"top-1          {line}\n" in README and f"manifest       states top-1 {line}\n" in README
    assert line.replace("  ", " ") in (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    assert read_manifest()["waveletnet_cifar_m1.digits"]["sha256"][:12] in README


@pytest.mark.parametrize(
    ("name", "run"),
    [
        ("waveletnet_x1.tiny_in200", "tiny_imagenet/waveletnet_x1"),
        ("waveletnet_cifar_m2.cifar10_jpeg", "cifar10/waveletnet_m2"),
    ],
)
def test_the_readme_states_of_shipped_weights_what_the_manifest_does(name, run):
    entry = read_manifest()[name]
    bullet = " ".join(README.partition(f"- `{name}`: ")[2].partition("\n- ")[0].split())
    (stated,) = entry["results"].values()
    counts = [f"{stated[f'top{k}']:.2f} % ({stated[f'correct_top{k}']:,} of {stated['images']:,})" for k in (1, 5)]
    assert f"{entry['epoch']} epochs of `{entry['recipe']}`" in bullet
    assert f"top-1 {counts[0]}, top-5 {counts[1]}" in bullet
    result = json.loads((REPOSITORY / "results" / run / "seed0" / "result.json").read_text(encoding="utf-8"))
    assert f" {result['last']['top1']:.2f} %" in bullet  # before storing in 16 bits; or in the precision of training


def test_what_the_readme_finds_is_in_its_tables():
    findings = re.search(r"<!-- findings -->\n(.*?)<!-- /findings -->", README, re.DOTALL).group(1)
    tables = "".join(re.findall(r"<!-- wavezoo table \w+ -->\n(.*?)<!-- /wavezoo", README, re.DOTALL))
    figures = re.findall(r"(?<![x\d.])\d+\.\d+(?: ± \d+\.\d+)?", findings)  # not the widths, x0.75
    assert figures and all(f" {figure} " in tables for figure in figures)


def test_the_readme_shows_the_run_whose_curve_it_shows():
    folder = REPOSITORY / "results" / "cifar10" / "waveletnet_m1" / "seed0"
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG")
    text = " ".join(re.search(r"<!-- m1 -->\n(.*?)<!-- /m1 -->", README, re.DOTALL).group(1).split())
    assert f"top-1 {result['last']['top1']:.2f} %" in text and f"{result['epochs']} epochs" in text
    assert f"went on {len(result['resumed'])} times" in text
    assert result["recipe"] == "cifar10/waveletnet_m1"


def test_every_result_is_of_a_recipe_of_today_and_names_no_path_of_a_machine():
    runs = sorted((REPOSITORY / "results").rglob("result.json"))
    assert runs
    for path in runs:
        result, record = (json.loads((path.parent / n).read_text()) for n in ("result.json", "run.json"))
        kept, shipped = load_recipe(path.parent / "recipe.yaml"), load_recipe(result["recipe"])
        assert kept.sha256() == result["recipe_sha256"] == record["recipe_sha256"]
        differing = {line.split(":")[0] for line in kept.differences(shipped)}
        shown = {key for key in differing - {"seed", "schedule.epochs"} if not key.startswith("model.")}
        assert shown <= {"schedule.milestones", "precision"} and all(f" {key}=" in README for key in shown), path
        assert "/" not in record["data"] and result["weights"] is None and not result["out"].startswith("/")


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


def test_the_list_of_faults_names_the_tests_that_there_are_and_every_case_has_one(list_of_faults):
    document, expected = list_of_faults
    assert document.read_text(encoding="utf-8") == expected, "pytest --write-reliability --collect-only"
    assert "no test" not in expected
