"""A followed stop → the Observation that the judge takes. Pure; nothing here says what a stop came to.

Where the endpoint is `stop-harness ecs serve`, the record of its container engine is taken. Elsewhere there is what ECS
tells (exit codes, and three times of the task by two clocks) and what polling saw of each container.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from stop_harness.ecs import stop_timeouts
from stop_harness.ecs_client.records import STOPPED, Definition, DescribedContainer, Evidence, Measured, Task
from stop_harness.model import (
    NS_PER_S,
    Clock,
    ContainerRecord,
    EngineInfo,
    Event,
    EventKind,
    Looks,
    Observation,
    Scenario,
    StopPlan,
    StopRecord,
    Subject,
    TaskRecord,
)

SCENARIO = "stop-task"
"""Name of the scenario that a stop on the command line belongs to."""

OUT_OF_MEMORY = "OutOfMemoryError"
"""How the reason of a container begins that the OOM killer struck."""

ENDED_BY_ITSELF = frozenset({"EssentialContainerExited", "TaskFailedToStart"})
"""stopCodes of a task that nobody had to stop."""


@dataclass(frozen=True)
class Sighting:
    """When polling first saw a container STOPPED, on the monotonic clock.

    `error_ns`: how much earlier it may have stopped, that is the time since the look before.
    """

    at_ns: int
    error_ns: int


@dataclass(frozen=True)
class Followed:
    """A stop that was followed from StopTask to STOPPED.

    `before`: the answer to StopTask. `after`: the last answer of DescribeTasks. `called_at_ns`: the StopTask call, on
    the monotonic clock. `definitions`: by container, None where the task definition may not be read. `evidence` None:
    another endpoint than ours. `sightings`: of the containers that still ran when StopTask was answered. `looks`: by
    container; of one that is missing nobody looked, or nothing could be read.
    `drained_until_ns`: the last look at which a load balancer had not let go of the task, so that no container had its
    stop signal; None: no such look. `every_s`: between two looks.
    """

    before: Task
    after: Task
    called_at_ns: int
    definitions: dict[str, Definition] | None
    evidence: Evidence | None
    sightings: dict[str, Sighting] = field(default_factory=dict)
    looks: dict[str, Looks] = field(default_factory=dict)
    drained_until_ns: int | None = None
    every_s: float = 1.0
    url: str = ""
    region: str = ""

    def sighted_after_ns(self, name: str) -> int | None:
        """From the StopTask call until a container was seen STOPPED; None where it was not seen to stop."""
        seen = self.sightings.get(name)
        return None if seen is None else seen.at_ns - self.called_at_ns


def scenario(followed: Followed) -> Scenario:
    """What such a stop is held against: every container leaves gracefully within its own stop timeout."""
    stop = StopPlan((_longest_stop_timeout_ns(followed),), own_timeouts=True)
    subject = Subject(task_file=followed.after.definition_arn)
    missing = followed.evidence.not_applied if followed.evidence is not None else ()
    return Scenario(SCENARIO, subject, stop=stop, not_applied=missing)


def observation(followed: Followed) -> Observation:
    """What is on record of the stop, container by container."""
    after = followed.after
    record = TaskRecord(
        arn=after.arn,
        containers=tuple(_record_of(followed, item) for item in after.containers),
        stop_code=after.stop_code or "",
    )
    called = Event(EventKind.STOP_REQUESTED, followed.called_at_ns, Clock.HARNESS, "StopTask call")
    return Observation(
        trial_id=after.id,
        scenario=SCENARIO,
        engine=followed.evidence.engine if followed.evidence is not None else _amazon(followed),
        stop_timeout_ns=_longest_stop_timeout_ns(followed),
        stop_after_ns=0,
        repetition=1,
        started_at="",
        record=StopRecord(
            events=(called, *_stamps_of_task(after), *record.events),
            exited_before_stop=after.stop_code in ENDED_BY_ITSELF or record.nothing_to_stop,
            complete=all(item.record.complete for item in record.containers),
        ),
        task=record,
        own_timeouts=True,
    )


def _amazon(followed: Followed) -> EngineInfo:
    """A cluster on other machines, which shows neither signals nor processes."""
    return EngineInfo(
        name="ecs",
        product="Amazon ECS",
        version=followed.region,
        host=followed.url,
        pid1_rules=True,
        whole_seconds=True,
        observes_sigkill=False,
        reports_oom=True,
        runs_images=True,
        remote=True,
    )


def _longest_stop_timeout_ns(followed: Followed) -> int:
    definitions = (followed.definitions or {}).values()
    return max((_stop_timeout_s(item) for item in definitions), default=stop_timeouts.DEFAULT_STOP_TIMEOUT_S) * NS_PER_S


def _stop_timeout_s(definition: Definition | None) -> int:
    own_s = definition.stop_timeout_s if definition is not None else None
    return own_s or stop_timeouts.DEFAULT_STOP_TIMEOUT_S


def _record_of(followed: Followed, it: DescribedContainer) -> ContainerRecord:
    definition = (followed.definitions or {}).get(it.name)
    had_ended = {item.name for item in followed.before.containers if item.last_status == STOPPED}
    record = ContainerRecord(
        name=it.name,
        essential=definition is None or definition.essential,
        waits_for=definition.waits_for if definition is not None else (),
        stop_timeout_ns=_stop_timeout_s(definition) * NS_PER_S,
        record=StopRecord(
            events=(*_sighting_events(followed, it.name), *_own_stamps(followed, it.name)),
            exit_code=it.exit_code,
            oom_killed=(it.reason or "").startswith(OUT_OF_MEMORY),
            # Of a task that had stopped as a whole it is not known which of its containers had ended before.
            exited_before_stop=followed.before.last_status != STOPPED and it.name in had_ended,
            complete=followed.evidence is None,
        ),
        looks=followed.looks.get(it.name, Looks()),
        ran=it.ran,
        reason=it.reason or "",
    )
    told = followed.evidence.containers.get(it.name) if followed.evidence is not None else None
    return record if told is None else _measured(followed, record, told)


def _measured(followed: Followed, container: ContainerRecord, told: Measured) -> ContainerRecord:
    """With the container engine's own record in the place of what ECS and polling tell."""
    assert followed.evidence is not None
    stopping_at_ns = followed.after.stopping_at_ns
    record = container.record
    ended_before = record.exited_before_stop
    if told.exited_at_ns is not None and stopping_at_ns is not None:
        ended_before = told.exited_at_ns < stopping_at_ns
    measured = replace(
        record,
        # It may have left before it was told to, when the others did; then only polling saw when.
        events=told.events if told.stop_was_called else told.events + record.events,
        oom_killed=record.oom_killed if told.oom_killed is None else told.oom_killed,
        # An engine that reports no signals has no record of them that could have a gap.
        complete=told.complete or not followed.evidence.engine.observes_sigkill,
        exited_before_stop=ended_before,
        lost_processes=told.lost_processes,
        lost_process_count=told.lost_process_count,
        fates=told.fates,
        fate_count=told.fate_count,
        stop_signal=told.stop_signal,
    )
    return replace(container, stop_timeout_ns=told.stop_timeout_s * NS_PER_S, record=measured, ran=told.ran)


def _sighting_events(followed: Followed, name: str) -> tuple[Event, ...]:
    """What polling saw. A container is told to stop when those that it waits for are gone, and when a load balancer has
    let go of the task; which those are only the task definition tells."""
    seen, definition = followed.sightings.get(name), (followed.definitions or {}).get(name)
    if seen is None:
        return ()
    source = f"DescribeTasks every {followed.every_s:g} s"
    exited = Event(EventKind.EXITED, seen.at_ns, Clock.HARNESS, source)
    if definition is None:
        return (exited,)
    others = [followed.sightings[other].at_ns for other in definition.waits_for if other in followed.sightings]
    begun_ns = max(followed.called_at_ns, followed.drained_until_ns or 0, *others)
    return (Event(EventKind.STOP_REQUESTED, begun_ns, Clock.HARNESS, "StopTask call"), exited)


def _own_stamps(followed: Followed, name: str) -> tuple[Event, ...]:
    """ECS's times, where they are those of one container.

    `executionStoppedAt` is when the first essential container ended, so it is the end of the only one. That one was
    sent its signal at `stoppingAt`, unless it waits for others or a load balancer had to let go of the task first.
    """
    definition = (followed.definitions or {}).get(name)
    if followed.evidence is not None or definition is None or followed.drained_until_ns is not None:
        return ()
    others = [item for item in (followed.definitions or {}).values() if item.essential and item.name != name]
    if not definition.essential or others or definition.waits_for:
        return ()
    return _stamps(
        (EventKind.STOP_REQUESTED, followed.after.stopping_at_ns, "stoppingAt"),
        (EventKind.EXITED, followed.after.execution_stopped_at_ns, "executionStoppedAt"),
    )


def _stamps_of_task(task: Task) -> tuple[Event, ...]:
    return _stamps(
        (EventKind.STARTED, task.started_at_ns, "startedAt"),
        (EventKind.STOP_REQUESTED, task.stopping_at_ns, "stoppingAt"),
        (EventKind.STOP_RETURNED, task.stopped_at_ns, "stoppedAt"),
    )


def _stamps(*known: tuple[EventKind, int | None, str]) -> tuple[Event, ...]:
    return tuple(Event(kind, at_ns, Clock.ECS, source) for kind, at_ns, source in known if at_ns is not None)
