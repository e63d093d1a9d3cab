"""The faults, as data: what the engine does wrong, and what a trial may then come out as."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tests.faults.effects import (
    Answer,
    Cut,
    Delay,
    Effect,
    Events,
    Garble,
    Hang,
    OomToldLate,
    Reset,
    Stall,
    drop,
    line,
    set_to,
    without,
)
from tests.faults.proxy import Rule

TRUTH = {
    "graceful": "graceful",
    "drained": "graceful",
    "killed": "killed",
    "crashed": "crashed",
    "oom": "oom_killed",
}
"""What the subjects of the trials are when the engine does its work; see `runner.SUBJECTS`."""

EVERY = ("graceful", "killed", "crashed")
FAULTY = b'{"message":"injected fault"}'
NEVER = "0001-01-01T00:00:00Z"


@dataclass(frozen=True)
class Fault:
    """One kind of failure that befalls its own trials, beside others and a bystander.

    `subjects`: one trial each. `certain`: those whose outcome must be the truth all the same; the others may be
    inconclusive as well. `spares_bystander` False: the fault is everybody's, so the bystander may be inconclusive.
    `no_run`: the run cannot begin; it ends with exit code 4 and a message. `leftovers_said`: what it made cannot be
    removed while the fault lasts, which it has to say and to count as exit code 4. `remote`: the engine is reached by
    TCP, so that nothing but its own answers is known.
    """

    name: str
    rules: tuple[Rule, ...]
    subjects: tuple[str, ...] = EVERY
    certain: tuple[str, ...] = ()
    spares_bystander: bool = True
    no_run: bool = False
    leftovers_said: bool = False
    remote: bool = False

    @property
    def alone(self) -> bool:
        """Whether it befalls the whole run."""
        broken = any(rule.everybody and not isinstance(rule.effect, Events) for rule in self.rules)
        return broken or self.no_run or self.leftovers_said

    @property
    def hangs(self) -> bool:
        """Whether somebody waits for an answer that never comes."""
        return any(isinstance(rule.effect, Hang | Stall) for rule in self.rules)


def _fault(name: str, method: str, path: str, effect: Effect, **more: Any) -> Fault:
    of_rule = {key: more.pop(key) for key in ("once_stopped", "everybody", "most") if key in more}
    return Fault(name, (Rule(method, path, effect, **of_rule),), **more)


def _create(name: str, effect: Effect, **more: Any) -> Fault:
    return _fault(f"create {name}", "POST", "/containers/create", effect, **more)


def _start(name: str, effect: Effect, **more: Any) -> Fault:
    return _fault(f"start {name}", "POST", "/containers/[0-9a-f]+/start", effect, **more)


def _inspect(name: str, effect: Effect, **more: Any) -> Fault:
    return _fault(f"inspect {name}", "GET", "/containers/[0-9a-f]+/json", effect, **more)


def _after(name: str, effect: Effect, **more: Any) -> Fault:
    return _inspect(f"after the stop {name}", effect, once_stopped=True, **more)


def _stop(name: str, effect: Effect, **more: Any) -> Fault:
    return _fault(f"stop {name}", "POST", "/containers/[0-9a-f]+/stop", effect, **more)


def _logs(name: str, effect: Effect, **more: Any) -> Fault:
    return _fault(f"logs {name}", "GET", "/containers/[0-9a-f]+/logs", effect, **more)


def _events(name: str, effect: Effect, **more: Any) -> Fault:
    return _fault(f"events {name}", "GET", "/events", effect, everybody=True, **more)


def _lost_events(name: str, effect: Events, **more: Any) -> Fault:
    return _fault(f"events {name}", "GET", "/events", effect, **more)


def _remove(name: str, effect: Effect, **more: Any) -> Fault:
    return _fault(f"remove {name}", "DELETE", "/containers/[0-9a-f]+", effect, **more)


def _twice(event: dict[str, Any]) -> tuple[bytes, ...]:
    return line(event), line(event)


def _nonsense(event: dict[str, Any]) -> tuple[bytes, ...]:
    wrong = {**event, "timeNano": "soon", "Actor": {"ID": event["Actor"]["ID"], "Attributes": None}}
    return line(wrong), b"[1, 2]\n", b"null\n"


LOCAL = (
    _create("answers 500", Answer(500, FAULTY)),
    _create("hangs", Hang()),
    _create("hangs up after it was done", Reset(forward=True)),
    _create("answers {}", Answer(201, b"{}")),
    _create("answers half of its JSON", Cut(20)),
    _start("answers 500", Answer(500, FAULTY)),
    _start("hangs", Hang()),
    _start("hangs after it was done", Hang(forward=True)),
    _start("hangs up", Reset()),
    _inspect("answers 500", Answer(500, FAULTY)),
    _inspect("answers {}", Answer(200, b"{}")),
    _inspect("answers a list", Answer(200, b"[1]")),
    _inspect("answers half of its JSON", Cut(200)),
    _inspect("hangs", Hang()),
    _inspect("hangs up", Reset()),
    _inspect("begins and stalls", Stall(100)),
    _inspect("without State", without("State")),
    _inspect("with State as text", set_to("running", "State")),
    _inspect("with Config null", set_to(None, "Config")),
    _inspect("with a StopSignal that is none", set_to("SIGNONSENSE", "Config", "StopSignal")),
    _after("answers {}", Answer(200, b"{}")),
    _after("hangs", Hang()),
    _after("answers 404", Answer(404, FAULTY)),
    _after("with FinishedAt of no form", set_to("yesterday", "State", "FinishedAt")),
    _after("with FinishedAt never", set_to(NEVER, "State", "FinishedAt")),
    _after("with ExitCode null", set_to(None, "State", "ExitCode")),
    _after("says that it still runs", set_to(True, "State", "Running")),
    Fault(
        "OOM told late, and not as an event",
        (
            Rule("GET", "/containers/[0-9a-f]+/json", OomToldLate(0.5), once_stopped=True),
            Rule("GET", "/events", drop("oom")),
        ),
        subjects=("oom", "graceful"),
        certain=("oom", "graceful"),
    ),
    Fault(
        "OOM never told",
        (
            Rule("GET", "/containers/[0-9a-f]+/json", set_to(False, "State", "OOMKilled"), once_stopped=True),
            Rule("GET", "/events", drop("oom")),
        ),
        subjects=("oom", "graceful"),
        certain=("graceful",),
    ),
    _stop("answers 500", Answer(500, FAULTY)),
    _stop("answers 404", Answer(404, FAULTY)),
    _stop("hangs", Hang()),
    _stop("hangs after it was done", Hang(forward=True)),
    _stop("hangs up after it was done", Reset(forward=True)),
    _stop("arrives a second late", Delay(1.0), subjects=(*EVERY, "drained")),
    _stop("returns at once", Answer(204)),
    _lost_events("without the stop signal", drop("kill", "15"), subjects=(*EVERY, "drained"), certain=("drained",)),
    _lost_events("without SIGKILL", drop("kill", "9"), certain=("killed", "graceful", "crashed")),
    _lost_events("without any kill", drop("kill"), certain=("killed",)),
    _lost_events("without die", drop("die"), certain=("killed",)),
    _lost_events("none at all of it", drop("*")),
    _lost_events("late", Events(lambda event: (line(event),), late_s=0.1)),
    _lost_events("each twice", Events(_twice), certain=EVERY),
    _lost_events("with wrong types", Events(_nonsense)),
    _events("never answered", Hang(), no_run=True),
    _events("answered 500", Answer(500, FAULTY), no_run=True),
    _events("silent from the beginning", Stall(), spares_bystander=False),
    _events("cut within an event", Cut(900), spares_bystander=False),
    _events("that are no JSON", Garble(b"<html>bad gateway</html>\n"), spares_bystander=False),
    _logs("cut within a frame", Cut(11)),
    _logs("answer 500", Answer(500, FAULTY)),
    _logs("hang", Hang()),
    _logs("begin and stall", Stall(4)),
    _logs("begin with a frame of 2 GiB", Garble(b"\x01\0\0\0\x7f\xff\xff\xff")),
    _remove("answers 500", Answer(500, FAULTY), certain=EVERY, leftovers_said=True),
    _remove("hangs", Hang(), certain=EVERY, leftovers_said=True),
    _remove("answers 500 twice", Answer(500, FAULTY), most=2, certain=EVERY),
)
"""What is tried on a local engine; those that befall the whole run each have one of their own."""

FAULTS = (
    *LOCAL,
    *(
        replace(fault, name=f"{fault.name}, remote", remote=True)
        for fault in LOCAL
        if fault.name.startswith(("events", "stop", "OOM", "inspect after", "logs")) and not fault.no_run
    ),
)
