"""Paths of a Compose file, which are relative to a folder → relative to where the caller is. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stop_harness.scenario.compose.tree import ValueTree

_ON_THE_NETWORK = re.compile(r"^(?:[a-z][a-z0-9+.-]*://|git@|github\.com/)")
_BEGINS_A_PATH = (".", "/", "~")
"""A source of `volumes` that begins otherwise is the name of a volume."""

PATHS = {
    ("services", "*", "build"),
    ("services", "*", "build", "context"),
    ("services", "*", "env_file"),
    ("services", "*", "env_file", "[]"),
    ("services", "*", "env_file", "[]", "path"),
    ("services", "*", "label_file"),
    ("services", "*", "label_file", "[]"),
    ("secrets", "*", "file"),
    ("configs", "*", "file"),
}
"""Where texts are paths (compose-go, paths/resolve.go); `volumes` are read by their form."""


def is_remote(path: str) -> bool:
    """Whether it names something on the network, such as a repository."""
    return bool(_ON_THE_NETWORK.match(path))


def beside(folder: str, path: str) -> str:
    """A path of a file in `folder`."""
    if is_remote(path) or path.startswith("~"):
        return path
    return posixpath.normpath(posixpath.join(folder, path))


def is_inside(folder: str, path: str) -> bool:
    """Whether a path, as `beside` gives it, lies in the folder."""
    folder = posixpath.normpath(folder or ".")
    if path.startswith("~") or posixpath.isabs(path) is not posixpath.isabs(folder):
        return False
    folders, parts = (posixpath.normpath(item).split("/") for item in (folder, path))
    folders = [] if folders == ["."] else folders
    return parts[: len(folders)] == folders and parts[len(folders) : len(folders) + 1] != [".."]


def resolved(tree: ValueTree, folder: str, path: tuple[str, ...] = ()) -> ValueTree:
    """A file, or the part of it at `path`, with its paths relative to where the caller is, instead of to `folder`."""
    if isinstance(tree.value, str):
        if path[:3:2] == ("services", "volumes"):
            return replace(tree, value=_short_mount(tree.value, folder))
        return replace(tree, value=beside(folder, tree.value)) if path in PATHS else tree
    if isinstance(tree.value, tuple):
        return replace(tree, value=tuple(resolved(item, folder, (*path, "[]")) for item in tree.value))
    if not isinstance(tree.value, Mapping):
        return tree
    kind, source = tree.at("type"), tree.at("source")
    if path[:3:2] == ("services", "volumes") and path[-1] == "[]":
        if kind is None or kind.value != "bind" or source is None or not isinstance(source.value, str):
            return tree
        return replace(tree, value={**tree.value, "source": replace(source, value=beside(folder, source.value))})
    items = {key: resolved(item, folder, (*path, "*" if len(path) == 1 else key)) for key, item in tree.value.items()}
    return replace(tree, value=items)


def _short_mount(text: str, folder: str) -> str:
    """`./conf:/conf:ro`; what has no second part is mounted nowhere but at its own path."""
    source, sign, rest = text.partition(":")
    if not sign or not source.startswith(_BEGINS_A_PATH):
        return text
    path = beside(folder, source)
    return f"{path if path.startswith(_BEGINS_A_PATH) else f'./{path}'}:{rest}"


def relative(data: Any, absolute: str, folder: str, path: tuple[str, ...] = ()) -> Any:
    """What Compose gives with absolute paths: those below `absolute` as a caller has them who calls it `folder`."""
    if isinstance(data, str):
        is_path = path in PATHS or (path[:3:2] == ("services", "volumes") and path[-1] == "source")
        if is_path and (data == absolute or data.startswith(f"{absolute.rstrip('/')}/")):
            return posixpath.normpath(posixpath.join(folder, posixpath.relpath(data, absolute)))
        return data
    if isinstance(data, list):
        return [relative(item, absolute, folder, (*path, "[]")) for item in data]
    if isinstance(data, dict):
        star = len(path) == 1
        return {key: relative(item, absolute, folder, (*path, "*" if star else key)) for key, item in data.items()}
    return data
