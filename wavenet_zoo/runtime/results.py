"""One serialization for every result that a public function returns."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

__all__ = ["NOT_IN_JSON", "Result", "to_plain"]

NOT_IN_JSON: Mapping[str, Any] = {"json": False}  # metadata of a dataclass field that JSON does not contain


class Result:
    """Base of the result dataclasses."""

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values, ready for JSON."""
        values: dict[str, Any] = to_plain(self)
        return values


def to_plain(value: Any) -> Any:
    """Convert dataclasses, pydantic models, mappings and sequences to plain dicts, lists and scalars."""
    if is_dataclass(value) and not isinstance(value, type):
        kept = [field for field in fields(value) if field.metadata.get("json", True)]
        return {field.name: to_plain(getattr(value, field.name)) for field in kept}
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
