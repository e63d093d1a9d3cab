"""Text of a Compose file, a manifest or a task definition → the lines of one container's keys. Pure.

What a report points to is a help and no evidence: a text that cannot be read has no lines, and nobody hears of it here.
"""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from stop_harness.scenario import file_kinds

Lines = dict[str, int]
"""Key in lower case without underscores → its line, from 1. The empty key: the container itself."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_LISTS = {"containers", "initcontainers", "containerdefinitions"}
"""Keys of lists of containers: those of a pod, of a task definition, and of its forms in templates."""

GRACE_PERIOD = "terminationgraceperiodseconds"

MAX_DEPTH = 40
MAX_MERGES = 8
MERGE = "tag:yaml.org,2002:merge"
"""What `<<` is; in quotes it is a key like any other."""


def of_service(text: str, service: str) -> Lines:
    """Of a service of a Compose file; empty where it has none of this name."""
    for root in _documents(text):
        node = _value(_value(root, "services"), service)
        if node is not None:
            return _lines(node, _key(_value(root, "services"), service))
    return {}


def of_container(text: str, name: str, workload: str | None = None) -> Lines:
    """Of a container of a task definition, or of a pod of the object `workload` (a name or kind/name, None: any), with
    the line of the pod's grace period; empty where there is none."""
    documents = _documents(text)
    named = [root for root in documents if workload is not None and _is_called(root, workload)]
    for root in named or documents:
        for parent, node in _containers(root):
            if name in (_text(_value(node, "name")), _text(_value(node, "Name"))):
                grace = _key(parent, "terminationGracePeriodSeconds")
                return {**_lines(node, node), **({} if grace is None else {GRACE_PERIOD: _line(grace)})}
    return {}


def _documents(text: str) -> list[yaml.Node]:
    try:
        return [node for node in yaml.compose_all(file_kinds.without_tabs(text), Loader=_LOADER) if node is not None]
    except (yaml.YAMLError, RecursionError, ValueError):
        return []


def _containers(node: yaml.Node, depth: int = 0) -> Iterator[tuple[yaml.MappingNode, yaml.MappingNode]]:
    """Each container with the mapping around its list."""
    if depth > MAX_DEPTH:
        return
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _containers(item, depth + 1)
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        if _plain(_text(key)) in _LISTS and isinstance(value, yaml.SequenceNode):
            yield from ((node, item) for item in value.value if isinstance(item, yaml.MappingNode))
        else:
            yield from _containers(value, depth + 1)


def _is_called(root: yaml.Node, workload: str) -> bool:
    kind, _, name = workload.rpartition("/")
    named = _text(_value(_value(root, "metadata"), "name")) == name
    return named and kind.lower() in {"", _text(_value(root, "kind")).lower()}


def _lines(node: yaml.Node, own: yaml.Node | None) -> Lines:
    found = {"": _line(own or node)}
    if isinstance(node, yaml.MappingNode):
        found.update({_plain(_text(key)): _line(key) for key, _ in reversed(_pairs(node))})
    return found


def _pairs(node: yaml.Node | None, depth: int = 0) -> list[tuple[yaml.Node, yaml.Node]]:
    """Keys and values of a mapping, its own first, then those that it merges (`<<`), which may be in several places."""
    if depth > MAX_MERGES:
        return []
    if isinstance(node, yaml.SequenceNode):
        return [pair for item in node.value for pair in _pairs(item, depth + 1)]
    if not isinstance(node, yaml.MappingNode):
        return []
    own = [pair for pair in node.value if pair[0].tag != MERGE]
    return own + [pair for key, value in node.value if key.tag == MERGE for pair in _pairs(value, depth + 1)]


def _pair(node: yaml.Node | None, key: str) -> tuple[yaml.Node, yaml.Node] | None:
    return next(((name, value) for name, value in _pairs(node) if _text(name) == key), None)


def _value(node: yaml.Node | None, key: str) -> yaml.Node | None:
    pair = _pair(node, key)
    return None if pair is None else pair[1]


def _key(node: yaml.Node | None, key: str) -> yaml.Node | None:
    pair = _pair(node, key)
    return None if pair is None else pair[0]


def _text(node: yaml.Node | None) -> str:
    return node.value if isinstance(node, yaml.ScalarNode) else ""


def _plain(key: str) -> str:
    return key.replace("_", "").lower()


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
