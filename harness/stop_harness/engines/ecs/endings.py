"""How a task is started so that it can be ended as a scenario asks, and how it is ended: StopTask, scale-in, Spot.

Scale-in and Spot need the endpoint that the harness serves itself: who else's services are changed, or capacity taken?
There every task of a service has a cluster of its own, so that what happens to its instance happens to nobody else.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

from stop_harness.engines.ecs.api import EcsApi, Launcher, evidence_path, stop_quietly
from stop_harness.errors import EngineError
from stop_harness.model import EndedBy, TaskDefinition

Json = dict[str, Any]

SERVICE = "subject"

PLACED_WITHIN_S = 60.0
"""The service scheduler of our endpoint looks four times a second."""

ONE_TASK = {"minimumHealthyPercent": 0, "maximumPercent": 100}
"""No second task beside the one that is stopped: fixed host ports would be taken."""

SPOT_REQUEST: Json = {
    "capacityProviderStrategy": [{"capacityProvider": "FARGATE_SPOT"}],
    "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-00000000000000000"]}},
}

MADE_HERE = (
    "scale-in and Spot interruptions are performed only on the endpoint that stop-harness starts itself: leave out "
    "--engine ecs"
)


class Ending(Protocol):
    """One way of ending. `stop_codes`: what ECS may give as the reason then. `call`: what begins it, for people."""

    @property
    def stop_codes(self) -> frozenset[str]: ...

    @property
    def call(self) -> str: ...

    def launch(self, definition: str) -> Json:
        """A new task of a task definition (its ARN), as ECS describes it. Raises NoRoom or EngineError."""

    def end(self, arn: str, reason: str) -> None:
        """Begin the stop. Raises EngineError."""

    def give_up(self, arn: str, *, stopped: bool) -> bool:
        """The task is no longer needed; whether it is stopped, or was told to."""


@dataclass(frozen=True)
class ByStopTask:
    """A task that stands alone, and StopTask. `placement`: members of RunTask that its definition needs."""

    api: EcsApi
    launcher: Launcher
    placement: Json = field(default_factory=dict)
    stop_codes: frozenset[str] = frozenset({"UserInitiated"})
    call: str = "StopTask call"

    def launch(self, definition: str) -> Json:
        """RunTask."""
        return self.launcher.launch(definition, self.placement)

    def end(self, arn: str, reason: str) -> None:
        """StopTask."""
        self.api.call("stop_task", cluster=self.api.cluster, task=arn, reason=reason[:255])

    def give_up(self, arn: str, *, stopped: bool) -> bool:
        """StopTask, where it is still needed."""
        return stopped or stop_quietly(self.api, arn, "stop-harness: no longer needed")


@dataclass(frozen=True)
class BySpotOnFargate(ByStopTask):
    """A task that stands alone on FARGATE_SPOT, and the notice of its interruption."""

    stop_codes: frozenset[str] = frozenset({"SpotInterruption"})
    call: str = "Spot interruption"

    def end(self, arn: str, reason: str) -> None:
        """Two minutes' notice."""
        del reason
        _interrupt(self.api, evidence_path(arn))


class OfService:
    """The only task of a service, in a cluster of its own. `spot`: its instance is interrupted as well, and drains."""

    stop_codes = frozenset({"ServiceSchedulerInitiated"})

    def __init__(self, api: EcsApi, placement: Json, *, spot: bool) -> None:
        self._api, self._placement, self._spot = api, placement, spot
        self.call = "Spot interruption" if spot else "UpdateService call"
        self._cluster: str | None = None

    def launch(self, definition: str) -> Json:
        """CreateService, and the task that its scheduler starts."""
        family = re.sub(r"[^A-Za-z0-9_-]", "-", definition.rpartition("/")[2])[:200]
        cluster = self._cluster = f"{family}-{secrets.token_hex(6)}"
        self._api.call("create_cluster", clusterName=cluster)
        self._api.call(
            "create_service",
            cluster=cluster,
            serviceName=SERVICE,
            taskDefinition=definition,
            desiredCount=1,
            deploymentConfiguration=ONE_TASK,
            **self._placement,
        )
        deadline, pause = time.monotonic() + PLACED_WITHIN_S, threading.Event()
        while time.monotonic() < deadline:
            for status in ("RUNNING", "STOPPED"):  # one that fails at once is not wanted any more
                if arns := self._api.call("list_tasks", cluster=cluster, desiredStatus=status)["taskArns"]:
                    return dict(self._api.call("describe_tasks", cluster=cluster, tasks=arns[:1])["tasks"][0])
            pause.wait(0.1)
        raise EngineError(f"ecs: the service in cluster {cluster} started no task within {PLACED_WITHIN_S:g} s")

    def end(self, arn: str, reason: str) -> None:
        """UpdateService to no task at all; before that nobody may start another one in the place of this one."""
        del reason
        self._api.call("update_service", cluster=self._cluster, service=SERVICE, desiredCount=0)
        if self._spot:
            shown = self._api.call("describe_tasks", cluster=self._cluster, tasks=[arn])["tasks"][0]
            instance = str(shown.get("containerInstanceArn", "")).rpartition("/")[2]
            _interrupt(self._api, f"container-instances/{instance}")

    def give_up(self, arn: str, *, stopped: bool) -> bool:
        """DeleteService, in any case: its scheduler would start another task."""
        del arn, stopped
        try:
            self._api.call("delete_service", cluster=self._cluster, service=SERVICE, force=True)
        except EngineError:
            return False
        return True


def ending(
    ended_by: EndedBy, task: TaskDefinition, api: EcsApi, launcher: Launcher, on_spot: Launcher, *, placement: Json
) -> Ending:
    """For one trial. `on_spot` runs tasks on FARGATE_SPOT. `placement`: where the others run, members of RunTask and
    CreateService that the task definition needs."""
    if ended_by is EndedBy.STOP_TASK:
        return ByStopTask(api, launcher, placement)
    if ended_by is EndedBy.SPOT and task.fargate:
        return BySpotOnFargate(api, on_spot)
    return OfService(api, placement, spot=ended_by is EndedBy.SPOT)


def _interrupt(api: EcsApi, path: str) -> None:
    if api.ours(f"{path}/spot-interruption", "POST") is None:
        raise EngineError(f"ecs at {api.url}: the Spot interruption was not taken")
