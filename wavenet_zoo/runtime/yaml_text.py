"""YAML of unknown origin: recipes, and values of the command line."""

from dataclasses import dataclass
from typing import Any

import yaml

__all__ = ["MAX_CHARACTERS", "MAX_DEPTH", "InvalidYaml", "YamlDocument", "parse_yaml"]

MAX_CHARACTERS = 1 << 16
MAX_NODES = 10_000
MAX_DEPTH = 32
MAX_DIGITS = 100
TAG = "tag:yaml.org,2002:"
KINDS = ("null", "bool", "int", "float", "str", "seq", "map", "merge")  # those of JSON, and the key "<<"


class InvalidYaml(ValueError):
    """Text that is not YAML, or exceeds a limit.

    Attributes:
        line: Line of the text, from 1; None if it is unknown.
    """

    def __init__(self, reason: str, line: int | None = None):
        super().__init__(f"not valid YAML: {reason}")
        self.line = line


@dataclass
class YamlDocument:
    """Result of :func:`parse_yaml`.

    Attributes:
        value: The value.
        tree: The nodes of the text, with their lines; None if it is empty.
        duplicates: Keys that a mapping contains twice, of which the value has the last; each with its line, from 1.
    """

    value: Any
    tree: yaml.Node | None
    duplicates: dict[int, str]


class _Loader(yaml.SafeLoader):
    """PyYAML's loader for values of JSON's kinds: a date is text."""

    def fetch_flow_collection_start(self, token_class: type[yaml.Token]) -> None:
        if self.flow_level >= MAX_DEPTH:  # PyYAML's time is cubic in the depth
            raise InvalidYaml(f"nested deeper than {MAX_DEPTH} levels", self.line + 1)
        super().fetch_flow_collection_start(token_class)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        line, kind = node.start_mark.line + 1, node.tag.removeprefix(TAG)
        if kind not in KINDS:
            raise InvalidYaml(f"the tag {node.tag} is not supported", line)
        if kind in ("int", "float") and len(node.value) > MAX_DIGITS:
            raise InvalidYaml(f"a number has {len(node.value):,} digits, the limit is {MAX_DIGITS}", line)
        try:
            return super().construct_object(node, deep)
        except InvalidYaml:
            raise
        except (ValueError, LookupError, ArithmeticError):
            raise InvalidYaml(f"'{node.value}' is not a valid {kind}", line) from None


_Loader.yaml_implicit_resolvers = {  # its own, so that SafeLoader does not change
    first: [(tag, regexp) for tag, regexp in resolvers if tag.removeprefix(TAG) in KINDS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def parse_yaml(text: str) -> YamlDocument:
    """Parse YAML of unknown origin into values of the kinds that JSON has.

    Length, depth, number of values (aliases count like what they repeat) and digits of a number are limited.

    Raises:
        InvalidYaml: If the text is not YAML, contains a value of another kind, or exceeds a limit.
    """
    if len(text) > MAX_CHARACTERS:
        raise InvalidYaml(f"it has {len(text):,} characters, the limit is {MAX_CHARACTERS:,}")
    try:
        loader = _Loader(text)
        tree = loader.get_single_node()
        if tree is None:
            return YamlDocument(None, None, {})
        duplicates = _check_nodes(tree)
        return YamlDocument(loader.construct_document(tree), tree, duplicates)
    except InvalidYaml:
        raise
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise InvalidYaml(f"the character {chr(error.character)!a} is not allowed", line) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        raise InvalidYaml(reason, mark.line + 1 if mark else None) from None
    except RecursionError:
        raise InvalidYaml("nested too deep") from None
    except (ValueError, OverflowError) as error:  # PyYAML does not expect "\UFFFFFFFF" or the version 1.999...
        raise InvalidYaml(str(error)) from None


def _check_nodes(tree: yaml.Node) -> dict[int, str]:
    """Check the limits of depth and number, and return the duplicate keys by their line.

    Raises:
        InvalidYaml: If a limit is exceeded.
    """
    duplicates: dict[int, str] = {}
    pending, count = [(tree, 1)], 0  # a node is visited once for every alias, so what contains itself is too deep
    while pending:
        node, depth = pending.pop()
        count += 1
        if depth > MAX_DEPTH:
            raise InvalidYaml(f"nested deeper than {MAX_DEPTH} levels", node.start_mark.line + 1)
        if count + len(pending) > MAX_NODES:
            raise InvalidYaml(f"more than {MAX_NODES:,} values, with aliases expanded", node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, value in node.value:
                name = str(key.value)
                if name in keys:
                    duplicates[key.start_mark.line + 1] = name
                keys.add(name)
                pending += [(key, depth + 1), (value, depth + 1)]
        elif isinstance(node, yaml.SequenceNode):
            pending += [(item, depth + 1) for item in node.value]
    return duplicates
