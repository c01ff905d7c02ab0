"""The directive ``fields``: the fields of a pydantic model or a dataclass, with types, defaults and descriptions.

Types and limits of a pydantic model are those of its JSON schema, descriptions those of ``Attributes`` in the
docstring. A field without a description is a warning.
"""

import dataclasses
import importlib
import inspect
import json
import re
from typing import Any, get_args, get_type_hints

from docutils import nodes
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import stringify_annotation

logger = logging.getLogger(__name__)
BOUNDS = {"minimum": "ge", "exclusiveMinimum": "gt", "maximum": "le", "exclusiveMaximum": "lt"}
LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
ANY = "any value"
NAMES = {"string": "text", "array": "list", "object": "mapping", "null": "null"}


@dataclasses.dataclass(frozen=True)
class Field:
    """A row of the table.

    Attributes:
        name: Name of the field.
        kind: Type and limits, in words.
        default: The default as Markdown; empty if the field is required.
        description: What it is.
    """

    name: str
    kind: str
    default: str
    description: str


class FieldsDirective(SphinxDirective):
    """``{fields} package.module.Class``: a table of its fields.

    ``no-defaults`` hides the column of the defaults, ``only-own`` the fields of the classes that it extends, and
    ``without=a,b`` these fields.
    """

    required_arguments = 1
    optional_arguments = 3

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        module, _, name = self.arguments[0].rpartition(".")
        kind = getattr(importlib.import_module(module), name)
        for base in kind.__mro__:
            if base.__module__.startswith("wavenet_zoo"):
                self.env.note_dependency(inspect.getfile(base))
        without = {
            name for argument in self.arguments if argument[:8] == "without=" for name in argument[8:].split(",")
        }
        if "only-own" in self.arguments:
            without |= set().union(*(base.model_fields for base in kind.__bases__))
        fields = [field for field in describe_fields(kind) if field.name not in without]
        for field in fields:
            if not field.description or field.kind == ANY:
                logger.warning(
                    "%s.%s has no type or description", self.arguments[0], field.name, location=self.get_location()
                )
        defaults = "no-defaults" not in self.arguments
        header = ["key", "type", *(["default"] if defaults else []), "meaning"]
        lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
        for field in fields:
            cells = [f"`{field.name}`", field.kind, *([field.default or "required"] if defaults else [])]
            lines.append(f"| {' | '.join([*cells, field.description])} |")
        return self.parse_text_to_nodes("\n".join(lines))


def describe_fields(kind: type) -> list[Field]:
    """Return the fields of a pydantic model, a dataclass or a TypedDict, in their order."""
    descriptions = _descriptions(kind)
    if issubclass(kind, BaseModel):
        schema = kind.model_json_schema()
        hints = get_type_hints(kind, include_extras=True)
        for name, part in schema["properties"].items():
            _add_bounds(part, _bounds_of(hints[name]))
        required = schema.get("required", [])
        return [
            Field(name, _kind(part, schema), _default(kind, name, name in required), descriptions.get(name, ""))
            for name, part in schema["properties"].items()
        ]
    if dataclasses.is_dataclass(kind):
        hints = inspect.get_annotations(kind, eval_str=True)
        return [
            Field(field.name, f"`{_readable(hints.get(field.name, field.type))}`", "", descriptions.get(field.name, ""))
            for field in dataclasses.fields(kind)
            if field.metadata.get("json", True)
        ]
    hints = inspect.get_annotations(kind, eval_str=True)
    return [Field(name, f"`{_readable(hint)}`", "", descriptions.get(name, "")) for name, hint in hints.items()]


def _bounds_of(hint: Any) -> dict[str, float]:
    """Return the limits of the number in a type, which a JSON schema lacks if a validator comes before them."""
    found: dict[str, float] = {}
    for metadata in getattr(hint, "__metadata__", ()):
        for item in metadata.metadata if isinstance(metadata, FieldInfo) else [metadata]:
            found |= {key: getattr(item, name) for key, name in BOUNDS.items() if hasattr(item, name)}
    for inner in get_args(hint):
        found |= _bounds_of(inner)
    return found


def _add_bounds(part: dict[str, Any], bounds: dict[str, float]) -> None:
    if part.get("type") == "number" and not any(key in part for key in BOUNDS):
        part |= bounds
    for inner in [*part.get("anyOf", []), *part.get("oneOf", []), *filter(None, [part.get("items")])]:
        _add_bounds(inner, bounds)


def _descriptions(kind: type) -> dict[str, str]:
    """Return the descriptions under ``Attributes`` in the docstrings of a class and its bases."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        section = re.search(r"^Attributes:\n((?:(?: {4}.*)?\n?)*)", inspect.cleandoc(base.__doc__ or ""), re.MULTILINE)
        for name, text in re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", section[1] if section else "", re.MULTILINE):
            found[name] = _markdown(" ".join(text.split()))
    return found


def _markdown(text: str) -> str:
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text)
    return text.replace("``", "`").replace("|", r"\|")


def _readable(annotation: Any) -> str:
    text = stringify_annotation(annotation, "smart").replace("~", "").replace("|", "or")
    return re.sub(r"\w*\.?(Not)?Required\[(\w+)\]", r"\2", text)


def _kind(part: dict[str, Any], schema: dict[str, Any]) -> str:
    """Return a JSON schema in words."""
    if "$ref" in part:
        name = part["$ref"].rpartition("/")[2]
        resolved = schema["$defs"][name]
        return _kind(resolved, schema) if "properties" not in resolved else "mapping"
    for union in ("anyOf", "oneOf"):
        if union in part:
            return " or ".join(dict.fromkeys(_kind(choice, schema) for choice in part[union]))
    if "enum" in part:
        return ", ".join(f"`{value}`" for value in part["enum"])
    if "const" in part:
        return f"`{part['const']}`"
    if part.get("type") == "array":
        return _list(part, schema)
    name = NAMES.get(part.get("type", ""), part.get("type", ANY))
    return f"{name} {_limits(part)}".strip()


def _limits(part: dict[str, Any]) -> str:
    if "minimum" in part and "maximum" in part:
        return f"from {_number(part['minimum'])} to {_number(part['maximum'])}"
    return ", ".join(f"{sign} {_number(part[key])}" for key, sign in LIMITS.items() if key in part)


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:g}"


def _list(part: dict[str, Any], schema: dict[str, Any]) -> str:
    low, high = part.get("minItems"), part.get("maxItems")
    number = f"{low} " if low is not None and low == high else ""
    items = part.get("items", {})
    inner = _kind(items, schema) if items else "values"
    name, _, limits = inner.partition(" ")
    plural = {"text": "texts", "mapping": "mappings"}.get(name, f"{name}s")
    return f"list of {number}{plural} {limits}".strip()


def _default(kind: type[BaseModel], name: str, required: bool) -> str:
    if required:
        return ""
    value = kind.model_fields[name].get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "the defaults below"
    return f"`{json.dumps(value)}`"


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the directive."""
    app.add_directive("fields", FieldsDirective)
    return {"parallel_read_safe": True}
