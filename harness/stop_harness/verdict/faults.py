"""What the faults of a trial have to do with its verdict. Pure."""

from __future__ import annotations

from dataclasses import replace

from stop_harness import signals
from stop_harness.evidence import fault_words, log_hints, stop_sequence
from stop_harness.evidence.stop_sequence import DEADLINE_TOLERANCE_NS
from stop_harness.model import (
    NS_PER_MS,
    Cause,
    EventKind,
    FaultAction,
    FaultKind,
    FaultRecord,
    Observation,
    Outcome,
    Status,
    StopFacts,
    TrialResult,
)
from stop_harness.verdict import traffic

LATE_NS = 100 * NS_PER_MS
"""From the moment of a fault until it is there, at most, on a machine that is not overloaded (docs/faults.md)."""


BY_FAULT = frozenset({"halted-by-fault", "killed-by-fault"})
"""Causes that say nothing of the container: whatever it does, such a stop ends so, and no change of it helps."""

HALTING = frozenset({"SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU"})


def not_applied(observation: Observation, took_ns: int | None) -> str | None:
    """Why the stop was not the one that was asked for; None where every fault was there, or came too late for a stop
    that took `took_ns` where it may."""
    missing = [record for record in observation.faults if record.problem is not None and not missed(record, took_ns)]
    if not missing:
        return None
    texts = [f"{fault_words.asked(record.fault)}: {record.problem}" for record in missing]
    return f"a fault that was asked for did not come about: {'; '.join(texts)}"


def overstayed(observation: Observation) -> str | None:
    """That a fault was still there at the stop timeout, as it could not be undone when its time was over; None: none
    was. A container that had to be killed then may have had the fault to thank for that."""
    deadline_ns = observation.stop_timeout_ns - DEADLINE_TOLERANCE_NS
    for record in observation.faults:
        length_ns, begun_ns = record.fault.for_ns, record.begun_ns
        if record.fault.is_deed or length_ns is None or begun_ns is None or begun_ns + length_ns >= deadline_ns:
            continue
        if record.ended_ns is None or record.ended_ns >= deadline_ns:
            still = f"it lasted {fault_words.lasted(record)}, and was there at the stop timeout"
            return f"a fault was not undone in time: {fault_words.asked(record.fault)}: {still}"
    return None


def missed(record: FaultRecord, took_ns: int | None) -> bool:
    """Whether the stop, which took `took_ns` (None: nobody knows), was over when the fault's moment came, and that is
    no doubt."""
    planned_ns = record.fault.moment.planned_ns
    if not record.fault.may_miss or record.begun_ns is not None or planned_ns is None or took_ns is None:
        return False
    return took_ns <= planned_ns + LATE_NS


def over_before(result: TrialResult) -> bool:
    """Whether a stop under a standard fault was over before the fault, or the container before the stop, and that was
    good enough: it says nothing about the fault."""
    if result.verdict.status is not Status.PASS:
        return False
    took_ns = result.verdict.facts.shutdown_duration_ns
    is_missed = any(missed(record, took_ns) for record in result.observation.faults)
    return is_missed or result.verdict.outcome is Outcome.NOT_RUNNING


def gone_before_the_stop(observation: Observation) -> tuple[Outcome, str, str]:
    """(outcome, rule, reason) of a stop that found nothing to stop. Who failed because of a signal that a fault had
    sent shortly before has failed, whichever of both signals came first in the end."""
    code = observation.record.exit_code
    gone = f"had already exited with code {code}" if code is not None else "was already gone"
    told = any(record.fault.kind is FaultKind.SIGNAL and record.begun_ns is not None for record in observation.faults)
    if told and (line := log_hints.crash(observation.looks.logs.text)):
        return Outcome.CRASHED, "exit-code-not-accepted", f"{gone} because of the signal of a fault: {line}"
    return Outcome.NOT_RUNNING, "not-running", f"{gone} before the stop"


def exit_codes(observation: Observation) -> frozenset[int]:
    """Exit codes of a program that a signal of a fault has told to end, and that says so. None where it failed: Python
    raises KeyboardInterrupt wherever the program stands, and what it does on its stop signal is never done."""
    if log_hints.crash(observation.looks.log_after_signal):
        return frozenset()
    sent = (record.fault for record in observation.faults if record.begun_ns is not None)
    names = (fault.signal for fault in sent if fault.kind is FaultKind.SIGNAL and fault.signal is not None)
    return frozenset(128 + signals.number(name) for name in names)


def without_network(observation: Observation) -> Observation:
    """Without its traffic where a fault has cut the network: what clients lose then, the container does not lose."""
    cut = any(
        record.begun_ns is not None
        for record in observation.faults
        if record.fault.kind is FaultKind.NETWORK and record.fault.action is FaultAction.CUT
    )
    return replace(observation, traffic=None) if cut else observation


def lost_with_the_network(observation: Observation) -> str | None:
    """What its clients lost because a fault had cut the network, as a sentence; None: nothing."""
    lost = traffic.losses(observation.traffic) if without_network(observation) is not observation else None
    return f"{lost} with the network that a fault has cut, which says nothing about the container" if lost else None


def killed(observation: Observation) -> str | None:
    """That the SIGKILL of a fault ended PID 1, as a sentence; None: none did."""
    if not stop_sequence.may_have_died_of_sigkill(observation.record):
        return None
    for record in observation.faults:
        sent = any(event.kind is EventKind.SIGNAL_SENT and event.signal == signals.SIGKILL for event in record.events)
        if sent or 1 in record.killed:
            return f"ended by the SIGKILL of a fault: {fault_words.course(record)}"
    return None


def with_sigkill(observation: Observation, facts: StopFacts) -> StopFacts:
    """The facts, which say of a SIGKILL on record whose it was."""
    if killed(observation) is None:
        return facts
    return replace(facts, sigkill_reason="exit by signal 9; the SIGKILL is that of a fault, and none was the stop's")


def cause(observation: Observation) -> Cause | None:
    """Why PID 1 was killed, where a fault did not let it go; None: no fault explains that."""
    if text := killed(observation):
        return Cause("killed-by-fault", text)
    deadline_ns = observation.stop_timeout_ns - DEADLINE_TOLERANCE_NS
    for record in observation.faults:
        halts = record.fault.kind is FaultKind.PAUSE or record.fault.action is FaultAction.STOP
        halts = halts or record.fault.signal in HALTING
        lasts = record.begun_ns is not None and (record.ended_ns is None or record.ended_ns >= deadline_ns)
        if halts and lasts and record.fault.kind is not FaultKind.DEPENDENCY:
            return Cause(
                "halted-by-fault", f"it was halted when the stop timeout was over: {fault_words.course(record)}"
            )
    return None


def remark(observation: Observation) -> str | None:
    """What went wrong around the stop, as it was measured; None where nothing was to."""
    there = [fault_words.course(record) for record in observation.faults if record.begun_ns is not None]
    return f"stopped under faults (seconds from the stop signal): {'; '.join(there)}" if there else None
