"""What ECS, and the endpoint of this project, say about a stop: JSON into records. Pure.

Times are nanoseconds since the epoch. ECS gives milliseconds, and each by one of two clocks: `stopping_at_ns` and
`stopped_at_ns` are the control plane's, `execution_stopped_at_ns` is the container instance's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from stop_harness.model import NS_PER_S, SigkillEvidence

STOPPED = "STOPPED"
NS_PER_US = 1000


@dataclass(frozen=True)
class Container:
    """As DescribeTasks has it. `exit_code` is None until it is known, and for good where nothing ever ran."""

    name: str
    last_status: str
    exit_code: int | None
    reason: str | None


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
    containers: tuple[Container, ...]

    @property
    def id(self) -> str:
        """The last part of its ARN."""
        return self.arn.rpartition("/")[2]


@dataclass(frozen=True)
class Definition:
    """A container of the task definition. `stop_timeout_s` None: the agent's or Fargate's default, 30 s if nobody
    changed it. `has_dependents`: other containers are stopped before it."""

    name: str
    essential: bool
    stop_timeout_s: int | None
    has_dependents: bool


@dataclass(frozen=True)
class Measured:
    """A container's stop on the record of the endpoint's engine. Both ends of `duration_ns` are stamped by it."""

    name: str
    ran: bool
    stop_was_called: bool
    stop_timeout_s: int
    stop_signal: int | None
    sigkill: SigkillEvidence
    duration_ns: int | None
    exit_code: int | None
    oom_killed: bool | None
    lost_processes: tuple[str, ...]
    lost_process_count: int | None = None


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
            Container(
                name=str(item.get("name", "?")),
                last_status=str(item.get("lastStatus", "UNKNOWN")),
                exit_code=item.get("exitCode"),
                reason=item.get("reason"),
            )
            for item in value.get("containers", [])
        ),
    )


def definitions(values: list[dict[str, Any]]) -> dict[str, Definition]:
    """Of the containerDefinitions of a task definition, by name."""
    depended_on = {
        name
        for item in values
        for name in (
            *(edge.get("containerName") for edge in item.get("dependsOn", [])),
            *(link.partition(":")[0] for link in item.get("links", [])),
            *(volumes.get("sourceContainer") for volumes in item.get("volumesFrom", [])),
        )
    }
    return {
        str(item["name"]): Definition(
            name=str(item["name"]),
            essential=bool(item.get("essential", True)),
            stop_timeout_s=item.get("stopTimeout") or None,
            has_dependents=item["name"] in depended_on or "firelensConfiguration" in item,
        )
        for item in values
    }


def measured(evidence: dict[str, Any]) -> dict[str, Measured] | None:
    """Of `GET /stop-harness/tasks/<id>`, by name (docs/ecs.md, "The measured stop"). None for another version's."""
    try:
        return {str(item["name"]): _measured(item) for item in evidence["containers"]}
    except (KeyError, TypeError, ValueError):
        return None


def _measured(item: dict[str, Any]) -> Measured:
    sent_ns, exited_ns = item["stopSignalAtNs"], item["exitedAtNs"]
    return Measured(
        name=str(item["name"]),
        ran=bool(item["ran"]),
        stop_was_called=item["stopCalledAt"] is not None,
        stop_timeout_s=int(item["stopTimeoutSeconds"]),
        stop_signal=item["stopSignalNumber"],
        sigkill=SigkillEvidence(item["sigkill"]),
        duration_ns=max(0, exited_ns - sent_ns) if sent_ns is not None and exited_ns is not None else None,
        exit_code=item["exitCode"],
        oom_killed=item["oomKilled"],
        lost_processes=tuple(item.get("lostProcesses") or ()),
        lost_process_count=item.get("lostProcessCount"),
    )


def _ns(value: str | float | None) -> int | None:
    """Of ISO 8601, or of seconds since the epoch (`cli_timestamp_format = wire`)."""
    if value is None:
        return None
    seconds = datetime.fromisoformat(value).timestamp() if isinstance(value, str) else value
    return round(seconds * NS_PER_S / NS_PER_US) * NS_PER_US
