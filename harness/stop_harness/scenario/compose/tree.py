"""The text of a Compose file → its values, each with its place. Pure.

Plain scalars mean what they mean to Compose's own YAML library (go-yaml, resolve.go): `yes` and `22:22` are texts,
`0777` is octal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import yaml

from stop_harness.errors import UsageError
from stop_harness.scenario.positions import why_not_read

MOST_VALUES = 100_000
"""Values of a file, those behind aliases counted each time: Compose's own limit (compose-go, loader/reset.go)."""

DEEPEST = 50
"""Levels of a file; the specification needs ten, an alias that contains itself has no end."""

Key = str | int
Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Place:
    """Where something stands, from line and column 1."""

    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class ValueTree:
    """A value with its place: that of its key, or of itself in a list.

    `removed`: it takes away what an earlier file says (`!reset`). `replaces`: it is not merged with that (`!override`).
    """

    value: Mapping[str, ValueTree] | tuple[ValueTree, ...] | Scalar
    place: Place
    removed: bool = False
    replaces: bool = False

    @property
    def mapping(self) -> Mapping[str, ValueTree]:
        """Its keys; none where it is no mapping."""
        return self.value if isinstance(self.value, Mapping) else {}

    def at(self, *path: str) -> ValueTree | None:
        """The value behind these keys."""
        found: ValueTree | None = self
        for key in path:
            found = found.mapping.get(key) if found is not None else None
        return found

    def plain(self) -> Any:
        """As Python has it."""
        if isinstance(self.value, Mapping):
            return {key: item.plain() for key, item in self.value.items()}
        if isinstance(self.value, tuple):
            return [item.plain() for item in self.value]
        return self.value

    def places(self, path: tuple[Key, ...] = ()) -> dict[tuple[Key, ...], Place]:
        """Path of keys and indices → its place, for everything below."""
        found = {path: self.place}
        items: Any = ()
        if isinstance(self.value, Mapping):
            items = self.value.items()
        elif isinstance(self.value, tuple):
            items = enumerate(self.value)
        for key, item in items:
            found.update(item.places((*path, key)))
        return found


def text_of(value: Scalar) -> str:
    """A scalar as Compose turns it into text: `true`, `8000`, `1.1` for 1.10."""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else f"{value:.17g}" if isinstance(value, float) and value == int(value) else str(value)


def changed(tree: ValueTree, change: Callable[[str, Place], Scalar]) -> ValueTree:
    """With every text below, but the keys, replaced by what `change` makes of it."""
    if isinstance(tree.value, Mapping):
        return replace(tree, value={key: changed(item, change) for key, item in tree.value.items()})
    if isinstance(tree.value, tuple):
        return replace(tree, value=tuple(changed(item, change) for item in tree.value))
    return replace(tree, value=change(tree.value, tree.place)) if isinstance(tree.value, str) else tree


def documents(text: str, file: str) -> tuple[ValueTree, ...]:
    """The documents of a file that are not empty; each later one is merged over those before. Raises UsageError."""
    try:
        loader = _Loader(text)
        composer = _Composer(file)
        found = []
        while loader.check_node():
            node = loader.get_node()
            if node is not None and not (isinstance(node, yaml.ScalarNode) and not node.value):
                found.append(composer.composed(node, _place(node, file), 0))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file)
        raise UsageError(f"{where}: {why_not_read(error)}") from None
    except RecursionError:
        raise UsageError(f"{file}: nested too deeply to be a Compose file") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from None
    for tree in found:
        if not isinstance(tree.value, Mapping):
            raise UsageError(f"{tree.place}: not a Compose file: it is no mapping of keys")
    return tuple(found)


class _Loader(yaml.SafeLoader):
    """Composes nodes, with the tags that go-yaml gives to plain scalars."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc] # declared without ClassVar


_PLAIN = (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^[-+]?(?:0b[01_]+|0o[0-7_]+|0[0-7_]*|[1-9][0-9_]*|0x[0-9a-fA-F_]+)$", "-+0123456789"),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("merge", r"^<<$", "<"),
)
"""Tag, form, first characters; the first form that fits decides."""

for _tag, _form, _first in _PLAIN:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_form), list(_first))


class _Composer:
    """Nodes → values, counted."""

    def __init__(self, file: str) -> None:
        self._file, self._count = file, 0

    def composed(self, node: yaml.Node, place: Place, depth: int) -> ValueTree:
        self._count += 1
        if self._count > MOST_VALUES or depth > DEEPEST:
            raise UsageError(f"{place}: more than {MOST_VALUES} values or {DEEPEST} levels; this is no Compose file")
        if node.tag == "!reset":
            return ValueTree(None, place, removed=True)
        replaces = node.tag == "!override"
        if isinstance(node, yaml.MappingNode):
            return ValueTree(self._mapping(node, depth), place, replaces=replaces)
        if isinstance(node, yaml.SequenceNode):
            items = (self.composed(item, _place(item, self._file), depth + 1) for item in node.value)
            return ValueTree(tuple(items), place, replaces=replaces)
        assert isinstance(node, yaml.ScalarNode)
        return ValueTree(_scalar(node, place), place, replaces=replaces)

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, ValueTree]:
        own: dict[str, ValueTree] = {}
        merged: dict[str, ValueTree] = {}
        for key_node, value_node in node.value:
            place = _place(key_node, self._file)
            if not isinstance(key_node, yaml.ScalarNode):
                raise UsageError(f"{place}: a key is one word, not a list or a mapping")
            if key_node.tag == "tag:yaml.org,2002:merge":
                for item in value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]:
                    if not isinstance(item, yaml.MappingNode):
                        raise UsageError(f"{place}: `<<` merges mappings, and this is none")
                    merged = {**self._mapping(item, depth + 1), **merged}
                continue
            key = str(key_node.value)
            if key in own:
                where = f"{own[key].place.line}"
                raise UsageError(f"{place}: {key}: this key stands twice, first in line {where}; remove one")
            own[key] = self.composed(value_node, place, depth + 1)
        return {**merged, **own}


def _scalar(node: yaml.ScalarNode, place: Place) -> Scalar:
    text, tag = str(node.value), node.tag.rpartition(":")[2]
    try:
        if tag == "null":
            return None
        if tag == "bool":
            return {"true": True, "false": False}[text.lower()]
        if tag == "int":
            digits = text.replace("_", "")
            octal = re.fullmatch(r"([-+]?)0([0-7]+)", digits)
            return int(f"{octal[1]}0o{octal[2]}" if octal else digits, 0)
        if tag == "float":
            return float(text)
    except (ValueError, KeyError):
        raise UsageError(f"{place}: {text[:40]!r} does not read as {tag}; put it in quotes if text is meant") from None
    return text


def _place(node: yaml.Node, file: str) -> Place:
    return Place(file, node.start_mark.line + 1, node.start_mark.column + 1)
