"""What can go wrong with an answer of the engine. Frozen, so that a table of faults can hold them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    """This in place of the engine, which does not hear of the request unless `forward` is set."""

    status: int
    body: bytes = b""
    forward: bool = False


@dataclass(frozen=True)
class Hang:
    """No answer, ever. `forward`: the engine does what it was asked all the same."""

    forward: bool = False


@dataclass(frozen=True)
class Reset:
    """Hang up without an answer. `forward`: the engine does what it was asked all the same."""

    forward: bool = False


@dataclass(frozen=True)
class Delay:
    """The request reaches the engine late by so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Cut:
    """Hang up after so many bytes of the answer's body."""

    after_bytes: int


@dataclass(frozen=True)
class Stall:
    """The answer begins and never goes on after so many bytes of its body."""

    after_bytes: int = 0


@dataclass(frozen=True)
class Garble:
    """The body begins with these bytes, which no engine would send."""

    prefix: bytes


@dataclass(frozen=True)
class Change:
    """The answer's JSON, changed."""

    change: Callable[[Any], Any]

    def applied(self, body: bytes) -> bytes:
        """The changed body; one that is no JSON stays as it is."""
        try:
            return json.dumps(self.change(json.loads(body))).encode()
        except ValueError:
            return body


@dataclass(frozen=True)
class OomToldLate:
    """State.OOMKilled is false for so many seconds after the first answer that shows an exit with 137, and true from
    then on. For containers that the OOM killer ends: an engine that is busy may itself never tell it.
    """

    seconds: float


@dataclass(frozen=True)
class Events:
    """The stream of events, one changed after another: the lines to send for an event."""

    change: Callable[[dict[str, Any]], tuple[bytes, ...]]
    late_s: float = 0.0


Effect = Answer | Hang | Reset | Delay | Cut | Stall | Garble | Change | OomToldLate | Events


def line(event: dict[str, Any]) -> bytes:
    """As the engine writes an event."""
    return json.dumps(event).encode() + b"\n"


def drop(action: str, signal: str | None = None) -> Events:
    """No event of this action (and, for `kill`, of this signal) arrives; `*` stands for every action."""

    def change(event: dict[str, Any]) -> tuple[bytes, ...]:
        of_signal = signal is None or event["Actor"]["Attributes"].get("signal") == signal
        return () if action in {"*", event.get("Action")} and of_signal else (line(event),)

    return Events(change)


def without(*path: str) -> Change:
    """The answer's JSON without one member."""

    def change(answer: Any) -> Any:
        place = answer
        for name in path[:-1]:
            place = place[name]
        place.pop(path[-1], None)
        return answer

    return Change(change)


def set_to(value: Any, *path: str) -> Change:
    """The answer's JSON with another value of one member."""

    def change(answer: Any) -> Any:
        if not path:
            return value
        place = answer
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = value
        return answer

    return Change(change)
