"""Every change as an event of Amazon EventBridge, in the shape that the ECS developer guide publishes.

`ECS Task State Change` and `ECS Container Instance State Change` hold what DescribeTasks and DescribeContainerInstances
show at that moment, with times as ISO 8601, `updatedAt`, and without health and tags. `ECS Service Action` and `ECS
Deployment State Change` name what a service did. Source: "Amazon ECS events and EventBridge" and its four pages.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from stop_harness.ecs_endpoint import describe, wire
from stop_harness.ecs_endpoint.agent import Run
from stop_harness.ecs_endpoint.state import (
    ChangeListener,
    Cluster,
    ContainerInstance,
    Deployment,
    Endpoint,
    Json,
    Service,
)

NS_PER_MS = 1_000_000

NOT_IN_EVENTS = frozenset({"healthStatus", "tags", "registeredAt"})
"""Members of the API's objects that the published events lack."""

REASONS = {
    "SERVICE_DEPLOYMENT_IN_PROGRESS": "ECS deployment {} in progress.",
    "SERVICE_DEPLOYMENT_COMPLETED": "ECS deployment {} completed.",
}
"""Of a deployment's events."""

WARNINGS = frozenset({"SERVICE_TASK_START_IMPAIRED"})
"""Service actions of the event type WARN; the others that happen here are INFO."""


def listen(endpoint: Endpoint, write: Callable[[str], None]) -> None:
    """Tell `write` of every change from now on, beginning with the instances that are there."""
    with endpoint.agent.lock:
        log = endpoint.listener = EventLog(endpoint, write)
        for cluster in endpoint.clusters.values():
            for it in cluster.instances.values():
                log.instance(cluster, it)


class EventLog(ChangeListener):
    """Gives `write` one line of JSON for each change of an endpoint, in their order."""

    def __init__(self, endpoint: Endpoint, write: Callable[[str], None]) -> None:
        self._endpoint, self._write = endpoint, write

    def of(self, endpoint: Endpoint) -> ChangeListener:
        """Into the same place."""
        return EventLog(endpoint, self._write)

    def task(self, run: Run) -> None:
        """`ECS Task State Change`."""
        detail = self._shown("Task", describe.task(run))
        detail["containers"] = [_without(container) for container in detail["containers"]]
        self._tell("ECS Task State Change", run.arn, detail)

    def instance(self, cluster: Cluster, it: ContainerInstance) -> None:
        """`ECS Container Instance State Change`."""
        shown = describe.container_instance(self._endpoint, cluster, it)
        detail = self._shown("ContainerInstance", shown)
        detail["clusterArn"] = self._endpoint.arns.cluster(cluster.name)
        self._tell("ECS Container Instance State Change", shown["containerInstanceArn"], detail)

    def service(self, it: Service, event_name: str) -> None:
        """`ECS Service Action`."""
        detail = {
            "eventType": "WARN" if event_name in WARNINGS else "INFO",
            "eventName": event_name,
            "clusterArn": self._endpoint.arns.cluster(it.cluster),
            "createdAt": iso_time(self._endpoint.clock.now_ns()),
        }
        self._tell("ECS Service Action", self._endpoint.arns.service(it.cluster, it.name), detail)

    def deployment(self, it: Service, deployment: Deployment, event_name: str) -> None:
        """`ECS Deployment State Change`."""
        detail = {
            "eventType": "INFO",
            "eventName": event_name,
            "deploymentId": deployment.id,
            "updatedAt": iso_time(self._endpoint.clock.now_ns()),
            "reason": REASONS[event_name].format(deployment.id),
        }
        self._tell("ECS Deployment State Change", self._endpoint.arns.service(it.cluster, it.name), detail)

    def _shown(self, shape: str, value: Json) -> Json:
        """A result as the API's model shapes it, with the times of an event."""
        shaped: Json = wire.shaped(wire.service_model().shape_for(shape), value, iso_time)
        return {**_without(shaped), "updatedAt": iso_time(self._endpoint.clock.now_ns())}

    def _tell(self, kind: str, resource: str, detail: dict[str, Any]) -> None:
        event = {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": kind,
            "source": "aws.ecs",
            "account": self._endpoint.settings.account,
            "time": iso_time(self._endpoint.clock.now_ns(), "seconds"),
            "region": self._endpoint.settings.region,
            "resources": [resource],
            "detail": detail,
        }
        self._write(json.dumps(event) + "\n")


def iso_time(at_ns: int, precision: str = "milliseconds") -> str:
    """`2020-01-23T17:57:58.103Z`."""
    whole = at_ns // NS_PER_MS
    at = datetime.fromtimestamp(whole // 1000, UTC).replace(microsecond=whole % 1000 * 1000)
    return at.isoformat(timespec=precision).replace("+00:00", "Z")


def _without(shown: Json) -> Json:
    return {key: value for key, value in shown.items() if key not in NOT_IN_EVENTS}
