"""Files that a run is made of, and which of them have changed: by looking again and again (`check --watch-files`).

Looking costs one lstat(2) a file, works on every file system and mount, and needs nothing that has to be installed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path

from stop_harness.conductor.request import RunRequest
from stop_harness.engines.docker import build_context
from stop_harness.errors import UsageError
from stop_harness.model import GroupKind, MountKind, Scenario, Subject

TOOLS = frozenset(
    ".git .hg .svn __pycache__ node_modules .venv venv .tox .nox .mypy_cache .pytest_cache .ruff_cache .hypothesis "
    ".idea .gradle".split()
)
"""Folders that tools fill and nobody edits. Python writes `__pycache__` in the very moment of a try."""

EDITORS = ("*~", ".*.sw?", "#*#", ".#*", "4913", ".DS_Store")
"""Names of files that editors make while somebody only looks. Vim tries with 4913 whether it may write."""

MOST_FILES = 20_000
"""Looked at in about a quarter of a second; a folder with more was hardly meant, such as a home directory."""

SCENARIO_FILES = frozenset({".yaml", ".yml"})

Stamp = tuple[int, int, int]
"""Modification time in ns, size in bytes, mode: what tells a file that was written, or made executable."""

Stamps = dict[Path, Stamp]


@dataclass(frozen=True)
class FileTree:
    """Files below a folder. `wanted`: by its path below the folder, whether a file counts, and a folder is entered.
    `deep` False: only what lies in the folder itself."""

    folder: Path
    wanted: Callable[[str, bool], bool] = lambda path, is_folder: True
    deep: bool = True

    def files(self, apart: frozenset[Path]) -> Iterator[tuple[Path, os.stat_result]]:
        """Those that are there now, by their real paths, but for what lies `apart`. What goes away meanwhile is left
        out."""
        return self._below(Path(os.path.realpath(self.folder)), "", apart)

    def _below(self, folder: Path, prefix: str, apart: frozenset[Path]) -> Iterator[tuple[Path, os.stat_result]]:
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                inside, path = prefix + entry.name, folder / entry.name
                is_folder = entry.is_dir(follow_symlinks=False)
                if _is_nobodys(entry.name, is_folder=is_folder) or path in apart or not self.wanted(inside, is_folder):
                    continue
                if is_folder:
                    if self.deep:
                        yield from self._below(path, inside + "/", apart)
                    continue
                with contextlib.suppress(OSError):
                    yield path, entry.stat(follow_symlinks=False)


@dataclass(frozen=True)
class Sources:
    """What a run is made of. What it writes itself does not count: `apart`, real paths of folders and files, and
    `streams`, (device, inode) of files that its output goes to."""

    trees: tuple[FileTree, ...] = ()
    files: tuple[Path, ...] = ()
    apart: frozenset[Path] = frozenset()
    streams: frozenset[tuple[int, int]] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.trees or self.files)

    def and_context(self, folder: Path) -> Sources:
        """And a folder with a Dockerfile."""
        return replace(self, trees=(*self.trees, _context(folder, "Dockerfile")))

    def stamps(self) -> Stamps:
        """How its files are now; one that is not there is left out. Raises UsageError where there are too many."""
        found: Stamps = {}
        for tree in self.trees:
            for path, status in tree.files(self.apart):
                if (status.st_dev, status.st_ino) not in self.streams:
                    found[path] = _stamp(status)
                if len(found) > MOST_FILES:
                    raise UsageError(
                        f"{tree.folder} holds more than {MOST_FILES:,} files, too many to look at again and again; "
                        "name in its .dockerignore what is not part of the container"
                    )
        for path in self.files:
            with contextlib.suppress(OSError):
                found[Path(os.path.realpath(path))] = _stamp(path.stat())
        return found


def changed(before: Mapping[Path, Stamp], now: Mapping[Path, Stamp]) -> tuple[Path, ...]:
    """Files that were written, made or removed in between, in the order of their paths."""
    return tuple(sorted(path for path in before.keys() | now.keys() if before.get(path) != now.get(path)))


@dataclass
class WrittenByTries:
    """Tells what a subject writes itself from what somebody edits: a file that changes while each of several tries
    lasts would be followed by tries without end."""

    most: int = 3
    """Somebody who saves a file while a try lasts does so once or twice in a row."""
    in_a_row: dict[Path, int] = field(default_factory=dict)

    def of(self, during_a_try: Iterable[Path]) -> tuple[Path, ...]:
        """Those that do not count, of the files that changed during the try that has just ended."""
        self.in_a_row = {path: self.in_a_row.get(path, 0) + 1 for path in during_a_try}
        return tuple(path for path, number in self.in_a_row.items() if number >= self.most)


# ── what a run is made of ────────────────────────────────────────────────────────────────────────────────────────────


def of_paths(paths: Iterable[Path]) -> Sources:
    """What is named on the command line, where scenarios cannot be read, or before they are. In a folder: files that
    may be scenarios."""
    named = tuple(paths)
    folders = tuple(FileTree(path, _may_be_scenario) for path in named if path.is_dir())
    return Sources(folders, tuple(path for path in named if not path.is_dir()))


def of_request(request: RunRequest, named: Sources) -> Sources:
    """What its scenarios are built from and read from. `named`: what is named on the command line."""
    trees, files = list(named.trees), list(named.files)
    for scenario in request.scenarios:
        for part in (_of_files(scenario), *map(_of_container, _containers(scenario))):
            trees += part.trees
            files += part.files
    once = {(tree.folder.resolve(), tree.deep): tree for tree in trees}
    written = (request.report_dir, request.junitxml, request.sarif, request.code_quality)
    apart = frozenset(Path(os.path.realpath(path)) for path in written if path is not None)
    return Sources(tuple(once.values()), tuple(dict.fromkeys(files)), apart, named.streams)


def streams() -> frozenset[tuple[int, int]]:
    """Standard output and standard error: a log that lies beside what is watched is no edit."""
    found = set()
    for number in (1, 2):
        with contextlib.suppress(OSError):
            status = os.fstat(number)
            found.add((status.st_dev, status.st_ino))
    return frozenset(found)


def _containers(scenario: Scenario) -> tuple[Subject, ...]:
    group = scenario.subject.group
    return (scenario.subject,) if group is None else tuple(member.subject for member in group.members)


def _of_files(scenario: Scenario) -> Sources:
    """The scenario's file, and what it is read from."""
    files = [Path(scenario.source)] if scenario.source is not None else []
    if scenario.subject.task_file is not None:
        files.append(Path(scenario.subject.task_file))
    trees = []
    origin = scenario.subject.origin
    for file in map(Path, origin.files if origin is not None else ()):
        files.append(file)
        if origin is not None and origin.kind is GroupKind.COMPOSE:
            # Which env_file, .env and included files it was made of is not on record: they mostly lie beside it.
            trees.append(FileTree(file if file.is_dir() else file.parent, deep=False))
    return Sources(tuple(trees), tuple(files))


def _of_container(subject: Subject) -> Sources:
    settings = subject.settings
    mounts = [Path(item.source) for item in settings.mounts if item.kind is MountKind.BIND and item.source is not None]
    trees = [FileTree(path) for path in mounts if path.is_dir()]
    files = [path for path in mounts if not path.is_dir()] + [Path(file) for file in settings.env_files]
    if subject.build_directory is not None:
        trees.append(_context(Path(subject.build_directory), subject.dockerfile or "Dockerfile"))
        files.append(Path(subject.build_directory, subject.dockerfile or "Dockerfile"))
    return Sources(tuple(trees), tuple(files))


def _context(folder: Path, dockerfile: str) -> FileTree:
    """A build context, without what its .dockerignore names."""
    try:
        matcher = build_context.matcher(folder, dockerfile)
    except OSError:  # no such folder, or none that may be read: the run will say so
        return FileTree(folder)
    excepted = tuple(pattern.cleaned_pattern for pattern in matcher.patterns if pattern.exclusion)
    known: dict[str, bool] = {}

    def wanted(path: str, is_folder: bool) -> bool:
        if path not in known:
            out = matcher.matches(path)  # type: ignore[arg-type] # it takes texts alone, whatever its types say
            # Of a folder that is left out, something may be taken in again.
            known[path] = not out or (is_folder and any(item.startswith(path) for item in excepted))
        return known[path]

    return FileTree(folder, wanted)


def _may_be_scenario(path: str, is_folder: bool) -> bool:
    return is_folder or Path(path).suffix in SCENARIO_FILES


def _is_nobodys(name: str, *, is_folder: bool) -> bool:
    return name in TOOLS if is_folder else any(fnmatch(name, pattern) for pattern in EDITORS)


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_mtime_ns, status.st_size, status.st_mode
