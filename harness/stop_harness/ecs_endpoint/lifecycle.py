"""One task: its lifecycle, and which container may start or stop when. Pure: time is passed in, nothing is done.

    step(task, event) → (task, actions)

An event is something that happened (StopTask was called, a container exited); an action is something that must now be
done (start this container, stop that one with this timeout). The agent's own rules, in its order: what an event does
is `_ON_EVENT`, what follows from the new state is `_RULES`, which statuses follow each other is `NEXT_STATUS`.

Sources: amazon-ecs-agent `agent/engine/dependencygraph/graph.go`, `agent/api/task/task.go`,
`agent/engine/task_manager.go`; Amazon ECS developer guide, "Task lifecycle".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from stop_harness.ecs.dependencies import Condition
from stop_harness.ecs_endpoint.records import (
    NEXT_STATUS,
    NS_PER_S,
    Action,
    ContainerState,
    EcsStatus,
    Exited,
    HealthChanged,
    Orphaned,
    Phase,
    PullStarted,
    PullStopped,
    ReclaimNoticed,
    Restart,
    Start,
    Started,
    StartFailed,
    Stop,
    StopCode,
    StopFailed,
    StopRequested,
    TaskEvent,
    TaskState,
    Tick,
    Wake,
)

SYNTHETIC_EXIT_CODE = 143
"""What the agent reports for a container that never ran because its dependency cannot be met (task_manager.go:1220)."""

STOPPED_BY_USER = "Task stopped by user"
ESSENTIAL_EXITED = "Essential container in task exited"
FAILED_TO_START = "Task failed to start"
SPOT_INTERRUPTED = "Your Spot Task was interrupted."
"""Amazon ECS developer guide, "Fargate capacity providers": the example event of an interruption."""
DEREGISTERED = "Container instance deregistration forced by user"
"""Amazon ECS developer guide, "Stopped tasks error codes"; no stop code is published for it."""
OUT_OF_MEMORY = "OutOfMemoryError: Container killed due to memory usage"
MAX_REASON_BYTES = 1024
"""ecs_client.go:49: the agent cuts a container's reason here."""


def step(task: TaskState, event: TaskEvent) -> tuple[TaskState, tuple[Action, ...]]:
    """The task after an event, and what is to be done now. An event that comes too late or twice changes nothing."""
    if task.orphaned:
        return task, ()
    after = _ON_EVENT[type(event)](task, event)
    actions: tuple[Action, ...] = ()
    if not isinstance(event, StopRequested | Orphaned) and task.last is not EcsStatus.STOPPED:
        for rule in _RULES:
            after, more = rule(after, event.at_ns)
            actions += more
    if after.shown != task.shown:
        after = replace(after, version=after.version + 1)
    return after, actions


# ── What an event does by itself ─────────────────────────────────────────────────────────────────────────────────────


def _nothing(task: TaskState, _event: TaskEvent) -> TaskState:
    return task


def _stop_requested(task: TaskState, event: StopRequested) -> TaskState:
    return _desire_stop(task, event.code, event.reason, event.at_ns)


def _reclaim_noticed(task: TaskState, event: ReclaimNoticed) -> TaskState:
    """The earliest one counts."""
    known = task.reclaim
    return task if known is not None and known.at_ns <= event.reclaim.at_ns else replace(task, reclaim=event.reclaim)


def _orphaned(task: TaskState, event: Orphaned) -> TaskState:
    """STOPPED for ECS, whatever its containers do. One that was to stop already keeps its reason."""
    if task.last is EcsStatus.STOPPED:
        return task
    if task.desired is not EcsStatus.STOPPED:
        task = replace(task, desired=EcsStatus.STOPPED, stopped_reason=event.reason, stopping_at_ns=event.at_ns)
    return replace(_move(task, EcsStatus.STOPPED), stopped_at_ns=event.at_ns, orphaned=True)


def _pull_started(task: TaskState, event: PullStarted) -> TaskState:
    return task if task.pull_started_at_ns is not None else replace(task, pull_started_at_ns=event.at_ns)


def _pull_stopped(task: TaskState, event: PullStopped) -> TaskState:
    return replace(task, pull_stopped_at_ns=event.at_ns)


def _started(task: TaskState, event: Started) -> TaskState:
    container = task.container(event.name)
    if container.phase is Phase.RESTARTING:
        return _with(task, event.name, phase=Phase.RUNNING)
    if container.phase is not Phase.STARTING:
        return task
    return _with(task, event.name, phase=Phase.RUNNING, created=True, ran=True, started_at_ns=event.at_ns)


def _start_failed(task: TaskState, event: StartFailed) -> TaskState:
    container = task.container(event.name)
    if container.phase not in {Phase.STARTING, Phase.RESTARTING}:
        return task
    task = _with(task, event.name, created=container.created or event.created)
    # A restart that fails leaves the end that it was to undo (task_manager.go, handleContainerChange).
    return _container_stopped(
        task, event.name, event.at_ns, exit_code=container.previous_exit_code, reason=event.reason
    )


def _exited(task: TaskState, event: Exited) -> TaskState:
    container = task.container(event.name)
    if container.phase not in {Phase.STARTING, Phase.RUNNING, Phase.RESTARTING, Phase.STOPPING}:
        return task
    if _comes_back(task, container, event):
        return _with(task, event.name, phase=Phase.EXITED, previous_exit_code=event.exit_code)
    # A container can be gone before its start was reported: it ran all the same.
    task = _with(task, event.name, created=True, ran=True, started_at_ns=container.started_at_ns or event.at_ns)
    reason = OUT_OF_MEMORY if event.oom_killed else event.reason
    at_ns = event.at_ns if event.finished_at_ns is None else event.finished_at_ns
    return _container_stopped(task, event.name, at_ns, exit_code=event.exit_code, reason=reason)


def _stop_failed(task: TaskState, event: StopFailed) -> TaskState:
    if task.container(event.name).phase is not Phase.STOPPING:
        return task
    return _container_stopped(task, event.name, event.at_ns, exit_code=None, reason=event.reason)


def _health_changed(task: TaskState, event: HealthChanged) -> TaskState:
    return task if task.container(event.name).stopped else _with(task, event.name, healthy=event.healthy)


_ON_EVENT: dict[type[TaskEvent], Callable[[TaskState, Any], TaskState]] = {
    Tick: _nothing,
    StopRequested: _stop_requested,
    ReclaimNoticed: _reclaim_noticed,
    Orphaned: _orphaned,
    PullStarted: _pull_started,
    PullStopped: _pull_stopped,
    Started: _started,
    StartFailed: _start_failed,
    Exited: _exited,
    StopFailed: _stop_failed,
    HealthChanged: _health_changed,
}


def _comes_back(task: TaskState, container: ContainerState, event: Exited) -> bool:
    """Whether the restart policy applies (restart_tracker.go, ShouldRestart). Time counts from the last restart."""
    policy, started_ns = container.spec.restart_policy, container.started_at_ns
    return (
        policy is not None
        and task.desired is not EcsStatus.STOPPED
        and event.exit_code is not None
        and event.exit_code not in policy.ignored_exit_codes
        and started_ns is not None
        and event.at_ns - started_ns >= policy.attempt_period_s * NS_PER_S
    )


def _container_stopped(
    task: TaskState, name: str, at_ns: int, *, exit_code: int | None, reason: str | None
) -> TaskState:
    """STOPPED for good. The first error stays the reason; the first essential container stamps executionStoppedAt."""
    container = task.container(name)
    reason = container.reason or (_cut(reason) if reason else None)
    task = _with(task, name, phase=Phase.STOPPED, exit_code=exit_code, reason=reason)
    if container.spec.essential and task.execution_stopped_at_ns is None:
        task = replace(task, execution_stopped_at_ns=at_ns)
    return task


def _desire_stop(task: TaskState, code: StopCode, reason: str, at_ns: int) -> TaskState:
    """The first cause wins: a task that is to stop already keeps its reason and its stoppingAt."""
    if task.desired is EcsStatus.STOPPED:
        return task
    return replace(task, desired=EcsStatus.STOPPED, stop_code=code, stopped_reason=reason, stopping_at_ns=at_ns)


def _with(task: TaskState, name: str, **changes: Any) -> TaskState:
    containers = tuple(replace(item, **changes) if item.name == name else item for item in task.containers)
    return replace(task, containers=containers)


def _cut(reason: str) -> str:
    return reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")


# ── What follows from the state ──────────────────────────────────────────────────────────────────────────────────────


def _restart_what_exited(task: TaskState, at_ns: int) -> tuple[TaskState, tuple[Action, ...]]:
    actions: tuple[Action, ...] = ()
    for container in task.containers:
        if container.phase is Phase.EXITED:
            restarts = container.restarts + 1
            task = _with(task, container.name, phase=Phase.RESTARTING, restarts=restarts, started_at_ns=at_ns)
            actions += (Restart(container.name),)
    return task, actions


def _give_up_on_what_cannot_start(task: TaskState, at_ns: int) -> tuple[TaskState, tuple[Action, ...]]:
    """A dependency that can never be met: STOPPED with a synthetic 143, and whatever waits for that one in turn."""
    changed = task.desired is EcsStatus.RUNNING
    while changed:
        changed = False
        for container in task.containers:
            problem = _hopeless(task, container, at_ns) if container.phase is Phase.WAITING else None
            if problem:
                reason = f"CannotStartContainerError: dependency graph: {problem}"
                task = _container_stopped(task, container.name, at_ns, exit_code=SYNTHETIC_EXIT_CODE, reason=reason)
                changed = True
    return task, ()


def _stop_with_the_first_essential(task: TaskState, at_ns: int) -> tuple[TaskState, tuple[Action, ...]]:
    """An essential container that stopped, whatever its exit code, takes the task with it."""
    gone = [item for item in task.containers if item.spec.essential and item.stopped]
    if not gone:
        return task, ()
    if any(item.ran for item in gone):
        return _desire_stop(task, StopCode.ESSENTIAL_CONTAINER_EXITED, ESSENTIAL_EXITED, at_ns), ()
    pull = next((item.reason for item in gone if item.reason and item.reason.startswith("CannotPull")), None)
    return _desire_stop(task, StopCode.TASK_FAILED_TO_START, pull or FAILED_TO_START, at_ns), ()


def _stop_with_what_it_runs_on(task: TaskState, at_ns: int) -> tuple[TaskState, tuple[Action, ...]]:
    """A task that nobody told of a Spot interruption goes with its instance."""
    if task.reclaim is not None and at_ns >= task.reclaim.at_ns:
        return _desire_stop(task, StopCode.TERMINATION_NOTICE, task.reclaim.reason, at_ns), ()
    return task, ()


def _drop_what_never_started(task: TaskState, at_ns: int) -> tuple[TaskState, tuple[Action, ...]]:
    """No engine call and no exit code for a container that waits when its task stops (task_manager.go:1425)."""
    if task.desired is EcsStatus.STOPPED:
        for container in task.containers:
            if container.phase is Phase.WAITING:
                task = _container_stopped(task, container.name, at_ns, exit_code=None, reason=None)
    return task, ()


def _start_what_may_start(task: TaskState, _at_ns: int) -> tuple[TaskState, tuple[Action, ...]]:
    actions: tuple[Action, ...] = ()
    if task.desired is EcsStatus.RUNNING:
        for container in task.containers:
            conditions = container.spec.depends_on
            if container.phase is Phase.WAITING and all(_MET[how](task.container(name)) for name, how in conditions):
                task = _with(task, container.name, phase=Phase.STARTING)
                actions += (Start(container.name),)
    return task, actions


def _stop_what_may_stop(task: TaskState, at_ns: int) -> tuple[TaskState, tuple[Action, ...]]:
    """Everything that runs and that nothing alive depends on, at once (graph.go:506, verifyShutdownOrder).

    When what the task runs on is taken away, whatever still runs ends, in no order and without time.
    """
    actions: tuple[Action, ...] = ()
    if task.desired is not EcsStatus.STOPPED:
        return task, actions
    over = task.reclaim is not None and at_ns >= task.reclaim.at_ns
    for container in task.containers:
        waits = _live_dependents(task, container.name) and not over
        if container.phase is Phase.RUNNING and not waits:
            granted_s = _granted_s(task, container, at_ns)
            task = _with(task, container.name, phase=Phase.STOPPING, told_at_ns=at_ns, granted_s=granted_s)
            actions += (Stop(container.name, granted_s),)
        elif over and container.phase is Phase.STOPPING and _outlives_the_reclaim(task, container):
            task = _with(task, container.name, granted_s=_granted_s(task, container, container.told_at_ns or at_ns))
            actions += (Stop(container.name, 0),)
    return task, actions


def _granted_s(task: TaskState, container: ContainerState, at_ns: int) -> int:
    """Its stop timeout, or the whole seconds that a reclaim leaves of it."""
    own_s = container.spec.stop_timeout_s
    return own_s if task.reclaim is None else max(0, min(own_s, (task.reclaim.at_ns - at_ns) // NS_PER_S))


def _outlives_the_reclaim(task: TaskState, container: ContainerState) -> bool:
    """Whether it was told to stop before the notice, with more time than there is."""
    told_ns, granted_s = container.told_at_ns, container.granted_s
    if task.reclaim is None or told_ns is None or granted_s is None:
        return False
    return told_ns + granted_s * NS_PER_S > task.reclaim.at_ns


def _show_the_status(task: TaskState, at_ns: int) -> tuple[TaskState, tuple[Action, ...]]:
    """`lastStatus` from the containers, with its time stamp."""
    past_running = all(item.phase not in {Phase.WAITING, Phase.STARTING} for item in task.containers)
    if (
        task.last is EcsStatus.PENDING
        and past_running
        and all(item.ran for item in task.containers if item.spec.essential)
    ):
        task = replace(_move(task, EcsStatus.RUNNING), started_at_ns=at_ns)
    if all(item.stopped for item in task.containers):
        task = replace(_move(task, EcsStatus.STOPPED), stopped_at_ns=at_ns)
    elif task.desired is EcsStatus.STOPPED and task.last is not EcsStatus.STOPPING:
        task = _move(task, EcsStatus.STOPPING)
    return task, ()


def _move(task: TaskState, status: EcsStatus) -> TaskState:
    assert status in NEXT_STATUS[task.last], f"{task.last} is never followed by {status}"
    return replace(task, last=status)


def _wake_when_time_is_over(task: TaskState, at_ns: int) -> tuple[TaskState, tuple[Action, ...]]:
    deadlines = {
        deadline
        for container in task.containers
        if container.phase is Phase.WAITING
        for name, condition in container.spec.depends_on
        if (deadline := _start_deadline_ns(task.container(name), condition)) is not None
    }
    if task.reclaim is not None and task.last is not EcsStatus.STOPPED:
        deadlines.add(task.reclaim.at_ns)
    due = [deadline for deadline in deadlines if deadline > at_ns]
    return task, (Wake(min(due)),) if due else ()


_RULES = (
    _restart_what_exited,
    _give_up_on_what_cannot_start,
    _stop_with_the_first_essential,
    _stop_with_what_it_runs_on,
    _drop_what_never_started,
    _start_what_may_start,
    _stop_what_may_stop,
    _show_the_status,
    _wake_when_time_is_over,
)
"""Applied in this order after every event. Each takes and gives (task, time), and what is to be done."""


def _live_dependents(task: TaskState, name: str) -> bool:
    """Whether a container that is not STOPPED names this one. On shutdown the condition does not matter."""
    return any(
        not item.stopped and name in {dependency for dependency, _ in item.spec.depends_on} for item in task.containers
    )


_MET: dict[Condition, Callable[[ContainerState], bool]] = {
    Condition.CREATE: lambda it: it.created,
    Condition.START: lambda it: it.ran,  # also when it has stopped again (agent pull request 3927)
    Condition.COMPLETE: lambda it: it.stopped and it.ran,
    Condition.SUCCESS: lambda it: it.stopped and it.exit_code == 0,
    Condition.HEALTHY: lambda it: it.healthy is True and not it.stopped,
}
"""Whether a dependency is in the state that a start waits for."""

_TIMED = {Condition.COMPLETE, Condition.SUCCESS, Condition.HEALTHY}


def _hopeless(task: TaskState, container: ContainerState, now_ns: int) -> str | None:
    """Why a waiting container will never start, None if it still may."""
    for name, condition in container.spec.depends_on:
        dependency = task.container(name)
        if _MET[condition](dependency):
            continue
        edge = f"container ordering dependency [{name}] for target [{container.name}]"
        if dependency.stopped:
            how = "did not exit successfully" if condition is Condition.SUCCESS else f"cannot become {condition}"
            return f"failed to resolve the {edge} as dependency {how}."
        deadline_ns = _start_deadline_ns(dependency, condition)
        if deadline_ns is not None and now_ns >= deadline_ns:
            return f"{edge} has timed out."
    return None


def _start_deadline_ns(dependency: ContainerState, condition: Condition) -> int | None:
    """Until when a dependency may take; from its start, by its own `startTimeout`."""
    timeout_s, started_ns = dependency.spec.start_timeout_s, dependency.started_at_ns
    if condition not in _TIMED or not timeout_s or started_ns is None or dependency.stopped:
        return None
    return started_ns + timeout_s * NS_PER_S
