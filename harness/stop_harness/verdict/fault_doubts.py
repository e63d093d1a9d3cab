"""A stop that had to be killed under a fault: what its causes are worth that are read from what the program did after
the signal. Pure.

How it goes without the fault, one stop does not tell. So what any program does under such a fault is not told as if
the fault were not there: who waits for a time that never comes, or tries again to write, looks like one that takes no
notice of its signal.
"""

from __future__ import annotations

from dataclasses import replace

from stop_harness.evidence import fault_words, log_hints
from stop_harness.model import Cause, Fault, FaultAction, FaultKind, FaultRecord, Observation

MAYBE = "maybe-by-fault"

_AS_A_FAULT_HOLDS_IT = frozenset(
    {"handler-swallowed", "handler-too-slow", "grace-too-short", "wrapper-swallows-signal", "unknown"}
)
"""Causes that say that it went on, or was not done: as one does that the fault holds up."""

_WHATEVER_BEGAN_IT = frozenset({"handler-hangs", "exit-blocked", "waits-for-clients", "handler-swallowed"})
"""Causes that name for whom it waited, or what it wrote: that is so with the fault, which may have begun it."""

_SLOW = frozenset({FaultAction.LATENCY, FaultAction.LOSS, FaultAction.BANDWIDTH, FaultAction.LATE})

_SET_BACK = "; a wait that is counted by a clock that was set back does not end, and CLOCK_MONOTONIC was set back, too"

_LIBRARY = "; libfaketime, by which a clock jumps, can itself keep a wait with a time limit from its end"
"""Measured with Debian's 0.9.10: `threading.Event().wait(0.3)` of Python 3.11 never ends, even without a jump."""


def doubted(cause: Cause, seen: Observation) -> Cause:
    """The cause of a stop that was killed, with the faults that were there, or one that leaves open whether it is
    theirs. The same where none was."""
    there = [record for record in seen.faults if record.begun_ns is not None]
    if not there:
        return cause
    clock = next((record.fault for record in there if record.fault.kind is FaultKind.CLOCK), None)
    keeps = cause.id in _WHATEVER_BEGAN_IT and clock is None and not _only_went_on(cause, seen)
    if keeps:
        return replace(
            cause, evidence=f"{cause.evidence}; it was under a fault, which may have led to that: {_words(there)}"
        )
    if cause.id == "grace-too-short" and all(_takes_time(record.fault) for record in there):
        return replace(cause, evidence=f"{cause.evidence}; it was under a fault that takes time: {_words(there)}")
    if cause.id not in _AS_A_FAULT_HOLDS_IT | _WHATEVER_BEGAN_IT:
        return cause
    text = f"it was under a fault that may be what held it up: {_words(there)}{_by_its_clock(clock)}"
    evidence = text if cause.id == "unknown" else f"{text}. {_sentence(cause.evidence)}"
    return Cause(MAYBE, evidence, without_fault=cause.id)


def _only_went_on(cause: Cause, seen: Observation) -> bool:
    """Without an error in its log, that it went on is all that is known."""
    return cause.id == "handler-swallowed" and log_hints.fault(seen.looks.log_after_signal) is None


def _takes_time(fault: Fault) -> bool:
    """It makes a program slower, and keeps nothing from it for good."""
    return fault.kind in {FaultKind.CPU, FaultKind.PAUSE} or fault.action in _SLOW


def _by_its_clock(jump: Fault | None) -> str:
    if jump is None:
        return ""
    return (_SET_BACK if (jump.amount or 0) < 0 else "") + _LIBRARY


def _words(there: list[FaultRecord]) -> str:
    return "; ".join(map(fault_words.course, there))


def _sentence(evidence: str) -> str:
    return evidence[:1].upper() + evidence[1:]
