"""Whether an answer was whole whose end nothing marks but the close of its connection. Pure.

Such an answer (RFC 9112, 6.3: HTTP/1.0, or neither Content-Length nor chunks) looks the same whether the program
closed the connection after the last byte or the kernel closed it because the process ended in the middle.
"""

from __future__ import annotations

from dataclasses import replace

from stop_harness.model import EXIT_BEGUN, NS_PER_MS, Clock, EventKind, Observation, Request, RequestFate, TrafficRecord

LATE_EXIT_STAMP_NS = 150 * NS_PER_MS
"""How much earlier than its stamp PID 1 may have begun to exit where the kernel itself did not tell: the engine stamps
an exit up to 113 ms late on a busy machine (evidence/stop_sequence.py)."""


def with_known_ends(observation: Observation) -> TrafficRecord | None:
    """The traffic, with the fate `unknown` where the process may have ended in the middle of what looks whole.

    It is whole if it was closed before PID 1, alone in the container, began to exit, or if it was as long as the answer
    to the same request before the stop.
    """
    traffic = observation.traffic
    if traffic is None:
        return None
    open_until_ns = _surely_alive_until_ns(observation)
    requests = tuple(
        replace(request, fate=RequestFate.UNKNOWN, detail=f"{request.detail}; its end is the close of the connection")
        if _in_doubt(request, open_until_ns)
        else request
        for request in traffic.requests
    )
    return replace(traffic, requests=requests)


def _in_doubt(request: Request, open_until_ns: int | None) -> bool:
    if request.fate is not RequestFate.COMPLETED or not request.ends_by_close:
        return False
    if request.body_bytes is not None and request.body_bytes == request.body_bytes_before:
        return False
    return open_until_ns is None or request.ended_at_ns is None or request.ended_at_ns >= open_until_ns


def _surely_alive_until_ns(observation: Observation) -> int | None:
    """From the stop call to a moment at which no process of the container had begun to exit; None where nobody knows.

    Beside PID 1 there may be others, which serve and end at any time: then a close says nothing at all.
    """
    before, events = observation.looks.before, observation.record.events
    if before is None or len(before) != 1:
        return None
    for clock in (Clock.KERNEL, Clock.VIRTUAL, Clock.ENGINE):
        here = [event for event in events if event.clock is clock]
        ends = [event for event in here if event.kind is EventKind.EXITED]
        # The signal comes after the call: counted from it, the exit seems to be earlier than it was, never later.
        begun = [event.at_ns for event in here if event.kind in {EventKind.STOP_REQUESTED, EventKind.SIGNAL_SENT}]
        if ends and begun:
            told = clock is Clock.VIRTUAL or any(event.source == EXIT_BEGUN for event in ends)
            return min(event.at_ns for event in ends) - min(begun) - (0 if told else LATE_EXIT_STAMP_NS)
    return None
