"""YAML → plain data, with the place of every key. Pure."""

from __future__ import annotations

from typing import Any

import yaml
from yaml.constructor import ConstructorError

from stop_harness.errors import ScenarioError
from stop_harness.model import Positions
from stop_harness.scenario.keys import Key, Path, show

MAX_NODES = 20_000
"""A scenario is a page of text; more nodes than this is an alias bomb or the wrong file."""


MAX_DEPTH = 12
"""The format needs five levels; an alias that contains itself has no end."""


RAW_TEXT = {("subject", "environment"), ("subject", "build_args"), ("subject", "parameters")}
"""Mappings whose values are taken as written, so that `PORT: 8000` and `FLAG: yes` mean what they look like."""


HEADERS = ("traffic", "headers")
"""First and last key of the path to such a mapping, whichever client it belongs to."""


def compose(text: str, source: str) -> tuple[dict[Key, Any], Positions]:
    """The data of a scenario file, and where its keys stand. Raises ScenarioError for what is no YAML mapping."""
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            raise ScenarioError((f"{source}:1:1: the file is empty; `stop-harness init` writes one to start from",))
        if not isinstance(root, yaml.MappingNode):
            raise ScenarioError((f"{source}:1:1: a scenario is a mapping of keys (version, name, subject, …)",))
        reader = _Reader(loader, source)
        data = reader.read(root, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise ScenarioError((f"{source}:{line}:{column}: {why_not_read(error)}",)) from None
    except RecursionError:
        raise ScenarioError((f"{source}:1:1: nested too deeply; this is not a scenario",)) from None
    except yaml.YAMLError as error:
        raise ScenarioError((f"{source}:1:1: not valid YAML: {' '.join(str(error).split())}",)) from None
    if reader.problems:
        raise ScenarioError(tuple(reader.problems))
    assert isinstance(data, dict)
    return data, Positions(reader.places)


def why_not_read(error: yaml.MarkedYAMLError) -> str:
    """What is wrong at the place that the error names, for people."""
    if error.problem == "but found another document":
        return "a second YAML document begins here; only one is read, so give each a file of its own"
    hint = "; indent with spaces, YAML allows no tabs there" if "'\\t'" in str(error.problem) else ""
    return f"not valid YAML: {error.problem}{hint}"


class _Loader(yaml.SafeLoader):
    """Merge keys (`<<`) double what they merge, so that they are bounded while they are merged."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        if len(node.value) > MAX_NODES:
            raise ConstructorError(None, None, f"merged into more than {MAX_NODES} values", node.start_mark)


class _Reader:
    """Nodes → plain data, remembering where each key stands and collecting duplicate keys."""

    def __init__(self, loader: yaml.SafeLoader, source: str) -> None:
        self.loader, self.source = loader, source
        self.places: dict[Path, tuple[int, int]] = {}
        self.problems: list[str] = []
        self._count = 0

    def read(self, node: yaml.Node, path: Path) -> Any:
        self._count += 1
        if self._count > MAX_NODES or len(path) > MAX_DEPTH:
            problem = f"more than {MAX_NODES} values or {MAX_DEPTH} levels; this is not a scenario"
            raise ScenarioError((f"{self.source}:1:1: {problem}",))
        self.places.setdefault(path, _place(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        if (path[:-1] in RAW_TEXT or path[:1] + path[-2:-1] == HEADERS) and node.tag != "tag:yaml.org,2002:null":
            return node.value
        return self._construct(node)

    def _construct(self, node: yaml.Node) -> Any:
        """A plain value. PyYAML lets its own mistakes through for `2020-13-45` or `!!bool maybe`."""
        try:
            return self.loader.construct_object(node)
        except (ValueError, KeyError, AttributeError):
            kind = node.tag.rpartition(":")[2]
            problem = f"{show(node.value)} does not read as {kind}; put it in quotes if text is meant"
            raise ConstructorError(None, None, problem, node.start_mark) from None

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[Key, Any]:
        seen: dict[Key, yaml.Mark] = {}
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConstructorError(None, None, "a key is one word, not a list or a mapping", key_node.start_mark)
            key = key_node.value
            if key in seen and key != "<<":
                mark = key_node.start_mark
                self.problems.append(
                    f"{self.source}:{mark.line + 1}:{mark.column + 1}: {key}: this key stands twice, "
                    f"first in line {seen[key].line + 1}; remove one"
                )
            seen[key] = key_node.start_mark
        self.loader.flatten_mapping(node)
        result: dict[Key, Any] = {}
        for key_node, value_node in node.value:
            key = self._construct(key_node)
            if not isinstance(key, str | int):
                key = str(key_node.value)
            self.places[(*path, key)] = _place(key_node)
            result[key] = self.read(value_node, (*path, key))
        return result


def _place(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1
