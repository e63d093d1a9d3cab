"""One stop on one clock: what was sent, which processes ended, what became of requests, what was written. Pure.

Every clock of the record is set to the stop signal, or to the stop call where a clock did not see the signal; the
picture and the list of moments beside it say the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from stop_harness import signals
from stop_harness.evidence import fate_scene, fault_words, log_lines
from stop_harness.evidence.stop_sequence import CLOCKS_BY_WORTH
from stop_harness.model import (
    EXIT_BEGUN,
    NS_PER_S,
    Clock,
    Event,
    EventKind,
    Observation,
    Outcome,
    ProcessFate,
    ReceivedSignal,
    Request,
    StopFacts,
    StopRecord,
    TrialResult,
)
from stop_harness.renderers.sections import fates_text
from stop_harness.verdict.traffic import lost_requests
from stop_harness.wording import fate_words, limit_word, one_line, timeout

MOST_LANES = 12
"""Processes, and requests, that have a line of their own in the picture; those that were lost come first."""
MOST_MOMENTS = 60
MOST_LOG_LINES = 12


class Who(StrEnum):
    """Whose moment it is; the values are style classes of the page."""

    STOP = "stop"
    PROCESS = "process"
    REQUEST = "request"
    FAULT = "fault"
    LOG = "log"


@dataclass(frozen=True)
class Happening:
    """One thing that happened. `at_s`: seconds after the stop signal; None: after it, nobody knows when. `detail`: how
    that is known, may be empty. `bad`: something was lost or killed by it."""

    at_s: float | None
    who: Who
    text: str
    detail: str = ""
    bad: bool = False


@dataclass(frozen=True)
class Lane:
    """One line of the picture, from `begin_s` to `end_s`; None: it was there before, or is not known to have ended.
    `marks`: signals that came, each with whether it was SIGKILL. `outcome`: of the stop itself, and of a container."""

    who: Who
    label: str
    begin_s: float | None
    end_s: float | None
    marks: tuple[tuple[float, bool], ...] = ()
    bad: bool = False
    outcome: Outcome | None = None


@dataclass(frozen=True)
class Timeline:
    """`clock`: by which clock, in a sentence. `moments` are sorted. `lanes` is empty where no duration is known.
    `left_out`: moments that are not listed."""

    clock: str
    lanes: tuple[Lane, ...]
    moments: tuple[Happening, ...]
    left_out: int
    limit_s: float
    limit_word: str


def timeline(result: TrialResult) -> Timeline:
    """The timeline of one trial."""
    seen, facts = result.observation, result.verdict.facts
    zeros = _Zeros(seen.record)
    moments = sorted(_moments(seen, facts, zeros), key=lambda item: 0.0 if item.at_s is None else item.at_s)
    return Timeline(
        zeros.sentence(told_by_harness=bool(seen.requests)),
        tuple(_lanes(result, zeros)) if facts.shutdown_duration_ns is not None else (),
        tuple(moments[:MOST_MOMENTS]),
        max(0, len(moments) - MOST_MOMENTS),
        seen.stop_timeout_ns / NS_PER_S,
        limit_word(seen),
    )


# ── One clock out of several ─────────────────────────────────────────────────────────────────────────────────────────

_CLOCK_WORDS = {
    Clock.KERNEL: "the kernel's clock",
    Clock.VIRTUAL: "virtual time",
    Clock.ENGINE: "the engine's clock",
    Clock.ECS: "the stamps of Amazon ECS",
    Clock.HARNESS: "the clock of the harness",
}


class _Zeros:
    """Where each clock of a record stood when the stop signal was sent."""

    def __init__(self, record: StopRecord) -> None:
        self._sent = _firsts(record, EventKind.SIGNAL_SENT)
        self._called = _firsts(record, EventKind.STOP_REQUESTED)
        known = [clock for clock in CLOCKS_BY_WORTH if clock in self._sent]
        known += [clock for clock in CLOCKS_BY_WORTH if clock in self._called]
        self.main = known[0] if known else None

    @property
    def called_s(self) -> float:
        """When the stop was called: shortly before the signal; 0 where no clock has both on record."""
        return -(self._way_ns or 0) / NS_PER_S

    @property
    def _way_ns(self) -> int | None:
        """From the stop call to the stop signal, by the best clock that saw both."""
        both = [clock for clock in CLOCKS_BY_WORTH if clock in self._sent and clock in self._called]
        return self._sent[both[0]] - self._called[both[0]] if both else None

    def at_s(self, event: Event) -> float | None:
        """Seconds after the stop signal; None where its clock saw neither signal nor call."""
        return self._after_s(event.clock, event.at_ns)

    def of_engine_s(self, at_ns: int | None) -> float | None:
        """Likewise of a time by the engine's clock; None as well for one that is not known."""
        return None if at_ns is None else self._after_s(Clock.ENGINE, at_ns)

    def _after_s(self, clock: Clock, at_ns: int) -> float | None:
        if clock in self._sent:
            zero = self._sent[clock]
        elif clock in self._called:
            zero = self._called[clock] + (self._way_ns or 0)
        else:
            return None
        return (at_ns - zero) / NS_PER_S

    def sentence(self, *, told_by_harness: bool) -> str:
        """By which clock, and how what others saw was set to it."""
        if self.main is None:
            return ""
        begin = "stop signal" if self._sent else "stop call"
        text = f"From the {begin} on, by {_CLOCK_WORDS[self.main]}."
        if told_by_harness and self.main is not Clock.HARNESS:
            how = "by the stop call" if self._way_ns is not None else "as if the stop call had been the signal"
            text += f" What the harness saw is set to it {how}."
        return text


def _firsts(record: StopRecord, kind: EventKind) -> dict[Clock, int]:
    found: dict[Clock, int] = {}
    for event in record.events:
        if event.kind is kind:
            found[event.clock] = min(found.get(event.clock, event.at_ns), event.at_ns)
    return found


# ── The list ─────────────────────────────────────────────────────────────────────────────────────────────────────────

_STEPS = {
    EventKind.STARTED: "started",
    EventKind.READY: "ready",
    EventKind.STOP_REQUESTED: "stop called",
    EventKind.OOM: "OOM kill",
    EventKind.PAUSED: "paused",
    EventKind.UNPAUSED: "unpaused",
    EventKind.EXITED: "PID 1 exited",
    EventKind.STOP_RETURNED: "the stop call returned",
}


_OF_CONTAINERS = frozenset({EventKind.SIGNAL_SENT, EventKind.EXITED, EventKind.OOM})
"""Steps that each container of a task takes by itself; the others are the task's."""


def _moments(seen: Observation, facts: StopFacts, zeros: _Zeros) -> Iterator[Happening]:
    containers = seen.task.containers if seen.task is not None else ()
    yield from (item for kind, item in _steps(seen.record, zeros, "") if not containers or kind not in _OF_CONTAINERS)
    for container in containers:
        steps = _steps(container.record, zeros, f"{one_line(container.name)}: ")
        yield from (item for kind, item in steps if kind in _OF_CONTAINERS)
    if seen.record.events and not seen.own_timeouts:
        text = f"{limit_word(seen)} of {timeout(seen.stop_timeout_ns)} over"
        yield Happening(seen.stop_timeout_ns / NS_PER_S, Who.STOP, text)
    yield from _faults(seen)
    yield from _log_lines(seen, zeros)
    for fate, lost, begun_ns in _placed_fates(seen, facts):
        yield from _of_process(fate, begun_ns, seen, lost=lost)
    lost_ones = lost_requests(seen.traffic)
    for number, request in enumerate(seen.requests, start=1):
        yield from _of_request(request, number, _called_s(seen, zeros), lost=request in lost_ones)


def _steps(record: StopRecord, zeros: _Zeros, whose: str) -> Iterator[tuple[EventKind, Happening]]:
    """The record's events. A step that several clocks saw is told once, by the best of them."""
    ranks = {clock: rank for rank, clock in enumerate(CLOCKS_BY_WORTH)}
    told: dict[tuple[EventKind, int | None], Clock] = {}
    for event in sorted(record.events, key=lambda item: (ranks[item.clock], item.at_ns)):
        at_s = zeros.at_s(event)
        if at_s is None or told.setdefault((event.kind, event.signal), event.clock) is not event.clock:
            continue
        name = signals.name(event.signal) if event.signal is not None else "a signal"
        text = f"{name} sent" if event.kind is EventKind.SIGNAL_SENT else _STEPS[event.kind]
        text = "PID 1 begins to exit" if event.source == EXIT_BEGUN else text
        bad = event.signal == signals.SIGKILL
        yield event.kind, Happening(at_s, Who.STOP, whose + text, one_line(event.source), bad=bad)


def _faults(seen: Observation) -> Iterator[Happening]:
    """Each fault when it began and when it ended, as it was measured."""
    for record in seen.faults:
        name = fault_words.what(record.fault)
        if record.begun_ns is None:
            yield Happening(None, Who.FAULT, f"{name}: not there", one_line(record.problem or ""), bad=True)
            continue
        said = "" if record.fault.is_deed else " begins"
        yield Happening(record.begun_ns / NS_PER_S, Who.FAULT, f"{name}{said}", one_line(record.seen))
        if record.ended_ns is not None:
            yield Happening(record.ended_ns / NS_PER_S, Who.FAULT, f"{name} ends")


def _log_lines(seen: Observation, zeros: _Zeros) -> Iterator[Happening]:
    """What was written after the stop signal, in its order; when, where the engine tells."""
    lines = [(one_line(line), at_ns) for line, at_ns in log_lines.after_signal(seen.looks) if line.strip()]
    shown = lines[-MOST_LOG_LINES:]
    if len(lines) > len(shown):
        first_s = zeros.of_engine_s(shown[0][1])
        yield Happening(first_s, Who.LOG, f"{len(lines) - len(shown):,} lines, then")
    for line, at_ns in shown:
        at_s = zeros.of_engine_s(at_ns)
        yield Happening(at_s, Who.LOG, line, "log; when is not on record" if at_s is None else "log")


def _placed_fates(seen: Observation, facts: StopFacts) -> list[tuple[ProcessFate, bool, int]]:
    """Each process whose end can be placed: with whether it was lost, and the time from the stop signal to PID 1's end,
    from which its own times are counted back."""
    begun_ns = fate_scene.begun_ns(seen, facts.shutdown_duration_ns)
    if begun_ns is None:
        return []
    return [(fate, lost, begun_ns) for fate, _, lost in fates_text.in_order(seen)]


def _of_process(fate: ProcessFate, begun_ns: int, seen: Observation, *, lost: bool) -> Iterator[Happening]:
    name = one_line(fate_scene.named(fate))
    for signal in fate.signals or ():
        if not _is_the_stop_signal(signal, fate, seen):
            by = "" if signal.sender_pid is None else f" by {one_line(signal.sender) or 'another process'}"
            at_s = (begun_ns - signal.to_end_ns) / NS_PER_S
            yield Happening(at_s, Who.PROCESS, f"{name} is sent {signals.name(signal.number)}{by}")
    if fate.born_ns is not None:
        yield Happening((begun_ns - fate.born_ns) / NS_PER_S, Who.PROCESS, f"{name} is born")
    if fate.end_ns:  # that of PID 1 is a step of the stop
        at_s = (begun_ns - fate.end_ns) / NS_PER_S
        yield Happening(at_s, Who.PROCESS, f"{name}: {fates_text.ended(fate, seen)}", "lost" if lost else "", bad=lost)


def _is_the_stop_signal(signal: ReceivedSignal, fate: ProcessFate, seen: Observation) -> bool:
    """That PID 1 is sent the stop signal from outside is the first step of the stop."""
    return fate.pid == 1 and signal.sender_pid is None and signal.number in {seen.record.stop_signal, signals.SIGKILL}


def _called_s(seen: Observation, zeros: _Zeros) -> float:
    """Where the stop call is that requests are counted from. The stop of a whole group begins with its hooks, that of a
    single container with this call."""
    hooks_took_ns = seen.traffic.hooks_took_ns if seen.traffic is not None and seen.task is not None else 0
    return zeros.called_s + hooks_took_ns / NS_PER_S


def _of_request(request: Request, number: int, called_s: float, *, lost: bool) -> Iterator[Happening]:
    name = f"{request.kind.replace('_', ' ')} {number}"
    begun_ns = request.connected_at_ns if request.sent_at_ns is None else request.sent_at_ns
    if begun_ns is not None:
        text = "connected" if request.sent_at_ns is None else "sent"
        yield Happening(called_s + begun_ns / NS_PER_S, Who.REQUEST, f"{name} {text}")
    if request.ended_at_ns is not None:
        text = f"{name}: {fate_words(request)}" + (" (lost)" if lost else "")
        at_s = called_s + request.ended_at_ns / NS_PER_S
        yield Happening(at_s, Who.REQUEST, text, one_line(request.detail), bad=lost)


# ── The picture ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _lanes(result: TrialResult, zeros: _Zeros) -> Iterator[Lane]:
    """The stop, its containers or processes, and the requests."""
    seen, verdict = result.observation, result.verdict
    duration_ns = verdict.facts.shutdown_duration_ns
    if duration_ns is not None:
        marks = _signals_of(seen.record, zeros)
        yield Lane(Who.STOP, "the stop", 0.0, duration_ns / NS_PER_S, marks, outcome=verdict.outcome)
    yield from _container_lanes(result, zeros)
    yield from _fault_lanes(seen)
    fates = _placed_fates(seen, verdict.facts)
    yield from _first_lost([_process_lane(fate, begun_ns, lost=lost) for fate, lost, begun_ns in fates])
    lost_ones = lost_requests(seen.traffic)
    yield from _first_lost(
        [
            _request_lane(request, number, _called_s(seen, zeros), lost=request in lost_ones)
            for number, request in enumerate(seen.requests, start=1)
        ]
    )


def _first_lost(lanes: list[Lane]) -> list[Lane]:
    """As many as there is room for, in their order; what was lost is not left out for what was not."""
    chosen = sorted(range(len(lanes)), key=lambda at: (not lanes[at].bad, at))[:MOST_LANES]
    return [lanes[at] for at in sorted(chosen)]


def _signals_of(record: StopRecord, zeros: _Zeros) -> tuple[tuple[float, bool], ...]:
    """Signals that were sent, each by the best clock that saw it: the kernel may tell of the first one only."""
    ranks = {clock: rank for rank, clock in enumerate(CLOCKS_BY_WORTH)}
    sent = [event for event in record.events if event.kind is EventKind.SIGNAL_SENT]
    best: dict[int | None, Clock] = {}
    placed = [
        (at_s, event.signal == signals.SIGKILL)
        for event in sorted(sent, key=lambda item: (ranks[item.clock], item.at_ns))
        if best.setdefault(event.signal, event.clock) is event.clock and (at_s := zeros.at_s(event)) is not None
    ]
    return tuple(sorted(placed))


def _container_lanes(result: TrialResult, zeros: _Zeros) -> Iterator[Lane]:
    """Of a task or a group: each container from its own signal to its own exit."""
    outcomes = {item.name: item.outcome for item in result.verdict.containers}
    task = result.observation.task
    for container in task.containers if task is not None else ():
        marks = _signals_of(container.record, zeros)
        ends = [
            at_s
            for event in container.record.events
            if event.kind is EventKind.EXITED and (at_s := zeros.at_s(event)) is not None
        ]
        if marks and ends:
            outcome = outcomes.get(container.name)
            yield Lane(Who.STOP, one_line(container.name), marks[0][0], max(ends), marks, outcome=outcome)


def _fault_lanes(seen: Observation) -> Iterator[Lane]:
    """Each fault from its begin to its end; a deed is a moment."""
    for record in seen.faults:
        if record.begun_ns is not None:
            begin_s = record.begun_ns / NS_PER_S
            end_s = begin_s if record.fault.is_deed else None
            end_s = record.ended_ns / NS_PER_S if record.ended_ns is not None else end_s
            yield Lane(Who.FAULT, fault_words.what(record.fault), begin_s, end_s)


def _process_lane(fate: ProcessFate, begun_ns: int, *, lost: bool) -> Lane:
    def at_s(to_end_ns: int) -> float:
        return (begun_ns - to_end_ns) / NS_PER_S

    marks = tuple((at_s(item.to_end_ns), item.number == signals.SIGKILL) for item in fate.signals or ())
    if fate.exit_signal == signals.SIGKILL and fate.end_ns is not None:
        marks += ((at_s(fate.end_ns), True),)
    begin_s = None if fate.born_ns is None else at_s(fate.born_ns)
    end_s = None if fate.end_ns is None else at_s(fate.end_ns)
    return Lane(Who.PROCESS, one_line(fate_scene.named(fate)), begin_s, end_s, marks, bad=lost)


def _request_lane(request: Request, number: int, called_s: float, *, lost: bool) -> Lane:
    begun_ns = request.connected_at_ns if request.sent_at_ns is None else request.sent_at_ns
    begin_s = None if begun_ns is None else called_s + begun_ns / NS_PER_S
    end_s = None if request.ended_at_ns is None else called_s + request.ended_at_ns / NS_PER_S
    label = f"{request.kind.replace('_', ' ')} {number}: {fate_words(request)}"
    return Lane(Who.REQUEST, label, begin_s, end_s, bad=lost)
