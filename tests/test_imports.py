"""What importing the package costs and does, and which part may import which."""

import ast
import json
import subprocess
import sys
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
    {"edge"},
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


def test_help_loads_neither_torch_nor_timm():
    code = (
        "import sys, wavenet_zoo.cli.main as m\n"
        "try: m.cli(['--help'])\n"
        "except SystemExit: pass\n"
        "print({'torch', 'timm', 'rich', 'pydantic'} & set(sys.modules))"
    )
    assert run(code).splitlines()[-1] == "set()"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_loads_neither_torch_nor_timm(command):
    code = (
        "import sys, wavenet_zoo.cli.main as m\n"
        f"try: m.cli(['{command}', '--help'])\n"
        "except SystemExit as e: assert e.code == 0\n"
        "print({'torch', 'timm', 'rich'} & set(sys.modules))"
    )
    assert run(code).splitlines()[-1] == "set()"


RELOAD = "from importlib import reload; import timm, wavenet_zoo"
IN_A_THREAD = """
import sys, threading, time
thread = threading.Thread(target=__import__, args=("timm",))
thread.start()
while {!r} not in sys.modules: time.sleep(0.001)
import wavenet_zoo
thread.join()
"""
ORDERS = [
    "import wavenet_zoo, timm",
    "import timm, wavenet_zoo",
    "import timm.models, wavenet_zoo",
    "import wavenet_zoo; from timm.models import create_model",
    "from timm.models import create_model; import wavenet_zoo",
    "import wavenet_zoo; import timm.data",
    "import timm.data; import wavenet_zoo",
    "from timm.layers import DropPath; import wavenet_zoo",
    "import wavenet_zoo.models, timm",
    "from wavenet_zoo.layers import DFWT",
    f"{RELOAD}; reload(timm); reload(timm.models)",
    f"{RELOAD}; reload(wavenet_zoo); reload(timm.models); reload(timm)",
    "from importlib import reload; import wavenet_zoo; reload(wavenet_zoo)",
    *(IN_A_THREAD.format(module) for module in ("timm", "timm.models")),
]
# a process for each order, which does not import again what timm imports
RUN_ORDERS = """
import json, os, sys, huggingface_hub.hf_api, pydantic, safetensors.torch, torchvision.models.feature_extraction
failed = []
for order in json.loads(sys.argv[1]):
    pid = os.fork()
    if not pid:
        assert not {"timm", "wavenet_zoo"} & set(sys.modules)
        exec(order)
        import timm
        network = timm.create_model("waveletnet_x1", device="meta")
        os._exit(0 if sum(p.numel() for p in network.parameters()) == 2722272 else 1)
    if os.waitpid(pid, 0)[1]:
        failed.append(order)
print(failed)
"""


def test_models_are_registered_in_every_import_order():
    command = [sys.executable, "-c", RUN_ORDERS, json.dumps(ORDERS)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0 and finished.stdout == "[]\n", finished.stdout + finished.stderr


def test_the_functions_behind_the_commands_are_there_and_documented():
    import wavenet_zoo

    for name in (
        "ablate",
        "bench",
        "compare",
        "connectivity",
        "count",
        "dry_run",
        "edge_table",
        "evaluate",
        "export",
        "info",
        "list_models",
        "predict",
        "publish",
        "table",
        "train",
    ):
        assert name in dir(wavenet_zoo)
        assert "Args:" in getattr(wavenet_zoo, name).__doc__
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = wavenet_zoo.nothing_like_it


def test_no_function_has_the_name_of_a_part_of_the_package():
    parts = {path.name.removesuffix(".py") for path in PACKAGE.iterdir()}
    assert not parts & set(wavenet_zoo.__all__)  # importing the part would replace the function


def imports_of(path: Path) -> set[str]:
    """Return the modules of the package that a file imports anywhere, type checking included."""
    module = ("wavenet_zoo", *path.relative_to(PACKAGE).with_suffix("").parts)
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("wavenet_zoo.")}
        elif isinstance(node, ast.ImportFrom):
            base = [*module[: -node.level], *(node.module or "").split(".")] if node.level else [node.module or ""]
            base = ".".join(part for part in base if part)
            if base.partition(".")[0] == "wavenet_zoo":
                found |= {name if name in MODULES else base for name in (f"{base}.{a.name}" for a in node.names)}
    return found - {"wavenet_zoo"}


MODULES = {
    ".".join(("wavenet_zoo", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
    if path.parent != PACKAGE or path.name != "__init__.py"
}
IMPORTS = {module: imports_of(path) & set(MODULES) for module, path in MODULES.items()}


def test_imports_point_one_way():
    rank = {part: i for i, parts in enumerate(LAYERS) for part in parts}
    assert {module.split(".")[1] for module in MODULES} == set(rank)
    for module, imported in IMPORTS.items():
        part = module.split(".")[1]
        for other in {name.split(".")[1] for name in imported} - {part}:
            assert rank[other] < rank[part], f"{module} imports {other}"


def test_modules_have_no_import_cycle():
    remaining = {module: set(imported) - {module} for module, imported in IMPORTS.items()}
    while leaves := {module for module, imported in remaining.items() if not imported & set(remaining)}:
        remaining = {module: imported for module, imported in remaining.items() if module not in leaves}
    assert not remaining, "these modules import each other"


def test_no_module_imports_a_private_module_of_another_package():
    for module, imported in IMPORTS.items():
        for name in imported:
            if name.rpartition(".")[2].startswith("_"):
                package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
                assert name.rpartition(".")[0] == package, f"{module} imports {name}"


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
