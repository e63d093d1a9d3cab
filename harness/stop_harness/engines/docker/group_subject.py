"""A group of containers during one trial: one of them stopped while the others run on, or all of them in their order.

Each container is a `DockerSubject` with a life of its own. To the rest of the product, one that is stopped alone is an
ordinary container, whose evidence and record are those of any other.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from stop_harness.engines.docker import group_hooks
from stop_harness.engines.docker.calls import Calls, time_limit_s
from stop_harness.engines.docker.group_places import GroupPlaces
from stop_harness.engines.docker.group_start import GroupContainer, GroupStart
from stop_harness.engines.docker.group_stop import GroupStop, gone_beside, run_hooks
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.members import own_scenario
from stop_harness.engines.docker.reaper import OWNER_LABEL, owner
from stop_harness.engines.docker.stopped import StoppedContainer, StoppedGroup
from stop_harness.engines.docker.subject import DockerSubject
from stop_harness.engines.interface import EngineRecord, ReadySigns, SubjectFailed, not_ready, waited
from stop_harness.errors import EngineError
from stop_harness.log_pattern import LogPattern
from stop_harness.model import (
    NS_PER_S,
    STOP_OF_A_GROUP,
    Clock,
    Event,
    EventKind,
    Group,
    GroupKind,
    HookRecord,
    LogTail,
    Problem,
    ProblemKind,
    ProcessInfo,
    Readiness,
    Scenario,
    StopRecord,
    Trial,
    Vantage,
)

if TYPE_CHECKING:
    from stop_harness.engines.docker.faults.group import GroupFaults

POLL_S = 0.1


class GroupSubject:
    """The containers of one group. `stopped` of a project is the only one that is stopped; None: all are. A pod is
    always stopped whole, and its trial is about the container that is named there."""

    def __init__(
        self,
        trial: Trial,
        group: Group,
        host: DockerHost,
        api: Any,
        *,
        make: Callable[[Trial], DockerSubject],
        image_of: Callable[[Scenario], str],
    ) -> None:
        self._trial, self._group, self._host, self._image_of = trial, group, host, image_of
        self._make = make
        self._calls = Calls(host.url, time_limit_s())
        self._places = GroupPlaces(trial, group, host, api, self._calls)
        self._ended = threading.Event()
        self._start: GroupStart | None = None
        self._stop: GroupStop | None = None
        self._timeline: list[Event] = []
        self._beside: tuple[str, ...] = ()
        self._hooks: tuple[HookRecord, ...] = ()
        self._hooked: set[str] = set()
        """Containers whose hooks before the stop somebody waits for, who is then told by `_hooks_over`."""
        self._hooks_over: Callable[[], None] = lambda: None
        self._counting = threading.Lock()
        self._faults: GroupFaults | None = None

    @property
    def stop_signal(self) -> int | None:
        """Of the container that is stopped; None for a whole group, whose containers have one each."""
        return self._tested.stop_signal if self._tested is not None else None

    @property
    def stop_signal_source(self) -> str | None:
        """Likewise."""
        return self._tested.stop_signal_source if self._tested is not None else None

    def start(self, labels: dict[str, str]) -> None:
        """Make what the containers share. Raises SubjectFailed or EngineError."""
        labels = {**labels, OWNER_LABEL: owner()}
        image = self._image_of(own_scenario(self._trial.scenario, self._group.members[0]))
        self._places.make(labels, image, self._ended)
        self._start = GroupStart(
            self._trial,
            self._group,
            self._places,
            make=self._make,
            image_of=self._image_of,
            labels=labels,
            stopped=self._ended,
        )

    def wait_started(self) -> None:
        """Start each container when what it waits for has come to hold."""
        assert self._start is not None, "start comes first"
        self._start.run()
        self._event(EventKind.STARTED, "start of the last container")

    # ── readiness ───────────────────────────────────────────────────────────────────────────────────────────────────

    def wait_ready(self) -> None:
        """Of the container that is stopped; of a whole group each condition somewhere, a health check everywhere."""
        if self._tested is not None:
            self._tested.wait_ready()
            return
        ready = self._trial.scenario.readiness
        deadline = time.monotonic() + ready.timeout_ns / NS_PER_S
        if ready.healthcheck:
            self._until(self.is_healthy, deadline, "the health checks")
        if ready.log is not None:
            self.wait_log(ready.log, round((deadline - time.monotonic()) * NS_PER_S))
        for port in (ready.tcp_port, ready.http_port):
            if port is not None:
                self._until(partial(self._is_listened_at, port), deadline, f"port {port}")
                left_ns = max(NS_PER_S, round((deadline - time.monotonic()) * NS_PER_S))
                self._at(port).wait_for(_one_port(ready, port, left_ns))
        self.sleep(ready.delay_ns)
        if not self.is_running():
            raise self._gone("it was ready")
        self._event(EventKind.READY, "readiness conditions")

    def ready_signs(self) -> ReadySigns:
        """What is declared of each, put together."""
        if self._tested is not None:
            return self._tested.ready_signs()
        found = [item.subject.ready_signs() for item in self._running()]
        in_pod = self._group.kind is GroupKind.POD
        probed = any(item.member.ready is not None for item in self._running())
        return ReadySigns(
            health_check=probed or (not in_pod and any(signs.health_check for signs in found)),
            health_patience_ns=max((signs.health_patience_ns for signs in found), default=0),
            ports=tuple(ports for signs in found for ports in signs.ports),
        )

    def is_healthy(self) -> bool:
        """All that run and have a health check or a readiness probe; what a pod's image checks, no kubelet asks."""
        if self._tested is not None:
            return self._tested.is_healthy()
        return all(self._is_healthy(item) for item in self._running())

    def _is_healthy(self, item: GroupContainer) -> bool:
        if self._group.kind is GroupKind.POD:
            return item.member.ready is None or group_hooks.succeeds(item.member.ready, item.subject)
        return not item.subject.ready_signs().health_check or item.subject.is_healthy()

    def listening(self, declared: tuple[int, ...]) -> frozenset[int]:
        """Where the container that is stopped listens, or any of a whole group."""
        if self._tested is not None:
            return self._tested.listening(declared)
        return frozenset(port for item in self._running() for port in item.subject.listening(declared))

    def listens_at(self) -> tuple[str, ...] | None:
        """Of a whole group nobody asks: the container that has the port tells."""
        return self._tested.listens_at() if self._tested is not None else None

    def takes_stop_signal(self) -> bool:
        """The container that is stopped, or each."""
        if self._tested is not None:
            return self._tested.takes_stop_signal()
        return all(item.subject.takes_stop_signal() for item in self._running())

    def sleep(self, duration_ns: int) -> None:
        """Wait; an abort ends it."""
        if duration_ns:
            self._ended.wait(duration_ns / NS_PER_S)

    def is_running(self) -> bool:
        """The container that is stopped, or that the trial is about; of a whole group any."""
        if self._tested is not None:
            return self._tested.is_running()
        about = self._about
        return about.is_running() if about is not None else bool(self._running())

    def processes(self) -> tuple[ProcessInfo, ...] | None:
        """Of the container that is stopped. The containers of a whole group are looked at one by one, at their stop."""
        return self._tested.processes() if self._tested is not None else None

    def foreseen(self) -> tuple[tuple[ProcessInfo, ...] | None, int | None]:
        """Of the container that is stopped, or of a pod the one that the trial is about."""
        about = self._tested or self._about
        return (None, None) if about is None else (about.processes(), about.stop_signal)

    def connect(self, port: int, timeout_s: float) -> tuple[socket.socket, Vantage]:
        """To the container that is stopped, or to the one of a whole group that has this port."""
        return self._at(port).connect(port, timeout_s)

    def wait_log(self, pattern: str, timeout_ns: int) -> None:
        """A line of the container that is stopped, or of any."""
        if self._tested is not None:
            self._tested.wait_log(pattern, timeout_ns)
            return
        wanted, deadline = LogPattern(pattern), time.monotonic() + timeout_ns / NS_PER_S

        def written() -> bool:
            return any(item.subject.has_written(wanted) for item in self._containers)

        self._until(written, deadline, f"log line matching {pattern!r}")

    def execute(self, command: tuple[str, ...], timeout_ns: int) -> int | None:
        """In the container that is stopped."""
        if self._tested is None:
            raise EngineError(f"`{' '.join(command)}` before the stop of a whole group: nobody says in which container")
        return self._tested.execute(command, timeout_ns)

    def faults(self) -> GroupFaults:
        """In the container that is stopped, and in the others where a fault names one."""
        if self._faults is None:
            from stop_harness.engines.docker.faults.group import GroupFaults  # late: most trials have none

            containers: dict[str, dict[str, DockerSubject]] = {}
            for item in self._containers:
                for name in {item.member.name, item.name}:
                    containers.setdefault(name, {})[item.name] = item.subject
            assert self._start is not None, "start comes first"
            self._faults = GroupFaults(containers, self._tested or self._about, self._start.start_again)
        return self._faults

    # ── the stop ────────────────────────────────────────────────────────────────────────────────────────────────────

    def hooks_first(self, ports: frozenset[int], over: Callable[[], None]) -> bool:
        """Of the container that is stopped alone; of a whole group those that have the ports."""
        about = [self._at(port) for port in ports]
        hooked = {item.name for item in self._running() if item.subject in about and item.member.before_stop}
        self._hooked, self._hooks_over = hooked, over
        return bool(hooked)

    def _hooks_have_ended(self, name: str) -> None:
        """Those of one container."""
        with self._counting:
            awaited = name in self._hooked
            self._hooked.discard(name)
            last = awaited and not self._hooked
        if last:
            self._hooks_over()

    def stop(self, stop_timeout_ns: int) -> None:
        """One container by the engine's stop call while the others run on; or all, in their order."""
        if self._tested is not None:
            self._stop_alone(self._tested, stop_timeout_ns)
            return
        self._stop = self._stop_of_all()
        self._event(EventKind.STOP_REQUESTED, STOP_OF_A_GROUP)
        self._stop.run()
        self._event(EventKind.STOP_RETURNED, "return of the last stop call")

    def _stop_alone(self, tested: DockerSubject, stop_timeout_ns: int) -> None:
        alive = frozenset(item.name for item in self._running())
        item = next(item for item in self._containers if item.subject is tested)
        self._hooks, failed = run_hooks(item, self._ended)
        self._hooks_have_ended(item.name)
        if failed is not None:
            raise SubjectFailed(Problem(ProblemKind.HOOK_FAILED, f"container {item.name} was not stopped: {failed}"))
        tested.stop(stop_timeout_ns)
        taken = self._faults.disturbed if self._faults is not None else frozenset[str]()
        others = [item for item in self._containers if item.name not in taken]
        self._beside = gone_beside(others, tested, alive)

    def _stop_of_all(self) -> GroupStop:
        return GroupStop(
            self._trial,
            self._group,
            self._containers,
            self._ended,
            same_clock=self._host.same_kernel,
            hooks_over=self._hooks_have_ended,
        )

    def end_now(self) -> bool:
        """Of one container; the stop of a whole group runs its course."""
        return self._tested.end_now() if self._tested is not None else False

    def record(self) -> EngineRecord:
        """Of the container that was stopped, or of all."""
        if self._tested is not None:
            found = self._tested.record()
            return replace(found, stop=replace(found.stop, gone_beside=self._beside, hooks=self._hooks))
        stop = self._stop or self._stop_of_all()
        task = stop.record()
        whole = StopRecord(
            events=(*self._timeline, *task.events),
            exited_before_stop=task.nothing_to_stop,
            complete=all(item.record.complete for item in task.containers),
        )
        return EngineRecord(whole, task)

    def logs(self) -> LogTail:
        """Of the container that is stopped."""
        return self._tested.logs() if self._tested is not None else LogTail()

    def stopped(self) -> StoppedGroup:
        """Container by container."""
        return StoppedGroup(self, self._named)

    def _named(self, name: str | None) -> StoppedContainer:
        found = self._tested if name is None else None
        if name is not None and self._start is not None:
            found = next((item.subject for item in self._start.of(name)), None)
        if found is None:
            raise EngineError(f"no container {name or 'that is stopped alone'} of the group was started")
        return found.stopped()

    # ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def abort(self) -> None:
        """Whatever waits for the engine returns now; the containers are removed."""
        self._ended.set()
        self._calls.abort()
        if self._start is not None:
            self._start.abort()
        for item in self._containers:
            item.subject.abort()

    def keep(self) -> str | None:
        """All containers of the group, as they are."""
        kept = [f"{item.name}: {text}" for item in self._containers if (text := item.subject.keep()) is not None]
        if not kept:
            return None
        return "; ".join((*kept, "`stop-harness clean` removes all of them, with their networks and volumes"))

    def remove(self) -> None:
        """Every container, the last that was started first, then what they shared. Raises the first EngineError."""
        errors = []
        under_way = self._start.unfinished() if self._start is not None else None
        subjects = [item.subject for item in reversed(self._containers)]
        for subject in ([under_way] if under_way is not None else []) + subjects:
            try:
                subject.remove()
            except EngineError as error:
                errors.append(error)
        self._places.remove()
        if errors:
            raise errors[0]

    @property
    def unsure(self) -> bool:
        """Whether the engine may still do what it was asked and did not answer."""
        under_way = self._start.unfinished() if self._start is not None else None
        return (
            self._calls.unknown
            or any(item.subject.unsure for item in self._containers)
            or (under_way is not None and under_way.unsure)
        )

    @property
    def _containers(self) -> list[GroupContainer]:
        return list(self._start.containers) if self._start is not None else []

    @property
    def _tested(self) -> DockerSubject | None:
        if self._group.stopped is None or self._group.kind is GroupKind.POD or self._start is None:
            return None
        found = self._start.of(self._group.stopped)
        return found[0].subject if found else None

    @property
    def _about(self) -> DockerSubject | None:
        """Of a group that is stopped whole, the container that the trial is about, or the only one."""
        mains = [item for item in self._containers if self._group.stopped in {None, item.member.name}]
        return mains[0].subject if len(mains) == 1 else None

    def _gone(self, what: str) -> SubjectFailed:
        """Nobody is left who could get ready."""
        about = self._about
        if about is not None:
            return SubjectFailed(None, exit_code=about.state().exit_code)
        return not_ready(f"every container of the group has exited; waited for {what}", self._logs())

    def _running(self) -> list[GroupContainer]:
        return [item for item in self._containers if item.subject.is_running()]

    def _is_listened_at(self, port: int) -> bool:
        return self._listener(port) is not None

    def _listener(self, port: int) -> DockerSubject | None:
        return next((item.subject for item in self._running() if port in item.subject.listening((port,))), None)

    def _at(self, port: int) -> DockerSubject:
        """Who has this port: the container that is stopped; of a whole group who publishes it, who listens at it, or
        the one that was started last."""
        if self._tested is not None:
            return self._tested
        declared = [it.subject for it in self._containers if port in dict(it.member.subject.ports)]
        if len(declared) == 1:
            return declared[0]
        found = self._listener(port)
        if found is None and not self._containers:
            raise EngineError("no container of the group runs")
        return found or self._containers[-1].subject

    def _until(self, holds: Callable[[], bool], deadline: float, what: str) -> None:
        while not holds():
            if self._ended.wait(POLL_S):
                raise SubjectFailed(Problem(ProblemKind.INTERRUPTED, "the run was interrupted"))
            if not self.is_running():
                raise self._gone(what)
            if time.monotonic() >= deadline:
                raise not_ready(waited(self._trial.scenario.readiness.timeout_ns, what), self._logs())

    def _logs(self) -> dict[str, LogTail]:
        with contextlib.suppress(EngineError):
            return {item.name: item.subject.logs() for item in self._containers}
        return {}

    def _event(self, kind: EventKind, source: str) -> None:
        self._timeline.append(Event(kind, time.monotonic_ns(), Clock.HARNESS, source))


def _one_port(ready: Readiness, port: int, left_ns: int) -> Readiness:
    """Only the condition of this port."""
    http = ready.http_port == port
    return Readiness(
        tcp_port=None if http else port,
        http_port=port if http else None,
        http_path=ready.http_path,
        timeout_ns=left_ns,
    )
