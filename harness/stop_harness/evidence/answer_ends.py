"""Whether an answer was whole whose end nothing marks but the close of its connection. Pure.

Such an answer (RFC 9112, 6.3: HTTP/1.0, or neither Content-Length nor chunks) looks the same whether the program
closed the connection after the last byte or the kernel closed it because the process ended in the middle.
"""

from __future__ import annotations

from dataclasses import replace

from stop_harness.evidence import process_tree
from stop_harness.evidence.fate_scene import as_row, fates_of
from stop_harness.model import (
    EXIT_BEGUN,
    NS_PER_MS,
    Clock,
    EventKind,
    Observation,
    Request,
    RequestFate,
    SignalDisposition,
    TrafficRecord,
)
from stop_harness.records import dataclass

LATE_EXIT_STAMP_NS = 150 * NS_PER_MS
"""How much earlier than its stamp PID 1 may have begun to exit where the kernel itself did not tell: the engine stamps
an exit up to 113 ms late on a busy machine (evidence/stop_sequence.py)."""


LATE_TOLD_NS = 20 * NS_PER_MS
"""By how much later than a client sees the close the end of its server may be told: the kernel closes files first."""

NEAR_EARLIER_NS, NEAR_LATER_NS = 150 * NS_PER_MS, 30 * NS_PER_MS
"""A process that ended this much before a client saw the close, or this much after it, may have been the server: the
client may be late to see it, and the times are counted from calls that are some ms apart."""


def with_known_ends(observation: Observation) -> TrafficRecord | None:
    """The traffic, with the fate `unknown` where the process may have ended in the middle of what looks whole.

    It is whole if it was closed before PID 1 began to exit and no other process ended near the close, or if it was as
    long as the answer to the same request before the stop. It was cut where the stop signal itself ended the server.
    """
    traffic = observation.traffic
    if traffic is None:
        return None
    lifetimes = _lifetimes(observation)
    signalled_ns = _ended_by_default_ns(observation, lifetimes)
    requests = tuple(
        _judged(request, signalled_ns) if _in_doubt(request, lifetimes) else request for request in traffic.requests
    )
    return replace(traffic, requests=requests)


def _judged(request: Request, signalled_ns: int | None) -> Request:
    """An answer in doubt. `signalled_ns`: when the stop signal ended every process that may have given it."""
    if signalled_ns is None or request.ended_at_ns is None or request.ended_at_ns < signalled_ns - LATE_TOLD_NS:
        detail = f"{request.detail}; its end is the close of the connection"
        return replace(request, fate=RequestFate.UNKNOWN, detail=detail)
    # Whoever has given its answer closes the connection: one that was open then was still to get some of it.
    fate = RequestFate.NO_ANSWER if request.first_byte_at_ns is None else RequestFate.TRUNCATED
    return replace(request, fate=fate, detail=f"{request.detail}; the stop signal ended its server by default")


def _ended_by_default_ns(observation: Observation, lifetimes: _Lifetimes | None) -> int | None:
    """When the first process below an init ended, in ns after the stop call, if the stop signal ended all of them by
    its default action; None where one of them handles it or is not known."""
    fates, signal = fates_of(observation), observation.record.stop_signal
    below = [fate for fate in fates[1:] if fate.born_ns is None]
    if lifetimes is None or not below or observation.record.fate_count is not None:
        return None
    by_default = all(
        fate.handling is SignalDisposition.DEFAULT and (fate.exit_signal == signal or fate.by_teardown)
        for fate in below
    )
    init = process_tree.program(as_row(fates[0])) in process_tree.INITS
    return min(lifetimes.others_ns) if by_default and init and lifetimes.others_ns else None


@dataclass(frozen=True)
class _Lifetimes:
    """When processes ended, in ns after the stop call: PID 1 had surely not begun to exit before `pid_one_ns`."""

    pid_one_ns: int
    others_ns: tuple[int, ...]


def _in_doubt(request: Request, lifetimes: _Lifetimes | None) -> bool:
    if request.fate is not RequestFate.COMPLETED or not request.ends_by_close:
        return False
    if request.body_bytes is not None and request.body_bytes == request.body_bytes_before:
        return False
    closed_ns = request.ended_at_ns
    if lifetimes is None or closed_ns is None or closed_ns >= lifetimes.pid_one_ns:
        return True
    return any(closed_ns - NEAR_EARLIER_NS <= end_ns <= closed_ns + NEAR_LATER_NS for end_ns in lifetimes.others_ns)


def _lifetimes(observation: Observation) -> _Lifetimes | None:
    """None where nobody knows: without the times of PID 1, or where others may have served and ended unseen."""
    events = observation.record.events
    for clock in (Clock.KERNEL, Clock.VIRTUAL, Clock.ENGINE):
        here = [event for event in events if event.clock is clock]
        ends = [event for event in here if event.kind is EventKind.EXITED]
        # The signal comes after the call: counted from it, the exit seems to be earlier than it was, never later.
        begun = [event.at_ns for event in here if event.kind in {EventKind.STOP_REQUESTED, EventKind.SIGNAL_SENT}]
        if ends and begun:
            told = clock is Clock.VIRTUAL or any(event.source == EXIT_BEGUN for event in ends)
            first_ns, last_ns = (end(event.at_ns for event in ends) - min(begun) for end in (min, max))
            others = _others(observation, last_ns)
            return None if others is None else _Lifetimes(first_ns - (0 if told else LATE_EXIT_STAMP_NS), others)
    return None


def _others(observation: Observation, gone_ns: int) -> tuple[int, ...] | None:
    """When the processes beside PID 1 ended, which was gone at `gone_ns`; None where that was not seen of each."""
    record, before = observation.record, observation.looks.before
    if record.fates is not None and record.fate_count is None:
        ends = [fate.end_ns for fate in record.fates]
        seen = [gone_ns - end_ns for end_ns in ends if end_ns]  # 0: PID 1 itself
        return tuple(seen) if None not in ends else None
    return () if before is not None and len(before) == 1 else None
