"""Read files of torch.export, whose loader runs code from them, without running code.

``torch.export.load`` unpickles sample inputs, evaluates symbolic expressions and guards as Python, and inserts names
into generated code. Only what ``wavezoo export`` writes is accepted; everything else that could contain code is refused
or removed before the loader sees it.
"""

import ast
import io
import json
import math
import re
import zipfile
from pathlib import Path
from typing import Any

from wavenet_zoo.errors import WavezooError
from wavenet_zoo.runtime.records import parse_json
from wavenet_zoo.weights.metadata import METADATA_KEY

__all__ = ["safe_program"]

PROGRAM, SAMPLE_INPUTS = "models/model.json", "data/sample_inputs/model.pt"
CONFIG = re.compile(r"data/(weights/model_weights|constants/model_constants)_config\.json")
MEMBERS = re.compile(
    rf"{PROGRAM}|{CONFIG.pattern}|{SAMPLE_INPUTS}|data/(weights/weight|constants/tensor)_\d+|extra/{METADATA_KEY}"
    r"|archive_format|archive_version|byteorder|\.format_version|\.storage_alignment|\.data/(version|serialization_id)"
)
NAME = re.compile(r"[\w.]*", re.ASCII)
VERSION = re.compile(r"[\w.+]*", re.ASCII)
TARGET = re.compile(
    r"torch\.ops\.aten\.(?!from_file|save|load|_print|warn)\w+\.\w+"
    r"|torch\.ops\.higher_order\.wrap_with_(set_grad_enabled|autocast)|torch\.sym_\w+|math\.(ceil|floor|trunc)"
    r"|_operator\.(getitem|add|sub|mul|floordiv|truediv|mod|neg|pos|pow|eq|ne|lt|le|gt|ge|and_|or_|not_)",
    re.ASCII,
)
TEXT = re.compile(r"[a-zA-Z_,.> -]{0,100}")  # modes, and equations of einsum
SPEC_TYPES = (None, "builtins.tuple", "builtins.list", "builtins.dict")
FUNCTIONS = (  # of symbolic expressions, as torch.export writes them
    *("Symbol", "Integer", "Add", "Mul", "Max", "Min", "And", "Or", "Not", "Equality", "Unequality"),
    *("LessThan", "StrictLessThan", "GreaterThan", "StrictGreaterThan", "Mod", "PythonMod", "FloorDiv", "CleanDiv"),
    *("CeilDiv", "ModularIndexing", "IntTrueDiv", "ToFloat", "TruncToInt", "FloorToInt", "CeilToInt", "Identity"),
)
REMOVED = ("metadata", "guards_code")
MAX_EXPRESSION = 2000  # characters


def safe_program(path: Path, content: bytes) -> tuple[bytes, str]:
    """Return a file of ``wavezoo export --to pt2`` without the parts that could run code, and its metadata.

    Sample inputs, guards and stack traces are removed; the network does not need them.

    Args:
        path: The file, for messages.
        content: Its content.

    Raises:
        WavezooError: If it is damaged, or contains anything that ``wavezoo export`` does not write.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            infos = archive.infolist()
            if sum(info.file_size for info in infos) > len(content):
                raise _refused(path, "a compressed archive")
            members = {info.filename: archive.read(info) for info in infos}
    except (OSError, ValueError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile) as error:
        raise WavezooError(f"{path}: is not a valid exported program: {error}", "export the model again") from error
    root = next(iter(members), "").partition("/")[0]
    names = [name.removeprefix(f"{root}/") for name in members]
    for name in names:
        if not MEMBERS.fullmatch(name) or len(names) != len(infos):
            raise _refused(path, f"the member '{name}'")
    sizes = {name.rpartition("/")[2]: len(value) for name, value in zip(names, members.values())}
    metadata = members.get(f"{root}/extra/{METADATA_KEY}", b"").decode("utf-8", errors="replace")
    rewritten = io.BytesIO()
    with zipfile.ZipFile(rewritten, "w", zipfile.ZIP_STORED) as archive:
        for name, value in zip(names, members.values()):
            if name == PROGRAM:
                value = _safe_graph(path, value)
            elif CONFIG.fullmatch(name):
                _check_tensors(path, value, sizes)
            archive.writestr(f"{root}/{name}", b"" if name == SAMPLE_INPUTS else value)
    return rewritten.getvalue(), metadata


def _safe_graph(path: Path, content: bytes) -> bytes:
    """Check all texts of the graph, and return it without guards and metadata."""
    program = parse_json(content, f"{path}: {PROGRAM}", "export the model again")
    pending: list[tuple[str, Any]] = [("", program)]
    while pending:
        key, value = pending.pop()
        if isinstance(value, dict):
            value.update({name: type(value[name])() for name in REMOVED if isinstance(value.get(name), (dict, list))})
            pending += [("", name) for name in value]
            pending += value.items()
        elif isinstance(value, list):
            pending += [(key, item) for item in value]
        elif isinstance(value, str) and not _is_safe(key, value):
            raise _refused(path, f"the text '{value[:60]}'" + (f" as {key}" if key else ""))
    return json.dumps(program).encode()


def _is_safe(key: str, text: str) -> bool:
    if key == "expr_str":
        return _is_expression(text)
    if key in ("in_spec", "out_spec"):
        return text == "" or _is_spec(text)
    pattern = {"target": TARGET, "as_operator": TARGET, "torch_version": VERSION, "as_string": TEXT}.get(key, NAME)
    return pattern.fullmatch(text) is not None


def _is_spec(text: str) -> bool:
    """Return whether a description of the arguments consists of tuples, lists and dictionaries."""
    try:
        pending = [json.loads(text)]
    except (ValueError, RecursionError):
        return False
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            if value.get("type") not in SPEC_TYPES or not isinstance(value.get("context"), (str, type(None))):
                return False
            pending += value.get("children_spec") or []
        elif isinstance(value, list):
            pending += value
        elif type(value) is not int:
            return False
    return True


def _is_expression(text: str) -> bool:
    """Return whether a symbolic expression, which sympy evaluates as Python, consists of symbols and arithmetic."""
    if len(text) > MAX_EXPRESSION:
        return False
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(_is_arithmetic(node) for node in ast.walk(tree))


def _is_arithmetic(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS
    if isinstance(node, ast.Constant):
        value = node.value
        return value.isidentifier() if isinstance(value, str) else isinstance(value, int) and abs(value) < 2**63
    allowed = (ast.Expression, ast.Name, ast.Load, ast.keyword, ast.BinOp, ast.UnaryOp)
    return isinstance(node, (*allowed, ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod, ast.USub))


def _check_tensors(path: Path, content: bytes, sizes: dict[str, int]) -> None:
    """Check that no tensor is pickled or larger than its member.

    Raises:
        WavezooError: If one is.
    """
    config = parse_json(content, f"{path}: a list of tensors", "export the model again")
    try:
        for tensor in config["config"].values():
            if tensor["use_pickle"] is not False:
                raise _refused(path, "a pickled tensor")
            count = math.prod(size["as_int"] for size in tensor["tensor_meta"]["sizes"])
            if not 0 <= count <= sizes[tensor["path_name"]]:
                raise _refused(path, "a tensor that is larger than its data")
    except (TypeError, LookupError, AttributeError) as error:
        raise _refused(path, f"an invalid list of tensors ({error!r})") from error


def _refused(path: Path, what: str) -> WavezooError:
    return WavezooError(
        f"{path}: refused: contains {what}, which 'wavezoo export' does not write", "export the model again"
    )
