"""What somebody else did to a container during its stop, by the engine's own events. Pure.

A stop sends the stop signal once and SIGKILL at the stop timeout, and pauses nothing. Whatever else the engine has on
record was asked of it by others. Signals from within the container and past the engine are on no such record.
"""

from __future__ import annotations

from itertools import pairwise

from stop_harness import signals
from stop_harness.evidence.stop_sequence import (
    DEADLINE_TOLERANCE_NS,
    EXIT_CODE_SIGKILL,
    SIGNAL_STAMP_LATE_NS,
    first,
)
from stop_harness.model import NS_PER_S, Clock, Event, EventKind, Observation, StopRecord, TimeoutSource

RETRYING_ENGINES = frozenset({"ecs"})
"""Their agents repeat a stop call that failed, as Amazon's does: a second stop signal may be their own."""


def deed(observation: Observation) -> str | None:
    """What somebody else did, as a sentence; None where nothing of the kind is on record."""
    begun_ns = _begun_ns(observation.record)
    if begun_ns is None:
        return None
    if paused := _paused(observation.record, begun_ns):
        return f"somebody paused it during the stop{_when(paused, begun_ns)}"
    sent = _foreign_signals(observation, begun_ns)
    if not sent:
        return None
    watched = observation.watched
    deadline_known = watched is None or watched.timeout_source is TimeoutSource.CALL
    if not deadline_known and all(event.signal == signals.SIGKILL for event in sent):
        return (
            f"SIGKILL came{_when(sent[0], begun_ns).removeprefix(',')}; a stop call sends it after whole seconds, so "
            "that it was late, or somebody else sent it"
        )
    names = list(dict.fromkeys(_named(event, observation.record.stop_signal) for event in sent))
    return f"somebody else sent it {' and '.join(names)} during the stop{_when(sent[0], begun_ns)}"


def _begun_ns(record: StopRecord) -> int | None:
    """When the stop began, on the engine's clock; None if that did not see it."""
    called = first(record, EventKind.STOP_REQUESTED, Clock.ENGINE)
    if called is not None:
        return called.at_ns
    own = [event.at_ns for event in _signals(record) if event.signal == record.stop_signal]
    return own[0] if own else None


def _signals(record: StopRecord) -> list[Event]:
    """The signals that the engine sent, in order."""
    sent = [event for event in record.events if event.kind is EventKind.SIGNAL_SENT]
    return sorted((event for event in sent if event.clock is Clock.ENGINE), key=lambda event: event.at_ns)


def _foreign_signals(observation: Observation, begun_ns: int) -> list[Event]:
    """All but the first stop signal and a SIGKILL that is the stop's or, where it was cut short, the harness's own."""
    record = observation.record
    if observation.engine.name in RETRYING_ENGINES or record.stop_signal in {None, signals.SIGKILL}:
        return []
    sent = [event for event in _signals(record) if event.at_ns >= begun_ns]
    own = next((event for event in sent if event.signal == record.stop_signal), None)
    if own is None:  # its event was lost: whose the others are cannot be told
        return []
    deadline_ns = begun_ns + observation.stop_timeout_ns - DEADLINE_TOLERANCE_NS
    exited = first(record, EventKind.EXITED, Clock.ENGINE)

    ended_by = _ended_by(sent, record)

    def foreign(event: Event) -> bool:
        if event is own:
            return False
        if exited is not None and event.at_ns > exited.at_ns + SIGNAL_STAMP_LATE_NS and event is not ended_by:
            return False
        by_the_stop = observation.derivation.cut_short is not None or event.at_ns >= deadline_ns
        return event.signal != signals.SIGKILL or not by_the_stop

    return [event for event in sent if foreign(event)]


def _ended_by(sent: list[Event], record: StopRecord) -> Event | None:
    """The SIGKILL that the exit code tells of.

    An ended container takes no signal, so that the first SIGKILL on record is that one even where a busy engine stamped
    it long after the exit.
    """
    if record.exit_code != EXIT_CODE_SIGKILL:
        return None
    return next((event for event in sent if event.signal == signals.SIGKILL), None)


def _paused(record: StopRecord, begun_ns: int) -> Event | None:
    """A pause that began during the stop, or lasted into it."""
    seen = (event for event in record.events if event.kind is EventKind.PAUSED or event.kind is EventKind.UNPAUSED)
    changes = sorted(seen, key=lambda event: event.at_ns)
    over_ns = {event: after.at_ns for event, after in pairwise(changes)}
    pauses = (event for event in changes if event.kind is EventKind.PAUSED)
    return next((event for event in pauses if over_ns.get(event, begun_ns) >= begun_ns), None)


def _named(event: Event, stop_signal: int | None) -> str:
    name = "an unnamed signal" if event.signal is None else signals.name(event.signal)
    return f"a second {name}" if event.signal == stop_signal else name


def _when(event: Event, begun_ns: int) -> str:
    """`, 3.0 s after it began`; nothing for what came before it."""
    after_ns = event.at_ns - begun_ns
    return f", {after_ns / NS_PER_S:.1f} s after it began" if after_ns >= 0 else ""
