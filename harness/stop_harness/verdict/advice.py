"""A cause and what was seen beside it → what to change, in words and in lines to copy. Pure.

A verdict knows no server; advice does. What it says stands in two tables: `cures.toml` has one entry for each cause and
shape of the process tree, `programs.toml` one for each program that the process table, the log or the image's name
shows. Each piece names its source, and the scenario of docs/field-guide.md that proves it where one does.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

from stop_harness import signals
from stop_harness.evidence import runtimes
from stop_harness.evidence.launch import Launch, Shape, launch
from stop_harness.model import Advice, Cause, Observation, ProcessInfo
from stop_harness.verdict.known_causes import CAUSES

MOST_PROGRAMS = 2
"""Programs that one stop gets advice for; a longer list is not read."""

INTERPRETERS = frozenset({"python", "pypy", "node", "nodejs", "ruby", "java", "perl", "php"})
"""What they run stands among their arguments."""


@dataclass(frozen=True)
class Entry:
    """One piece of advice and what it is for. Empty conditions hold always."""

    advice: Advice
    causes: frozenset[str] = frozenset()
    shapes: frozenset[str] = frozenset()
    stop_signals: frozenset[str] = frozenset()

    def fits(self, cause: Cause, shape: Shape, stop_signal: int | None) -> bool:
        """Whether it is for this stop."""
        name = None if stop_signal is None else signals.name(stop_signal)
        return (
            (not self.causes or cause.id in self.causes)
            and (not self.shapes or shape in self.shapes)
            and (not self.stop_signals or name in self.stop_signals)
        )


@dataclass(frozen=True)
class Program:
    """A program or runtime and how it is recognised: by the name of its command or, of an interpreter, by a word of its
    command line; by a part of the command line; by a line of the log; by the name of its image; by the signals that its
    runtime catches. Any of them is enough, except that `inside` narrows `names` down."""

    name: str
    names: frozenset[str]
    inside: tuple[str, ...]
    log: re.Pattern[str] | None
    images: frozenset[str]
    runtime: str
    entries: tuple[Entry, ...]


def with_advice(cause: Cause | None, seen: Observation, image: str | None = None) -> Cause | None:
    """The cause with the advice that fits what was seen. `image`: the subject's, where it is known."""
    return cause and replace(cause, advice=advice(cause, seen, image))


def advice(cause: Cause, seen: Observation, image: str | None = None) -> tuple[Advice, ...]:
    """First what the cause and the shape ask for, then what the programs that were seen can do."""
    found = launch(seen.looks)
    signal = seen.record.stop_signal
    first = next((each.advice for each in cures() if each.fits(cause, found.shape, signal)), None)
    known = CAUSES.get(cause.id)
    if first is None and known is not None:
        first = Advice(known.cure, source=known.source)
    for_programs = (
        next((each.advice for each in program.entries if each.fits(cause, found.shape, signal)), None)
        for program in _seen(found, seen, image)
    )
    return tuple(each for each in (first, *[item for item in for_programs if item][:MOST_PROGRAMS]) if each)


def _seen(found: Launch, seen: Observation, image: str | None) -> tuple[Program, ...]:
    """The programs of the container, PID 1 first; each process is the first program that fits it."""
    by_process = [
        next((each for each in programs() if _is(each, process, seen.looks.logs.text)), None)
        for process in found.processes
    ]
    if not found.processes and image:
        name = image.rpartition("/")[2].partition("@")[0].partition(":")[0]
        by_process = [each for each in programs() if name in each.images]
    return tuple(dict.fromkeys(each for each in by_process if each))


def _is(program: Program, process: ProcessInfo, log: str) -> bool:
    if program.runtime and runtimes.runtime(process) == program.runtime:
        return True
    if not _words(process) & program.names:
        return False
    if not program.inside and program.log is None:
        return True
    return any(part in process.command for part in program.inside) or bool(program.log and program.log.search(log))


def _words(process: ProcessInfo) -> set[str]:
    """Names in a command line: of its program and, of an interpreter, of what that runs: `/usr/bin/python3
    /usr/local/bin/gunicorn app` → python, gunicorn, app."""
    words = [_names(word) for word in process.command.split() if not word.startswith("-")]
    first = words[0] if words else set()
    return first.union(*words) if first & INTERPRETERS else first


def _names(word: str) -> set[str]:
    """A word without its folder and ending, with and without a version: `/usr/bin/python3.11` → python3.11, python."""
    base = word.rpartition("/")[2].rstrip(":")
    stem = re.sub(r"\.(?:js|mjs|cjs|py|rb|php)$", "", base).removesuffix("-cli")
    return {stem, re.sub(r"-?[0-9][0-9.]*$", "", stem)}


# ── Tables ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@cache
def cures() -> tuple[Entry, ...]:
    """By cause and shape; the first that fits counts."""
    return tuple(_entry(item, "") for item in _table("cures.toml")["cure"])


@cache
def programs() -> tuple[Program, ...]:
    """In the order in which they are recognised: what runs on a language's runtime comes before the runtime."""
    found = (
        Program(
            name=item["name"],
            names=frozenset(item.get("commands", ())),
            inside=tuple(item.get("inside", ())),
            log=re.compile(item["log"]) if "log" in item else None,
            images=frozenset(item.get("images", ())),
            runtime=item.get("runtime", ""),
            entries=tuple(_entry(each, item["name"]) for each in item["advice"]),
        )
        for item in _table("programs.toml")["program"]
    )
    return tuple(sorted(found, key=_is_a_runtime))


def _is_a_runtime(program: Program) -> bool:
    narrowed = bool(program.inside) or program.log is not None
    return bool(program.runtime) or (bool(program.names & INTERPRETERS) and not narrowed)


def _entry(item: dict[str, Any], program: str) -> Entry:
    lines = item.get("lines", "").strip("\n")
    made = Advice(" ".join(item["text"].split()), program, lines, item["source"], item.get("proof", ""))
    conditions = (frozenset(item.get(key, ())) for key in ("causes", "shapes", "signals"))
    return Entry(made, *conditions)


def _table(name: str) -> dict[str, Any]:
    return tomllib.loads(resources.files("stop_harness.verdict").joinpath(name).read_text(encoding="utf-8"))
