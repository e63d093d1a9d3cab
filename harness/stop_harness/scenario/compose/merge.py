"""One Compose file over another, and a service over the one that it extends. Pure.

The rules are the specification's (13-merge.md), by key; compose-go has them in override/merge.go and uncity.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from stop_harness.errors import UsageError
from stop_harness.scenario.compose import values
from stop_harness.scenario.compose.tree import Scalar, ValueTree, text_of

Path = tuple[str, ...]

PAIRS = {
    *(("services", "*", key) for key in ("annotations", "environment", "labels", "sysctls")),
    *(("services", "*", "build", key) for key in ("additional_contexts", "args", "labels")),
    ("services", "*", "deploy", "labels"),
    ("networks", "*", "labels"),
    ("volumes", "*", "labels"),
}
"""Mappings that may be written as a list of `KEY=VALUE`."""

NAMES = {("services", "*", "depends_on"), ("services", "*", "networks"), ("services", "*", "models")}
"""Mappings that may be written as a list of names."""

REPLACED = {
    ("services", "*", "command"),
    ("services", "*", "entrypoint"),
    ("services", "*", "healthcheck", "test"),
}

_TEXTS = "dns dns_opt dns_search env_file extra_hosts label_file tmpfs".split()
LISTS = {("services", "*", key) for key in _TEXTS}
"""Lists that may be written as one text, or, of hosts, as a mapping."""

_AS_WRITTEN = "cap_add cap_drop devices dns dns_opt dns_search env_file expose extra_hosts links profiles tmpfs".split()
UNIQUE = {
    *(("services", "*", key) for key in (*_AS_WRITTEN, "ports", "volumes", "secrets", "configs")),
    ("services", "*", "networks", "*", "aliases"),
}
"""Lists in which the later of two items of the same key replaces the earlier one."""


def merged(base: ValueTree, over: ValueTree, path: Path = ()) -> ValueTree:
    """`over` on top of `base`, both at `path` of their files. Raises UsageError where they are of different kinds."""
    shape = _shape(path)
    if over.replaces or shape in REPLACED:
        return over
    if over.value is None:
        return base
    if shape in PAIRS:
        return _joined(as_pairs(base), as_pairs(over), path)
    if shape in NAMES:
        return _joined(as_names(base), as_names(over), path)
    if shape in LISTS:
        return _unique(replace(over, value=(*_listed(base), *_listed(over))), shape)
    if shape == ("services", "*", "build"):
        return _joined(_as_build(base), _as_build(over), path)
    if shape == ("services", "*", "logging") and _drivers_differ(base, over):
        return over
    if base.value is None:
        return over
    if isinstance(base.value, Mapping) and isinstance(over.value, Mapping):
        return _joined(base, over, path)
    if isinstance(base.value, tuple) and isinstance(over.value, tuple):
        return _unique(replace(over, value=(*base.value, *over.value)), shape)
    if isinstance(base.value, Mapping | tuple) or isinstance(over.value, Mapping | tuple):
        if shape[:3] == ("services", "*", "ulimits"):
            return over
        raise UsageError(f"{over.place}: {'.'.join(path)} is of another kind than in {base.place}, which it overrides")
    return over


def as_pairs(tree: ValueTree) -> ValueTree:
    """`[KEY=VALUE]` as a mapping; a key without a value has none."""
    if not isinstance(tree.value, tuple):
        return tree
    found: dict[str, ValueTree] = {}
    for item in tree.value:
        key, sign, value = text_of(_scalar(item)).partition("=")
        found[key] = replace(item, value=value if sign else None)
    return replace(tree, value=found)


def as_names(tree: ValueTree) -> ValueTree:
    """`[NAME]` as a mapping to nothing."""
    if not isinstance(tree.value, tuple):
        return tree
    return replace(tree, value={text_of(_scalar(item)): replace(item, value=None) for item in tree.value})


def _as_build(tree: ValueTree) -> ValueTree:
    return replace(tree, value={"context": tree}) if isinstance(tree.value, str) else tree


def _listed(tree: ValueTree) -> tuple[ValueTree, ...]:
    if isinstance(tree.value, tuple):
        return tree.value
    if isinstance(tree.value, Mapping):
        addresses = ((name, item) for name, found in tree.value.items() for item in _listed(found))
        return tuple(replace(item, value=f"{name}={text_of(_scalar(item))}") for name, item in addresses)
    return () if tree.value is None else (tree,)


def _scalar(tree: ValueTree) -> Scalar:
    if isinstance(tree.value, Mapping | tuple):
        raise UsageError(f"{tree.place}: one value is needed, not a list or a mapping")
    return tree.value


def _joined(base: ValueTree, over: ValueTree, path: Path) -> ValueTree:
    if not isinstance(base.value, Mapping | None) or not isinstance(over.value, Mapping):
        raise UsageError(f"{over.place}: {'.'.join(path)} is of another kind than in {base.place}, which it overrides")
    result = dict(base.mapping)
    for key, item in over.value.items():
        if item.removed:
            result.pop(key, None)
        else:
            result[key] = merged(result[key], item, (*path, key)) if key in result else item
    return replace(over, value=result)


def without_marks(tree: ValueTree) -> ValueTree:
    """Without what `!reset` takes away."""
    if isinstance(tree.value, Mapping):
        kept = {key: without_marks(item) for key, item in tree.value.items() if not item.removed}
        return replace(tree, value=kept, replaces=False)
    if isinstance(tree.value, tuple):
        items = tuple(without_marks(item) for item in tree.value if not item.removed)
        return replace(tree, value=items, replaces=False)
    return replace(tree, replaces=False)


def _shape(path: Path) -> Path:
    """With a star for every name that its author chose."""
    named = {1, 3} if path[2:3] == ("networks",) else {1}
    return tuple("*" if index in named else part for index, part in enumerate(path))


def _unique(tree: ValueTree, shape: Path) -> ValueTree:
    """The last of each key, where the first one stands."""
    if shape not in UNIQUE or not isinstance(tree.value, tuple):
        return tree
    found: dict[str, ValueTree] = {}
    for item in tree.value:
        found[_identity(item, shape[-1])] = item
    return replace(tree, value=tuple(found.values()))


def _identity(item: ValueTree, key: str) -> str:
    """What an item of a list is about: where it is mounted, which port it publishes where, or all of its text."""
    value = item.plain()
    if key == "volumes":
        mounts = values.read("volumes", [value])
        return str(mounts[0].get("target")) if values.are_mounts(mounts) else str(value)
    if key in {"secrets", "configs"}:
        folder = "/run/secrets/" if key == "secrets" else "/"
        it = value if isinstance(value, dict) else {"source": value}
        return str(it.get("target") or f"{folder}{it.get('source')}")
    if key == "ports":
        return str(values.published(value))
    if key == "devices" and isinstance(value, str):
        return [*value.split(":"), value][1]
    if isinstance(value, dict):
        return str(value.get("path", value.get("target", value)))
    return text_of(value) if not isinstance(value, list) else str(value)


def _drivers_differ(base: ValueTree, over: ValueTree) -> bool:
    first, second = base.at("driver"), over.at("driver")
    return first is not None and second is not None and first.value != second.value
