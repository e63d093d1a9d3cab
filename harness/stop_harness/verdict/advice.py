"""A cause and what was seen beside it → what to change, in words and in lines to copy. Pure.

A verdict knows no server; advice does. What it says stands in two tables: `cures.toml` has one entry for each cause and
shape of the process tree, `programs.toml` one for each program that the process table, the log or the image's name
shows. Each piece names its source, and the scenario of docs/field-guide.md that proves it where one does.

Advice speaks to whoever can mend the stop: to the program that left, not to the one that was lost by it (`SPEAKS_TO`).
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from importlib import resources
from typing import Any

from stop_harness import signals
from stop_harness.evidence import exec_form, process_tree, runtimes
from stop_harness.evidence.launch import Init, Launch, Shape, launch
from stop_harness.evidence.process_tree import Reaction
from stop_harness.model import Advice, Cause, Form, Observation, ProcessInfo, Request, Subject, TrafficKind
from stop_harness.verdict import traffic
from stop_harness.verdict.known_causes import CAUSES

MOST_PROGRAMS = 2
"""Programs that one stop gets advice for; a longer list is not read."""

INTERPRETERS = frozenset({"python", "pypy", "node", "nodejs", "ruby", "java", "perl", "php"})
"""What they run stands among their arguments."""

OWN_PROTOCOL = frozenset({TrafficKind.WEBSOCKET, TrafficKind.HTTP2, TrafficKind.GRPC, TrafficKind.SSE})
"""Kinds of traffic that a server ends in a way of their own; all others count as HTTP."""

LOST_PROCESSES = frozenset({"child-killed-by-teardown", "inner-kill"})
"""Causes of the loss of the processes that the record names."""

TAKES_ITS_TIME = frozenset({"waits-for-clients", "grace-too-short"})
"""Causes that hold under a fault as well."""

NO_HANDLER = frozenset({"pid1-no-handler", "pid1-handler-noop", "wrong-stopsignal"})
"""Causes that say of a program that it does not handle the stop signal."""


@dataclass(frozen=True)
class Situation:
    """What advice is chosen by.

    `traffic`: kinds of traffic that were cut or waited for, `http` where none is known. `serves`: it was seen to have
    clients. `handled`: somebody below the first program has a handler for the stop signal.
    """

    cause: str
    shape: Shape = Shape.UNSEEN
    init: Init = Init.UNSEEN
    stop_signal: int | None = None
    traffic: frozenset[str] = frozenset({TrafficKind.HTTP.value})
    serves: bool = False
    handled: bool = True


@dataclass(frozen=True)
class Entry:
    """One piece of advice and what it is for. Empty conditions, and None, hold always."""

    advice: Advice
    causes: frozenset[str] = frozenset()
    shapes: frozenset[str] = frozenset()
    inits: frozenset[str] = frozenset()
    stop_signals: frozenset[str] = frozenset()
    traffic: frozenset[str] = frozenset()
    serves: bool | None = None
    handled: bool | None = None

    def fits(self, it: Situation) -> bool:
        """Whether it is for this stop."""
        return (
            (not self.causes or it.cause in self.causes)
            and (not self.shapes or it.shape in self.shapes)
            and (not self.inits or it.init in self.inits)
            and (
                not self.stop_signals
                or (it.stop_signal is not None and signals.name(it.stop_signal) in self.stop_signals)
            )
            and (not self.traffic or bool(self.traffic & it.traffic))
            and self.serves in {None, it.serves}
            and self.handled in {None, it.handled}
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


def with_advice(cause: Cause | None, seen: Observation, subject: Subject) -> Cause | None:
    """The cause with the advice that fits what was seen and what is stopped."""
    return cause and replace(cause, advice=advice(cause, seen, subject.image, subject.form))


def advice(cause: Cause, seen: Observation, image: str | None = None, form: Form = Form.IMAGE) -> tuple[Advice, ...]:
    """First what the cause and the shape ask for, then what the programs that can mend it have to do. `image`: None
    where it is not known. `form`: the one in which the lines to copy are written."""
    found = launch(seen.looks, _lost(seen) if cause.id in LOST_PROCESSES else ())
    it = _situation(cause, seen, found)
    first = next((each.advice for each in _cures_of(cause.id) if each.fits(it)), None)
    known = CAUSES.get(cause.id)
    if first is None and known is not None:
        first = Advice(known.cure, source=known.source)
    known_for = _whatever_held_it(cause)
    it = _situation(known_for, seen, found)
    for_programs = (
        next((each.advice for each in program.entries if each.fits(it)), None)
        for program in _programs(_spoken_to(known_for, seen, found), seen, image)
        if not (cause.without_fault and _is_a_runtime(program))
    )
    first = first and _in_its_words(first, seen, form)
    return tuple(each for each in (first, *[item for item in for_programs if item][:MOST_PROGRAMS]) if each)


def _whatever_held_it(cause: Cause) -> Cause:
    """What a program is advised for: where a fault leaves the cause open, what it is known for in any stop. That may be
    what kept it, while how it handles its signal, and what its language has to do with that, is not known then."""
    if not cause.without_fault:
        return cause
    return replace(cause, id=cause.without_fault if cause.without_fault in TAKES_ITS_TIME else "unknown")


def _in_its_words(given: Advice, seen: Observation, form: Form) -> Advice:
    """With the program that was seen in the place of the example of exec form."""
    example = 'CMD ["program", "argument"]\n'
    if not given.lines.startswith(example):
        return given
    found = exec_form.started(seen.looks.before or (), seen.record.stop_signal)
    if found is None:
        return given
    words, line = found
    lines = [_EXEC_FORM[form].format(json.dumps(words, ensure_ascii=False))]
    if line is not None:
        lines.append(_EXEC_FORM[form].format(json.dumps(("sh", "-c", line), ensure_ascii=False)))
    return replace(given, lines="\n".join(lines))


_EXEC_FORM = {
    Form.IMAGE: "CMD {}",
    Form.COMPOSE: "entrypoint: {}  # and no command",
    Form.KUBERNETES: "command: {}  # and no args",
    Form.TASK: '"entryPoint": {}, "command": []',
}
"""How each form has it; what replaces the image's entrypoint replaces whatever starts the shell."""


def _situation(cause: Cause, seen: Observation, found: Launch) -> Situation:
    signal, waits = seen.record.stop_signal, cause.id == "waits-for-clients"
    requests = seen.requests if waits else traffic.lost_requests(seen.traffic)
    return Situation(
        cause.id,
        _shape(cause, found),
        found.init,
        signal,
        frozenset(map(_kind, requests)) or Situation.traffic,
        waits or bool(seen.requests) or _has_served(seen),
        signal is None or any(_catches(each, signal) for each in found.below),
    )


def _shape(cause: Cause, found: Launch) -> Shape:
    """Of the whole record: a shell that is what has no handler is the program, whatever the looks met below it."""
    lone = cause.id == "pid1-no-handler" and found.first is not None and process_tree.is_shell(found.first)
    waits = {Shape.PROGRAM, Shape.COMMAND, Shape.SCRIPT, Shape.INTERACTIVE}
    return Shape.LOOP if lone and found.shape in waits else found.shape


def _catches(process: ProcessInfo, signal: int) -> bool:
    """As the cause says it: a handler that the runtime brings cannot be told from the program's own."""
    return process_tree.reaction(process, signal) in {Reaction.CAUGHT, Reaction.AWAITED}


def _has_served(seen: Observation) -> bool:
    return bool(seen.ready and seen.ready.ports) or any(fate.served for fate in seen.record.fates or ())


def _kind(request: Request) -> str:
    return request.kind.value if request.kind in OWN_PROTOCOL else TrafficKind.HTTP.value


def _lost(seen: Observation) -> tuple[str, ...]:
    """Names of the processes that the stop ended before their time."""
    every = (*(seen.record.lost_processes or ()), *seen.record.suspected_processes)
    return tuple(item.partition(" (")[0] for item in every)


# ── Whom it speaks to ────────────────────────────────────────────────────────────────────────────────────────────────


def _who_left(_seen: Observation, found: Launch) -> tuple[ProcessInfo, ...]:
    return (found.first,) if found.first else ()


def _on_the_way(_seen: Observation, found: Launch) -> tuple[ProcessInfo, ...]:
    return found.line


def _without_handler(seen: Observation, found: Launch) -> tuple[ProcessInfo, ...]:
    """The first one, of which the cause says so, and those on the way that have none either."""
    signal = seen.record.stop_signal
    return tuple(each for each in found.line if each == found.first or signal is None or not _catches(each, signal))


def _above(_seen: Observation, found: Launch) -> tuple[ProcessInfo, ...]:
    return found.above


def _serving(seen: Observation, found: Launch) -> tuple[ProcessInfo, ...]:
    """Whoever held a client's connection, and those above; everybody where that was not seen."""
    fates = seen.record.fates or ()
    pids = {fate.pid if fate.host_pid is None else fate.host_pid for fate in fates if fate.served}
    known = tuple(each for each in found.everybody if each.pid in pids)
    return tuple(dict.fromkeys((*found.line, *known))) if known else found.everybody


SPEAKS_TO: dict[str, Callable[[Observation, Launch], tuple[ProcessInfo, ...]]] = {
    "child-killed-by-teardown": _who_left,
    **dict.fromkeys(("group-signal", "second-signal", "inner-kill"), _above),
    **dict.fromkeys(NO_HANDLER, _without_handler),
    **dict.fromkeys(("fast-drop", "partial-drop"), _serving),
    **dict.fromkeys(
        (
            "shell-not-forwarding", "wrapper-swallows-signal", "reraise-lost", "handler-delayed", "handler-swallowed",
            "handler-too-slow", "exit-blocked", "signal-ignored", "signal-not-permitted", "crash-on-stop",
        ),
        _on_the_way,
    ),
}  # fmt: skip
"""By cause: the processes that can mend the stop. Causes that are not named: any that the table shows, because the one
that was waited for is not known."""


def _spoken_to(cause: Cause, seen: Observation, found: Launch) -> tuple[ProcessInfo, ...]:
    return SPEAKS_TO[cause.id](seen, found) if cause.id in SPEAKS_TO else found.everybody


# ── How programs are recognised ──────────────────────────────────────────────────────────────────────────────────────


def _programs(processes: tuple[ProcessInfo, ...], seen: Observation, image: str | None) -> tuple[Program, ...]:
    """Those of the processes, in their order; each process is the first program that fits it."""
    by_process = [_program(item, seen.looks.logs.text) for item in processes]
    if not seen.looks.before and image:
        name = image.rpartition("/")[2].partition("@")[0].partition(":")[0]
        by_process = [each for each in programs() if name in each.images]
    return tuple({each.name: each for each in by_process if each}.values())


def _program(process: ProcessInfo, log: str) -> Program | None:
    runtime = runtimes.runtime(process)
    for each in _candidates(runtime, _words(process.command)):
        if (each.runtime and each.runtime == runtime) or _narrowed_down(each, process.command, log):
            return each
    return None


@lru_cache(maxsize=process_tree.COMMANDS_KEPT)
def _candidates(runtime: str | None, words: frozenset[str]) -> tuple[Program, ...]:
    """Of this runtime, or of one of these names."""
    return tuple(each for each in programs() if (each.runtime and each.runtime == runtime) or words & each.names)


def _narrowed_down(program: Program, command: str, log: str) -> bool:
    if not program.inside and program.log is None:
        return True
    return any(part in command for part in program.inside) or bool(program.log and program.log.search(log))


@lru_cache(maxsize=process_tree.COMMANDS_KEPT)
def _words(command: str) -> frozenset[str]:
    """Names in a command line: of its program and, of an interpreter, of what that runs: `/usr/bin/python3
    /usr/local/bin/gunicorn app` → python, gunicorn, app. Of a shell only the script: what follows `-c` is no name."""
    arguments = command.split()
    words = [_names(word) for word in arguments if not word.startswith("-")]
    first = words[0] if words else frozenset()
    if process_tree.program_of(command) in process_tree.SHELLS:
        return first if "-c" in arguments else first.union(*words[1:2])
    return first.union(*words) if first & INTERPRETERS else first


def _names(word: str) -> frozenset[str]:
    """A word without its folder and ending, with and without a version: `/usr/bin/python3.11` → python3.11, python."""
    base = word.rpartition("/")[2].rstrip(":")
    stem = re.sub(r"\.(?:js|mjs|cjs|py|rb|php)$", "", base).removesuffix("-cli")
    return frozenset((stem, re.sub(r"-?[0-9][0-9.]*$", "", stem)))


# ── Tables ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@cache
def cures() -> tuple[Entry, ...]:
    """By cause and shape; the first that fits counts."""
    return tuple(_entry(item, "") for item in _table("cures.toml")["cure"])


@cache
def _cures_of(cause: str) -> tuple[Entry, ...]:
    return tuple(each for each in cures() if not each.causes or cause in each.causes)


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

    def names(key: str) -> frozenset[str]:
        return frozenset(item.get(key, ()))

    return Entry(
        made,
        causes=names("causes"),
        shapes=names("shapes"),
        inits=names("inits"),
        stop_signals=names("signals"),
        traffic=names("traffic"),
        serves=item.get("serves"),
        handled=item.get("handled"),
    )


def _table(name: str) -> dict[str, Any]:
    return tomllib.loads(resources.files("stop_harness.verdict").joinpath(name).read_text(encoding="utf-8"))
