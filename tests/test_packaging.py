import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    if not (REPOSITORY / "pyproject.toml").is_file():
        pytest.skip("not a checkout")
    return build_wheel(REPOSITORY, tmp_path_factory.mktemp("wheel"))


def build_wheel(source: Path, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "wheel", source, "--no-deps", "--no-build-isolation", "-w", folder]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


def test_the_source_archive_builds_the_very_same_wheel(wheel, tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", tmp_path]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with zipfile.ZipFile(build_wheel(archive, tmp_path)) as from_archive, zipfile.ZipFile(wheel) as from_checkout:
        assert set(from_archive.namelist()) == set(from_checkout.namelist())
        for name in from_checkout.namelist():
            if not name.endswith("RECORD"):
                assert from_archive.read(name) == from_checkout.read(name), name


def test_the_wheel_carries_code_recipes_and_weights_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    recipes = {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "recipes").rglob("*.yaml")}
    assert {f"wavenet_zoo/_shipped/{recipe}" for recipe in recipes} <= set(names) and len(recipes) > 30
    assert "wavenet_zoo/_shipped/checkpoints/manifest.json" in names
    assert "wavenet_zoo/_shipped/results/cifar10/waveletnet_m1/seed0/result.json" in names
    assert "wavenet_zoo/_shipped/checkpoints/waveletnet_cifar_m1.digits.safetensors" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"wavenet_zoo"}


def test_the_unpacked_wheel_evaluates_without_the_repository(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = "import wavenet_zoo; from wavenet_zoo.cli.main import cli; cli(['eval', 'waveletnet_cifar_m1', '--json'])"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["top1"] >= 97
    code = "import wavenet_zoo, wavenet_zoo.recipes as r; print(wavenet_zoo.__file__, r.find_recipe('digits'))"
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.stdout.count(str(tmp_path / "site")) == 2
