"""What importing the package costs and does, and which part may import which."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

import wavenet_zoo
from wavenet_zoo.cli.main import COMMANDS

PACKAGE = Path(__file__).resolve().parent.parent / "wavenet_zoo"

# Imports point from later lines to earlier ones.
LAYERS = [
    {"errors", "layers"},
    {"runtime"},
    {"models", "recipes"},
    {"data"},
    {"weights"},
    {"complexity"},
    {"deployment"},
    {"evaluation"},
    {"training"},
    {"zoo"},
    {"paper"},
    {"cli"},
    {"__main__"},
]


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_the_package_loads_neither_torch_nor_timm():
    assert run("import sys, wavenet_zoo; print({'torch', 'timm', 'click', 'pydantic'} & set(sys.modules))") == "set()"


def test_help_loads_neither_torch_nor_timm_and_answers_within_0_3_s():
    code = (
        "import sys, wavenet_zoo.cli.main as m\n"
        "try: m.cli(['--help'])\n"
        "except SystemExit: pass\n"
        "print({'torch', 'timm', 'rich', 'pydantic'} & set(sys.modules))"
    )
    assert run(code).splitlines()[-1] == "set()"
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "wavenet_zoo", "--help"], capture_output=True, check=True)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.3


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_loads_neither_torch_nor_timm(command):
    code = (
        "import sys, wavenet_zoo.cli.main as m\n"
        f"try: m.cli(['{command}', '--help'])\n"
        "except SystemExit as e: assert e.code == 0\n"
        "print({'torch', 'timm', 'rich'} & set(sys.modules))"
    )
    assert run(code).splitlines()[-1] == "set()"


@pytest.mark.parametrize(
    "imports",
    [
        "import wavenet_zoo, timm",
        "import timm, wavenet_zoo",
        "import wavenet_zoo; import timm.models",
        "import wavenet_zoo; from timm.models import create_model; import timm",
        "import wavenet_zoo.models, timm",
        "from wavenet_zoo.layers import DFWT; import timm",
    ],
)
def test_models_are_registered_in_every_import_order(imports):
    code = f"{imports}; print(sum(p.numel() for p in timm.create_model('waveletnet_x1', device='meta').parameters()))"
    assert run(code) == "2722272"


def test_the_functions_behind_the_commands_are_there_and_documented():
    import wavenet_zoo

    for name in (
        "ablate",
        "bench",
        "connectivity",
        "count",
        "dry_run",
        "evaluate",
        "export",
        "info",
        "list_models",
        "publish",
        "table",
        "train",
    ):
        assert name in dir(wavenet_zoo)
        assert "Args:" in getattr(wavenet_zoo, name).__doc__
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = wavenet_zoo.nothing_like_it


def test_no_function_hides_behind_a_part_of_the_package_with_its_name():
    parts = {path.name.removesuffix(".py") for path in PACKAGE.iterdir()}
    assert not parts & set(wavenet_zoo.__all__)  # importing such a part would put it in the function's place


def imported_parts(path: Path) -> set[str]:
    """Return the first-level parts of the package that a file imports anywhere, type checking included."""
    parts = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = path.relative_to(PACKAGE).parts[: -node.level]
            parts.add((*base, *(node.module or "").split("."))[0] or node.names[0].name)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("wavenet_zoo."):
            parts.add(node.module.split(".")[1])
    return parts


def test_imports_point_one_way():
    rank = {part: i for i, parts in enumerate(LAYERS) for part in parts}
    seen = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if part == "__init__":
            continue
        seen.add(part)
        for imported in imported_parts(path) - {part}:
            assert rank[imported] < rank[part], f"{path} imports {imported}"
    assert seen == set(rank)


def test_layers_and_models_import_nothing_but_torch_timm_and_each_other():
    allowed = {
        "torch",
        "timm",
        "typing",
        "dataclasses",
        "json",
        "functools",
        "pathlib",
        "pytorchcv",  # NASNet
        "huggingface_hub",  # which timm needs anyway
        "hashlib",
        "os",
        "re",
        "urllib",
        "warnings",
    }
    for path in [*(PACKAGE / "layers").glob("*.py"), *(PACKAGE / "models").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert {name.split(".")[0] for name in names} <= allowed, path


def test_layers_and_models_work_when_copied_elsewhere(tmp_path):
    import shutil

    for folder in ("layers", "models"):
        shutil.copytree(PACKAGE / folder, tmp_path / "elsewhere" / folder)
    (tmp_path / "elsewhere" / "__init__.py").touch()
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import elsewhere.models, timm\n"
        "assert 'wavenet_zoo' not in sys.modules\n"
        "print(sum(p.numel() for p in timm.create_model('waveletnet_cifar_m1', device='meta').parameters()))"
    )
    assert run(code) == "18714"
