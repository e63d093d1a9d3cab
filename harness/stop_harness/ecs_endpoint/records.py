"""The nouns of a task: what it is, what can happen to it, what can be done. Pure; `tasks` has the verbs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from stop_harness.ecs.dependencies import Condition

NS_PER_S = 1_000_000_000

RETENTION_NS = 3600 * NS_PER_S
"""Stopped tasks can be described for at least one hour (API reference, DescribeTasks)."""


class EcsStatus(StrEnum):
    """`lastStatus` and `desiredStatus` of a task, and `lastStatus` of a container."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"


NEXT_STATUS = {
    EcsStatus.PENDING: {EcsStatus.RUNNING, EcsStatus.STOPPING, EcsStatus.STOPPED},
    EcsStatus.RUNNING: {EcsStatus.STOPPING, EcsStatus.STOPPED},
    EcsStatus.STOPPING: {EcsStatus.STOPPED},
    EcsStatus.STOPPED: set[EcsStatus](),
}
"""`lastStatus` of a task. ECS has five more; they belong to what is not here: network interfaces (PROVISIONING,
DEPROVISIONING), load balancers (ACTIVATING, DEACTIVATING) and deletion."""


class Phase(StrEnum):
    """Where a container is for us; `lastStatus` shows less."""

    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    EXITED = "exited"
    """It ended, and its restart policy brings it back."""
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"


SHOWN = {
    Phase.WAITING: EcsStatus.PENDING,
    Phase.STARTING: EcsStatus.PENDING,
    Phase.RUNNING: EcsStatus.RUNNING,
    Phase.EXITED: EcsStatus.RUNNING,
    Phase.RESTARTING: EcsStatus.RUNNING,
    Phase.STOPPING: EcsStatus.RUNNING,
    Phase.STOPPED: EcsStatus.STOPPED,
}
"""A container's `lastStatus` by its phase."""


class StopCode(StrEnum):
    """Those of the API's stop codes that can happen here."""

    TASK_FAILED_TO_START = "TaskFailedToStart"
    ESSENTIAL_CONTAINER_EXITED = "EssentialContainerExited"
    USER_INITIATED = "UserInitiated"
    SERVICE_SCHEDULER_INITIATED = "ServiceSchedulerInitiated"
    SPOT_INTERRUPTION = "SpotInterruption"
    TERMINATION_NOTICE = "TerminationNotice"


SPOT_NOTICE_S = 120
"""From the notice of a Spot interruption to its end, of a Fargate task and of an EC2 instance alike (Amazon ECS
developer guide, "Fargate capacity providers"; Amazon EC2 user guide, "Spot Instance interruption notices")."""


@dataclass(frozen=True)
class Reclaim:
    """What a task runs on is taken away at `at_ns`. A task that nobody has told to stop by then stops for `reason`."""

    at_ns: int
    reason: str


@dataclass(frozen=True)
class RestartPolicy:
    """An enabled `restartPolicy`. `attempt_period_s`: how long a container must have run to be restarted."""

    ignored_exit_codes: tuple[int, ...] = ()
    attempt_period_s: int = 300


@dataclass(frozen=True)
class ContainerSpec:
    """What the task definition says, as far as order and time are concerned.

    `depends_on`: (name, condition), with the edges that `links`, `volumesFrom` and FireLens imply. `start_timeout_s`
    limits how long others wait for this one to become COMPLETE, SUCCESS or HEALTHY; None: for ever. `restart_policy`
    None: one exit is the end.
    """

    name: str
    essential: bool = True
    depends_on: tuple[tuple[str, Condition], ...] = ()
    stop_timeout_s: int = 30
    start_timeout_s: int | None = None
    has_health_check: bool = False
    restart_policy: RestartPolicy | None = None


@dataclass(frozen=True)
class ContainerState:
    """One container now. `exit_code` is None while it runs and for ever if it never ran.

    `created`: the engine made it, even if its start then failed. `ran`: it was started.
    `healthy` is None until the engine has said either. `started_at_ns`: its start, then its last restart.
    `previous_exit_code`: of the run before that restart. `told_at_ns`: when it was told to stop, and `granted_s`: how
    long it was given then, its stop timeout or what a reclaim leaves of it; None before.
    """

    spec: ContainerSpec
    phase: Phase = Phase.WAITING
    created: bool = False
    ran: bool = False
    healthy: bool | None = None
    exit_code: int | None = None
    reason: str | None = None
    started_at_ns: int | None = None
    restarts: int = 0
    previous_exit_code: int | None = None
    told_at_ns: int | None = None
    granted_s: int | None = None

    @property
    def name(self) -> str:
        """Of the container definition."""
        return self.spec.name

    @property
    def stopped(self) -> bool:
        """`lastStatus` STOPPED."""
        return self.phase is Phase.STOPPED


@dataclass(frozen=True)
class TaskState:
    """One task now, with the API's fields. Times are nanoseconds since the epoch, None until they happen.

    `reclaim` None: nobody takes away what it runs on. `orphaned`: its instance was deregistered while it ran. Its
    containers run on, but ECS no longer hears of them: nothing that happens to them changes it any more.
    """

    containers: tuple[ContainerState, ...]
    created_at_ns: int
    desired: EcsStatus = EcsStatus.RUNNING
    last: EcsStatus = EcsStatus.PENDING
    version: int = 1
    pull_started_at_ns: int | None = None
    pull_stopped_at_ns: int | None = None
    started_at_ns: int | None = None
    stopping_at_ns: int | None = None
    execution_stopped_at_ns: int | None = None
    stopped_at_ns: int | None = None
    stop_code: StopCode | None = None
    stopped_reason: str | None = None
    reclaim: Reclaim | None = None
    orphaned: bool = False

    @property
    def shown(self) -> tuple[object, ...]:
        """What the API shows of its state, without the times: a change of it is a new version, and an event."""
        containers = tuple((SHOWN[item.phase], item.exit_code) for item in self.containers)
        return self.desired, self.last, self.health, containers

    def container(self, name: str) -> ContainerState:
        """By name; KeyError if the task has none of that name."""
        for container in self.containers:
            if container.name == name:
                return container
        raise KeyError(name)

    @property
    def health(self) -> str:
        """HEALTHY, UNHEALTHY or UNKNOWN, of the essential containers with a health check (task.go, healthStatus)."""
        checked = [item for item in self.containers if item.spec.essential and item.spec.has_health_check]
        if any(item.healthy is False for item in checked):
            return "UNHEALTHY"
        return "HEALTHY" if checked and all(item.healthy for item in checked) else "UNKNOWN"

    def forgotten(self, now_ns: int) -> bool:
        """Whether it stopped so long ago that the API no longer knows it."""
        return self.stopped_at_ns is not None and now_ns - self.stopped_at_ns > RETENTION_NS


def new_task(specs: tuple[ContainerSpec, ...], at_ns: int) -> TaskState:
    """A task as RunTask answers it: PENDING, version 1."""
    return TaskState(tuple(ContainerState(spec) for spec in specs), created_at_ns=at_ns)


# ── Events and actions ───────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class TaskEvent:
    """Something that happened, at `at_ns` of the endpoint's clock."""

    at_ns: int


@dataclass(frozen=True)
class Tick(TaskEvent):
    """Time passed: the agent accepted the task, went on after answering StopTask, or what `Wake` asked for is due."""


@dataclass(frozen=True)
class StopRequested(TaskEvent):
    """StopTask, or the service scheduler. Changes what is desired, nothing else: the answer shows `lastStatus` as it
    was. What follows from it begins with the next `Tick`."""

    code: StopCode
    reason: str


@dataclass(frozen=True)
class ReclaimNoticed(TaskEvent):
    """The notice of a Spot interruption. By itself it stops nothing: on Fargate and on an instance that drains a
    `StopRequested` comes with it, on another instance nobody hears of it."""

    reclaim: Reclaim


@dataclass(frozen=True)
class Orphaned(TaskEvent):
    """Its instance was deregistered by force. Nobody tells its containers to stop."""

    reason: str


@dataclass(frozen=True)
class PullStarted(TaskEvent):
    """The engine begins to fetch an image that it did not have."""


@dataclass(frozen=True)
class PullStopped(TaskEvent):
    """The image is there, or cannot be had."""


@dataclass(frozen=True)
class Started(TaskEvent):
    """A container runs."""

    name: str


@dataclass(frozen=True)
class StartFailed(TaskEvent):
    """A container was not pulled, created or started. `reason`: `<ErrorName>: <text>`; None: it was told to stop."""

    name: str
    reason: str | None
    created: bool = False


@dataclass(frozen=True)
class Exited(TaskEvent):
    """A container ended. `finished_at_ns` is the engine's own stamp, None if it has none; `exit_code` likewise."""

    name: str
    exit_code: int | None
    finished_at_ns: int | None = None
    oom_killed: bool = False
    reason: str | None = None


@dataclass(frozen=True)
class StopFailed(TaskEvent):
    """The engine answers, but could not stop the container in five attempts, or does not know it: declared STOPPED."""

    name: str
    reason: str


@dataclass(frozen=True)
class HealthChanged(TaskEvent):
    """The container's health check said something new."""

    name: str
    healthy: bool


@dataclass(frozen=True)
class Start:
    """Pull, create and start the container."""

    name: str


@dataclass(frozen=True)
class Restart:
    """Start the container once more: the same one of the engine."""

    name: str


@dataclass(frozen=True)
class Stop:
    """Call the engine's stop with `t` = `stop_timeout_s`. A second call with less time shortens the first."""

    name: str
    stop_timeout_s: int


@dataclass(frozen=True)
class Wake:
    """Send a `Tick` at this time: a start timeout ends, or what the task runs on is taken away."""

    at_ns: int


Action = Start | Restart | Stop | Wake
