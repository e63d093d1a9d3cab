"""One task of the ecs engine during one trial: started, made ready, stopped, recorded."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NoReturn, Protocol

from stop_harness import signals
from stop_harness.ecs import task_definition
from stop_harness.engines.ecs.api import (
    EcsApi,
    TaskWatch,
    evidence_path,
)
from stop_harness.engines.ecs.endings import Ending
from stop_harness.engines.ecs.looks import TaskLooks
from stop_harness.engines.ecs.ready import accepts, answers, binding, health_checked, signs, why_it_ended
from stop_harness.engines.ecs.record import BY_ITSELF, SeenStop
from stop_harness.engines.interface import EngineRecord, FaultMaker, ReadySigns, SubjectFailed, not_ready, waited
from stop_harness.errors import EngineError
from stop_harness.evidence import start_up
from stop_harness.log_pattern import LogPattern
from stop_harness.model import (
    ASSUMED,
    NS_PER_S,
    Clock,
    ContainerRecord,
    EngineInfo,
    Event,
    EventKind,
    LogTail,
    Problem,
    ProblemKind,
    ProcessInfo,
    TaskDefinition,
    Trial,
    Vantage,
)

RUNNING_TIMEOUT_S = 600.0
"""PROVISIONING and pulling come before the container's own start; the waiter `tasks-running` gives as long."""


STOP_PATIENCE_S = 300.0
"""Beyond the sum of the stop timeouts: DEACTIVATING, DEPROVISIONING, and the agent's two minutes for the engine."""


class TaskEngine(Protocol):
    """What a subject needs of its engine. `local`: our own endpoint answers, so its containers are on this machine."""

    api: EcsApi
    watch: TaskWatch

    @property
    def local(self) -> bool: ...

    def info(self) -> EngineInfo: ...

    def stopped(self, arn: str) -> None:
        """The task is known to be STOPPED."""


class EcsSubject:
    """One task."""

    def __init__(self, cluster: TaskEngine, trial: Trial, task: TaskDefinition, arn: str, ending: Ending) -> None:
        self._ending = ending
        self._cluster, self._trial, self._task, self._arn = cluster, trial, task, arn
        self._api, self._watch = cluster.api, cluster.watch
        self._aborted = threading.Event()
        self._timeline: list[Event] = []
        self._ended_before: set[str] = set()
        self._looks = TaskLooks(self._api, arn)
        self._evidence: dict[str, dict[str, Any]] = {}
        self.stop_signal: int | None = None if self._is_task else signals.SIGTERM
        self.stop_signal_source: str | None = None if self._is_task else ASSUMED

    def wait_started(self) -> None:
        """RUNNING. Raises SubjectFailed where the task stopped before it was."""
        came = self._watch.wait(self._arn, lambda task: _ended(task) or _runs(task), RUNNING_TIMEOUT_S, self._aborted)
        if not came:
            text = f"the task was not RUNNING after {RUNNING_TIMEOUT_S:g} s ({self._newest().get('lastStatus')})"
            raise SubjectFailed(Problem(ProblemKind.START_FAILED, text))
        self._timeline.append(_here(EventKind.STARTED, "task RUNNING"))
        if _ended(self._newest()) or self._newest().get("desiredStatus") == "STOPPED":
            self._wait_stopped()
            raise self._failed_start()
        self._ask_stop_signal()

    def wait_ready(self) -> None:
        """RUNNING, and what the scenario asks for beside it."""
        ready = self._trial.scenario.readiness
        deadline = time.monotonic() + ready.timeout_ns / NS_PER_S
        if ready.healthcheck:
            left_s = deadline - time.monotonic()
            if not self._watch.wait(self._arn, _healthy, left_s, self._aborted) or _ended(self._newest()):
                raise self._not_ready("its health check")
        if ready.log is not None:
            self.wait_log(ready.log, max(0, round((deadline - time.monotonic()) * NS_PER_S)))
        if (tcp := ready.tcp_port) is not None:
            self._until(lambda: accepts(binding(self._newest(), tcp)), deadline, f"port {tcp}")
        if (http := ready.http_port) is not None:
            path = ready.http_path
            self._until(lambda: answers(binding(self._newest(), http), path), deadline, f"GET {path} at port {http}")
        self.sleep(ready.delay_ns)
        self._timeline.append(_here(EventKind.READY, "harness"))

    def ready_signs(self) -> ReadySigns:
        """What the task definition has: `healthCheck`, and `portMappings` where they can be reached."""
        return signs(self._task, reached=self._cluster.local)

    def is_healthy(self) -> bool:
        """HEALTHY, every container that is checked, as described last: ECS runs the checks itself. Containers that are
        not essential do not count in the task's own status."""
        checked = health_checked(self._task)
        living = [item for item in self._containers() if item.get("lastStatus") != "STOPPED"]
        return all(item.get("healthStatus") == "HEALTHY" for item in living if item["name"] in checked)

    def listening(self, declared: tuple[int, ...]) -> frozenset[int]:
        """Those that accept a connection where they are published."""
        return frozenset(port for port in declared if accepts(binding(self._newest(), port)))

    def listens_at(self) -> tuple[str, ...] | None:
        """Nobody can look into a task."""
        return None

    def takes_stop_signal(self) -> bool:
        """Where our own endpoint shows the processes of its containers."""
        tables, known = self._looks.tables(), self._stop_signals()
        return all(start_up.takes(table, known.get(name)) for name, table in tables.items())

    def sleep(self, duration_ns: int) -> None:
        """On this machine's clock, until aborted or the task ends."""
        self._watch.wait(self._arn, _ended, duration_ns / NS_PER_S, self._aborted)

    def is_running(self) -> bool:
        """As described last, and not told to stop."""
        task = self._newest()
        return _runs(task) and task.get("desiredStatus") != "STOPPED"

    def processes(self) -> tuple[ProcessInfo, ...] | None:
        """Of the only container; a task's containers are looked at one by one during the stop."""
        return None if self._is_task else self._looks.tables().get(self._task.containers[0].name)

    def foreseen(self) -> tuple[tuple[ProcessInfo, ...] | None, int | None]:
        """Its own."""
        return self.processes(), self.stop_signal

    def connect(self, port: int, timeout_s: float) -> tuple[socket.socket, Vantage]:
        """A published port, by the task's network bindings."""
        where = binding(self._newest(), port)
        if where is None:
            raise ConnectionRefusedError(f"no container of the task publishes port {port} (portMappings)")
        return socket.create_connection(where, timeout=timeout_s), Vantage.PUBLISHED_PORT

    def wait_log(self, pattern: str, timeout_ns: int) -> None:
        """A line of any container."""
        wanted = LogPattern(pattern)
        deadline = time.monotonic() + timeout_ns / NS_PER_S

        def written() -> bool:
            return any(wanted.found_in(log.text) for log in self._all_logs().values())

        self._until(written, deadline, f"log line matching {pattern!r}")

    def execute(self, command: tuple[str, ...], timeout_ns: int) -> int | None:
        """Cannot be done through ECS."""
        raise EngineError(f"ecs: `{' '.join(command)}` cannot be run in a container of a cluster")

    def hooks_first(self, ports: frozenset[int], over: Callable[[], None]) -> bool:
        """Amazon ECS has none."""
        return False

    def faults(self) -> FaultMaker:
        """Nobody: `cannot_run` refuses all of them."""
        raise EngineError("faults cannot be made on a cluster")

    def stop(self, stop_timeout_ns: int) -> None:
        """StopTask, or what else ends it, and wait for STOPPED."""
        self._ended_before = {item["name"] for item in self._containers() if item.get("lastStatus") == "STOPPED"}
        if self._is_task:
            self._looks.begin(self._stop_signals())
        try:
            self._timeline.append(_here(EventKind.STOP_REQUESTED, self._ending.call))
            self._ending.end(self._arn, f"stop-harness: {self._trial.trial_id}")
            longest_s = task_definition.longest_chain(self._task)[1]
            patience_s = max(longest_s, stop_timeout_ns / NS_PER_S) + STOP_PATIENCE_S
            if not self._wait_stopped(patience_s):
                raise EngineError(f"ecs: the task was not STOPPED {patience_s:g} s after the {self._ending.call}")
            self._timeline.append(_here(EventKind.STOP_RETURNED, "DescribeTasks: STOPPED"))
        finally:
            self._looks.end()

    def end_now(self) -> bool:
        """ECS has no call for it."""
        return False

    def record(self) -> EngineRecord:
        """DescribeTasks, and our endpoint's measured stop where it is the one that answers."""
        self._fetch_evidence()
        task = self._newest()
        called = next((event for event in self._timeline if event.kind is EventKind.STOP_REQUESTED), None)
        seen = SeenStop(
            definition=self._task,
            task=task,
            evidence=self._evidence if self._cluster.local else None,
            observes_sigkill=self._cluster.info().observes_sigkill,
            called_at_ns=called.at_ns if called else None,
            stopped_seen_ns=self._watch.stopped_seen_ns(self._arn),
            every_s=self._watch.period_s,
            ended_before=frozenset(self._ended_before),
        )
        if seen.stop_code not in {"", *self._ending.stop_codes, *BY_ITSELF}:
            raise EngineError(f"ecs: somebody else stopped the task: {seen.stop_code}: {task.get('stoppedReason')}")
        containers = seen.containers()
        if self._is_task:
            return seen.of_task(tuple(map(self._looked_at, containers)), tuple(self._timeline))
        return seen.of_container(containers[0], tuple(self._timeline))

    def logs(self) -> LogTail:
        """Of the only container."""
        return LogTail() if self._is_task else self._log(self._task.containers[0].name)

    def stopped(self) -> NoReturn:
        """Nothing of it can be looked at."""
        raise EngineError("ecs: nothing of a container can be looked at once it has ended")

    def abort(self) -> None:
        """Waits end; `remove` sees to the task."""
        self._aborted.set()
        self._watch.wake()

    def keep(self) -> str | None:
        """Amazon ECS itself shows a stopped task for an hour; nothing else of it is left."""
        return None

    def remove(self) -> None:
        """Stopped, or told to stop. ECS forgets a stopped task by itself."""
        try:
            stopped = _ended(self._newest())
        except KeyError:
            return
        if self._ending.give_up(self._arn, stopped=stopped):
            self._cluster.stopped(self._arn)
        self._watch.drop(self._arn)

    @property
    def _is_task(self) -> bool:
        return self._trial.scenario.subject.task is not None

    def _newest(self) -> dict[str, Any]:
        return self._watch.newest(self._arn)

    def _containers(self) -> list[dict[str, Any]]:
        return list(self._newest().get("containers", ()))

    def _wait_stopped(self, timeout_s: float = STOP_PATIENCE_S) -> bool:
        came = self._watch.wait(self._arn, _ended, timeout_s, self._aborted)
        if self._newest().get("lastStatus") == "GONE":
            raise EngineError("ecs: the task is no longer known to the service")
        if came:
            self._cluster.stopped(self._arn)
        return came

    def _failed_start(self) -> SubjectFailed:
        return why_it_ended(self._newest(), {item.name for item in self._task.containers if item.essential})

    def _not_ready(self, what: str) -> SubjectFailed:
        if _ended(self._newest()) or not self.is_running():
            self._wait_stopped()
            return self._failed_start()
        logs: dict[str, LogTail] = {}
        if self._cluster.local:
            logs = self._all_logs() if self._is_task else {"": self.logs()}
        return not_ready(waited(self._trial.scenario.readiness.timeout_ns, what), logs)

    def _until(self, holds: Callable[[], bool], deadline: float, what: str) -> None:
        while not holds():
            left_s = deadline - time.monotonic()
            over = self._watch.wait(self._arn, _ended, max(0.0, min(0.1, left_s)), self._aborted)
            if over or left_s <= 0 or self._aborted.is_set() or not self.is_running():
                raise self._not_ready(what)

    def _all_logs(self) -> dict[str, LogTail]:
        return {item.name: self._log(item.name) for item in self._task.containers}

    def _log(self, name: str) -> LogTail:
        found = self._api.ours(evidence_path(self._arn, "logs", name))
        return LogTail(str(found.get("text", "")), bool(found.get("truncated"))) if found else LogTail()

    def _fetch_evidence(self) -> None:
        found = self._api.ours(evidence_path(self._arn)) if self._cluster.local else None
        self._evidence = {item["name"]: item for item in (found or {}).get("containers", ())}

    def _stop_signals(self) -> dict[str, int]:
        """Container → its stop signal, of those that our endpoint has looked at."""
        told = {name: item.get("configuredStopSignalNumber") for name, item in self._evidence.items()}
        return {name: number or signals.SIGTERM for name, number in told.items()}

    def _ask_stop_signal(self) -> None:
        """ECS does not tell what the image's STOPSIGNAL is; our endpoint does."""
        self._fetch_evidence()
        told = self._evidence.get(self._task.containers[0].name, {})
        if not self._is_task and told.get("configuredStopSignalNumber") is not None:
            self.stop_signal = told["configuredStopSignalNumber"]
            self.stop_signal_source = told["configuredStopSignalSource"]

    def _looked_at(self, record: ContainerRecord) -> ContainerRecord:
        """With what was seen of its inside."""
        return replace(record, looks=replace(self._looks.of(record.name), logs=self._log(record.name)))


def _here(kind: EventKind, source: str) -> Event:
    return Event(kind, time.monotonic_ns(), Clock.HARNESS, source)


def _ended(task: dict[str, Any]) -> bool:
    return task.get("lastStatus") in {"STOPPED", "DELETED", "GONE"}


def _runs(task: dict[str, Any]) -> bool:
    return task.get("lastStatus") == "RUNNING"


def _healthy(task: dict[str, Any]) -> bool:
    return task.get("healthStatus") == "HEALTHY" or _ended(task)
