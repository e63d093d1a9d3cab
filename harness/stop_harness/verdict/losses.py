"""What a stop lost: requests that were cut, processes that SIGKILL ended, jobs that another signal ended. Pure."""

from __future__ import annotations

from stop_harness.evidence import process_fates
from stop_harness.evidence.lost_processes import listed
from stop_harness.evidence.process_fates import End, Grade, LostWork
from stop_harness.model import Cause, Observation, Request, RequestFate, TrafficKind, TrafficRecord, Vantage

MOST_HINTS = 3
"""Findings about single processes that one stop shows."""

CUT = frozenset({RequestFate.TRUNCATED, RequestFate.RESET, RequestFate.NO_ANSWER})
"""Accepted, then cut. A refused connection was never accepted, and a time-out may be the client's impatience."""

ACCOUNTABLE = frozenset({TrafficKind.HTTP, TrafficKind.TCP, TrafficKind.NEW_CONNECTIONS})
"""Kinds of traffic whose requests a server owes an answer to, once it has accepted them."""


def lost_requests(traffic: TrafficRecord | None) -> tuple[Request, ...]:
    """Requests that were accepted, sent whole, and then cut.

    Not counted: held connections and endless streams, which somebody has to close; the second request on a kept-alive
    connection, which HTTP lets the server close at any time (RFC 9112, 9.3.1); connections that the engine's proxy
    accepted after the stop call, which it also does on behalf of a container that is gone.
    """
    if traffic is None:
        return ()
    return tuple(
        request
        for request in traffic.requests
        if request.kind in ACCOUNTABLE
        and request.fate in CUT
        and request.sent_at_ns is not None
        and not (traffic.vantage is Vantage.PUBLISHED_PORT and (request.connected_at_ns or 0) > 0)
    )


def losses(observation: Observation) -> tuple[str, ...]:
    """What was lost, as parts of a sentence; empty if nothing is known to be."""
    parts = []
    if requests := lost_requests(observation.traffic):
        fates = ", ".join(sorted({request.fate.replace("_", " ") for request in requests}))
        of = sum(request.kind in {item.kind for item in requests} for request in observation.requests)
        parts.append(f"{len(requests)} of {of} requests were lost ({fates})")
    record = observation.record
    if record.lost_processes:
        parts.append(f"SIGKILL ended {listed(record.lost_processes, record.lost_process_count)}")
    if work := _graded(observation, Grade.LOST):
        parts.append(_first(work))
    return tuple(parts)


def rule(observation: Observation) -> str:
    """Id of the rule that what was lost breaks first."""
    if lost_requests(observation.traffic):
        return "lost-request"
    return "lost-process" if observation.record.lost_processes else "lost-work"


def in_doubt(observation: Observation) -> str | None:
    """Who may have been at work when a signal ended it that was meant for others; None: nobody."""
    work = _graded(observation, Grade.IN_DOUBT)
    return f"{_first(work)}; whether anything was lost was not seen" if work else None


def hints(observation: Observation) -> tuple[str, ...]:
    """The same where little speaks for it."""
    return tuple(map(str, _graded(observation, Grade.HINT)[:MOST_HINTS]))


def cause_of_lost_work(observation: Observation) -> Cause | None:
    """Why a job was lost that SIGKILL did not end; None where none was."""
    work = _graded(observation, Grade.LOST)
    if not work:
        return None
    ids = {End.BY_DEFAULT: "group-signal", End.BY_SECOND: "second-signal", End.BY_FAULT: "crash-on-stop"}
    return Cause(ids[work[0].end], work[0].how)


def _graded(observation: Observation, grade: Grade) -> list[LostWork]:
    return [item for item in process_fates.lost_work(observation) if item.grade is grade]


def _first(work: list[LostWork]) -> str:
    more = len(work) - 1
    return str(work[0]) + (f" (and {more} more process{'es' if more > 1 else ''})" if more else "")
