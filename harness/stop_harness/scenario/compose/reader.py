"""Compose files → one tree, where Compose itself is not installed; and the line of every key where it is. Pure.

In the order of compose-go (loader/loader.go): for each file interpolation, then `include`, then `extends`, then the
merge over the files before it.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NoReturn

from stop_harness.errors import UsageError
from stop_harness.scenario import env_file, variables
from stop_harness.scenario.compose import merge, paths
from stop_harness.scenario.compose.tree import Place, Scalar, ValueTree, changed, documents

Environment = Mapping[str, str]

SECTIONS = ("services", "networks", "volumes", "secrets", "configs")
"""What one file gives to another that includes it."""


@dataclass(frozen=True)
class Disk:
    """What a reader may know of this machine. `read` gives the text of a file and raises UsageError; `is_file`: whether
    there is one; `exists`: a file or a folder."""

    read: Callable[[str], str]
    is_file: Callable[[str], bool]
    exists: Callable[[str], bool]


@dataclass(frozen=True)
class FilesRead:
    """All files in one. `unset`: variables without a value or a default, with where they stand."""

    tree: ValueTree
    unset: tuple[tuple[str, Place], ...]


def read(files: tuple[str, ...], environment: Environment, disk: Disk) -> FilesRead:
    """The files merged in their order, with paths relative to where the caller is. Raises UsageError with the place of
    the first mistake."""
    reader = _Reader(disk)
    folder = posixpath.dirname(files[0])
    tree = reader.project(files, folder, environment, ())
    return FilesRead(merge.without_marks(tree), tuple(dict.fromkeys(reader.unset)))


class _Reader:
    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self.unset: list[tuple[str, Place]] = []

    def project(
        self, files: tuple[str, ...], folder: str, environment: Environment, within: tuple[str, ...]
    ) -> ValueTree:
        """Files of one project over each other. `within`: the files that include it."""
        found: ValueTree | None = None
        for file in files:
            for document in self._documents(file, folder, environment):
                tree = self._with_includes(document, folder, environment, (*within, file))
                tree = self._with_extends(tree, folder, file, environment)
                found = tree if found is None else merge.merged(found, tree)
        if found is None:
            raise UsageError(f"{files[0]}: the file is empty")
        return found

    def _documents(self, file: str, folder: str, environment: Environment) -> tuple[ValueTree, ...]:
        """Those of a file, with its variables' values, and its paths relative to where the caller is."""

        def filled(text: str, place: Place) -> Scalar:
            unset: list[str] = []
            try:
                result = variables.substituted(text, environment, unset)
            except UsageError as error:
                _refuse(place, str(error))
            self.unset += [(name, place) for name in unset]
            return result

        found = documents(self._disk.read(file), file)
        return tuple(paths.resolved(changed(document, filled), folder) for document in found)

    # ── include ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _with_includes(
        self, tree: ValueTree, folder: str, environment: Environment, within: tuple[str, ...]
    ) -> ValueTree:
        """What it includes, and itself on top of it."""
        given = tree.at("include")
        rest = replace(tree, value={key: item for key, item in tree.mapping.items() if key != "include"})
        if given is None or given.value is None:
            return rest
        if not isinstance(given.value, tuple):
            _refuse(given.place, "`include` is a list of files")
        for item in given.value:
            included = self._included(item, folder, environment, within)
            known = {key: found for key, found in included.mapping.items() if key in SECTIONS}
            rest = merge.merged(replace(rest, value=known), rest)
        return rest

    def _included(self, item: ValueTree, folder: str, environment: Environment, within: tuple[str, ...]) -> ValueTree:
        files = tuple(paths.beside(folder, text) for text in _texts(item.at("path") or item))
        if not files:
            _refuse(item.place, "`include` needs the path of a file")
        for file in files:
            self._need(file, item.place)
        if files[0] in within:
            _refuse(item.place, f"the files include each other: {' → '.join((*within, files[0]))}")
        given = item.at("project_directory")
        directory = paths.beside(folder, str(given.value)) if given is not None else posixpath.dirname(files[0])
        named = tuple(paths.beside(folder, text) for text in _texts(item.at("env_file")))
        for file in named:
            self._need(file, item.place)
        default = posixpath.join(directory, ".env")
        for file in named or ((default,) if self._disk.is_file(default) else ()):
            pairs = env_file.pairs(self._disk.read(file), file, environment)
            environment = {**dict(pairs), **environment}
        return self.project(files, directory, environment, within)

    def _need(self, file: str, place: Place) -> None:
        if paths.is_remote(file):
            _refuse(place, f"{file} is on the network and is not fetched; name a copy of it")
        if not self._disk.is_file(file):
            _refuse(place, f"there is no file {file}")

    # ── extends ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _with_extends(self, tree: ValueTree, folder: str, file: str, environment: Environment) -> ValueTree:
        services = tree.at("services")
        if services is None or not isinstance(services.value, Mapping):
            return tree
        scope = _Scope(services.value, folder, file, environment)
        extended = {name: self._extended(scope, name, ()) for name in services.value}
        return replace(tree, value={**tree.mapping, "services": replace(services, value=extended)})

    def _extended(self, scope: _Scope, name: str, chain: tuple[tuple[str, str], ...]) -> ValueTree:
        """The service over the one that it extends. `chain`: (file, service) of those that extend it."""
        service = scope.services[name]
        extends = service.at("extends")
        if extends is None or extends.value is None:
            return service
        nothing = ValueTree(None, extends.place)
        named = extends.mapping or {"service": extends}
        whose, file = (named.get(key, nothing).value for key in ("service", "file"))
        if not isinstance(whose, str) or not isinstance(file, str | None):
            _refuse(extends.place, "`extends` needs the name of a `service`, and the path of its `file` if it has one")
        base = scope if file is None else self._scope_of(paths.beside(scope.folder, file), scope, extends.place)
        if whose not in base.services:
            known = ", ".join(base.services) or "none"
            _refuse(extends.place, f"there is no service {whose!r} to extend in {base.file}; services: {known}")
        chain = (*chain, (scope.file, name))
        if (base.file, whose) in chain:
            names = " → ".join(item for _, item in (*chain, (base.file, whose)))
            _refuse(extends.place, f"the services extend each other: {names}")
        own = replace(service, value={key: item for key, item in service.mapping.items() if key != "extends"})
        return merge.merged(self._extended(base, whose, chain), own, ("services", name))

    def _scope_of(self, file: str, within: _Scope, place: Place) -> _Scope:
        self._need(file, place)
        folder = posixpath.dirname(file)
        services: dict[str, ValueTree] = {}
        for document in self._documents(file, folder, within.environment):
            services.update(found.mapping if (found := document.at("services")) is not None else {})
        return _Scope(services, folder, file, within.environment)


@dataclass(frozen=True)
class _Scope:
    """Services among which a name of `extends` is looked for."""

    services: Mapping[str, ValueTree]
    folder: str
    file: str
    environment: Environment


def _texts(tree: ValueTree | None) -> tuple[str, ...]:
    """One text, or a list of them."""
    if tree is None:
        return ()
    items = tree.value if isinstance(tree.value, tuple) else (tree,)
    return tuple(item.value for item in items if isinstance(item.value, str))


def _refuse(place: Place, problem: str) -> NoReturn:
    raise UsageError(f"{place}: {problem}")
