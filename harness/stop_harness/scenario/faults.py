"""The section `faults` of a scenario file, and `--fault` of `check`. Pure.

A fault is one of the keys below with its value, a moment and a length. On the command line it is
`KIND=VALUE@MOMENT:LENGTH`, where a value such as `{latency: 200ms}` is `latency:200ms`.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import combinations
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema, create_model, model_validator

from stop_harness import log_pattern, signals, units
from stop_harness.model import NS_PER_S, Fault, FaultAction, FaultKind, FaultMoment, When
from stop_harness.scenario.values import Duration, Section

MOST_CORES, LEAST_CORES = 1024.0, 0.01
LEAST_JUMP_NS = 5 * NS_PER_S
LEAST_MEMORY = 6 * 1024**2
"""What Docker takes for a limit."""
MOST_LOOPS = 256
_RATES = {"bit": 1, "kbit": 1000, "mbit": 1000**2, "gbit": 1000**3}

Read = Callable[[object], Any]


# ── values ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _number(least: float, most: float, *, whole: bool = False) -> Read:
    def read(value: object) -> float:
        if isinstance(value, str) and re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value):
            value = float(value) if "." in value else int(value)
        if (
            isinstance(value, bool)
            or not isinstance(value, int if whole else int | float)
            or not least <= value <= most
        ):
            kind = "whole number" if whole else "number"
            raise ValueError(f"{value!r} is not allowed; needed: a {kind} from {least:g} to {most:g}")
        return value

    return read


def _time(value: object) -> int:
    duration_ns = units.parse_duration(str(value))
    if duration_ns == 0:
        raise ValueError("0 changes nothing; needed: a duration such as 200ms")
    return duration_ns


def _jump(value: object) -> int:
    """Forward, or with a minus back."""
    text = str(value)
    duration_ns = units.parse_duration(text.removeprefix("-"))
    if duration_ns < LEAST_JUMP_NS:
        raise ValueError(f"{value!r} cannot be told from a clock that is read late; needed: at least 5s, or -5s")
    return -duration_ns if text.startswith("-") else duration_ns


def _size(value: object) -> int:
    size = units.parse_size(str(value))
    if size < LEAST_MEMORY:
        raise ValueError(f"{value!r} is less than the 6MiB that engines take for a limit")
    return size


def _headroom(value: object) -> int:
    return units.parse_size(str(value))


def _share(value: object) -> float:
    """`0.3` or `30%`."""
    text = str(value)
    percent = re.fullmatch(r"(\d{1,3}(?:\.\d{1,6})?)%", text)
    share = float(percent[1]) / 100 if percent else float(text) if re.fullmatch(r"[01](\.\d{1,9})?", text) else -1.0
    if not 0 < share <= 1:
        raise ValueError(f"{value!r} is no share of the packets; needed: more than 0% and at most 100%, such as 30%")
    return share


def _rate(value: object) -> int:
    match = re.fullmatch(r"(\d{1,9})\s*(bit|kbit|mbit|gbit)", str(value).lower())
    if match is None or not int(match[1]):
        raise ValueError(f"{value!r} is no bandwidth; write bits a second with a unit, such as 64kbit or 10mbit")
    return int(match[1]) * _RATES[match[2]]


def _name(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is not allowed; needed: the name of a container of the group")
    return value


def _path(value: object) -> str:
    if not isinstance(value, str) or not value.startswith("/"):
        raise ValueError(f"{value!r} is not allowed; needed: an absolute path in the container, such as /data")
    return value


def _pattern(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is not allowed; needed: a regular expression that is found in a command line")
    return log_pattern.check(value)


def _signal(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError("a signal is needed, such as SIGTERM")
    return signals.name(signals.number(str(value)))


_DEEDS: dict[FaultKind, dict[FaultAction, tuple[str, Read] | None]] = {
    FaultKind.CPU: {
        FaultAction.LIMIT: ("amount", _number(LEAST_CORES, MOST_CORES)),
        FaultAction.LOAD: ("amount", _number(1, MOST_LOOPS, whole=True)),
    },
    FaultKind.MEMORY: {FaultAction.LIMIT: ("amount", _size), FaultAction.HEADROOM: ("amount", _headroom)},
    FaultKind.PAUSE: {FaultAction.PAUSE: None},
    FaultKind.NETWORK: {
        FaultAction.CUT: None,
        FaultAction.RESET: None,
        FaultAction.LATENCY: ("amount", _time),
        FaultAction.LOSS: ("amount", _share),
        FaultAction.BANDWIDTH: ("amount", _rate),
    },
    FaultKind.DEPENDENCY: {
        FaultAction.KILL: ("target", _name),
        FaultAction.STOP: ("target", _name),
        FaultAction.PAUSE: ("target", _name),
        FaultAction.CUT: ("target", _name),
    },
    FaultKind.DISK: {
        FaultAction.FULL: ("target", _path),
        FaultAction.READ_ONLY: ("target", _path),
    },
    FaultKind.PROCESS: {
        FaultAction.KILL: ("target", _pattern),
        FaultAction.STOP: ("target", _pattern),
    },
    FaultKind.SIGNAL: {FaultAction.SEND: ("signal", _signal)},
    FaultKind.STOP: {
        FaultAction.AGAIN: None,
        FaultAction.CLIENT_GONE: None,
        FaultAction.KILL: None,
        FaultAction.REMOVE: None,
        FaultAction.RESTART_ENGINE: None,
    },
    FaultKind.CLOCK: {FaultAction.JUMP: ("amount", _jump)},
    FaultKind.DNS: {FaultAction.DEAD: None, FaultAction.LATE: ("amount", _time)},
    FaultKind.FDS: {FaultAction.LIMIT: ("amount", _number(0, 1 << 20, whole=True))},
    FaultKind.PIDS: {FaultAction.LIMIT: ("amount", _number(1, 1 << 22, whole=True))},
    FaultKind.EXEC: {FaultAction.RUN: None},
}
"""What may be done to each kind: the field of `Fault` that its value fills, and how that is read; None: no value."""

PLAIN = {
    FaultKind.CPU: FaultAction.LIMIT,
    FaultKind.MEMORY: FaultAction.LIMIT,
    FaultKind.SIGNAL: FaultAction.SEND,
    FaultKind.CLOCK: FaultAction.JUMP,
    FaultKind.FDS: FaultAction.LIMIT,
    FaultKind.PIDS: FaultAction.LIMIT,
}
"""Of which action a value without a name is."""

_SAID = {
    FaultKind.CPU: "CPU is short:",
    FaultKind.MEMORY: "Memory is short:",
    FaultKind.PAUSE: "It is frozen:",
    FaultKind.NETWORK: "Its network is bad:",
    FaultKind.DEPENDENCY: "Another container of the group goes, or is slow:",
    FaultKind.DISK: "A tmpfs or volume is full, or cannot be written to:",
    FaultKind.PROCESS: "One of its processes is killed, halted or sent a signal:",
    FaultKind.SIGNAL: "PID 1 is sent one more signal:",
    FaultKind.STOP: "The stop itself is disturbed:",
    FaultKind.CLOCK: "The clock jumps by",
    FaultKind.DNS: "Names are not resolved:",
    FaultKind.FDS: "File descriptors are short, at most",
    FaultKind.PIDS: "Processes and threads are short, at most",
    FaultKind.EXEC: "A command is run in it:",
}

_EXAMPLES = {
    FaultKind.CPU: "0.2 (cores), or {load: 4} (busy loops beside it)",
    FaultKind.MEMORY: "64MiB, or {headroom: 8MiB} beyond what it uses",
    FaultKind.PAUSE: "true",
    FaultKind.NETWORK: "cut, reset, {latency: 200ms}, {loss: 30%} or {bandwidth: 64kbit}; `port`: that one only",
    FaultKind.DEPENDENCY: "{kill: NAME}, {stop: NAME}, {pause: NAME}, {cut: NAME} or {slow: NAME, latency: 200ms}",
    FaultKind.DISK: "{full: PATH} or {read_only: PATH}",
    FaultKind.PROCESS: "{kill: PATTERN}, {stop: PATTERN} or {signal: SIGUSR1, match: PATTERN}",
    FaultKind.SIGNAL: "SIGTERM",
    FaultKind.STOP: "again, client_gone, kill, remove or restart_engine",
    FaultKind.CLOCK: "1h, or -1h (back)",
    FaultKind.DNS: "dead, or {late: 2s}",
    FaultKind.FDS: "16",
    FaultKind.PIDS: "8",
    FaultKind.EXEC: '["/bin/sh", "-c", "…"]',
}


def _read(kind: FaultKind, value: object) -> Fault:
    """The fault that stands for a value, without its moment. Raises ValueError with what is allowed."""
    if kind is FaultKind.EXEC:
        if not isinstance(value, list) or not value or not all(isinstance(word, str) for word in value):
            raise ValueError(f"a command is needed, as a list of words, such as {_EXAMPLES[kind]}")
        return Fault(kind, FaultAction.RUN, command=tuple(value))
    if kind is FaultKind.PAUSE:
        if value is not True:
            raise ValueError("needed: true; `for` says how long")
        return Fault(kind, FaultAction.PAUSE)
    if isinstance(value, Mapping):
        return _of_mapping(kind, dict(value))
    if kind in PLAIN and not isinstance(value, list):
        return _of_action(kind, PLAIN[kind], value)
    action = next((one for one, needs in _DEEDS[kind].items() if needs is None and one == value), None)
    if action is None:
        raise ValueError(f"{value!r} is not allowed; needed: {_EXAMPLES[kind]}")
    return Fault(kind, action)


def _of_mapping(kind: FaultKind, value: dict[Any, Any]) -> Fault:
    if kind is FaultKind.PROCESS and set(value) == {"signal", "match"}:
        return Fault(kind, FaultAction.SEND, target=_pattern(value["match"]), signal=_signal(value["signal"]))
    if kind is FaultKind.DEPENDENCY and "slow" in value:
        if set(value) != {"slow", "latency"}:
            raise ValueError("`slow` and `latency` go together, such as {slow: db, latency: 200ms}")
        return Fault(kind, FaultAction.LATENCY, target=_name(value["slow"]), amount=_time(value["latency"]))
    port = value.pop("port", None) if kind is FaultKind.NETWORK else None
    if port is not None and (isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535):
        raise ValueError(f"`port`: {port!r} is no port")
    if len(value) == 1:
        ((word, given),) = value.items()
        action = next((one for one, needs in _DEEDS[kind].items() if one == word and (needs or given is True)), None)
        if action is not None:
            return replace(_of_action(kind, action, given), port=port)
    raise ValueError(f"{', '.join(map(repr, value)) or 'nothing'} is not allowed; needed: {_EXAMPLES[kind]}")


def _of_action(kind: FaultKind, action: FaultAction, value: object) -> Fault:
    needs = _DEEDS[kind][action]
    return Fault(kind, action) if needs is None else Fault(kind, action, **{needs[0]: needs[1](value)})


def _moment(value: object) -> FaultMoment:
    if isinstance(value, Mapping):
        if set(value) != {"log"}:
            raise ValueError("needed: before, with, after, an offset such as -2s or 500ms, or {log: PATTERN}")
        return FaultMoment(When.LOG, log=log_pattern.check(str(value["log"])))
    text = str(value)
    if text in {When.BEFORE, When.WITH, When.AFTER}:
        return FaultMoment(When(text))
    try:
        offset_ns = units.parse_duration(text.removeprefix("-").removeprefix("+"))
    except ValueError:
        raise ValueError(
            f"{value!r} is no moment; needed: before, with, after, an offset from the stop signal such as -2s or "
            "500ms, or {log: PATTERN}"
        ) from None
    return FaultMoment(When.BEFORE if text.startswith("-") else When.AFTER, offset_ns)


# ── the section ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _schema(kind: FaultKind) -> dict[str, Any]:
    if kind is FaultKind.EXEC:
        return {"type": "array", "items": {"type": "string"}, "minItems": 1}
    if kind is FaultKind.PAUSE:
        return {"const": True}
    plain = PLAIN.get(kind)
    words = [str(action) for action, needs in _DEEDS[kind].items() if needs is None]
    named: dict[str, Any] = {
        str(action): {} for action, needs in _DEEDS[kind].items() if needs is not None and action is not plain
    }
    if kind is FaultKind.PROCESS:
        named |= {"signal": {}, "match": {"type": "string"}}
    if kind is FaultKind.DEPENDENCY:
        named |= {"slow": {"type": "string"}, "latency": {"type": "string"}}
    if kind is FaultKind.NETWORK:
        named |= {**{word: {"const": True} for word in words}, "port": {"type": "integer", "minimum": 1}}
    forms: list[dict[str, Any]] = []
    if plain is not None:
        forms.append({"type": ["string", "number"]})
    if words:
        forms.append({"enum": words})
    if named:
        forms.append({"type": "object", "properties": named, "additionalProperties": False, "minProperties": 1})
    return {"anyOf": forms} if len(forms) > 1 else forms[0]


def _value(kind: FaultKind) -> Any:
    return Annotated[Any, BeforeValidator(lambda value: _read(kind, value)), WithJsonSchema(_schema(kind))]


MOMENT_SCHEMA = {
    "anyOf": [
        {"type": "string", "examples": ["before", "with", "after", "-2s", "500ms"]},
        {
            "type": "object",
            "properties": {"log": {"type": "string"}},
            "required": ["log"],
            "additionalProperties": False,
        },
    ]
}


class _FaultSection(Section):
    """One thing that goes wrong around the stop: one key that says what, and when. See docs/faults.md."""

    at: Annotated[Any, BeforeValidator(_moment), WithJsonSchema(MOMENT_SCHEMA)] = Field(
        None,
        description="Moment: before, with or after the stop signal, an offset from it such as -2s or 500ms, or "
        "{log: PATTERN}. Default: before; after it for `signal`, `stop`, `process` and `exec`.",
    )
    length: Duration | None = Field(
        None, alias="for", description="How long it lasts. Default: until the end of the stop."
    )

    @model_validator(mode="after")
    def _one_kind(self) -> _FaultSection:
        given = [kind for kind in FaultKind if getattr(self, kind) is not None]
        if len(given) != 1:
            what = " and ".join(f"`{kind}`" for kind in given) or "nothing"
            raise ValueError(f"one fault is needed, not {what}; of several each has an entry of its own")
        if self.length is not None and self.made().is_deed:
            raise ValueError(f"`for` does not go with `{given[0]}` of this kind: it is done once")
        if self.length is not None and self.made().takes_dependency:
            raise ValueError("`for` does not go with a dependency that is killed or stopped: it stays away")
        if self.length == 0:
            raise ValueError("`for`: 0 is no length; leave it out, and the fault lasts until the end of the stop")
        return self

    def made(self) -> Fault:
        """The fault that it describes."""
        fault: Fault = next(value for kind in FaultKind if (value := getattr(self, kind)) is not None)
        moment = self.at or FaultMoment(When.AFTER if fault.is_deed else When.BEFORE)
        return replace(fault, moment=moment, for_ns=self.length)


_KEYS: dict[str, Any] = {
    kind.value: (_value(kind), Field(None, description=f"{_SAID[kind]} {_EXAMPLES[kind]}.")) for kind in FaultKind
}
FaultSection: type[_FaultSection] = create_model(
    "FaultSection", __base__=_FaultSection, __doc__=_FaultSection.__doc__, **_KEYS
)


def refuse_contradictions(faults: tuple[Fault, ...], timeouts_ns: tuple[int, ...]) -> None:
    """Raises ValueError for faults that cannot be meant together, or never come to pass within these stop timeouts."""
    for fault in faults:
        shortest_ns = min(timeouts_ns, default=0)
        if fault.moment.when is When.AFTER and timeouts_ns and fault.moment.offset_ns >= shortest_ns:
            at, limit = units.format_duration(fault.moment.offset_ns), units.format_duration(shortest_ns)
            raise ValueError(f"`{fault.kind}` at {at} is not within the stop timeout of {limit}")
        if fault.kind is FaultKind.STOP and fault.moment.when is When.BEFORE:
            raise ValueError(f"`stop: {fault.action}` is about the stop: it cannot come before it")
    for frozen in (item for item in faults if item.kind is FaultKind.PAUSE):
        for other in (item for item in faults if item.kind in _RUN_INSIDE):
            if any(_lasts_at(frozen, point_ns) for point_ns in _points(other)):
                raise ValueError(
                    f"`{other.kind}` begins or ends while `pause` lasts: in what is frozen nothing can be run"
                )
    for fault, other in combinations([item for item in faults if not item.is_deed], 2):
        if (fault.kind, fault.target, fault.port) == (other.kind, other.target, other.port) and _overlap(fault, other):
            raise ValueError(f"two faults of `{fault.kind}` at the same time; give the first one an end with `for`")


_RUN_INSIDE = frozenset({FaultKind.DISK, FaultKind.EXEC})
"""Made, and undone, by a command in the container."""


def _points(fault: Fault) -> tuple[int, ...]:
    """When something is done for it, relative to the stop signal, as far as that is planned."""
    begin_ns = fault.moment.planned_ns
    if begin_ns is None:
        return ()
    return (begin_ns,) if fault.for_ns is None else (begin_ns, begin_ns + fault.for_ns)


def _lasts_at(fault: Fault, point_ns: int) -> bool:
    begin_ns = fault.moment.planned_ns
    return (
        begin_ns is not None and begin_ns <= point_ns and (fault.for_ns is None or point_ns < begin_ns + fault.for_ns)
    )


def _overlap(fault: Fault, other: Fault) -> bool:
    spans = []
    for item in (fault, other):
        begin_ns = item.moment.planned_ns
        if begin_ns is None:  # nobody knows when a line is written
            return True
        spans.append((begin_ns, begin_ns + item.for_ns if item.for_ns is not None else None))
    (begin_ns, _), (_, end_ns) = sorted(spans, key=lambda span: span[0])[1], sorted(spans, key=lambda span: span[0])[0]
    return end_ns is None or begin_ns < end_ns


def option(text: str) -> dict[str, Any]:
    """The data of `--fault KIND=VALUE@MOMENT:LENGTH`. Raises ValueError for what has not this form."""
    what, _, moment = text.partition("@")
    kind, has_value, value = what.partition("=")
    if kind not in set(FaultKind):
        close = difflib.get_close_matches(kind, list(FaultKind), n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"{kind!r} is no fault{hint or ';'} allowed: {', '.join(FaultKind)}")
    data: dict[str, Any] = {kind: _option_value(FaultKind(kind), value) if has_value else True}
    if moment.startswith("log:"):
        data["at"] = {"log": moment.removeprefix("log:")}
    elif moment:
        at, _, length = moment.partition(":")
        data |= {"at": at} | ({"for": length} if length else {})
    return data


def _option_value(kind: FaultKind, value: str) -> object:
    if kind is FaultKind.EXEC:
        return shlex.split(value)
    if kind is FaultKind.PAUSE:
        return value == "true" or value
    several = kind in {FaultKind.NETWORK, FaultKind.DEPENDENCY} or (
        kind is FaultKind.PROCESS and re.match("signal:[A-Za-z0-9+-]+,match:", value)
    )
    parts = value.split(",", 1 if kind is FaultKind.PROCESS else -1) if several else [value]
    pairs = [part.partition(":") for part in parts]
    if not any(colon for _, colon, _ in pairs):
        return value
    return {
        key: (int(given) if key == "port" and given.isdecimal() else given) if colon else True
        for key, colon, given in pairs
    }
