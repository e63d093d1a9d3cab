"""Compose files on this machine → Project: which files, which variables, and who reads them."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from stop_harness.errors import ScenarioError, UsageError, plain_reason
from stop_harness.scenario import env_file
from stop_harness.scenario.compose import by_compose, paths, reader
from stop_harness.scenario.compose.project import Project, project_of

MAX_FILE_BYTES = 4 << 20
"""A device may have no end."""


NAMES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
OVERRIDES = tuple(f"{stem}.override.{ending}" for stem in ("compose", "docker-compose") for ending in ("yml", "yaml"))
"""What Compose looks for in a folder, in this order (compose-go, cli/options.go)."""


def load(
    given: tuple[str, ...],
    environment: Mapping[str, str],
    profiles: tuple[str, ...] = (),
    *,
    ask_compose: bool = True,
) -> Project:
    """The project of these files, the later ones over the earlier, with the services of all profiles. A folder stands
    for the files that `docker compose` finds in it, a file for itself, as with `docker compose -f`.

    Where a Compose is installed that can say how it reads them, its word counts; our own reader knows the line of
    each mistake, and reads them where there is none. Raises UsageError or ScenarioError.
    """
    files = tuple(file for path in given for file in files_of(path))
    folder = posixpath.dirname(files[0])
    known = _variables(folder, environment)
    own, mistake = None, None
    try:
        own = reader.read(files, known, DISK)
    except (UsageError, ScenarioError) as error:
        mistake = error
    answer = by_compose.ask(files) if ask_compose else None
    if answer is not None and answer.project is not None:
        data, version = paths.relative(answer.project, os.path.abspath(folder), folder), answer.version
    elif own is None:
        assert mistake is not None
        raise mistake
    else:
        data, version = own.tree.plain(), ""
    folder_name = Path(files[0]).resolve().parent.name
    project = project_of(data, own, files[0], folder_name, known, read_by=version)
    active = (*profiles, *filter(None, known.get("COMPOSE_PROFILES", "").split(",")))
    project = replace(project, profiles=active)
    if answer is None or answer.project is not None:
        return project
    path = by_compose.place_in(answer.refusal)
    said = f"{project.place(*path)}: Compose {answer.version} does not take it: {answer.refusal}"
    return replace(project, refusal=said)


def override_beside(given: tuple[str, ...]) -> str | None:
    """The file that `docker compose` would have read as well if only its folder had been named; None: there is none."""
    if len(given) != 1 or posixpath.basename(given[0]) not in NAMES:
        return None
    folder = Path(given[0]).parent
    return next((name for name in OVERRIDES if (folder / name).is_file()), None)


def read_text(file: str) -> str:
    """The text of a file. Raises UsageError."""
    try:
        with Path(file).open("rb") as opened:
            data = opened.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise UsageError(f"{file}: larger than {MAX_FILE_BYTES >> 20} MiB; this is no Compose file")
        return data.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {plain_reason(error)}") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UsageError(f"{file}:{line}:1: not UTF-8 text") from None


DISK = reader.Disk(read_text, lambda path: Path(path).is_file(), lambda path: Path(path).exists())


def files_of(path: str) -> tuple[str, ...]:
    if not Path(path).is_dir():
        return (path,)
    there = [name for name in NAMES if (Path(path) / name).is_file()][:1]
    if not there:
        raise UsageError(f"{path}: no Compose file in this folder (looked for {', '.join(NAMES)})")
    there += [name for name in OVERRIDES if (Path(path) / name).is_file()][:1]
    return tuple(posixpath.normpath(posixpath.join(path, name)) for name in there)


def _variables(folder: str, environment: Mapping[str, str]) -> Mapping[str, str]:
    """The caller's, and those of `.env` beside the first file."""
    defaults = posixpath.join(folder, ".env")
    if not Path(defaults).is_file():
        return environment
    return {**dict(env_file.pairs(read_text(defaults), defaults, environment)), **environment}
