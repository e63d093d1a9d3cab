"""How a container ended → the record of its stop. Pure."""

from __future__ import annotations

from stop_harness.engines.docker.container import ContainerEnd
from stop_harness.model import Clock, Event, EventKind, StopRecord


def of(end: ContainerEnd, timeline: tuple[Event, ...], *, stop_signal: int | None, reports_oom: bool) -> StopRecord:
    """Its events, after those of `timeline`, then `State`: FinishedAt, ExitCode, OOMKilled."""
    state = end.state
    events = [*timeline, *end.events]
    if state.exited and state.finished_at_ns is not None:
        events.append(Event(EventKind.EXITED, state.finished_at_ns, Clock.ENGINE, state.end_source))
    if end.ends is not None:
        events += end.ends.events(stop_signal)
    code = state.exit_code if state.exited else None
    return StopRecord(
        events=tuple(events),
        exit_code=code,
        exit_signal=code - 128 if code and end.ends is not None and end.ends.by_signal else None,
        oom_killed=state.oom_killed if reports_oom else None,
        complete=end.complete,
        lost_processes=end.lost_processes,
        fates=end.fates,
        fate_count=end.fate_count,
    )
