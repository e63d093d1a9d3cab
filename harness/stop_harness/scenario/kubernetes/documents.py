"""Text of manifests → Kubernetes objects, and where their fields stand. Pure.

A manifest is read as kubectl reads it: documents are split at lines that begin with `---`, each is YAML 1.1 without
times and numbers to the base of 60 (sigs.k8s.io/yaml), and a `List` stands for its items. Objects of which a pod takes
nothing are only named, so that a rendered chart with a megabyte of CustomResourceDefinitions costs no time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from stop_harness.errors import ScenarioError
from stop_harness.scenario import file_kinds, positions
from stop_harness.scenario.keys import Key, Path, show

MAX_NODES = 200_000
"""Values in one document; more is a bomb of aliases."""

MAX_DEPTH = 60

WORKLOADS = (
    "Pod",
    "Deployment",
    "StatefulSet",
    "DaemonSet",
    "ReplicaSet",
    "ReplicationController",
    "Job",
    "CronJob",
)
"""Kinds that have a pod, in the order in which messages name them."""

READ = frozenset({*WORKLOADS, "ConfigMap", "Secret", "Service"})
"""Kinds that are read; all others are passed over."""

API_GROUPS = frozenset({"v1", "apps/v1", "batch/v1", "apps/v1beta1", "apps/v1beta2", "extensions/v1beta1"}) | {
    "batch/v1beta1"
}
"""What the kinds above belong to. An object of another group is somebody's custom resource, whatever its kind."""

_MARKER = re.compile(r"---(\s|$)")
_KIND = re.compile(r"""^kind:[ \t]*["']?(\w+)""", re.MULTILINE)
_VERSION = re.compile(r"""^apiVersion:[ \t]*["']?([\w./-]+)""", re.MULTILINE)
_NAME = re.compile(
    r"""^metadata:[ \t]*\n(?:[ \t].*\n|[ \t]*\n|#.*\n)*?[ \t]+name:[ \t]*["']?([^\s"']+)""", re.MULTILINE
)
_TEMPLATE_LINE = re.compile(r"^\{\{.*", re.MULTILINE)
_CHART = re.compile(
    r"\{\{-?\s*(?:\$?\.(?:Values|Release|Chart|Capabilities|Template|Files)\b|(?:include|template|tpl|toYaml|if|range|"
    r"with|end|else|define|default)\b)"
)
RENDER = "render it first: helm template CHART | stop-harness check --kubernetes -"


@dataclass(frozen=True)
class KubernetesObject:
    """One object of a file. `root`: the path of its fields begins with this; not empty for an item of a list.

    `places`: path → (line, column), both from 1.
    """

    kind: str
    api_version: str
    name: str
    namespace: str | None
    source: str
    data: dict[Key, Any] = field(repr=False)
    root: Path = ()
    places: dict[Path, tuple[int, int]] = field(default_factory=dict, repr=False)

    @property
    def called(self) -> str:
        """As kubectl has it, such as `deployment/web`."""
        return f"{self.kind.lower()}/{self.name}"

    def place(self, path: Path = ()) -> str:
        """`file:line:column` of a field, or of the nearest one around it."""
        known = self.root
        for part in path:
            if (*known, part) not in self.places:
                break
            known = (*known, part)
        line, column = self.places.get(known, (1, 1))
        return f"{self.source}:{line}:{column}"

    def said(self, path: Path, text: str) -> str:
        """A message about a field, with its place."""
        return f"{self.place(path)}: {dotted((*self.root, *path))}: {text}"


@dataclass(frozen=True)
class Manifest:
    """What stands in a file. `passed_over`: kind and name of each object that is not read, and its API version where it
    is somebody's custom resource."""

    source: str
    objects: tuple[KubernetesObject, ...]
    passed_over: tuple[str, ...] = ()

    def of_kind(self, kind: str) -> tuple[KubernetesObject, ...]:
        """The objects of a kind, in the file's order."""
        return tuple(item for item in self.objects if item.kind == kind)

    def named(self, kind: str, name: str, namespace: str | None) -> KubernetesObject | None:
        """The last object of that kind and name, as `kubectl apply` leaves it; a namespace that one of the two does not
        name is the same."""
        found = [
            item
            for item in self.of_kind(kind)
            if item.name == name and (None in {namespace, item.namespace} or item.namespace == namespace)
        ]
        return found[-1] if found else None


def read(text: str, source: str) -> Manifest:
    """Every object of the text. Raises ScenarioError with the mistakes of all documents."""
    objects: list[KubernetesObject] = []
    passed_over: list[str] = []
    problems: list[str] = []
    for offset, chunk in _documents(file_kinds.without_tabs(text)):
        if (template := _TEMPLATE_LINE.search(chunk)) is not None:
            line = offset + chunk.count("\n", 0, template.start()) + 1
            problems.append(f"{source}:{line}:1: {unrendered(template[0])}")
            continue
        foreign = _foreign(chunk)
        if foreign is not None:
            passed_over.append(foreign)
            continue
        try:
            _read_document(chunk, offset, source, objects, passed_over)
        except ScenarioError as error:
            problems += error.problems
    if problems:
        raise ScenarioError(tuple(problems))
    return Manifest(source, tuple(objects), tuple(passed_over))


def looks_like_one(text: str) -> bool:
    """Whether a text is a manifest: one of its documents has `apiVersion` and `kind`, or it is a chart's template."""
    for _, chunk in _documents(file_kinds.without_tabs(text)):
        if _VERSION.search(chunk) and _KIND.search(chunk):
            return True
        if chunk.lstrip().startswith("{") and {"apiVersion", "kind"} <= file_kinds.top_keys(chunk):
            return True
    return False


def dotted(path: Path) -> str:
    """A path as Kubernetes writes it, such as `spec.containers[0].image`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def unrendered(text: str) -> str:
    """The message about a template that nobody has rendered."""
    shown = text.strip()
    return f"`{shown if len(shown) <= 60 else shown[:57] + '…'}` is a template that is not rendered; {RENDER}"


def is_template(value: str) -> bool:
    """Whether a value is a piece of a Helm chart; other braces may be meant for the program."""
    return _CHART.search(value) is not None


def _documents(text: str) -> Iterator[tuple[int, str]]:
    """(number of the lines before it, text) of each document that is more than comments."""
    begin, chunk = 0, list[str]()
    for number, line in enumerate([*text.splitlines(), "---"]):
        if _MARKER.match(line):
            if any(part.strip() and not part.lstrip().startswith(("#", "---", "...")) for part in chunk):
                yield begin, "\n".join(chunk) + "\n"
            begin, chunk = number, []
        chunk.append(line)


def _foreign(chunk: str) -> str | None:
    """What a document is called that needs no reading; None for all others."""
    kind, version = _KIND.search(chunk), _VERSION.search(chunk)
    if kind is None or version is None or kind[1].endswith("List"):
        return None
    if kind[1] in READ and not _is_custom(version[1]):
        return None
    name = _NAME.search(chunk)
    return _called(kind[1], version[1], name[1] if name else "")


def _called(kind: str, version: str, name: str) -> str:
    return f"{kind} {name}".strip() + (f" ({version})" if _is_custom(version) else "")


def _is_custom(version: str) -> bool:
    """Whether an API version is somebody's own, as its group tells."""
    group = version.partition("/")[0]
    return "." in group and not group.endswith(".k8s.io")


def _read_document(
    chunk: str, offset: int, source: str, objects: list[KubernetesObject], passed_over: list[str]
) -> None:
    reader = _Reader(chunk, offset, source)
    data = reader.data()
    if not isinstance(data, dict) or not {"apiVersion", "kind"} <= set(data):
        line = reader.places.get((), (offset + 1, 1))[0]
        raise ScenarioError((f"{source}:{line}:1: no Kubernetes object: it needs `apiVersion` and `kind`",))
    problems: list[str] = []
    items: list[tuple[Path, Any]] = [((), data)]
    if str(data["kind"]).endswith("List") and isinstance(data.get("items"), list):
        items = [(("items", index), item) for index, item in enumerate(data["items"])]
    for root, item in items:
        found = item if isinstance(item, dict) else {}
        whole = KubernetesObject("", "", "", None, source, found, root, reader.places)
        problems += _not_texts(whole, is_item=bool(root) and data["kind"] != "List")
        metadata = found.get("metadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        kind, version = str(found.get("kind") or str(data["kind"]).removesuffix("List")), str(found.get("apiVersion"))
        version = str(data["apiVersion"]) if "apiVersion" not in found else version
        name = str(metadata.get("name") or metadata.get("generateName") or "").rstrip("-")
        namespace = None if metadata.get("namespace") is None else str(metadata["namespace"])
        if kind not in READ or _is_custom(version):
            passed_over.append(_called(kind, version, name))
            continue
        problems += _misplaced(whole, kind, version)
        if not isinstance(found.get("metadata", {}), dict | None):
            problems.append(whole.said(("metadata",), f"a mapping is needed, not {show(found['metadata'])}"))
        objects.append(replace(whole, kind=kind, api_version=version, name=name, namespace=namespace))
    if problems:
        raise ScenarioError(tuple(problems))


def _not_texts(item: KubernetesObject, *, is_item: bool) -> list[str]:
    """What is wrong with `apiVersion` and `kind`. `is_item`: of a list of one kind, whose items need not name it."""
    problems = []
    for key in ("apiVersion", "kind"):
        value = item.data.get(key)
        if isinstance(value, str) and value:
            continue
        if value is not None:
            problems.append(item.said((key,), f"text is needed, not {show(value)}"))
        elif not is_item:
            problems.append(item.said((key,), "this field is required"))
    return problems


def _misplaced(item: KubernetesObject, kind: str, version: str) -> list[str]:
    """What is wrong with its group and its name, which an API server refuses."""
    problems = []
    home = HOME.get(kind, "v1")
    if isinstance(item.data.get("apiVersion"), str) and (version not in API_GROUPS or not _belongs(home, version)):
        problems.append(item.said(("apiVersion",), f"{show(version)} has no {kind}; write {home}"))
    metadata = item.data.get("metadata") or {}
    if kind not in WORKLOADS or not isinstance(metadata, dict):
        return problems
    for key in ("name", "generateName"):
        value = metadata.get(key)
        if value is not None and not isinstance(value, str):
            text = f"text is needed, not {show(value)}, and Kubernetes refuses it; put it in quotes"
            problems.append(item.said(("metadata", key), text))
    if not metadata.get("name") and not metadata.get("generateName"):
        problems.append(item.said(("metadata",), "`name` is required"))
    return problems


HOME = {
    **dict.fromkeys(("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"), "apps/v1"),
    **dict.fromkeys(("Job", "CronJob"), "batch/v1"),
}
"""The API version of each kind today; of all others it is v1."""


def _belongs(home: str, version: str) -> bool:
    """Older versions of the same group count, and extensions/v1beta1, from which apps came."""
    group = version.rpartition("/")[0]
    return group == home.rpartition("/")[0] or (home == "apps/v1" and group == "extensions")


class _Loader(yaml.SafeLoader):
    """YAML as sigs.k8s.io/yaml has it; merge keys are bounded while they are merged."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        if len(node.value) > MAX_NODES:
            raise ConstructorError(None, None, f"merged into more than {MAX_NODES} values", node.start_mark)


_OTHERWISE = {f"tag:yaml.org,2002:{kind}" for kind in ("timestamp", "int", "float")}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag not in _OTHERWISE]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0o?[0-7_]+|0|[1-9][0-9_]*)$"),
    list("-+0123456789"),
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)


class _Reader:
    """One document → plain data, with the place of every field."""

    def __init__(self, chunk: str, offset: int, source: str) -> None:
        self._chunk, self._offset, self._source = chunk, offset, source
        self.places: dict[Path, tuple[int, int]] = {}
        self._count = 0

    def data(self) -> Any:
        """Raises ScenarioError."""
        try:
            loader = _Loader(self._chunk)
            node = loader.get_single_node()
            return None if node is None else self._read(loader, node, ())
        except yaml.MarkedYAMLError as error:
            raise ScenarioError((self._why_not(error),)) from None
        except RecursionError:
            raise ScenarioError((f"{self._source}:{self._offset + 1}:1: nested too deeply",)) from None
        except (yaml.YAMLError, ValueError, KeyError) as error:
            text = " ".join(str(error).split())
            raise ScenarioError((f"{self._source}:{self._offset + 1}:1: not valid YAML: {text}",)) from None

    def _why_not(self, error: yaml.MarkedYAMLError) -> str:
        """A template that is not rendered is seldom valid YAML, and the parser fails somewhere behind it."""
        mark = error.problem_mark or error.context_mark
        at = mark.line if mark is not None else 0
        lines = self._chunk.splitlines()
        with_braces = [number for number, line in enumerate(lines) if "{{" in line]
        nearest = max((number for number in with_braces if number <= at), default=min(with_braces, default=None))
        if nearest is not None:
            line, column = lines[nearest], lines[nearest].index("{{") + 1
            return f"{self._source}:{self._offset + nearest + 1}:{column}: {unrendered(line[column - 1 :])}"
        column = mark.column + 1 if mark is not None else 1
        return f"{self._source}:{self._offset + at + 1}:{column}: {positions.why_not_read(error)}"

    def _read(self, loader: _Loader, node: yaml.Node, path: Path) -> Any:
        self._count += 1
        if self._count > MAX_NODES or len(path) > MAX_DEPTH:
            problem = f"more than {MAX_NODES} values or {MAX_DEPTH} levels in one object"
            raise ConstructorError(None, None, problem, node.start_mark)
        self.places.setdefault(path, self._place(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(loader, node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._read(loader, item, (*path, index)) for index, item in enumerate(node.value)]
        return loader.construct_object(node)

    def _mapping(self, loader: _Loader, node: yaml.MappingNode, path: Path) -> dict[Key, Any]:
        keys = [key for key, _ in node.value]
        for number, key in enumerate(keys):
            if not isinstance(key, yaml.ScalarNode):
                raise ConstructorError(None, None, "a key is one word, not a list or a mapping", key.start_mark)
            twin = next((other for other in keys[:number] if other.value == key.value != "<<"), None)
            if twin is not None:
                first = self._offset + twin.start_mark.line + 1
                problem = f"{key.value}: this key stands twice, first in line {first}; remove one"
                raise ScenarioError((f"{self._source}:{':'.join(map(str, self._place(key)))}: {problem}",))
        loader.flatten_mapping(node)
        result: dict[Key, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            self.places[(*path, key)] = self._place(key_node)
            result[key] = self._read(loader, value_node, (*path, key))
        return result

    def _place(self, node: yaml.Node) -> tuple[int, int]:
        return self._offset + node.start_mark.line + 1, node.start_mark.column + 1
