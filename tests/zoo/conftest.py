"""A local Hub, and real processes with an empty cache that use it."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def _load(name):
    if f"hub_{name}" not in sys.modules:
        spec = importlib.util.spec_from_file_location(f"hub_{name}", Path(__file__).with_name(f"{name}.py"))
        module = importlib.util.module_from_spec(spec)
        sys.modules[f"hub_{name}"] = module
        spec.loader.exec_module(module)
    return sys.modules[f"hub_{name}"]


@pytest.fixture
def fault():
    return _load("server").Fault


@pytest.fixture
def hub(request, tmp_path):
    """A local Hub; with ``indirect`` parameter ``xet`` it stores large files in hf_xet's filesystem store."""
    store = None
    if getattr(request, "param", None) == "xet":
        pytest.importorskip("hf_xet", reason="needs hf_xet")
        store = _load("xet").XetStore(tmp_path / "cas")
    server = _load("server").Hub(store)
    yield server
    server.close()


@pytest.fixture
def environment(hub, tmp_path):
    """Environment of a process that uses the local Hub; ``home`` names its cache."""

    def make(home="home", token="hf_write", **more):
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "WAVEZOO_", "HUGGING"))}
        ours = {
            "HF_ENDPOINT": hub.endpoint,
            "HF_HOME": str(tmp_path / home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            **({"HF_TOKEN": token} if token else {}),
        }
        return {key: value for key, value in {**inherited, **ours, **more}.items() if value is not None}

    return make


@pytest.fixture
def run(environment, tmp_path):
    """Run ``wavezoo`` in a real process, or Python code if the first argument is ``-c``."""

    def start(*args, timeout=120, **variables):
        command = [sys.executable, *([] if args[0] == "-c" else ["-m", "wavenet_zoo"]), *map(str, args)]
        return subprocess.run(
            command, cwd=tmp_path, env=environment(**variables), capture_output=True, text=True, timeout=timeout
        )

    return start


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory):
    """A folder of a run with the shipped digits weights, their evaluation, and private files."""
    from wavenet_zoo import evaluate
    from wavenet_zoo.models import read_manifest
    from wavenet_zoo.recipes import find_recipe
    from wavenet_zoo.runtime.records import write_json

    folder = tmp_path_factory.mktemp("evaluated")
    shutil.copy(read_manifest()["waveletnet_cifar_m1.digits"]["path"], folder / "model.safetensors")
    shutil.copy(find_recipe("digits"), folder / "recipe.yaml")
    write_json(folder / "evaluation.json", evaluate("waveletnet_cifar_m1", folder / "model.safetensors").to_dict())
    (folder / ".env").write_text("SECRET=1")
    (folder / "last.pt").write_bytes(b"\x80\x04a pickle")
    (folder / "leak.txt").symlink_to("/etc/hostname")
    return folder


@pytest.fixture
def weights(evaluated, tmp_path):
    """Weights in a copy of that folder, for tests that change it."""
    shutil.copytree(evaluated, tmp_path / "run", symlinks=True)
    return tmp_path / "run" / "model.safetensors"
