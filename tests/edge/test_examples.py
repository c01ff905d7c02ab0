"""Examples beside exported files: they run without this package, and their preprocessing is timm's."""

import ast
import json
import os
import runpy
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from wavenet_zoo import export, predict
from wavenet_zoo.data.preprocessing import Preprocessing, evaluation_transform
from wavenet_zoo.deployment.formats import FORMATS, Format
from wavenet_zoo.deployment.metadata import ExportMetadata, InputFormat, OutputFormat
from wavenet_zoo.deployment.sidecar import make_sidecar
from wavenet_zoo.edge.examples import TEMPLATES, check_examples_writable, render_examples, write_examples
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.figures import import_matplotlib

ONNX = FORMATS["onnx"]
PYTHON_TEMPLATES = sorted(
    path.name.removesuffix(".py.jinja") for path in TEMPLATES.glob("*.py.jinja") if path.name != "example.py.jinja"
)
NEED_TORCH = ("executorch", "pt2")
REQUIRED = {  # by the conversion and the script of a format
    "pt2": (),
    "openvino": ("openvino",),
    "tflite": ("litert_torch", "ai_edge_litert"),
    "ncnn": ("pnnx", "ncnn"),
    "coreml": ("coremltools",),
}


def make_metadata(dtype="float32", kind="logits", classes=None, **preprocessing):
    values = {"input_size": (3, 32, 32), "interpolation": "bicubic", "crop_pct": 0.875, "crop_mode": "center"}
    values |= {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), **preprocessing}
    classes = classes or ["cat", "dog"]
    return ExportMetadata(
        model="tiny",
        num_classes=len(classes),
        classes=classes,
        preprocessing=Preprocessing(**values),
        preprocessing_text="",
        weights="none",
        input=InputFormat(layout="NHWC" if dtype == "uint8" else "NCHW", dtype=dtype),
        output=OutputFormat(kind=kind),
    )


def script_of(name, metadata, file="m"):
    file_format = FORMATS.get(name) or Format(name, f".{name}", name, (".bin",))
    content = render_examples(Path(f"{file}{file_format.suffix}"), file_format, metadata)
    return next(iter(content.values())).decode()


def photograph(path):
    shutil.copy(import_matplotlib().cbook.get_sample_data("grace_hopper.jpg", asfileobj=False), path)
    return path


@pytest.mark.parametrize("name", PYTHON_TEMPLATES)
def test_script_of_every_format_imports_its_runtime_only(name):
    assert set(FORMATS) <= set(PYTHON_TEMPLATES)
    for dtype, kind in (("float32", "logits"), ("uint8", "probabilities")):
        tree = ast.parse(script_of(name, make_metadata(dtype, kind)))
        imports = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        imports |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        roots = {module.split(".")[0] for module in imports} - {"json", "sys", "pathlib", "numpy", "PIL"}
        assert "wavenet_zoo" not in roots
        assert ("torch" in roots) == (name in NEED_TORCH)
        assert len(roots - {"torch"}) == (0 if name == "pt2" else 1)


@pytest.mark.parametrize(
    "preprocessing",
    [
        {},
        {"crop_pct": 1.0, "interpolation": "bilinear"},
        {"crop_pct": 1.17},
        {"input_size": (3, 24, 32)},
        {"input_size": (3, 24, 32), "crop_mode": "squash", "interpolation": "lanczos"},
        {"crop_mode": "squash"},
        {"crop_mode": "border"},
        {"crop_mode": "border", "crop_pct": 1.0},
    ],
    ids=lambda values: "-".join(map(str, values.values())) or "center",
)
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_script_prepares_images_as_timm_does(preprocessing, dtype, tmp_path, monkeypatch, capsys):
    inputs = []

    def run(outputs, values):
        inputs.append(values["images"])
        return [np.array([[1.0, 3.0]], np.float32)]

    runtime = SimpleNamespace(InferenceSession=lambda file: SimpleNamespace(run=run))
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    metadata = make_metadata(dtype, **preprocessing)
    script = write_examples(tmp_path / "m.onnx", ONNX, metadata)[0]
    (tmp_path / "m.onnx.json").write_bytes(make_sidecar("m.onnx", ONNX, {}, metadata, {}).to_json())
    noise = np.random.default_rng(0)
    for width, height in ((77, 50), (41, 90), (32, 32), (19, 23)):
        image = Image.fromarray(noise.integers(0, 256, (height, width, 3), np.uint8))
        image.save(tmp_path / "image.png")
        monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path / "image.png")])
        runpy.run_path(str(script))
        expected = np.asarray(evaluation_transform(metadata.preprocessing, normalized=dtype == "float32")(image))
        found = inputs.pop()[0] if dtype == "float32" else inputs.pop()[0].transpose(2, 0, 1)
        assert found.dtype == np.dtype(dtype)
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 if dtype == "float32" else 0)
    assert capsys.readouterr().out.splitlines()[:2] == ["0.880797  dog", "0.119203  cat"]


def test_names_of_files_and_classes_are_no_code_in_examples():
    name = 'a"""\nimport os  # \\'
    metadata = make_metadata(classes=['"; exit(1); //', "café\n\\"])
    contents = render_examples(Path(f"{name}.onnx"), ONNX, metadata)
    script, _, header, _ = (content.decode() for content in contents.values())
    constants = [node.value for node in ast.walk(ast.parse(script)) if isinstance(node, ast.Constant)]
    assert f"{name}.onnx" in constants
    assert not any(line.startswith("import os") for text in contents.values() for line in text.decode().splitlines())
    assert '"\\042; exit(1); //",' in header and '"caf\\303\\251\\012\\134",' in header


def test_existing_example_is_refused_before_the_export(tmp_path, wavezoo, monkeypatch):
    monkeypatch.delattr("wavenet_zoo.edge.export.load_model")
    arguments = ("export", "waveletnet_cifar_m1", "--to", "onnx", "--out", "m1.onnx", "--with-example")
    for name in ("m1_onnx_example.py", "m1_onnx_cpp/main.cpp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
        finished = wavezoo(*arguments)
        assert finished.code == 2 and f"{name}: exists already (pass --force to replace it" in finished.err
        check_examples_writable(tmp_path / "m1.onnx", ONNX, overwrite=True)
        (tmp_path / name).unlink()
    (tmp_path / "m1_onnx_cpp").rmdir()
    (tmp_path / "m1_onnx_cpp").write_text("a file")
    with pytest.raises(WavezooError, match="m1_onnx_cpp"):
        check_examples_writable(tmp_path / "m1.onnx", ONNX, overwrite=True)


# The rest takes seconds: real exports, an environment without torch, compilers.


def run(*command, cwd=None):
    finished = subprocess.run([*map(str, command)], capture_output=True, text=True, cwd=cwd, check=False)
    assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr[-2000:]
    return finished.stdout


def parse_top5(text):
    return [(name, float(value)) for value, name in (line.split("  ", 1) for line in text.splitlines())]


def check_top5(printed, file, photo):
    expected = json.loads(json.dumps(predict(str(file), photo).predictions))[0]["top"]
    found = parse_top5(printed)
    assert [name for name, _ in found] == [row["name"] for row in expected]
    assert [value for _, value in found] == pytest.approx([row["probability"] for row in expected], abs=1e-4)


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    return photograph(tmp_path_factory.mktemp("photo") / "photo.jpg")


@pytest.fixture(scope="module")
def python_without_torch(tmp_path_factory):
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=True)
    python = next(path for path in (folder / "bin" / "python", folder / "Scripts" / "python.exe") if path.exists())
    install = [python, "-m", "pip", "install", "--quiet", "onnxruntime", "numpy", "Pillow"]
    finished = subprocess.run(install, capture_output=True, text=True, check=False)
    if finished.returncode:
        pytest.skip(f"onnxruntime cannot be installed: {finished.stderr.strip().splitlines()[-1:]}")
    return python


@pytest.fixture(scope="module", params=["float32", "uint8"])
def onnx_file(request, tmp_path_factory):
    pytest.importorskip("onnx", reason="needs the extra onnx")
    path = tmp_path_factory.mktemp("onnx") / "m1.onnx"
    uint8 = request.param == "uint8"
    export("waveletnet_cifar_m1", "onnx", path, input_dtype=request.param, softmax=uint8, with_example=True)
    return path


@pytest.mark.long
def test_script_without_torch_prints_the_top_5_of_predict(onnx_file, python_without_torch, photo):
    script = onnx_file.with_name("m1_onnx_example.py")
    code = f"import sys, runpy; sys.argv = [{str(script)!r}, {str(photo)!r}]; runpy.run_path(sys.argv[0]); "
    *printed, modules = run(
        python_without_torch, "-I", "-c", code + "print({'torch', 'timm', 'wavenet_zoo'} & set(sys.modules))"
    ).splitlines()
    assert modules == "set()"
    check_top5("\n".join(printed), onnx_file, photo)
    finished = subprocess.run([python_without_torch, script], capture_output=True, text=True, check=False)
    assert finished.returncode == 1 and "usage: python m1_onnx_example.py photo.jpg" in finished.stderr


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("onnx", "executorch")])
def test_script_of_other_formats_prints_the_top_5_of_predict(name, tmp_path, photo):
    if FORMATS[name].platform not in (None, sys.platform):
        pytest.skip(f"{name} files do not run on this platform")
    for module in REQUIRED[name]:
        pytest.importorskip(module, reason=f"needs the extra {FORMATS[name].extra}")
    file = tmp_path / f"m1{FORMATS[name].suffix}"
    result = export("waveletnet_cifar_m1", name, file, with_example=True)
    check_top5(run(sys.executable, *result.examples, photo), file, photo)


@pytest.fixture(scope="module")
def cmake():
    """CMake and a C++ compiler; its version is checked by the projects."""
    program = shutil.which("cmake")
    if program is None or not (shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")):
        pytest.skip("needs CMake and a C++ compiler")
    version = tuple(int(part) for part in run(program, "--version").split()[2].split(".")[:2])
    return program, version


def build_and_run(cmake, file, example, photo, *definitions):
    """Build the C++ example, and run it on the image that the Python example prepares."""
    folder = file.with_name(f"{example}_cpp")
    run(cmake, "-S", folder, "-B", folder / "build", *definitions)
    run(cmake, "--build", folder / "build")
    image = folder / "photo.ppm"
    printed = run(sys.executable, file.with_name(f"{example}_example.py"), photo, image)
    program = folder / "build" / "example"
    found = run(program, file, image)
    assert parse_top5(found) == [(name, pytest.approx(value, abs=1e-4)) for name, value in parse_top5(printed)]
    finished = subprocess.run([program, file, photo], capture_output=True, text=True, check=False)
    assert finished.returncode == 1 and "photo.jpg: is not a binary PPM of 32 x 32 pixels" in finished.stderr


@pytest.mark.long
def test_cpp_example_of_onnx_runtime_prints_the_same_top_5(onnx_file, cmake, photo, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    roots = [Path(os.environ.get("ONNXRUNTIME_ROOT", "/usr/local")), Path("/usr/local"), Path("/usr")]
    folders = [root / "include" / folder for root in roots for folder in ("", "onnxruntime")]
    include = next((folder for folder in folders if (folder / "onnxruntime_cxx_api.h").is_file()), None)
    libraries = list(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*"))
    if include is None or not libraries:
        pytest.skip("needs the C++ headers of ONNX Runtime: .ci/onnxruntime-headers DIR, ONNXRUNTIME_ROOT=DIR")
    (tmp_path / "lib").mkdir()
    (tmp_path / "include").symlink_to(include)
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (tmp_path / "lib" / name).symlink_to(libraries[0])
    build_and_run(cmake[0], onnx_file, "m1_onnx", photo, f"-DONNXRUNTIME_ROOT={tmp_path}")


@pytest.mark.long
def test_examples_of_executorch_print_the_top_5_of_predict(photo, tmp_path, request):
    executorch = pytest.importorskip("executorch", reason="needs the extra executorch")
    file = tmp_path / "m1.pte"
    result = export("waveletnet_cifar_m1", "executorch", file, with_example=True)
    check_top5(run(sys.executable, result.examples[0], photo), file, photo)
    (folder,) = executorch.__path__
    program, version = request.getfixturevalue("cmake")
    if not Path(folder, "lib", "libexecutorch.so").is_file() or version < (3, 28):
        pytest.skip("needs the C++ libraries in the package executorch and CMake 3.28 (pip install cmake)")
    build_and_run(program, file, "m1_executorch", photo, f"-DCMAKE_PREFIX_PATH={folder}")
