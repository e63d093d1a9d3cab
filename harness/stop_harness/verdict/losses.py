"""What a stop lost: requests that were cut, processes that SIGKILL ended, jobs that another signal ended. Pure."""

from __future__ import annotations

from stop_harness.evidence import lost_work
from stop_harness.evidence.lost_processes import listed
from stop_harness.evidence.process_fates import End, Grade, LostWork, sent_by_others
from stop_harness.model import Cause, Observation
from stop_harness.verdict import traffic

MOST_HINTS = 3
"""Findings about single processes that one stop shows."""


def losses(observation: Observation) -> tuple[str, ...]:
    """What was lost, as parts of a sentence; empty if nothing is known to be."""
    parts = []
    if lost := traffic.losses(observation.traffic):
        parts.append(lost)
    record = observation.record
    if record.lost_processes and lost_work.silently_killed(observation):
        parts.append(f"SIGKILL ended {listed(record.lost_processes, record.lost_process_count)}")
    if work := _graded(observation, Grade.LOST):
        parts.append(_first(work))
    return tuple(parts)


def rule(observation: Observation) -> str:
    """Id of the rule that what was lost breaks first."""
    if traffic.refused_late(observation.traffic):
        return "refused-while-deregistering"
    if traffic.lost_requests(observation.traffic):
        return "lost-request"
    return "lost-process" if lost_work.silently_killed(observation) else "lost-work"


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
    if not work or (traffic.lost_requests(observation.traffic) and _by_its_own_program(work[0])):
        return None  # Why the requests were dropped says more.
    return Cause(_cause_id(work[0]), work[0].how)


def _by_its_own_program(work: LostWork) -> bool:
    """Whether both signals came from the program above, which then drops what its workers do."""
    senders = {item.sender_pid for item in sent_by_others(work.process)}
    return work.end is End.BY_SECOND and work.owner is not None and senders == {work.owner.pid}


def _cause_id(work: LostWork) -> str:
    owner = work.owner.pid if work.owner else None
    others = {item.sender_pid for item in sent_by_others(work.process)} - {None, owner}
    if work.end is End.BY_ERROR and others:
        return "group-signal"  # Whoever started it did not ask it.
    return {
        End.BY_DEFAULT: "group-signal",
        End.BY_SECOND: "second-signal",
        End.BY_FAULT: "crash-on-stop",
        End.BY_ERROR: "crash-on-stop",
        End.KILLED: "child-killed-by-teardown",
    }[work.end]


def _graded(observation: Observation, grade: Grade) -> list[LostWork]:
    return [item for item in lost_work.lost_work(observation) if item.grade is grade]


def _first(work: list[LostWork]) -> str:
    more = len(work) - 1
    return str(work[0]) + (f" (and {more} more process{'es' if more > 1 else ''})" if more else "")
