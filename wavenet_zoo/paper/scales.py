"""Scales of a reproduction: which runs a table of the paper requires, on which data and for how long."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wavenet_zoo.errors import WavezooError, did_you_mean
from wavenet_zoo.recipes import Recipe, load_recipe
from wavenet_zoo.runtime.files import read_regular_file
from wavenet_zoo.runtime.resources import shipped_folder
from wavenet_zoo.runtime.yaml_text import MAX_CHARACTERS, InvalidYaml, parse_yaml

__all__ = ["Row", "Scale", "list_scales", "load_scale"]

Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][\w.-]{0,79}$")]
Seeds = Annotated[int, Field(ge=1, le=1000)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Row(_Section):
    recipe: str
    overrides: list[str] = []
    seeds: Seeds | None = None


class _Table(_Section):
    overrides: list[str] = []
    seeds: Seeds | None = None
    rows: Annotated[dict[Name, _Row], Field(min_length=1)]


class _Scale(_Section):
    tables: Annotated[dict[Literal[2, 3, 5, 6, 7], _Table], Field(min_length=1)]
    seeds: Seeds = 1


@dataclass(frozen=True)
class Row:
    """A row of a table: runs that differ only in the seed.

    Attributes:
        name: Name of the row, and of the folder of its runs.
        recipe: The recipe: a YAML file, or the name of a shipped one.
        overrides: Overrides of the recipe's values, each ``section.key=value``.
        seeds: Number of runs.
    """

    name: str
    recipe: str
    overrides: tuple[str, ...]
    seeds: int

    def load(self) -> Recipe:
        """Return the recipe with its overrides."""
        return load_recipe(self.recipe, self.overrides)


@dataclass(frozen=True)
class Scale:
    """What to train for each table.

    Attributes:
        name: Name of the scale.
        title: First line of its header.
        tables: Rows by number of the table.
    """

    name: str
    title: str
    tables: dict[int, list[Row]]

    def rows(self, table: int, only: Sequence[str] = ()) -> list[Row]:
        """Return the rows of a table.

        Args:
            table: Number of the table.
            only: Names of the rows; all if empty.

        Raises:
            WavezooError: If the scale does not have the table or a row.
        """
        if table not in self.tables:
            numbers = ", ".join(map(str, sorted(self.tables)))
            raise WavezooError(f"scale {self.name}: has no runs for Table {table}", f"it has those of {numbers}")
        rows = self.tables[table]
        names = [row.name for row in rows]
        for name in only:
            if name not in names:
                hint = did_you_mean(name, names, f"rows: {', '.join(names)}")
                raise WavezooError(f"scale {self.name}: Table {table} has no row '{name}'", hint)
        return [row for row in rows if not only or row.name in only]


def load_scale(name: str | Path) -> Scale:
    """Read a scale.

    Its file has ``tables``: by number of the table ``rows``, each with a ``recipe`` and its ``overrides``. The
    ``overrides`` of a table apply to all of its rows. ``seeds`` is the number of runs of a row, in the file, a table or
    a row. Paths of recipes start at the folder of the file.

    Args:
        name: A YAML file, or the name of a shipped scale.

    Raises:
        WavezooError: If the file is missing or invalid, or two rows have one name and different recipes.
    """
    path = _find_scale(name)
    try:
        text = read_regular_file(path, MAX_CHARACTERS).decode("utf-8-sig")
        scale = _Scale.model_validate(parse_yaml(text).value)
    except OSError as error:
        hint = f"use {', '.join(list_scales())}, or a YAML file"
        raise WavezooError(f"{path}: cannot be read: {error.strerror}", hint) from error
    except (InvalidYaml, UnicodeDecodeError) as error:
        raise WavezooError(f"{path}: not valid YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise WavezooError(f"{path}: {key or 'scale'}: {first['msg']}", "see the scales in recipes/scales") from None
    tables: dict[int, list[Row]] = {
        number: _rows_of(table, scale.seeds, path.parent) for number, table in scale.tables.items()
    }
    known: dict[str, tuple[str, tuple[str, ...]]] = {}
    for row in (row for rows in tables.values() for row in rows):
        if known.setdefault(row.name, (row.recipe, row.overrides)) != (row.recipe, row.overrides):
            raise WavezooError(f"{path}: two rows '{row.name}' differ", "give them different names")
        try:
            row.load()
        except WavezooError as error:
            raise WavezooError(f"{path}: row '{row.name}': {error.message}", error.hint) from error
    return Scale(path.stem, text.splitlines()[0].lstrip("# ").strip(), tables)


def list_scales() -> dict[str, Path]:
    """Return the shipped scales by name."""
    folder = shipped_folder("recipes")
    return {path.stem: path for path in sorted((folder / "scales").glob("*.yaml"))} if folder else {}


def _find_scale(name: str | Path) -> Path:
    path, shipped = Path(name), list_scales()
    if path.suffix == ".yaml":
        return path
    if str(name) in shipped:
        return shipped[str(name)]
    raise WavezooError(
        f"scale '{name}' not found", did_you_mean(str(name), list(shipped), f"use {', '.join(shipped)}, or a YAML file")
    )


def _rows_of(table: _Table, seeds: int, folder: Path) -> list[Row]:
    rows = []
    for name, row in table.rows.items():
        recipe = str(folder / row.recipe) if row.recipe.endswith(".yaml") else row.recipe
        overrides = (*table.overrides, *row.overrides)
        rows.append(Row(name, recipe, overrides, row.seeds or table.seeds or seeds))
    return rows
