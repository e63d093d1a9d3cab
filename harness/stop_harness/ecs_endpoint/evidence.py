"""What ECS does not tell: how each container of a task was stopped, as the engine put it on record."""

from __future__ import annotations

from stop_harness import signals
from stop_harness.ecs import fates_document
from stop_harness.ecs_endpoint.agent import Live, Run
from stop_harness.ecs_endpoint.containers import NS_PER_S
from stop_harness.ecs_endpoint.records import SHOWN, ContainerState, Phase
from stop_harness.ecs_endpoint.state import Json
from stop_harness.evidence.lost_processes import first_names
from stop_harness.model import Event, EventKind, NotApplied

EXIT_CODE_SIGKILL = 128 + signals.SIGKILL


def evidence(run: Run, missing: tuple[NotApplied, ...]) -> Json:
    """A task with its containers. Times in seconds are for people, those in nanoseconds are exact. `missing`: what its
    definition asks for and it was stopped without, with the outcomes that may be others for that."""
    return {
        "taskArn": run.arn,
        "lastStatus": run.state.last,
        "notEmulated": [f"{item.what}: {item.may_change}" for item in missing],
        "notApplied": [
            {"what": item.what, "mayChange": item.may_change, "doubtfulOutcomes": [str(it) for it in item.doubts]}
            for item in missing
        ],
        "containers": [_container(it, run.live.get(it.name)) for it in run.state.containers],
    }


def _container(it: ContainerState, live: Live | None) -> Json:
    inspected, ended = (live.inspected, live.exit) if live else (None, None)
    called_ns = live.stop_called_at_ns if live else None
    events = ended.events if ended else ()
    first, kill = _stop_signals(events, called_ns)
    end_ns = ended.finished_at_ns if ended else None
    lost = ended.lost_processes if ended else None
    return {
        "name": it.name,
        "runtimeId": live.runtime_id if live else None,
        "essential": it.spec.essential,
        "dependsOn": list(dict.fromkeys(name for name, _ in it.spec.depends_on)),
        "lastStatus": SHOWN[it.phase],
        "ran": it.ran,
        "restartCount": it.restarts,
        "stopping": it.phase is Phase.STOPPING,
        "stopTimeoutSeconds": it.spec.stop_timeout_s,
        "grantedSeconds": it.granted_s,
        "configuredStopSignal": signals.name(inspected.stop_signal) if inspected else None,
        "configuredStopSignalNumber": inspected.stop_signal if inspected else None,
        "configuredStopSignalSource": inspected.stop_signal_source if inspected else None,
        "stopSignal": signals.name(first.signal) if first and first.signal else None,
        "stopSignalNumber": first.signal if first else None,
        **_time("stopCalledAt", called_ns),
        **_time("stopSignalAt", first.at_ns if first else None),
        "sigkill": _sigkill(called_ns is not None, kill is not None, ended.complete if ended else False, it.exit_code),
        **_time("sigkillAt", kill.at_ns if kill else None),
        **_time("exitedAt", end_ns),
        "shutdownDurationSeconds": max(0, end_ns - first.at_ns) / NS_PER_S if first and end_ns is not None else None,
        "exitCode": it.exit_code,
        "reason": it.reason,
        "oomKilled": ended.oom_killed if ended else None,
        "lostProcesses": None if lost is None else list(first_names(lost)),
        "lostProcessCount": None if lost is None else len(lost),
        "processFates": fates_document.as_json(ended.fates if ended else None),
        "processFateCount": ended.fate_count if ended else None,
        "recordComplete": ended.complete if ended else False,
        "events": [
            {"kind": event.kind, **_time("at", event.at_ns), "signal": event.signal, "source": event.source}
            for event in events
        ],
    }


def _stop_signals(events: tuple[Event, ...], called_ns: int | None) -> tuple[Event | None, Event | None]:
    """The first signal that the engine sent for the stop call, and its SIGKILL."""
    sent = [event for event in events if event.kind is EventKind.SIGNAL_SENT]
    stop = [event for event in sent if called_ns is not None and event.at_ns >= called_ns]
    return next(iter(stop), None), next((event for event in stop if event.signal == signals.SIGKILL), None)


def _sigkill(stopped: bool, seen: bool, complete: bool, exit_code: int | None) -> str:
    """`observed` needs both: the engine's kill event and an exit by signal 9."""
    if not stopped or exit_code is None:
        return "not_sent" if not stopped else "unknown"
    if seen:
        return "observed" if exit_code == EXIT_CODE_SIGKILL else "unknown"
    return "not_sent" if complete else "unknown"


def _time(name: str, at_ns: int | None) -> Json:
    """In seconds, and in whole nanoseconds: a double cannot hold those since the epoch."""
    return {name: None if at_ns is None else at_ns / NS_PER_S, f"{name}Ns": at_ns}
