"""A task of the ECS endpoint: any dependency graph, any exit order, in virtual time."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stop_harness.ecs.dependencies import Condition
from stop_harness.ecs_endpoint import lifecycle
from stop_harness.ecs_endpoint.records import (
    NS_PER_S,
    RETENTION_NS,
    SHOWN,
    SPOT_NOTICE_S,
    Action,
    ContainerSpec,
    EcsStatus,
    Exited,
    HealthChanged,
    Phase,
    PullStarted,
    PullStopped,
    Reclaim,
    ReclaimNoticed,
    Restart,
    RestartPolicy,
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
    new_task,
)

USER = StopCode.USER_INITIATED


def what_is_shown(task: TaskState) -> tuple[object, ...]:
    """What the API tells of a task and its containers, but for the times."""
    return (
        *(task.last, task.desired, task.health),
        *((SHOWN[item.phase], item.exit_code) for item in task.containers),
    )


# ── a small world to run tasks in ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Behaviour:
    """`leaves_after_s` None: SIGKILL at the stop timeout. `runs_for_s`: by itself. `starts` False: its start fails."""

    leaves_after_s: int | None = 0
    runs_for_s: int | None = None
    exit_code: int = 0
    starts: bool = True
    healthy: bool = True


class World:
    """Does what the lifecycle asks for, in virtual time, and keeps its own books of it.

    `gone_s`: when what the task runs on is taken away, None: never.
    """

    def __init__(
        self, specs: tuple[ContainerSpec, ...], behaviours: dict[str, Behaviour], gone_s: int | None = None
    ) -> None:
        self.gone_s = gone_s
        self.task = new_task(specs, 0)
        self.specs = {spec.name: spec for spec in specs}
        self.behaviours = behaviours
        self.queue: list[tuple[int, int, TaskEvent]] = []
        self.started: dict[str, int] = {}
        self.stop_calls: dict[str, int] = {}
        self.ended: dict[str, int] = {}
        self.exit_codes: dict[str, int | None] = {}
        self.restarted: dict[str, list[int]] = {}
        self.history: list[TaskState] = [self.task]
        self.at(0, Tick(0))

    def at(self, at_ns: int, event: TaskEvent) -> None:
        """Let something happen later."""
        heapq.heappush(self.queue, (at_ns, len(self.history) * 1000 + len(self.queue), event))

    def run(self, until_ns: int = 10**18) -> TaskState:
        """Until nothing is left to happen."""
        while self.queue and self.queue[0][0] <= until_ns:
            at_ns, _, event = heapq.heappop(self.queue)
            name = getattr(event, "name", "")
            if isinstance(event, Exited) and name in self.ended:
                continue
            if isinstance(event, Exited | StartFailed):
                self.ended[name] = at_ns
                self.exit_codes[name] = event.exit_code if isinstance(event, Exited) else None
            before = self.task
            self.task, actions = lifecycle.step(before, replace(event, at_ns=at_ns))
            self.check(before)
            self.history.append(self.task)
            for action in actions:
                self.do(action, at_ns)
            self.check_nothing_is_forgotten(event)
        return self.task

    def do(self, action: Action, now_ns: int) -> None:
        """An engine that starts at once and stops as scripted."""
        if isinstance(action, Wake):
            self.at(action.at_ns, Tick(0))
            return
        name, how = action.name, self.behaviours.get(action.name, Behaviour())
        if isinstance(action, Start):
            assert name not in self.started, f"{name} is started twice"
            self.check_start(name)
            if not how.starts:
                self.at(now_ns, StartFailed(0, name, "CannotStartContainerError: no"))
                return
            self.started[name] = now_ns
            self.at(now_ns, Started(0, name))
            if self.specs[name].has_health_check:
                self.at(now_ns, HealthChanged(0, name, how.healthy))
            self.leaves_by_itself(name, now_ns)
        elif isinstance(action, Restart):
            self.check_restart(name, now_ns)
            self.restarted.setdefault(name, []).append(now_ns)
            del self.ended[name]
            self.at(now_ns, Started(0, name))
            if len(self.restarted[name]) < MOST_RESTARTS:
                self.leaves_by_itself(name, now_ns)
        else:
            over = self.gone_s is not None and now_ns >= self.gone_s * NS_PER_S
            assert name not in self.stop_calls or over, f"{name} is stopped twice"
            limit_s = self.specs[name].stop_timeout_s
            if self.gone_s is not None and self.task.reclaim is not None:
                limit_s = max(0, min(limit_s, self.gone_s - now_ns // NS_PER_S))
            assert action.stop_timeout_s == limit_s
            alive = [other for other in self.dependents(name) if not self.task.container(other).stopped]
            assert not alive or over, f"{name} is stopped before {alive}"
            self.stop_calls[name] = now_ns
            takes_s = self.behaviours.get(name, Behaviour()).leaves_after_s
            in_time = takes_s is not None and takes_s <= limit_s
            ended = Exited(0, name, 0 if in_time else 137)
            self.at(now_ns + (takes_s if takes_s is not None and in_time else limit_s) * NS_PER_S, ended)

    def leaves_by_itself(self, name: str, now_ns: int) -> None:
        """If it is scripted so."""
        how = self.behaviours.get(name, Behaviour())
        if how.runs_for_s is not None:
            self.at(now_ns + how.runs_for_s * NS_PER_S, Exited(0, name, how.exit_code))

    def duration_s(self, name: str) -> int:
        """Of a stop."""
        leaves_s = self.behaviours.get(name, Behaviour()).leaves_after_s
        timeout_s = self.specs[name].stop_timeout_s
        return timeout_s if leaves_s is None else min(leaves_s, timeout_s)

    def stop_exit_code(self, name: str) -> int:
        """137 where SIGKILL ended it."""
        leaves_s = self.behaviours.get(name, Behaviour()).leaves_after_s
        return 137 if leaves_s is None or leaves_s > self.specs[name].stop_timeout_s else 0

    def dependents(self, name: str) -> list[str]:
        """Who names a container."""
        return [spec.name for spec in self.specs.values() if name in {edge for edge, _ in spec.depends_on}]

    def check_start(self, name: str) -> None:
        """A second opinion on every start, from the world's own books."""
        for edge, condition in self.specs[name].depends_on:
            if condition is Condition.CREATE:
                continue
            assert edge in self.started, f"{name} starts before {edge}"
            if condition in {Condition.COMPLETE, Condition.SUCCESS}:
                assert edge in self.ended, f"{name} starts before {edge} ended"
            if condition is Condition.SUCCESS:
                assert self.task.container(edge).exit_code == 0
            if condition is Condition.HEALTHY:
                assert self.behaviours.get(edge, Behaviour()).healthy

    def check_restart(self, name: str, now_ns: int) -> None:
        """Only by its policy, after its period, and while the task is wanted."""
        policy = self.specs[name].restart_policy
        assert policy is not None
        assert self.task.desired is EcsStatus.RUNNING
        assert self.exit_codes[name] not in {None, *policy.ignored_exit_codes}
        ran_ns = now_ns - [self.started[name], *self.restarted.get(name, ())][-1]
        assert ran_ns >= policy.attempt_period_s * NS_PER_S

    def check(self, before: TaskState) -> None:
        """What holds after every event."""
        after = self.task
        order = list(EcsStatus)
        assert order.index(after.last) >= order.index(before.last)
        assert after.version >= before.version
        assert (after.version > before.version) == (what_is_shown(before) != what_is_shown(after))
        for old, new in zip(before.containers, after.containers, strict=True):
            back = old.phase is Phase.RESTARTING and new.phase is Phase.RUNNING
            assert list(Phase).index(new.phase) >= list(Phase).index(old.phase) or back
            assert new.phase is not Phase.EXITED, "whatever exited is restarted in the same step"
            if old.stopped:
                assert new == old
        if before.desired is EcsStatus.STOPPED:
            assert after.stop_code == before.stop_code
            assert (after.stopped_reason, after.stopping_at_ns) == (before.stopped_reason, before.stopping_at_ns)
        assert (after.last is EcsStatus.STOPPED) == all(item.stopped for item in after.containers)
        assert (after.stopped_at_ns is not None) == (after.last is EcsStatus.STOPPED)

    def check_nothing_is_forgotten(self, event: TaskEvent) -> None:
        """Containers stop concurrently: what runs without live dependents has been told to, once that is wanted."""
        if self.task.desired is not EcsStatus.STOPPED or isinstance(event, StopRequested):
            return
        for container in self.task.containers:
            alive = [name for name in self.dependents(container.name) if not self.task.container(name).stopped]
            if container.phase is Phase.RUNNING:
                assert alive
            assert container.phase is not Phase.WAITING


MOST_RESTARTS = 3
"""After the last one a container stays, so that every world comes to its end."""


def names(count: int) -> list[str]:
    """c0, c1, …"""
    return [f"c{index}" for index in range(count)]


POLICIES = st.none() | st.builds(
    RestartPolicy, st.lists(st.sampled_from([0, 1]), max_size=1).map(tuple), st.sampled_from([60, 100])
)


@st.composite
def graphs(draw: st.DrawFn, conditions: tuple[Condition, ...] = (Condition.START,)) -> tuple[ContainerSpec, ...]:
    """Any acyclic graph of up to six containers, in any order of definition."""
    specs: list[ContainerSpec] = []
    for index, name in enumerate(names(draw(st.integers(1, 6)))):
        targets = draw(st.lists(st.sampled_from(names(index)), unique=True)) if index else []
        edges = tuple((target, draw(st.sampled_from(conditions))) for target in targets)
        timeout_s, start_timeout_s = draw(st.integers(1, 90)), draw(st.none() | st.integers(1, 20))
        check = draw(st.booleans())
        policy = draw(POLICIES)
        specs.append(ContainerSpec(name, draw(st.booleans()), edges, timeout_s, start_timeout_s, check, policy))
    specs[0] = replace(specs[0], essential=True)
    return tuple(draw(st.permutations(specs)))


BEHAVIOURS = st.builds(
    Behaviour,
    leaves_after_s=st.none() | st.integers(0, 120),
    runs_for_s=st.none() | st.integers(0, 200),
    exit_code=st.sampled_from([0, 1, 139]),
    starts=st.sampled_from([True, True, True, False]),
    healthy=st.booleans(),
)
STEADY = st.builds(Behaviour, leaves_after_s=st.none() | st.integers(0, 120))


@given(specs=graphs(), drawn=st.lists(STEADY, min_size=6, max_size=6), stop_s=st.integers(0, 100))
@settings(max_examples=100, deadline=None)
def test_a_chain_costs_the_sum_and_branches_cost_the_longest(
    specs: tuple[ContainerSpec, ...], drawn: list[Behaviour], stop_s: int
) -> None:
    """Each container's stop begins when its last dependent is gone; nothing waits for anything else."""
    world = World(specs, dict(zip(names(6), drawn, strict=True)))
    stop_ns = stop_s * NS_PER_S
    world.run(0)
    world.at(stop_ns, StopRequested(0, USER, lifecycle.STOPPED_BY_USER))
    world.at(stop_ns, Tick(0))
    task = world.run()

    def ends_ns(name: str) -> int:
        begin = max([stop_ns, *(ends_ns(other) for other in world.dependents(name))])
        return begin + world.duration_s(name) * NS_PER_S

    assert world.ended == {spec.name: ends_ns(spec.name) for spec in specs}
    assert task.stopped_at_ns == max(world.ended.values())
    assert task.execution_stopped_at_ns == min(world.ended[spec.name] for spec in specs if spec.essential)
    assert [item.exit_code for item in task.containers] == [world.stop_exit_code(spec.name) for spec in specs]
    # create, RUNNING, StopTask, STOPPING (unless all were gone in the same moment), STOPPED; and health
    assert (task.stop_code, task.stopped_reason) == (USER, "Task stopped by user")
    assert task.version >= 4


@given(
    specs=graphs(tuple(Condition)),
    drawn=st.lists(BEHAVIOURS, min_size=6, max_size=6),
    stop_s=st.none() | st.integers(0, 250),
)
@settings(max_examples=200, deadline=None)
def test_any_graph_any_exit_order(specs: tuple[ContainerSpec, ...], drawn: list[Behaviour], stop_s: int | None) -> None:
    """Starts and stops in order whatever the containers do, and an end once a stop was asked for."""
    world = World(specs, dict(zip(names(6), drawn, strict=True)))
    if stop_s is not None:
        world.at(stop_s * NS_PER_S, StopRequested(0, USER, "because"))
        world.at(stop_s * NS_PER_S, Tick(0))
    task = world.run()
    essential_gone = [item for item in task.containers if item.spec.essential and item.stopped]
    if stop_s is not None or essential_gone:
        assert task.last is EcsStatus.STOPPED
        assert task.stop_code is not None
    else:
        assert task.desired is EcsStatus.RUNNING
    assert (task.execution_stopped_at_ns is not None) == bool(essential_gone)
    for item in task.containers:
        if item.stopped and item.name not in world.started:
            assert item.exit_code in {None, lifecycle.SYNTHETIC_EXIT_CODE}
            assert item.name not in world.stop_calls
            assert (item.exit_code is not None) <= (item.reason or "").startswith("CannotStartContainerError: dep")
    if task.stop_code is StopCode.TASK_FAILED_TO_START:
        assert task.started_at_ns is None


@given(
    specs=graphs(tuple(Condition)),
    drawn=st.lists(BEHAVIOURS, min_size=6, max_size=6),
    notice_s=st.integers(0, 250),
    told=st.booleans(),
    stop_s=st.none() | st.integers(0, 250),
)
@settings(max_examples=200, deadline=None)
def test_nothing_outlives_what_it_runs_on(
    specs: tuple[ContainerSpec, ...], drawn: list[Behaviour], notice_s: int, told: bool, stop_s: int | None
) -> None:
    """Two minutes after the notice every container has ended, whether told to stop at the notice, before, or never."""
    gone_s = notice_s + SPOT_NOTICE_S
    world = World(specs, dict(zip(names(6), drawn, strict=True)), gone_s)
    if stop_s is not None:
        world.at(stop_s * NS_PER_S, StopRequested(0, USER, "because"))
        world.at(stop_s * NS_PER_S, Tick(0))
    world.at(notice_s * NS_PER_S, ReclaimNoticed(0, Reclaim(gone_s * NS_PER_S, "gone")))
    if told:
        world.at(notice_s * NS_PER_S, StopRequested(0, StopCode.SPOT_INTERRUPTION, lifecycle.SPOT_INTERRUPTED))
        world.at(notice_s * NS_PER_S, Tick(0))
    task = world.run()
    assert task.last is EcsStatus.STOPPED
    assert max(world.ended.values(), default=0) <= gone_s * NS_PER_S
    if task.stop_code is StopCode.TERMINATION_NOTICE:
        assert (task.stopped_reason, told) == ("gone", False)


def reclaimed(*specs: ContainerSpec, notice_s: int = 10, told: bool = True, deaf: bool = True) -> World:
    """A task that runs for ever, from the notice of a Spot interruption to its end."""
    how = Behaviour(leaves_after_s=None if deaf else 0)
    world = World(specs, {spec.name: how for spec in specs}, notice_s + SPOT_NOTICE_S)
    world.at(notice_s * NS_PER_S, ReclaimNoticed(0, Reclaim((notice_s + SPOT_NOTICE_S) * NS_PER_S, "gone")))
    if told:
        world.at(notice_s * NS_PER_S, StopRequested(0, StopCode.SPOT_INTERRUPTION, lifecycle.SPOT_INTERRUPTED))
        world.at(notice_s * NS_PER_S, Tick(0))
    world.run()
    return world


def test_a_spot_interruption_stops_by_the_stop_timeouts_within_two_minutes() -> None:
    """The stop signal comes with the notice; a chain of three times 50 s leaves 20 s for the last."""
    first, second, last = (ContainerSpec(name, stop_timeout_s=50) for name in ("app", "proxy", "router"))
    first = replace(first, depends_on=(("proxy", Condition.START),))
    second = replace(second, depends_on=(("router", Condition.START),))
    world = reclaimed(first, second, last)
    assert [ns // NS_PER_S for ns in world.stop_calls.values()] == [10, 60, 110]
    assert [item.granted_s for item in world.task.containers] == [50, 50, 20]
    assert [ns // NS_PER_S for ns in world.ended.values()] == [60, 110, 130]
    assert world.task.stop_code is StopCode.SPOT_INTERRUPTION
    assert world.task.stopped_reason == "Your Spot Task was interrupted."


def test_a_stop_timeout_longer_than_the_notice_is_cut() -> None:
    """The default of an instance may be a day; who waits for that one has no time at all."""
    app = ContainerSpec("app", stop_timeout_s=86400, depends_on=(("proxy", Condition.START),))
    world = reclaimed(app, ContainerSpec("proxy"))
    assert [item.granted_s for item in world.task.containers] == [120, 0]
    assert {ns // NS_PER_S for ns in world.ended.values()} == {130}


def test_a_task_that_nobody_tells_goes_with_its_instance() -> None:
    """Without draining nothing happens at the notice; at its end all stop at once, whoever depends on whom."""
    app = ContainerSpec("app", depends_on=(("proxy", Condition.START),))
    world = reclaimed(app, ContainerSpec("proxy"), told=False)
    assert {ns // NS_PER_S for ns in world.stop_calls.values()} == {130}
    assert (world.task.stop_code, world.task.stopped_reason) == (StopCode.TERMINATION_NOTICE, "gone")
    assert world.task.stopping_at_ns == 130 * NS_PER_S


ANY_EVENT: st.SearchStrategy[TaskEvent] = st.one_of(
    st.builds(Tick, st.integers(0, 10**12)),
    st.builds(StopRequested, st.integers(0, 10**12), st.sampled_from(StopCode), st.text(max_size=5)),
    st.builds(PullStarted, st.integers(0, 10**12)),
    st.builds(PullStopped, st.integers(0, 10**12)),
    st.builds(Started, st.integers(0, 10**12), st.sampled_from(names(6))),
    st.builds(StartFailed, st.integers(0, 10**12), st.sampled_from(names(6)), st.none() | st.text(max_size=5)),
    st.builds(Exited, st.integers(0, 10**12), st.sampled_from(names(6)), st.none() | st.integers(0, 255)),
    st.builds(StopFailed, st.integers(0, 10**12), st.sampled_from(names(6)), st.text(max_size=5)),
    st.builds(HealthChanged, st.integers(0, 10**12), st.sampled_from(names(6)), st.booleans()),
)


@given(specs=graphs(tuple(Condition)), events=st.lists(ANY_EVENT, max_size=40))
@settings(max_examples=100, deadline=None)
def test_events_in_any_order_break_nothing(specs: tuple[ContainerSpec, ...], events: list[TaskEvent]) -> None:
    """Late, repeated and impossible events: no exception, nothing runs backwards, no container is stopped twice."""
    world = World(specs, {})
    stopped: list[str] = []
    known = {spec.name for spec in specs}
    for event in events:
        if getattr(event, "name", "c0") not in known:
            continue
        before = world.task
        world.task, actions = lifecycle.step(before, event)
        world.check(before)
        for action in actions:
            if isinstance(action, Stop):
                stopped.append(action.name)
                assert all(world.task.container(name).stopped for name in world.dependents(action.name))
    assert len(stopped) == len(set(stopped))


# ── single facts ─────────────────────────────────────────────────────────────────────────────────────────────────────


def run_world(*specs: ContainerSpec, **behaviours: Behaviour) -> World:
    """A world that has run as far as it goes by itself."""
    world = World(specs, behaviours)
    world.run()
    return world


def test_the_answer_of_stop_task_leaves_last_status_alone() -> None:
    """desiredStatus, stoppingAt, stopCode, stoppedReason and version change; lastStatus follows later."""
    world = run_world(ContainerSpec("app"))
    before = world.task
    answer, actions = lifecycle.step(before, StopRequested(5, USER, "mine"))
    assert actions == ()
    assert answer == replace(
        before,
        desired=EcsStatus.STOPPED,
        stopping_at_ns=5,
        stop_code=USER,
        stopped_reason="mine",
        version=before.version + 1,
    )
    again, _ = lifecycle.step(answer, StopRequested(9, StopCode.SERVICE_SCHEDULER_INITIATED, "other"))
    assert again == answer
    stopping, actions = lifecycle.step(answer, Tick(6))
    assert (stopping.last, actions) == (EcsStatus.STOPPING, (Stop("app", 30),))


def test_an_essential_container_takes_the_others_with_it_even_with_exit_code_zero() -> None:
    """Each with its own timeout; executionStoppedAt may precede stoppingAt."""
    specs = (ContainerSpec("main"), ContainerSpec("side", essential=False, stop_timeout_s=7))
    world = World(specs, {"main": Behaviour(runs_for_s=3), "side": Behaviour(leaves_after_s=None)})
    task = world.run()
    assert task.stop_code is StopCode.ESSENTIAL_CONTAINER_EXITED
    assert task.stopped_reason == "Essential container in task exited"
    assert task.execution_stopped_at_ns == 3 * NS_PER_S
    assert task.stopped_at_ns == 10 * NS_PER_S
    assert [item.exit_code for item in task.containers] == [0, 137]


def test_a_non_essential_exit_changes_nothing_else() -> None:
    """Its exit code is kept, the task runs on, executionStoppedAt stays empty."""
    world = run_world(ContainerSpec("main"), ContainerSpec("job", essential=False), job=Behaviour(0, 2, 5))
    assert world.task.last is EcsStatus.RUNNING
    assert world.task.container("job").exit_code == 5
    assert world.task.execution_stopped_at_ns is None


def test_a_failed_start_has_no_exit_code() -> None:
    """TaskFailedToStart, and the container's own reason."""
    world = run_world(ContainerSpec("app"), app=Behaviour(starts=False))
    task = world.task
    assert (task.stop_code, task.stopped_reason) == (StopCode.TASK_FAILED_TO_START, "Task failed to start")
    assert (task.containers[0].exit_code, task.started_at_ns) == (None, None)
    assert task.containers[0].reason == "CannotStartContainerError: no"


def test_a_pull_failure_is_told_in_stopped_reason() -> None:
    """As newer tasks do."""
    task, _ = lifecycle.step(new_task((ContainerSpec("app"),), 0), Tick(0))
    task, _ = lifecycle.step(task, StartFailed(1, "app", "CannotPullContainerError: nowhere"))
    assert task.stopped_reason == "CannotPullContainerError: nowhere"


@pytest.mark.parametrize(
    ("first", "spec"),
    [
        (Behaviour(runs_for_s=1, exit_code=1), ContainerSpec("init", False)),
        (Behaviour(starts=False), ContainerSpec("init", False)),
        (Behaviour(), ContainerSpec("init", False, start_timeout_s=5)),
    ],
    ids=["exited with 1", "never ran", "took longer than its startTimeout"],
)
def test_a_dependency_that_cannot_be_met_gives_the_synthetic_143(first: Behaviour, spec: ContainerSpec) -> None:
    """The waiting container never ran and is STOPPED with 143 all the same."""
    world = run_world(spec, ContainerSpec("app", depends_on=(("init", Condition.SUCCESS),)), init=first)
    app = world.task.container("app")
    assert (app.exit_code, app.ran) == (143, False)
    assert (app.reason or "").startswith("CannotStartContainerError: dependency graph: ")
    assert world.task.stop_code is StopCode.TASK_FAILED_TO_START
    assert world.task.last is EcsStatus.STOPPED


def test_a_stop_before_the_start_makes_no_engine_call() -> None:
    """Waiting containers are STOPPED at once; one whose start is under way is stopped when it runs."""
    specs = (ContainerSpec("db"), ContainerSpec("app", depends_on=(("db", Condition.START),)))
    task, actions = lifecycle.step(new_task(specs, 0), Tick(0))
    assert actions == (Start("db"),)
    task, _ = lifecycle.step(task, StopRequested(1, USER, "now"))
    task, actions = lifecycle.step(task, Tick(1))
    assert actions == ()
    assert task.container("app").stopped
    task, actions = lifecycle.step(task, Started(2, "db"))
    assert actions == (Stop("db", 30),)


def test_an_oom_kill_is_the_reason_whatever_the_exit_code() -> None:
    """Exit code 0 and OOMKilled: OutOfMemoryError. A kill at the timeout has no reason at all."""
    world = run_world(ContainerSpec("app"))
    task, _ = lifecycle.step(world.task, Exited(9, "app", 0, oom_killed=True))
    assert (task.containers[0].exit_code, task.containers[0].reason) == (0, lifecycle.OUT_OF_MEMORY)
    task, _ = lifecycle.step(world.task, Exited(9, "app", 137))
    assert task.containers[0].reason is None


def test_a_stopped_task_is_remembered_for_an_hour() -> None:
    """And not a moment less."""
    task = run_world(ContainerSpec("app"), app=Behaviour(runs_for_s=1)).task
    assert task.stopped_at_ns is not None
    assert not task.forgotten(task.stopped_at_ns + RETENTION_NS)
    assert task.forgotten(task.stopped_at_ns + RETENTION_NS + 1)


FLAKY = ContainerSpec("app", restart_policy=RestartPolicy(ignored_exit_codes=(0,), attempt_period_s=60))


def exits(task: TaskState, at_s: int, exit_code: int | None) -> tuple[TaskState, tuple[Action, ...]]:
    """`app` ends."""
    return lifecycle.step(task, Exited(at_s * NS_PER_S, "app", exit_code))


def test_a_restart_policy_starts_the_container_again_instead_of_stopping_the_task() -> None:
    """The task stays RUNNING and its container too; the period counts from the last restart."""
    task = run_world(FLAKY).task
    task, actions = exits(task, 60, 1)
    assert actions == (Restart("app"),)
    assert (task.last, task.desired, task.container("app").restarts) == (EcsStatus.RUNNING, EcsStatus.RUNNING, 1)
    assert SHOWN[task.container("app").phase] is EcsStatus.RUNNING
    task, actions = lifecycle.step(task, Started(61 * NS_PER_S, "app"))
    assert (task.container("app").phase, actions) == (Phase.RUNNING, ())
    task, actions = exits(task, 120, 3)
    assert (actions, task.container("app").restarts) == ((Restart("app"),), 2)
    task, _ = lifecycle.step(task, Started(121 * NS_PER_S, "app"))
    task, actions = exits(task, 179, 3)
    assert (actions, task.last, task.container("app").exit_code) == ((), EcsStatus.STOPPED, 3)
    assert task.stop_code is StopCode.ESSENTIAL_CONTAINER_EXITED


@pytest.mark.parametrize(
    ("spec", "at_s", "exit_code"),
    [
        pytest.param(FLAKY, 59, 1, id="it ran too short"),
        pytest.param(FLAKY, 60, 0, id="the exit code is ignored"),
        pytest.param(FLAKY, 60, None, id="there is no exit code"),
        pytest.param(ContainerSpec("app"), 1000, 1, id="there is no policy"),
        pytest.param(ContainerSpec("app", restart_policy=RestartPolicy()), 299, 1, id="the default period is 300 s"),
    ],
)
def test_what_is_not_restarted(spec: ContainerSpec, at_s: int, exit_code: int | None) -> None:
    """STOPPED, as without a policy."""
    task, actions = exits(run_world(spec).task, at_s, exit_code)
    assert (actions, task.last) == ((), EcsStatus.STOPPED)


def test_nothing_is_restarted_once_the_task_is_to_stop() -> None:
    """Neither what the stop ended, nor what was just being restarted: that is stopped as soon as it runs."""
    asked = StopRequested(100 * NS_PER_S, USER, "")
    task, _ = lifecycle.step(run_world(FLAKY).task, asked)
    stopped, actions = exits(task, 101, 1)
    assert (actions, stopped.last) == ((), EcsStatus.STOPPED)
    task, _ = exits(run_world(FLAKY).task, 60, 1)
    task, _ = lifecycle.step(lifecycle.step(task, asked)[0], Tick(100 * NS_PER_S))
    task, actions = lifecycle.step(task, Started(101 * NS_PER_S, "app"))
    assert actions == (Stop("app", 30),)


def test_a_restart_that_fails_stops_the_container() -> None:
    """With the exit code of the run that had ended, and the engine's reason."""
    task, _ = exits(run_world(FLAKY).task, 60, 3)
    assert task.container("app").exit_code is None
    task, actions = lifecycle.step(
        task, StartFailed(61 * NS_PER_S, "app", "CannotStartContainerError: no", created=True)
    )
    assert (actions, task.last) == ((), EcsStatus.STOPPED)
    assert (task.container("app").exit_code, task.container("app").reason) == (3, "CannotStartContainerError: no")
    assert task.stop_code is StopCode.ESSENTIAL_CONTAINER_EXITED
