"""Makes tasks happen: feeds what the engine says to the pure lifecycle and does what that answers.

One thread for each container from its pull to its exit, one for each stop call: a stop takes as long as its timeout,
and nothing that a client waits for may wait for it.
"""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from stop_harness.ecs_endpoint import lifecycle
from stop_harness.ecs_endpoint.answers_first import AnswersFirst
from stop_harness.ecs_endpoint.containers import (
    ContainerProblem,
    ContainerRequest,
    Containers,
    EndpointClock,
    Exit,
    GroupRequest,
    Inspected,
)
from stop_harness.ecs_endpoint.records import (
    EcsStatus,
    Exited,
    HealthChanged,
    Orphaned,
    PullStarted,
    PullStopped,
    Reclaim,
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

STOP_RETRY_WAITS_S = (1.0, 1.3, 1.69, 2.2)
"""Between the agent's five attempts to stop a container (docker_task_engine.go:121)."""

HEALTH_POLL_S = 0.5

AGENT_URI = "ECS_AGENT_URI"
"""The variable by which containers know the agent's own API."""


@dataclass
class Live:
    """A container as the engine has it. `inspected` is None until it was started, `stop_called_at_ns` until this
    endpoint's first stop call."""

    runtime_id: str
    inspected: Inspected | None = None
    stop_called_at_ns: int | None = None
    exit: Exit | None = None


@dataclass
class Run:
    """A task and what belongs to it. `state` is replaced as a whole, under the endpoint's lock."""

    id: str
    arn: str
    cluster: str
    state: TaskState
    requests: dict[str, ContainerRequest]
    """By container name; links and volumesFrom are filled in when the container is created."""
    shares: GroupRequest | None = None
    """What its containers share; None: nothing."""
    group_id: str | None = None
    """What holds that on the engine; None before the first container is created, and once all have stopped."""
    sharing: threading.Lock = field(default_factory=threading.Lock)
    """Held while that is made."""
    network: dict[str, Any] | None = None
    """Its `networkConfiguration`; None: it has no network interface of its own."""
    instance_id: str | None = None
    """Of the container instance; None on Fargate."""
    details: dict[str, Any] = field(default_factory=dict)
    """Members of the API's task that never change: launchType, group, startedBy, overrides, …"""
    tags: list[dict[str, str]] = field(default_factory=list)
    live: dict[str, Live] = field(default_factory=dict)
    container_ids: dict[str, str] = field(default_factory=dict)
    wake_at_ns: int | None = None
    faults: dict[str, Callable[[], None]] = field(default_factory=dict)
    """Network faults that its containers have started, and what ends each."""
    fault_asked_ns: dict[str, int] = field(default_factory=dict)
    """When they last asked what of that."""
    protected_until_ns: int | None = None
    """Until when the service scheduler leaves it alone; None: it does not."""
    agent_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    """By which its containers are known to the agent's own API, and nobody else."""

    @property
    def service(self) -> str | None:
        """The service that it belongs to; None: it stands alone."""
        kind, _, name = str(self.details.get("group", "")).partition(":")
        return name if kind == "service" and str(self.details.get("startedBy")).startswith("ecs-svc/") else None

    @property
    def outlives_its_task(self) -> bool:
        """Whether a container of an orphaned task still runs."""
        return self.state.orphaned and any(it.inspected is not None and it.exit is None for it in self.live.values())

    def is_protected(self, now_ns: int) -> bool:
        """Whether its scale-in protection holds."""
        return self.protected_until_ns is not None and now_ns < self.protected_until_ns

    def end_faults(self) -> None:
        """Its network is gone, or goes: nobody disturbs its packets any more."""
        with self.sharing:
            while self.faults:
                with contextlib.suppress(Exception):  # the rules go with the network namespace
                    self.faults.pop(next(iter(self.faults)))()


class Agent:
    """All tasks of one endpoint. `lock` guards them; it is never held while the engine works.

    `changed_task`: is told of each new task and each new version of one, with the lock held.
    """

    def __init__(
        self, containers: Containers, clock: EndpointClock, changed_task: Callable[[Run], None] = lambda _: None
    ) -> None:
        self._changed_task = changed_task
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.runs: dict[str, Run] = {}
        self.containers, self._clock = containers, clock
        self.answers_first = AnswersFirst(clock.real_s)
        self._closing = False
        self.api_url: str | None = None
        """Where containers reach the agent's own API; None: nowhere."""

    def launch(self, run: Run) -> None:
        """Take a new task and begin with what it does not have to wait for."""
        with self.lock:
            self.runs[run.id] = run
            self._changed_task(run)
        self.post(run, Tick(self._clock.now_ns()))

    def request_stop(self, run: Run, code: StopCode, reason: str) -> TaskState:
        """What StopTask answers with; the stop itself goes on behind it. Again for a stopping task: as it is."""
        with self.lock:
            if run.state.desired is EcsStatus.STOPPED:
                return run.state
            now_ns = self._clock.now_ns()
            answer = self.post(run, StopRequested(now_ns, code, reason))
            self.post(run, Tick(now_ns))
            return answer

    def reclaim(self, run: Run, reclaim: Reclaim) -> None:
        """What the task runs on will be taken away."""
        self.post(run, ReclaimNoticed(self._clock.now_ns(), reclaim))

    def orphan(self, run: Run, reason: str) -> None:
        """Its instance is deregistered by force: what runs of it runs on, and nobody hears of it."""
        self.post(run, Orphaned(self._clock.now_ns(), reason))

    def post(self, run: Run, event: TaskEvent) -> TaskState:
        """An event happened to a task. Returns the task right after it."""
        with self.changed:
            version = run.state.version
            run.state, actions = lifecycle.step(run.state, event)
            if run.state.desired is EcsStatus.STOPPED:
                run.tags.clear()  # tags are deleted on stop (API reference, StopTask)
            run.wake_at_ns = None
            for action in actions:
                if isinstance(action, Wake):
                    run.wake_at_ns = action.at_ns
                elif isinstance(action, Start):
                    self._in_thread(self._live, run, action.name)
                elif isinstance(action, Restart):
                    self._in_thread(self._run, run, action.name)
                elif isinstance(action, Stop):
                    stop = partial(self._in_thread, self._stop, run, action.name, action.stop_timeout_s)
                    self.answers_first.then(stop)
            if run.state.version != version:
                self._changed_task(run)
            if run.state.last is EcsStatus.STOPPED and not run.state.orphaned:
                self._close_group(run)  # the agent stops its pause container last
            self.changed.notify_all()
            return run.state

    def tick(self) -> None:
        """Let time pass: start timeouts, and tasks that are forgotten an hour after they stopped."""
        now_ns = self._clock.now_ns()
        with self.lock:
            due = [run for run in self.runs.values() if run.wake_at_ns is not None and run.wake_at_ns <= now_ns]
            old = [run for run in self.runs.values() if run.state.forgotten(now_ns) and not run.outlives_its_task]
            for run in old:
                del self.runs[run.id]
                self._close_group(run)
        for run in due:
            self.post(run, Tick(now_ns))
        for live in (live for run in old for live in run.live.values()):
            self._in_thread(self.containers.remove, live.runtime_id)

    def close(self) -> None:
        """Begin nothing new; the engine side removes what there is."""
        self._closing = True
        self.answers_first.close()

    def _close_group(self, run: Run) -> None:
        """Remove what the containers of a task shared."""
        if run.faults:
            self._in_thread(run.end_faults)
        if run.group_id is not None:
            group_id, run.group_id = run.group_id, None
            self._in_thread(self.containers.remove, group_id)

    def _in_thread(self, work: Callable[..., None], *arguments: Any) -> None:
        if not self._closing:
            threading.Thread(target=work, args=arguments, daemon=True, name=work.__name__).start()

    # ── one container, in its thread ────────────────────────────────────────────────────────────────────────────────

    def _live(self, run: Run, name: str) -> None:
        """Pull, create, start, and wait for the end."""
        now = self._clock.now_ns
        try:
            self._fetch_image(run, str(run.requests[name].definition["image"]))
            if run.state.desired is EcsStatus.STOPPED:  # told to stop while it was pulled: no engine call, no exit code
                self.post(run, StartFailed(now(), name, None))
                return
            run.live[name] = Live(self.containers.create(self._wired(run, name)))
        except ContainerProblem as problem:
            self.post(run, StartFailed(now(), name, problem.reason))
            return
        self._run(run, name)

    def _run(self, run: Run, name: str) -> None:
        """From a start, the first or a later one, to the exit."""
        live = run.live[name]
        live.exit = None
        try:
            self.containers.start(live.runtime_id)
            live.inspected = self.containers.inspect(live.runtime_id)
        except ContainerProblem as problem:
            self.post(run, StartFailed(self._clock.now_ns(), name, problem.reason, created=True))
            return
        container = self.post(run, Started(self._clock.now_ns(), name)).container(name)
        if container.spec.has_health_check and not container.restarts:
            self._in_thread(self._watch_health, run, name)
        self._post_exit(run, name, self.containers.wait(live.runtime_id))

    def _fetch_image(self, run: Run, image: str) -> None:
        if self.containers.has_image(image):
            return
        if run.state.desired is EcsStatus.STOPPED:
            text = f"Task stopped before image pull could begin for task: {run.arn}"
            raise ContainerProblem("TaskStoppedBeforePullBeginError", text)
        self.post(run, PullStarted(self._clock.now_ns()))
        try:
            self.containers.pull(image)
        finally:
            self.post(run, PullStopped(self._clock.now_ns()))

    def _wired(self, run: Run, name: str) -> ContainerRequest:
        """The request with its neighbours, which exist by now: they are dependencies."""
        request = replace(run.requests[name], group=self._group(run))
        links, sources = [], []
        for link in request.definition.get("links", ()):
            neighbour, _, alias = link.partition(":")
            links.append((run.live[neighbour].runtime_id, alias or neighbour))
        for item in request.definition.get("volumesFrom", ()):
            sources.append((run.live[item["sourceContainer"]].runtime_id, bool(item.get("readOnly"))))
        if self.api_url is not None:  # over what the definition says, as the agent does it
            uri = {"name": AGENT_URI, "value": f"{self.api_url}/api/{run.agent_id}"}
            environment = [*request.definition.get("environment", ()), uri]
            request = replace(request, definition={**request.definition, "environment": environment})
        return replace(request, links=tuple(links), volumes_from=tuple(sources))

    def _group(self, run: Run) -> str | None:
        """What the containers of a task share is made with the first of them."""
        if run.shares is None:
            return None
        with run.sharing:
            if run.group_id is None:
                run.group_id = self.containers.open_group(run.shares)
            return run.group_id

    def _watch_health(self, run: Run, name: str) -> None:
        known: bool | None = None
        pause = threading.Event()
        while not run.state.container(name).stopped and not self._closing:
            healthy = self.containers.healthy(run.live[name].runtime_id)
            if healthy is not None and healthy != known:
                known = healthy
                self.post(run, HealthChanged(self._clock.now_ns(), name, healthy))
            pause.wait(self._clock.real_s(HEALTH_POLL_S))

    def _post_exit(self, run: Run, name: str, ended: Exit) -> None:
        run.live[name].exit = ended
        now_ns = self._clock.now_ns()
        self.post(run, Exited(now_ns, name, ended.exit_code, ended.finished_at_ns, ended.oom_killed, ended.reason))

    def _stop(self, run: Run, name: str, stop_timeout_s: int) -> None:
        """Up to five attempts, each with the whole timeout. Its exit is reported by the thread that waits for it."""
        live = run.live[name]
        if live.stop_called_at_ns is None:  # a second call only shortens the first
            live.stop_called_at_ns = self._clock.now_ns()
        pause = threading.Event()
        for wait_s in (*STOP_RETRY_WAITS_S, None):
            try:
                self.containers.stop(live.runtime_id, stop_timeout_s)
                return
            except ContainerProblem as problem:
                if problem.final or (wait_s is None and self.containers.answers()):
                    # Declared STOPPED although it may run (task_manager.go:1013). A silent engine changes nothing.
                    self.post(run, StopFailed(self._clock.now_ns(), name, problem.reason))
                if problem.final or wait_s is None:
                    return
                pause.wait(self._clock.real_s(wait_s))
