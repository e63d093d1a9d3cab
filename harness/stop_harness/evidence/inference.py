"""One stop with the longest timeout → what each shorter timeout would have shown. Pure.

The container does not see its stop timeout, so until the shorter one has passed both stops are the same stop:

- A container that had exited by then would have exited in the shorter stop as well.
- One that was still running would have met SIGKILL.
- Around the shorter timeout neither can be said, because engines send SIGKILL a little late and clocks err. There the
  derived trial is open.

The derived observation is the record that the shorter stop would have left, so that it is judged like any other. It
never claims more than the real one: no SIGKILL is observed in it, and what the real one leaves open stays open.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from stop_harness import signals
from stop_harness.evidence import somebody_else, stop_sequence
from stop_harness.evidence.stop_sequence import DEADLINE_TOLERANCE_NS, REMOTE_LATENESS_NS
from stop_harness.model import (
    Event,
    EventKind,
    Observation,
    Problem,
    ProblemKind,
    Request,
    RequestFate,
    SigkillEvidence,
    StopFacts,
    StopRecord,
    TrafficRecord,
)
from stop_harness.wording import precise_seconds, timeout


def derive(real: Observation, stop_timeout_ns: int, trial_id: str) -> Observation:
    """The observation of trial `trial_id`, the same stop with a shorter timeout than `real` had."""
    derivation = replace(real.derivation, derived_from=real.trial_id)
    same = replace(real, trial_id=trial_id, stop_timeout_ns=stop_timeout_ns, derivation=derivation, properties=())
    if real.problem is not None or real.record.exited_before_stop or stop_sequence.was_cut_short(real):
        return same  # no timeout had a part in any of these
    if real.task is not None:
        return _open(same, "when a container of a task is told to stop depends on when others were killed")
    stay = _stay(real, stop_sequence.facts(real))
    if isinstance(stay, str):
        return _open(same, f"{real.trial_id}, which it is derived from, does not tell: {stay}")
    # Over before the shorter timeout, even if the clock and the engine both erred: the record stands as it is.
    if stay.at_most_ns is not None and stay.at_most_ns + DEADLINE_TOLERANCE_NS < stop_timeout_ns:
        return same
    # Not surely beyond the timeout either: it may have exited first, or SIGKILL may have.
    if stay.at_least_ns <= stop_timeout_ns + DEADLINE_TOLERANCE_NS:
        return _open(same, f"{stay.text}: too close to the stop timeout to derive who would have been first")
    return _killed(same, stay)


@dataclass(frozen=True)
class _Stay:
    """How long PID 1 stayed after the stop signal.

    `at_least_ns`, `at_most_ns`: the bounds of it. `at_most_ns` is None where SIGKILL ended it, so that nobody knows how
    long it would have stayed. `left_after_ns`: when it exited by itself, None if it was ended. `text` says it in words.
    """

    at_least_ns: int
    at_most_ns: int | None
    text: str
    left_after_ns: int | None = None


def _stay(real: Observation, facts: StopFacts) -> _Stay | str:
    """What the real stop tells about it, or why it tells nothing."""
    took, error = facts.shutdown_duration_ns, facts.duration_error_ns
    if others := somebody_else.deed(real):
        return others
    if facts.sigkill_evidence is SigkillEvidence.UNKNOWN:
        return facts.sigkill_reason
    # An exit after the deadline without SIGKILL contradicts the stop path, so that the record's own times are in doubt.
    if stop_sequence.left_late(real, took) and facts.sigkill_evidence is SigkillEvidence.NOT_SENT:
        return "it exited later than its own stop timeout, yet without SIGKILL"
    by_engine = facts.sigkill_evidence is not SigkillEvidence.NOT_SENT and real.record.stop_signal != signals.SIGKILL
    if by_engine:
        # SIGKILL shows that it lived until the timeout; an exit that was stamped earlier, within the error of its
        # clock, takes that certainty back.
        waited = real.stop_timeout_ns
        unsure = REMOTE_LATENESS_NS if error is None else error
        lived = waited if took is None else min(waited, took - unsure)
        return _Stay(lived, None, f"in {real.trial_id} it was still running {timeout(waited)} after the stop signal")
    if took is None or error is None:
        return "how long it took is not known well enough"
    text = f"in {real.trial_id} it exited {precise_seconds(took)} after the stop signal"
    # The OOM killer's end says how long it stayed, but not that it would have exited by itself at that moment.
    return _Stay(took - error, took + error, text, None if facts.oom_during_stop else took)


def _killed(same: Observation, stay: _Stay) -> Observation:
    """PID 1 was there when the engine would have sent SIGKILL: what came later did not come to pass."""
    oom_events = [event for event in same.record.events if event.kind is EventKind.OOM]
    struck_after = [_since_signal(same.record, event) for event in oom_events]
    if same.record.oom_killed:
        # An OOM kill counts only before the timeout, and is open where its moment is unknown or too close to it.
        near = [
            after for after in struck_after
            if after is None or abs(after - same.stop_timeout_ns) <= DEADLINE_TOLERANCE_NS
        ]  # fmt: skip
        if near or not oom_events or not same.record.complete:
            return _open(same, f"{stay.text}, and whether the OOM killer struck before the stop timeout is not known")
    in_time = [after is not None and after <= same.stop_timeout_ns for after in struck_after]
    events = _until_the_stop(same.record)
    events += tuple(event for event, early in zip(oom_events, in_time, strict=True) if early)
    cut = _without_end(same)
    return replace(
        cut,
        record=replace(
            cut.record,
            events=events,
            exit_code=stop_sequence.EXIT_CODE_SIGKILL,
            oom_killed=any(in_time) if same.record.oom_killed else same.record.oom_killed,
        ),
        derivation=replace(cut.derivation, cut_short=stay.text, would_exit_after_ns=stay.left_after_ns),
    )


def _open(same: Observation, message: str) -> Observation:
    """Nothing can be derived, and that is on record."""
    return replace(_without_end(same), problem=Problem(ProblemKind.NOT_DERIVABLE, message))


def _without_end(same: Observation) -> Observation:
    """The record up to the stop timeout, as far as it is certain."""
    return replace(
        same,
        record=replace(
            same.record,
            events=_until_the_stop(same.record),
            exit_code=None,
            exit_signal=None,
            oom_killed=None,
            lost_processes=None,
            lost_process_count=None,
            suspected_processes=(),
            fates=None,
            fate_count=None,
        ),
        traffic=same.traffic and _traffic(same.traffic, same.stop_timeout_ns),
        derivation=replace(same.derivation, cut_short=None),
        task=None,
    )


def _until_the_stop(record: StopRecord) -> tuple[Event, ...]:
    """Everything up to the stop signal, which the container saw in the same way."""
    ends = {EventKind.EXITED, EventKind.STOP_RETURNED, EventKind.OOM}
    return tuple(event for event in record.events if event.kind not in ends and not _is_escalation(event, record))


def _is_escalation(event: Event, record: StopRecord) -> bool:
    """The SIGKILL of some clock's record, unless that is the stop signal itself."""
    if event.kind is not EventKind.SIGNAL_SENT or event.signal != signals.SIGKILL:
        return False
    return record.stop_signal != signals.SIGKILL or event is not stop_sequence.first(record, event.kind, event.clock)


def _since_signal(record: StopRecord, event: Event) -> int | None:
    """From the stop signal to an event, on the event's clock; None if that clock did not see the stop."""
    begun = stop_sequence.first(record, EventKind.SIGNAL_SENT, event.clock)
    begun = begun or stop_sequence.first(record, EventKind.STOP_REQUESTED, event.clock)
    return None if begun is None else event.at_ns - begun.at_ns


def _traffic(real: TrafficRecord, limit_ns: int) -> TrafficRecord:
    """Requests up to the stop timeout: what was over is over, what was open would have been cut, the rest never was."""
    requests = tuple(
        request if _by(request.ended_at_ns, limit_ns) else _cut(request, limit_ns)
        for request in real.requests
        if _by(request.ended_at_ns, limit_ns) or _by(request.connected_at_ns, limit_ns)
    )
    return replace(real, requests=requests, messages=None)  # what was acknowledged by then is not known


def _cut(request: Request, limit_ns: int) -> Request:
    answering = _by(request.first_byte_at_ns, limit_ns)
    return replace(
        request,
        fate=RequestFate.TRUNCATED if answering else RequestFate.NO_ANSWER,
        sent_at_ns=request.sent_at_ns if _by(request.sent_at_ns, limit_ns) else None,
        first_byte_at_ns=request.first_byte_at_ns if answering else None,
        ended_at_ns=limit_ns,
        status=request.status if answering else None,
        detail="open at the stop timeout; derived",
    )


def _by(at_ns: int | None, limit_ns: int) -> bool:
    return at_ns is not None and at_ns <= limit_ns
