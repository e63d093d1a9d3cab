"""The text of a task definition or of a template, JSON or YAML → plain data, and where each part of it stands. Pure."""

from __future__ import annotations

import json
from typing import Any

import yaml

from stop_harness.ecs.api_members import plain
from stop_harness.errors import ScenarioError

Path = tuple[str | int, ...]

MAX_NODES = 100_000
"""A template of CloudFormation has at most 1 MB; more values than these is an alias bomb or the wrong file."""

MAX_DEPTH = 60
"""Templates nest five functions within ten members; an alias that contains itself has no end."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SHORT = {"Ref": "Ref", "Condition": "Condition"}
"""Short forms whose long ones have no `Fn::` before them."""

_NO_DATES = "tag:yaml.org,2002:timestamp"


class TaskText:
    """A file: its `source` (for messages), its `text`, and the `data` that it holds, with each `null` left out.

    `rendered`: it is a text within the file's, so that its lines are not the file's.
    """

    def __init__(self, text: str, source: str, *, rendered: bool = False) -> None:
        self.source, self.text, self._rendered = source, text.removeprefix("\ufeff"), rendered
        self._root: yaml.Node | None = None
        self._composed = False
        beginning = self.text.lstrip()[:1]
        self.data: Any = _without_nulls(self._yaml() if beginning not in {"", "{", "[", '"'} else self._json())

    def where(self, path: Path) -> str:
        """`file:line:column` of the value at a path, or of the nearest one around it; the file where nobody knows.

        Names may be written in another form than the file's.
        """
        node = None if self._rendered else self._node()
        if node is None:
            return self.source
        mark = node.start_mark
        for part in path:
            found = _below(node, part)
            if found is None:
                break
            mark, node = found
        return f"{self.source}:{mark.line + 1}:{mark.column + 1}"

    def _json(self) -> Any:
        try:
            data = json.loads(self.text)
            json.dumps(data, ensure_ascii=False).encode()
        except json.JSONDecodeError as error:
            raise self._refused(f"not valid JSON: {error.msg}", error.lineno, error.colno) from None
        except RecursionError:
            raise self._refused("nested too deeply; this is not a task definition") from None
        except UnicodeEncodeError:
            raise self._refused("half a surrogate pair (\\ud800 to \\udfff) is not text") from None
        except ValueError:
            raise self._refused("a number has too many digits") from None
        return data

    def _yaml(self) -> Any:
        """With the short forms of CloudFormation (`!Ref`) as its long ones."""
        try:
            node = self._compose()
            data = None if node is None else _Reader().read(node, 0)
            json.dumps(data, ensure_ascii=False).encode()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            raise self._refused(f"neither JSON nor valid YAML: {error.problem}", line, column) from None
        except (_TooMuch, RecursionError):
            text = f"more than {MAX_NODES} values or {MAX_DEPTH} levels; this is not a task definition"
            raise self._refused(text) from None
        except (yaml.YAMLError, TypeError, ValueError) as error:
            raise self._refused(f"neither JSON nor valid YAML: {' '.join(str(error).split())}") from None
        return data

    def _node(self) -> yaml.Node | None:
        """Its root, for places; JSON is composed only when one is asked for."""
        if not self._composed:
            try:
                self._compose()
            except (yaml.YAMLError, _TooMuch, RecursionError, ValueError):
                self._root = None
        return self._root

    def _compose(self) -> yaml.Node | None:
        self._composed = True
        text = self.text.replace("\t", " ") if self.text.lstrip()[:1] in {"{", "["} else self.text
        _bound(text)
        self._root = yaml.compose(text, Loader=_LOADER)
        return self._root

    def _refused(self, why: str, line: int = 1, column: int = 1) -> ScenarioError:
        where = f"{self.source}: in the text that it holds" if self._rendered else f"{self.source}:{line}:{column}"
        return ScenarioError((f"{where}: {why}",))


class _TooMuch(Exception):
    """More values or levels than any template has."""


def _bound(text: str) -> None:
    """Raise _TooMuch for what must not be composed: the parser of C has no guard of its own for the stack."""
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=_LOADER)):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH or count > 2 * MAX_NODES:
            raise _TooMuch


class _Reader:
    """Nodes → plain data."""

    def __init__(self) -> None:
        self._loader = yaml.SafeLoader("")
        self._count = 0

    def read(self, node: yaml.Node, depth: int) -> Any:
        self._count += 1
        if self._count > MAX_NODES or depth > MAX_DEPTH:
            raise _TooMuch
        if node.tag.startswith("!") and len(node.tag) > 1:
            return self._function(node, depth)
        return self._plain(node, depth)

    def _function(self, node: yaml.Node, depth: int) -> Any:
        name = node.tag[1:]
        text = isinstance(node, yaml.ScalarNode)
        value: Any = node.value if text else self._plain(node, depth)
        if name == "GetAtt" and text:
            value = node.value.split(".", 1)
        return {_SHORT.get(name, f"Fn::{name}"): value}

    def _plain(self, node: yaml.Node, depth: int) -> Any:
        if isinstance(node, yaml.MappingNode):
            if node.tag == "tag:yaml.org,2002:map" and any(key.value == "<<" for key, _ in node.value):
                self._loader.flatten_mapping(node)
            return {str(key.value): self.read(value, depth + 1) for key, value in node.value}
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, depth + 1) for item in node.value]
        if node.tag == _NO_DATES:
            return node.value
        try:
            return self._loader.construct_object(node)
        except (KeyError, AttributeError, OverflowError):
            return node.value


def _below(node: yaml.Node, part: str | int) -> tuple[yaml.Mark, yaml.Node] | None:
    """Where the key or the item begins, and its value."""
    if isinstance(node, yaml.SequenceNode):
        inside = isinstance(part, int) and part < len(node.value)
        return (node.value[part].start_mark, node.value[part]) if inside else None
    if isinstance(node, yaml.MappingNode):
        keys = [(key, value) for key, value in node.value if isinstance(key, yaml.ScalarNode)]
        exact = [pair for pair in keys if pair[0].value == part]
        alike = exact or [pair for pair in keys if plain(pair[0].value) == plain(part)]
        return (alike[0][0].start_mark, alike[0][1]) if alike else None
    return None


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
