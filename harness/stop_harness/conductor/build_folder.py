"""A Dockerfile → the folder in which it is built, where only the file was named: the FOLDER of `docker build -f FILE
FOLDER`.

    a Compose file that builds it ─▶ else the folders from its own up to the one of the command:
        which have what COPY takes ─▶ which has more of what RUN, CMD and ENTRYPOINT name ─▶ its own, unless it is bare

A file by itself does not say it. `docker/Dockerfile` is mostly built in the folder above, `services/web/Dockerfile`
mostly in its own; the files that it copies lie in one of them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from stop_harness.engines import dockerfile
from stop_harness.errors import StopHarnessError
from stop_harness.scenario.compose import loading

MOST_MISSING = 3
"""Files named that lie in no folder; what an earlier step has to make may be many."""


@dataclass(frozen=True)
class BuildFolder:
    """`origin`: what tells that it is `path`. `others`: folders that it may be as well. `arguments` and `target` are
    those of the Compose file that builds it; empty and None without one."""

    path: Path
    origin: str
    others: tuple[Path, ...] = ()
    arguments: tuple[tuple[str, str], ...] = ()
    target: str | None = None


def of(file: Path, text: str, called: Path) -> BuildFolder:
    """The folder for the Dockerfile `file` with this text. `called`: the folder in which the command was called; a
    folder above it, and above the Dockerfile's repository, is not thought of."""
    folders = _folders(file, called)
    own = folders[0]
    if len(folders) == 1:
        return BuildFolder(own, f"{file}: the folder of this Dockerfile")
    composed = _by_compose(file, folders)
    if composed is not None:
        return composed
    inputs = dockerfile.build_inputs(text)
    lacked = {folder: [it for it in inputs.copied if not _has(folder, it[1])] for folder in folders}
    fewest = min(map(len, lacked.values()))
    fit = [folder for folder in folders if len(lacked[folder]) == fewest]
    missing = "".join(f"; nowhere: {source} (line {line})" for line, source in lacked[fit[0]][:MOST_MISSING])
    if len(fit) == 1:
        nearest = next(folder for folder in folders if folder != fit[0])
        line, source = next(it for it in lacked[nearest] if it not in lacked[fit[0]])
        return BuildFolder(fit[0], f"{file}:{line}: {source} lies there{missing}")
    chosen, why = _likeliest(fit, inputs.named, below=folders[-1] == called.resolve())
    return BuildFolder(chosen, f"{file}: {why}{missing}", tuple(folder for folder in fit if folder != chosen))


def _folders(file: Path, called: Path) -> list[Path]:
    """From the Dockerfile's own folder up to what it has in common with the folder of the command, absolute; no
    further than the repository."""
    own = file.resolve().parent
    common = Path(os.path.commonpath((own, called.resolve())))
    found = [own]
    while found[-1] != common and found[-1].parent != Path(own.anchor) and not (found[-1] / ".git").exists():
        found.append(found[-1].parent)
    return found


def _by_compose(file: Path, folders: Iterable[Path]) -> BuildFolder | None:
    """The folder that the nearest Compose file names which builds this file; None: none does, or it cannot be read."""
    for path in (folder / name for folder in folders for name in loading.NAMES):
        if not path.is_file():
            continue
        with contextlib.suppress(StopHarnessError):
            project = loading.load((str(path),), os.environ, ask_compose=False)
            for service, keys in project.services.items():
                build = keys.get("build") if isinstance(keys, Mapping) else None
                if not isinstance(build, Mapping):
                    continue
                context = path.parent / str(build.get("context") or ".")
                if (context / str(build.get("dockerfile") or "Dockerfile")).resolve() != file.resolve():
                    continue
                given = build.get("args")
                pairs = given.items() if isinstance(given, Mapping) else ()
                arguments = tuple((str(name), str(value)) for name, value in pairs if value is not None)
                target = build.get("target")
                where = f"{os.path.relpath(path)}: build of {service}"
                return BuildFolder(context, where, (), arguments, None if target is None else str(target))
    return None


def _has(folder: Path, source: str) -> bool:
    if not any(letter in source for letter in "*?["):
        return (folder / source).exists()
    with contextlib.suppress(OSError, ValueError, NotImplementedError):  # no folder to read, or no pattern for glob
        return any(True for _ in folder.glob(source))
    return False


def _likeliest(folders: list[Path], named: Iterable[str], *, below: bool) -> tuple[Path, str]:
    """Of folders that all have what is copied (often everything, `COPY . .`): one, and why. `below`: the last of them
    is the folder of the command."""
    seen = {folder: _named_in(folder, named) for folder in folders}
    most = max(map(len, seen.values()))
    best = [folder for folder in folders if len(seen[folder]) == most]
    if len(best) == 1:
        return best[0], f"{seen[best[0]][0]} lies there"
    if _is_bare(best[0]):
        # The top of the project, where that is known to be it; else no more than one folder up.
        return best[-1 if below else 1], f"{os.path.relpath(best[0])} has nothing to copy"
    return best[0], "the folder of this Dockerfile"


def _named_in(folder: Path, named: Iterable[str]) -> list[str]:
    """The words that may be files of a folder: by their path, or in an image by their name below another one."""
    words = {Path(word).name: word for word in named if Path(word).name and "." in Path(word).name.strip(".")}
    return [name for name, word in words.items() if (folder / name).is_file() or (folder / word).is_file()]


def _is_bare(folder: Path) -> bool:
    """Whether nothing lies in it but Dockerfiles and what belongs to them."""
    return all("dockerfile" in path.name.lower() or path.name == ".dockerignore" for path in folder.iterdir())
