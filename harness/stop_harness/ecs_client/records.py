"""What ECS, and the endpoint of this project, say about a stop: JSON into records. Pure.

Times are nanoseconds since the epoch. ECS gives milliseconds, and each by one of two clocks: `stopping_at_ns` and
`stopped_at_ns` are the control plane's, `execution_stopped_at_ns` is the container instance's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from stop_harness.ecs import dependencies, fates_document
from stop_harness.model import NS_PER_S, Clock, EngineInfo, Event, EventKind, NotApplied, Outcome, ProcessFate

STOPPED = "STOPPED"
NS_PER_US = 1000


@dataclass(frozen=True)
class DescribedContainer:
    """As DescribeTasks has it. `exit_code` is None until it is known, and for good where nothing ever ran. `ran`: it
    was started, so that it has a runtime id."""

    name: str
    last_status: str
    exit_code: int | None
    reason: str | None
    ran: bool = True


@dataclass(frozen=True)
class Task:
    """As DescribeTasks has it. Times are None until they are known.

    `execution_stopped_at_ns` is the moment when the *first* essential container ended.
    """

    arn: str
    definition_arn: str | None
    last_status: str
    stop_code: str | None
    started_at_ns: int | None
    stopping_at_ns: int | None
    execution_stopped_at_ns: int | None
    stopped_at_ns: int | None
    containers: tuple[DescribedContainer, ...]

    @property
    def id(self) -> str:
        """The last part of its ARN."""
        return self.arn.rpartition("/")[2]


@dataclass(frozen=True)
class Definition:
    """A container of the task definition. `stop_timeout_s` None: the agent's or Fargate's default, 30 s if nobody
    changed it. `waits_for`: other containers that are stopped before it."""

    name: str
    essential: bool
    stop_timeout_s: int | None
    waits_for: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measured:
    """A container's stop on the record of the endpoint's engine. All times are stamped by it.

    `stop_signal`: that of the image, None where it is not known. `lost_processes` None: nobody could look.
    """

    name: str
    ran: bool
    stop_was_called: bool
    stop_timeout_s: int
    stop_signal: int | None
    events: tuple[Event, ...]
    exited_at_ns: int | None
    exit_code: int | None
    oom_killed: bool | None
    complete: bool
    lost_processes: tuple[str, ...] | None
    lost_process_count: int | None = None
    fates: tuple[ProcessFate, ...] | None = None
    fate_count: int | None = None


@dataclass(frozen=True)
class Evidence:
    """What `stop-harness ecs serve` tells beside ECS's API. `engine`: itself, with what its container engine proves.
    `not_applied`: what the definition asks for and the endpoint does not emulate."""

    engine: EngineInfo
    containers: dict[str, Measured]
    not_applied: tuple[NotApplied, ...] = ()


def task(value: dict[str, Any]) -> Task:
    """Of a Task of the API."""
    return Task(
        arn=str(value.get("taskArn", "")),
        definition_arn=value.get("taskDefinitionArn"),
        last_status=str(value.get("lastStatus", "UNKNOWN")),
        stop_code=value.get("stopCode"),
        started_at_ns=_ns(value.get("startedAt")),
        stopping_at_ns=_ns(value.get("stoppingAt")),
        execution_stopped_at_ns=_ns(value.get("executionStoppedAt")),
        stopped_at_ns=_ns(value.get("stoppedAt")),
        containers=tuple(
            DescribedContainer(
                name=str(item.get("name", "?")),
                last_status=str(item.get("lastStatus", "UNKNOWN")),
                exit_code=item.get("exitCode"),
                reason=item.get("reason"),
                ran=item.get("runtimeId") is not None or item.get("exitCode") is not None,
            )
            for item in value.get("containers", [])
        ),
    )


def definitions(values: list[dict[str, Any]]) -> dict[str, Definition]:
    """Of the containerDefinitions of a task definition, by name. Raises ValueError for a condition of `dependsOn` that
    is not known here."""
    needs = {str(item["name"]): [name for name, _ in dependencies.edges(item, values)] for item in values}
    waits_for = dependencies.stops_after(needs)
    return {
        str(item["name"]): Definition(
            name=str(item["name"]),
            essential=bool(item.get("essential", True)),
            stop_timeout_s=item.get("stopTimeout") or None,
            waits_for=waits_for[str(item["name"])],
        )
        for item in values
    }


def evidence(info: dict[str, Any], stop: dict[str, Any], url: str) -> Evidence | None:
    """Of `GET /stop-harness/info` and `GET /stop-harness/tasks/<id>` (docs/ecs.md, "The measured stop"). None for
    another version's."""
    try:
        below = info["engine"]
        engine = EngineInfo(
            name="ecs",
            product=f"local ECS endpoint on {below['product']}",
            version=str(below["version"]),
            host=url,
            pid1_rules=True,
            whole_seconds=True,
            observes_sigkill=bool(below["observes_sigkill"]),
            reports_oom=bool(below["reports_oom"]),
            runs_images=True,
            proves_lost_processes=bool(below["proves_lost_processes"]),
        )
        measured = {str(item["name"]): _measured(item) for item in stop["containers"]}
        return Evidence(engine, measured, _not_applied(stop))
    except (KeyError, TypeError, ValueError):
        return None


def _not_applied(stop: dict[str, Any]) -> tuple[NotApplied, ...]:
    """Empty for versions that told it in sentences only."""
    return tuple(
        NotApplied(str(it["what"]), str(it["mayChange"]), tuple(map(Outcome, it["doubtfulOutcomes"])))
        for it in stop.get("notApplied", ())
    )


def _measured(item: dict[str, Any]) -> Measured:
    events = [
        Event(EventKind(event["kind"]), int(event["atNs"]), Clock.ENGINE, str(event["source"]), event["signal"])
        for event in item["events"]
    ]
    if item["exitedAtNs"] is not None:
        events.append(Event(EventKind.EXITED, int(item["exitedAtNs"]), Clock.ENGINE, "State.FinishedAt"))
    lost = item["lostProcesses"]
    return Measured(
        name=str(item["name"]),
        ran=bool(item["ran"]),
        stop_was_called=item["stopCalledAtNs"] is not None,
        stop_timeout_s=int(item["stopTimeoutSeconds"]),
        stop_signal=item["configuredStopSignalNumber"] or item["stopSignalNumber"],
        events=tuple(events),
        exited_at_ns=item["exitedAtNs"],
        exit_code=item["exitCode"],
        oom_killed=item["oomKilled"],
        complete=bool(item["recordComplete"]),
        lost_processes=None if lost is None else tuple(lost),
        lost_process_count=item["lostProcessCount"],
        fates=fates_document.of_json(item.get("processFates")),
        fate_count=item.get("processFateCount"),
    )


def _ns(value: str | float | None) -> int | None:
    """Of ISO 8601, or of seconds since the epoch (`cli_timestamp_format = wire`)."""
    if value is None:
        return None
    seconds = datetime.fromisoformat(value).timestamp() if isinstance(value, str) else value
    return round(seconds * NS_PER_S / NS_PER_US) * NS_PER_US
