"""Timeline → facts: how long the stop took, whether SIGKILL was sent, and how we know. Pure.

The stop sequence of every engine is: stop signal, wait up to the stop timeout, SIGKILL, exit. What differs is which of
these steps the engine puts on record, and on which clock.
"""

from __future__ import annotations

from stop_harness import signals
from stop_harness.model import (
    DIE_EVENT,
    ECS_STOP_TIMEOUT_S,
    NS_PER_MS,
    NS_PER_S,
    Clock,
    Event,
    EventKind,
    Observation,
    SigkillEvidence,
    StopFacts,
    StopRecord,
)

CLOCKS_BY_WORTH = (Clock.KERNEL, Clock.VIRTUAL, Clock.ENGINE, Clock.ECS, Clock.HARNESS)

DURATION_ENDS = (
    (EventKind.SIGNAL_SENT, EventKind.EXITED),
    (EventKind.STOP_REQUESTED, EventKind.EXITED),
    (EventKind.STOP_REQUESTED, EventKind.STOP_RETURNED),
)
"""Pairs of events that bound the shutdown, best first. Each pair is taken from one clock."""

DURATION_ERROR_NS = {
    (Clock.KERNEL, EventKind.SIGNAL_SENT, EventKind.EXITED): 2 * NS_PER_MS,
    (Clock.ENGINE, EventKind.SIGNAL_SENT, EventKind.EXITED): 2 * NS_PER_MS,
    (Clock.ENGINE, EventKind.STOP_REQUESTED, EventKind.EXITED): 20 * NS_PER_MS,
    (Clock.HARNESS, EventKind.STOP_REQUESTED, EventKind.STOP_RETURNED): 120 * NS_PER_MS,
    (Clock.VIRTUAL, EventKind.SIGNAL_SENT, EventKind.EXITED): 0,
    (Clock.VIRTUAL, EventKind.STOP_REQUESTED, EventKind.EXITED): 0,
}
"""Worst error seen on an idle machine. Measured: waiting parent 1.9 ms; the kernel's own stamps 0.1 ms, the rest is the
signal's way into a handler; Docker 20.10 `kill` event → `FinishedAt` 1.6 ms; the call reaches the process 9 to 13 ms
after it is made; the call's return is 14 to 115 ms late."""

DIE_EVENT_LATE_NS = 330 * NS_PER_MS
"""The `die` event follows the exit by 20 ms on an idle machine and by up to 330 ms under load (measured). It is all
that tells the exit of a container that the engine has removed by then."""

LOADED_ENGINE_ERROR_NS = 120 * NS_PER_MS
"""For the engine's stamps on a busy machine: up to 113 ms too long or too short (50 trials on two CPUs, load 10)."""

BUSY_LOAD = 2.0
"""1-minute load average from which the engine may come late to its stamps."""

DEADLINE_TOLERANCE_NS = 50 * NS_PER_MS
"""An exit this little before the stop timeout counts as "at" it: `FinishedAt` of Podman runs up to 5 ms early and the
`kill` event's stamp up to 10 ms late under load."""

SIGNAL_STAMP_LATE_NS = 10 * NS_PER_MS
"""How far the `kill` event's stamp lies behind the signal under load: what seems to come just before it came after."""

REMOTE_LATENESS_NS = 5 * NS_PER_S
"""How much later than it happened a cluster on other machines may say that a container stopped: the call travels to
the agent and the state back, and the service and the agent need not agree on the time. Our allowance, not measured."""

LATE_EXIT_NS = NS_PER_S // 2
"""An exit this long after the stop timeout without SIGKILL contradicts the stop sequence: engines send SIGKILL 10 to
35 ms after the deadline."""

EXIT_CODE_SIGKILL = 128 + signals.SIGKILL


def facts(observation: Observation) -> StopFacts:
    """Read the timeline of one trial. Never raises: what is missing is None or UNKNOWN."""
    span = _duration(observation)
    duration_ns = span[0] if span else None
    evidence, reason = _sigkill(observation, duration_ns)
    if evidence is SigkillEvidence.OBSERVED and observation.derivation.derived_from is not None:
        evidence = SigkillEvidence.INFERRED  # it was observed elsewhere
    return StopFacts(
        sigkill_evidence=evidence,
        sigkill_reason=reason,
        shutdown_duration_ns=duration_ns,
        duration_source=span[1] if span else None,
        duration_error_ns=span[2] if span else None,
        sigkill_after_ns=_sigkill_after(observation),
        oom_during_stop=_oom_during_stop(observation.record),
    )


def first(record: StopRecord, kind: EventKind, clock: Clock | None = None) -> Event | None:
    """The first event of a kind, on `clock` if given."""
    found = [event for event in record.events if event.kind is kind and (clock is None or event.clock is clock)]
    if len(found) < 2:
        return found[0] if found else None
    return min(found, key=lambda event: event.at_ns)


def sigkill_event(record: StopRecord) -> Event | None:
    """The engine's SIGKILL at the deadline: a signal 9 that is not itself the stop signal."""
    all_sent = [event for event in record.events if event.kind is EventKind.SIGNAL_SENT]
    if not any(event.signal == signals.SIGKILL for event in all_sent):
        return None
    for clock in Clock:
        sent = [event for event in all_sent if event.clock is clock]
        escalations = sent if record.stop_signal != signals.SIGKILL else sent[1:]
        if found := [event for event in escalations if event.signal == signals.SIGKILL]:
            return found[0]
    return None


def exit_is_exact(record: StopRecord) -> bool:
    """Whether the exit came as a wait status, which tells "killed by signal 9" from "exited with code 137"."""
    return any(
        event.kind is EventKind.EXITED and event.clock in {Clock.KERNEL, Clock.VIRTUAL} for event in record.events
    )


def may_have_died_of_sigkill(record: StopRecord) -> bool:
    """Whether SIGKILL ended PID 1, or may have: a bare exit code 137 does not tell."""
    return _died_of_sigkill(record) is not False


def was_cut_short(observation: Observation) -> bool:
    """Whether `--fast` ended the stop: it says so, and PID 1 did not exit by itself in the last moment."""
    return observation.derivation.cut_short is not None and _died_of_sigkill(observation.record) is not False


def left_late(observation: Observation, duration_ns: int | None) -> bool:
    """Whether PID 1 exited so long after the deadline that SIGKILL must have been due, yet none ended it."""
    late_ns = LATE_EXIT_NS + (REMOTE_LATENESS_NS if observation.engine.remote else 0)
    return duration_ns is not None and duration_ns > observation.stop_timeout_ns + late_ns


def _duration(observation: Observation) -> tuple[int, str, int | None] | None:
    """(shutdown duration, its two sources, its error), None if no clock saw both ends."""
    if observation.record.exited_before_stop or was_cut_short(observation):
        return None
    escalation = sigkill_event(observation.record)
    for start_kind, end_kind in DURATION_ENDS:
        for clock in CLOCKS_BY_WORTH:
            start = first(observation.record, start_kind, clock)
            end = first(observation.record, end_kind, clock) if start is not None else None
            # A SIGKILL without its stop signal on record is not where the shutdown began.
            if start is not None and end is not None and start is not escalation:
                # The kill event is stamped after the signal was delivered, so a fast exit can precede it.
                length = max(0, end.at_ns - start.at_ns)
                source = f"{start.source} → {end.source} ({clock} clock)"
                error_ns = _error_ns(observation, clock, start_kind, end_kind)
                return length, source, DIE_EVENT_LATE_NS if end.source == DIE_EVENT else error_ns
    return None


def _error_ns(observation: Observation, clock: Clock, start: EventKind, end: EventKind) -> int | None:
    """How far a duration between these two may be off; None if unknown."""
    idle_ns = DURATION_ERROR_NS.get((clock, start, end))
    busy = observation.load_average is not None and observation.load_average > BUSY_LOAD
    return max(idle_ns, LOADED_ENGINE_ERROR_NS) if idle_ns is not None and clock is Clock.ENGINE and busy else idle_ns


def _sigkill(observation: Observation, duration_ns: int | None) -> tuple[SigkillEvidence, str]:
    """Whether SIGKILL ended the stop, and one sentence on how we know."""
    if observation.record.exited_before_stop:
        return SigkillEvidence.NOT_SENT, "it was not running when the stop came"
    if observation.record.exit_code is None:
        return SigkillEvidence.UNKNOWN, "no exit was recorded"
    if was_cut_short(observation):
        return SigkillEvidence.INFERRED, str(observation.derivation.cut_short)
    died_of_sigkill = _died_of_sigkill(observation.record)
    event = sigkill_event(observation.record)
    if event is not None:
        return _with_event(observation, event, died_of_sigkill, duration_ns)
    if died_of_sigkill is False:
        return SigkillEvidence.NOT_SENT, f"PID 1 exited with code {observation.record.exit_code}"
    if observation.record.stop_signal == signals.SIGKILL:
        return SigkillEvidence.OBSERVED, "the stop signal itself is SIGKILL"
    how = "exit by signal 9" if died_of_sigkill else f"exit code {EXIT_CODE_SIGKILL}"
    if duration_ns is None:
        return SigkillEvidence.UNKNOWN, f"{how} at an unknown time"
    observes = observation.engine.observes_sigkill
    tolerance_ns = SIGNAL_STAMP_LATE_NS if observes else DEADLINE_TOLERANCE_NS
    at_deadline = duration_ns >= observation.stop_timeout_ns - tolerance_ns
    records_all = observes and observation.record.complete
    if records_all and (not at_deadline or observation.record.oom_killed):
        return SigkillEvidence.NOT_SENT, f"{how}, but the engine recorded no SIGKILL of its own"
    if at_deadline:
        # An event may be lost on the way, and nothing else ends a container at this moment in this way.
        missing = "its event is missing" if observes else "this engine reports no kill"
        return SigkillEvidence.INFERRED, f"{how} at the stop timeout; {missing}"
    if not observation.record.complete:
        return SigkillEvidence.UNKNOWN, "the engine's event stream broke during the stop"
    if doubt := _remote_doubt(observation, duration_ns):
        return SigkillEvidence.UNKNOWN, f"{how} {doubt}"
    return SigkillEvidence.NOT_SENT, f"{how} well before the stop timeout"


def _remote_doubt(observation: Observation, duration_ns: int) -> str | None:
    """Why a cluster may have sent SIGKILL although the stop timeout does not seem to have been over; None where it
    cannot have, or where the OOM killer is known to have struck."""
    if not observation.engine.remote or observation.record.oom_killed:
        return None
    if observation.stop_timeout_ns == ECS_STOP_TIMEOUT_S * NS_PER_S:
        # Where a container definition has no stop timeout, that of the container instance may be another.
        return f"before the default stop timeout of {ECS_STOP_TIMEOUT_S} s, which may be shorter there"
    if _may_be_the_deadline(observation, duration_ns):
        return "shortly before the stop timeout, by clocks that need not agree"
    return None


def _may_be_the_deadline(observation: Observation, duration_ns: int) -> bool:
    """Whether the stop may have lasted as long as the stop timeout, though a cluster's stamps say that it did not.

    What this machine saw is only ever late: if that was before the stop timeout, so was the exit.
    """
    seen = [event for event in observation.record.events if event.clock is Clock.HARNESS]
    begun = [event.at_ns for event in seen if event.kind is EventKind.STOP_REQUESTED]
    ended = [event.at_ns for event in seen if event.kind is EventKind.EXITED]
    early = bool(begun and ended) and min(ended) - min(begun) < observation.stop_timeout_ns - DEADLINE_TOLERANCE_NS
    return not early and duration_ns >= observation.stop_timeout_ns - REMOTE_LATENESS_NS


def _with_event(
    observation: Observation, event: Event, died_of_sigkill: bool | None, duration_ns: int | None
) -> tuple[SigkillEvidence, str]:
    """The engine recorded its SIGKILL: it counts only together with an exit that fits."""
    if died_of_sigkill is False:
        exited = first(observation.record, EventKind.EXITED, event.clock)
        code = observation.record.exit_code
        if exited is not None and exited.at_ns < event.at_ns:
            return SigkillEvidence.NOT_SENT, f"PID 1 had exited with code {code} when the SIGKILL was recorded"
        return SigkillEvidence.UNKNOWN, f"SIGKILL was recorded, yet PID 1 exited with code {code}"
    too_early = duration_ns is not None and duration_ns < observation.stop_timeout_ns - DEADLINE_TOLERANCE_NS
    how = "exit by signal 9" if died_of_sigkill else f"exit code {EXIT_CODE_SIGKILL}"
    if too_early:  # somebody else's, or a code of the program's own
        text = f"{how} well before the stop timeout, and a SIGKILL on record that is not the stop's: somebody else's"
        return SigkillEvidence.UNKNOWN, text
    return SigkillEvidence.OBSERVED, f"{event.source} with signal 9, and {how}"


def _died_of_sigkill(record: StopRecord) -> bool | None:
    """True or False where the exit proves it; None for a bare exit code 137."""
    if record.exit_signal is not None:
        return record.exit_signal == signals.SIGKILL
    if record.exit_code != EXIT_CODE_SIGKILL or exit_is_exact(record):
        return False
    return None


def _sigkill_after(observation: Observation) -> int | None:
    kill = None if was_cut_short(observation) else sigkill_event(observation.record)
    sent = first(observation.record, EventKind.SIGNAL_SENT, kill.clock) if kill else None
    return max(0, kill.at_ns - sent.at_ns) if kill and sent and sent is not kill else None


def _oom_during_stop(record: StopRecord) -> bool | None:
    """The OOM flag, unless every OOM event is known and came before the stop signal. None: the engine cannot tell."""
    if not record.oom_killed:
        return record.oom_killed
    events = [event for event in record.events if event.kind is EventKind.OOM]
    if not events or not record.complete:
        return True
    clock = events[0].clock
    begun = first(record, EventKind.SIGNAL_SENT, clock) or first(record, EventKind.STOP_REQUESTED, clock)
    return begun is None or any(event.at_ns >= begun.at_ns - SIGNAL_STAMP_LATE_NS for event in events)


def signal_delay_ns(record: StopRecord) -> int | None:
    """From the stop call to the stop signal, by a clock that saw both; None if none did. On a busy machine the engine
    takes its time, and what ended meanwhile was not there any more when the signal came."""
    for clock in CLOCKS_BY_WORTH:
        called = first(record, EventKind.STOP_REQUESTED, clock)
        sent = first(record, EventKind.SIGNAL_SENT, clock) if called is not None else None
        if called is not None and sent is not None:
            return sent.at_ns - called.at_ns
    return None
