"""Examples that run an exported file without this package: a Python script, and a C++ program for some formats."""

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from wavenet_zoo.deployment.formats import Format
from wavenet_zoo.deployment.metadata import ExportMetadata
from wavenet_zoo.deployment.sidecar import class_names_of
from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.files import check_writable, write_atomically, write_error

__all__ = ["check_examples_writable", "example_paths", "render_examples", "write_examples"]

TEMPLATES = Path(__file__).parent / "templates"
CPP_FORMATS = ("onnx", "executorch")


def example_paths(path: Path, file_format: Format) -> dict[str, Path]:
    """Return the path of each example by its template: ``x1_onnx_example.py`` and ``x1_onnx_cpp`` of ``x1.onnx``.

    Args:
        path: The exported file.
        file_format: Its format.
    """
    stem = f"{path.name.removesuffix(file_format.suffix)}_{file_format.name}"
    paths = {f"{file_format.name}.py.jinja": path.with_name(f"{stem}_example.py")}
    if file_format.name in CPP_FORMATS:
        folder = path.with_name(f"{stem}_cpp")
        paths[f"{file_format.name}.cpp.jinja"] = folder / "main.cpp"
        paths["model.h.jinja"] = folder / "model.h"
        paths[f"{file_format.name}.cmake.jinja"] = folder / "CMakeLists.txt"
    return paths


def check_examples_writable(path: Path, file_format: Format, overwrite: bool) -> None:
    """Check before the export that its examples can be written.

    Args:
        path: The exported file.
        file_format: Its format.
        overwrite: Replace existing files.

    Raises:
        WavezooError: If one exists and ``overwrite`` is False, or cannot be written.
    """
    for example in example_paths(path, file_format).values():
        if example.exists() and not overwrite:
            raise WavezooError(f"{example}: exists already", "pass --force to replace it, or --out FILE")
        folder = example.parent
        check_writable(example if folder == path.parent or folder.exists() else folder)


def write_examples(path: Path, file_format: Format, metadata: ExportMetadata) -> list[Path]:
    """Write the examples of an exported file beside it.

    Args:
        path: The exported file.
        file_format: Its format.
        metadata: Its metadata.

    Returns:
        The paths of the examples, the Python script first.

    Raises:
        WavezooError: If one cannot be written.
    """
    examples = render_examples(path, file_format, metadata)
    for example, content in examples.items():
        try:
            example.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise write_error(example.parent, error, len(content)) from error
        write_atomically(example, content)
    return list(examples)


def render_examples(path: Path, file_format: Format, metadata: ExportMetadata) -> dict[Path, bytes]:
    """Return the content of each example of an exported file.

    Args:
        path: The exported file.
        file_format: Its format.
        metadata: Its metadata.
    """
    paths = example_paths(path, file_format)
    script = next(iter(paths.values()))
    stem = path.name.removesuffix(file_format.suffix)
    values = {
        "file": _python_string(path.name),
        "file_text": _plain(path.name),
        "script_text": _plain(script.name),
        "companions": [_python_string(stem + suffix) for suffix in file_format.companions],
        "cpp": file_format.name in CPP_FORMATS,
        "integer": "int64_t" if file_format.name == "onnx" else "int32_t",
        **_describe(metadata),
    }
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return {example: environment.get_template(template).render(values).encode() for template, example in paths.items()}


def _describe(metadata: ExportMetadata) -> dict[str, Any]:
    """Return the values of the templates that depend on the metadata only."""
    preprocessing = metadata.preprocessing
    _, height, width = preprocessing.input_size
    smaller = any(int(side / preprocessing.crop_pct) < side for side in (height, width))
    return {
        "height": height,
        "width": width,
        "mean": [float(value) for value in preprocessing.mean],
        "std": [float(value) for value in preprocessing.std],
        "squash": preprocessing.crop_mode == "squash",
        "border": preprocessing.crop_mode == "border",
        "square": height == width,
        "padded": smaller or preprocessing.crop_mode == "border",
        "dtype": metadata.input.dtype,
        "layout": metadata.input.layout,
        "input_name": _cpp_string(metadata.input.name),
        "output_name": _cpp_string(metadata.output.name),
        "logits": metadata.output.kind == "logits",
        "class_names": [_cpp_string(name) for name in class_names_of(metadata)],
    }


def _plain(name: str) -> str:
    """Return a file name for comments, in which it cannot be code."""
    return re.sub(r"[^\w.+-]", "?", name, flags=re.ASCII)


def _python_string(text: str) -> str:
    return f'"{text}"' if _plain(text) == text else ascii(text)


def _cpp_string(text: str) -> str:
    """Return a C++ string literal. Bytes that are not plain ASCII are octal numbers of three digits."""
    return '"' + "".join(
        chr(byte) if re.match(r"[\w .,:;()+/'-]", chr(byte), re.ASCII) else f"\\{byte:03o}" for byte in text.encode()
    ) + '"'  # fmt: skip
