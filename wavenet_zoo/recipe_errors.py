"""Where a recipe has a mistake: the line, the key, and the nearest valid one."""

import reprlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from wavenet_zoo.errors import WavezooError, did_you_mean

__all__ = ["first_mistake", "refuse_duplicate_keys"]


def refuse_duplicate_keys(path: Path, node: yaml.Node | None) -> None:
    """Refuse a key that stands in a section twice, of which YAML would take the last.

    Raises:
        WavezooError: If there is one.
    """
    pending, seen = [node], set()
    while pending:
        node = pending.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, value in node.value:
                name = str(key.value)
                if name in keys:
                    raise WavezooError(f"{path}:{key.start_mark.line + 1}: key '{name}' stands here a second time")
                keys.add(name)
                pending.append(value)
        elif isinstance(node, yaml.SequenceNode):
            pending.extend(node.value)


def first_mistake(
    error: ValidationError, schema: type[BaseModel], path: Path, tree: yaml.Node, overrides: Sequence[str]
) -> WavezooError:
    """Return the error for the first of the mistakes in a recipe, with file and line, or the override, and its key.

    Args:
        error: What validation found.
        schema: What a recipe has to be.
        path: The file.
        tree: Its nodes, which know their lines.
        overrides: Values in place of the file's.
    """
    details = sorted(error.errors(), key=lambda detail: detail["type"] != "extra_forbidden")
    first = details[0]  # an unknown key before the key that is missing because of it
    location = [str(part) for part in first["loc"]]
    key = ".".join(location)
    override = next((o for o in overrides if f"{o.partition('=')[0]}.".startswith(f"{key}.")), None)
    where = f"--set {override}" if override else f"{path}:{_line_of(tree, location)}"
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    if first["type"] == "extra_forbidden":
        siblings = _keys_at(schema, location[:-1])
        hint = did_you_mean(location[-1], siblings, f"valid keys: {', '.join(siblings)}")
        return WavezooError(f"{where}: unknown key '{key}'{more}", hint)
    if first["type"] == "missing":
        return WavezooError(f"{where}: missing key '{key}'{more}")
    reason = first["msg"].removeprefix("Value error, ")
    reason = reason[0].lower() + reason[1:]
    value = first["input"]
    got = "" if isinstance(value, dict) else f", got {reprlib.repr(value)}"
    return WavezooError(f"{where}: {key}: {reason}{got}{more}")


def _line_of(node: yaml.Node, location: Iterable[str]) -> int:
    """Return the line of the deepest part of ``location`` that the file has."""
    line = node.start_mark.line
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == part), None)
            if found is None:
                break
            line, node = found[0].start_mark.line, found[1]
        elif isinstance(node, yaml.SequenceNode) and part.isdigit() and int(part) < len(node.value):
            node = node.value[int(part)]
            line = node.start_mark.line
        else:
            break
    return line + 1


def _keys_at(section: type[BaseModel], location: Sequence[str]) -> list[str]:
    for part in location:
        annotation: Any = section.model_fields[part].annotation
        section = next((a for a in get_args(annotation) if a is not type(None)), annotation)  # of "EmaSection | None"
    return list(section.model_fields)
