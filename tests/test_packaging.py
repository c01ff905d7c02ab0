"""The wheel and the source archive: which files they hold, and that they work without the repository."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from wavenet_zoo import __version__

REPOSITORY = Path(__file__).resolve().parent.parent
SHIPPED = "wavenet_zoo/_shipped"
TEMPLATES = "wavenet_zoo/evaluation/templates"

if not (REPOSITORY / "pyproject.toml").is_file():
    pytest.skip("not a checkout", allow_module_level=True)


def run(*command, **kwargs) -> str:
    finished = subprocess.run([sys.executable, *command], capture_output=True, text=True, **kwargs)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def build_wheel(source: Path, folder: Path) -> Path:
    run("-m", "pip", "wheel", source, "--no-deps", "--no-build-isolation", "-w", folder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return build_wheel(REPOSITORY, tmp_path_factory.mktemp("wheel"))


def test_source_archive_builds_the_same_wheel(wheel, tmp_path):
    run("-m", "hatchling", "build", "--target", "sdist", "--directory", tmp_path, cwd=REPOSITORY)
    (archive,) = tmp_path.glob("*.tar.gz")
    with zipfile.ZipFile(build_wheel(archive, tmp_path)) as from_archive, zipfile.ZipFile(wheel) as from_checkout:
        assert set(from_archive.namelist()) == set(from_checkout.namelist())
        for name in from_checkout.namelist():
            if not name.endswith("RECORD"):
                assert from_archive.read(name) == from_checkout.read(name), name


def test_wheel_holds_code_and_the_data_files_it_reads(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    manifest = json.loads((REPOSITORY / "checkpoints" / "manifest.json").read_text(encoding="utf-8"))
    weights = {entry["file"] for entry in manifest["checkpoints"] if "file" in entry}
    images = {name.replace(".safetensors", ".images.safetensors") for name in weights}
    runs = {path.parent for path in (REPOSITORY / "results").rglob("result.json")}
    read = [
        *(REPOSITORY / "recipes").rglob("*.yaml"),
        *(REPOSITORY / "checkpoints" / name for name in {"manifest.json", *weights, *images}),
        *(folder / name for folder in runs for name in ("recipe.yaml", "run.json", "result.json")),
    ]
    assert weights and runs
    data = {name for name in names if name.startswith(f"{SHIPPED}/")}
    assert data == {f"{SHIPPED}/{path.relative_to(REPOSITORY).as_posix()}" for path in read}
    assert names - data == {
        path.relative_to(REPOSITORY).as_posix()
        for path in (REPOSITORY / "wavenet_zoo").rglob("*")
        if path.suffix in (".py", ".typed") or (path.is_file() and "templates" in path.parts)
    }
    assert "wavenet_zoo/py.typed" in names
    assert {f"{TEMPLATES}/{name}" for name in ("evaluation.html", "sortable/LICENSE")} <= names


def test_unpacked_wheel_works_without_the_repository(wheel, tmp_path):
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    code = "import wavenet_zoo; from wavenet_zoo.cli.main import cli; cli(['eval', 'waveletnet_cifar_m1', '--json'])"
    assert json.loads(run("-c", code, cwd=tmp_path, env=environment))["top1"] >= 97
    code = (
        "import wavenet_zoo, wavenet_zoo.recipes as r\n"
        "from wavenet_zoo.paper.measured import find_runs\n"
        "print(wavenet_zoo.__file__, r.find_recipe('digits'), len(find_runs()))"
    )
    *paths, runs = run("-c", code, cwd=tmp_path, env=environment).split()
    assert all(path.startswith(str(site)) for path in paths) and len(paths) == 2
    weights = {json.loads(path.read_text())["weights_sha256"] for path in (REPOSITORY / "results").rglob("result.json")}
    assert int(runs) == len(weights)


def test_editable_install_imports_the_checkout_and_copies_nothing(tmp_path):
    code = "import sys; from hatchling.build import build_editable; build_editable(sys.argv[1])"
    run("-c", code, tmp_path, cwd=REPOSITORY)
    (editable,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(editable).namelist()
    assert [name for name in names if ".dist-info/" not in name] == ["_wavenet_zoo.pth"]
    site = tmp_path / "site"
    zipfile.ZipFile(editable).extractall(site)
    code = (
        "import site, sys; before = len(sys.path); site.addsitedir(sys.argv[1])\n"
        "sys.path[:] = sys.path[before:] + sys.path[:before]  # before an installed wavenet_zoo\n"
        "import wavenet_zoo, wavenet_zoo.recipes as r; print(wavenet_zoo.__file__, r.find_recipe('digits'))"
    )
    paths = run("-I", "-c", code, site, cwd=tmp_path).split()
    assert paths == [str(REPOSITORY / "wavenet_zoo" / "__init__.py"), str(REPOSITORY / "recipes" / "digits.yaml")]


def test_citation_and_changelog_name_the_version():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    assert f"## [{__version__}]" in (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
