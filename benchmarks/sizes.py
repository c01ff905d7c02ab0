"""Installed sizes: the extras for export, and the runtimes of the example programs. It takes 20 minutes and 10 GB."""

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
EXTRAS = ["onnx", "openvino", "openvino-int8", "executorch", "ncnn", "coreml", "tflite"]  # tflite changes versions
RUNTIMES = {  # --to: what its example program requires beside numpy and Pillow
    "onnx": "onnxruntime",
    "openvino": "openvino",
    "tflite": "ai-edge-litert",
    "ncnn": "ncnn",
    "executorch": "executorch",
    "coreml": "coremltools",
    "pt2": "torch",
}


def measure_extras() -> dict:
    """Measure what each extra adds to an environment with wavenet_zoo, in bytes."""
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        environment = _Environment(Path(folder))
        environment.install(str(REPOSITORY))
        before, packages = environment.bytes(), environment.packages()
        for extra in EXTRAS:
            environment.install(f"{REPOSITORY}[{extra}]")
            result[extra] = environment.bytes() - before
            environment.restore(packages)
    return result


def measure_runtimes() -> dict:
    """Measure each runtime in an environment of its own, in bytes: ``numpy and Pillow`` are not part of the others."""
    result = {}
    for name, package in {"numpy and Pillow": "", **RUNTIMES}.items():
        with tempfile.TemporaryDirectory() as folder:
            environment = _Environment(Path(folder))
            before = environment.bytes()  # pip
            environment.install("numpy", "Pillow", *package.split())
            result[name] = environment.bytes() - before - result.get("numpy and Pillow", 0)
    return result


def table_of_extras(result: dict) -> str:
    """Return the table of extras as Markdown."""
    return "\n".join(["| extra | MB |", "|---|---:|", *(f"| `{name}` | {_mb(n)} |" for name, n in result.items())])


def table_of_runtimes(result: dict) -> str:
    """Return the table of runtimes as Markdown."""
    lines = [f"| `{name}` | `{package}` | {_mb(result[name])} |" for name, package in RUNTIMES.items()]
    note = f"Without numpy and Pillow, which take {_mb(result['numpy and Pillow'])} MB."
    return "\n".join(["| `--to` | the script requires | MB |", "|---|---|---:|", *lines, "", note])


def _mb(size: int) -> str:
    return f"{size / 1e6:,.0f}"


class _Environment:
    """A virtual environment."""

    def __init__(self, folder: Path):
        venv.create(folder, with_pip=True)
        self.python = folder / "bin" / "python"
        self.site_packages = next(folder.glob("lib/*/site-packages"))

    def install(self, *packages: str) -> None:
        print("$ pip install", *packages, file=sys.stderr)
        self._pip("install", "--quiet", "--no-compile", *packages)

    def packages(self) -> set[str]:
        listed = json.loads(self._pip("list", "--format", "json"))
        return {f"{package['name']}=={package['version']}" for package in listed}

    def restore(self, packages: set[str]) -> None:
        """Remove the packages that are not among these, and install the versions of those that are."""
        names = {package.partition("==")[0] for package in packages}
        now = self.packages()
        added = [package.partition("==")[0] for package in now if package.partition("==")[0] not in names]
        if added:
            self._pip("uninstall", "--quiet", "--yes", *added)
        changed = [package for package in packages - now if not package.startswith(("wavenet-zoo", "wavenet_zoo"))]
        if changed:
            self._pip("install", "--quiet", "--no-compile", "--no-deps", *changed)

    def bytes(self) -> int:
        files = (file for file in self.site_packages.rglob("*") if "__pycache__" not in file.parts)
        return sum(file.lstat().st_size for file in files if file.is_file() and not file.is_symlink())

    def _pip(self, *arguments: str) -> str:
        command = [self.python, "-m", "pip", "--disable-pip-version-check", *arguments]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    print(table_of_extras(measure_extras()))
    print(table_of_runtimes(measure_runtimes()))
