"""The stop of a whole group: who is told when, and with how much time.

Compose (pkg/compose/stop.go, dependencies.go): a container is told to stop when all that depend on it have gone, each
on its own, replicas beside each other; each has its own stop timeout.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from stop_harness.ecs.dependencies import stops_after
from stop_harness.engines.docker.group_start import GroupContainer, needs_of
from stop_harness.engines.docker.subject import DockerSubject
from stop_harness.engines.looks import StopLooks, written_since
from stop_harness.errors import EngineError
from stop_harness.model import (
    NS_PER_S,
    Clock,
    ContainerRecord,
    Event,
    EventKind,
    Group,
    LogTail,
    Looks,
    Role,
    StopRecord,
    TaskRecord,
    Trial,
)


def waits_of(group: Group, containers: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """By container, those that must be gone before it is told to stop. `containers`: by container its member."""
    waits = stops_after({name: [need.member for need in needs] for name, needs in needs_of(group).items()})
    return {
        name: tuple(other for other, whose in containers.items() if whose in waits[member])
        for name, member in containers.items()
    }


@dataclass
class _One:
    """What becomes of one container. `left`: it had ended when the stop of the group began. `log`: before its stop."""

    item: GroupContainer
    waits_for: tuple[str, ...]
    timeout_ns: int
    looks: StopLooks
    left: bool
    log: LogTail = field(default_factory=LogTail)
    over: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None


class GroupStop:
    """The stop of every container that runs. `containers` in the order of their start."""

    def __init__(self, trial: Trial, group: Group, containers: list[GroupContainer]) -> None:
        self._trial, self._group = trial, group
        waits = waits_of(group, {item.name: item.member.name for item in containers})
        self._ones = {item.name: self._one(item, waits[item.name]) for item in containers}
        self._began: tuple[Event, ...] = ()

    def _one(self, item: GroupContainer, waits_for: tuple[str, ...]) -> _One:
        own_ns = item.member.stop_timeout_ns
        asked_ns = self._trial.stop_timeout_ns
        if self._trial.scenario.stop.own_timeouts:
            asked_ns = self._group.grace_ns if own_ns is None else own_ns
        timeout_ns = asked_ns // NS_PER_S * NS_PER_S  # Compose cuts what is less than a second (create.go)
        return _One(item, waits_for, timeout_ns, StopLooks(item.subject, timeout_ns), not item.subject.is_running())

    def run(self) -> None:
        """Return when the last has gone. Raises the first EngineError; the others are stopped all the same."""
        now = (time.monotonic_ns(), Clock.HARNESS), (time.time_ns(), Clock.ENGINE)
        self._began = tuple(Event(EventKind.STOP_REQUESTED, at_ns, clock, "stop of the group") for at_ns, clock in now)
        threads = [
            threading.Thread(target=self._run_one, args=(one,), name=f"stop {name}", daemon=True)
            for name, one in self._ones.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for one in self._ones.values():
            if one.error is not None:
                raise one.error

    def _run_one(self, one: _One) -> None:
        try:
            for name in one.waits_for:
                self._ones[name].over.wait()
            if not one.left:
                self._stop(one)
        except BaseException as error:  # noqa: BLE001 - raised where the stop is waited for
            one.error = error
        finally:
            one.over.set()

    def _stop(self, one: _One) -> None:
        subject = one.item.subject
        one.looks.before, one.log = subject.processes(), subject.logs()
        one.looks.begin()
        try:
            subject.stop(one.timeout_ns)
        finally:
            one.looks.end()

    def record(self) -> TaskRecord:
        """Of every container, what is on record of it."""
        return TaskRecord(
            arn="",
            containers=tuple(self._record_of(one) for one in self._ones.values()),
            group=self._group.kind,
        )

    def _record_of(self, one: _One) -> ContainerRecord:
        subject = one.item.subject
        stop = replace(
            subject.record().stop, stop_signal=subject.stop_signal, stop_signal_source=subject.stop_signal_source
        )
        if stop.exited_before_stop and not one.left:
            stop = self._left_in_between(stop)
        elif one.left:
            stop = replace(stop, exited_before_stop=True)
        looks, logs = one.looks, subject.logs()
        since = written_since(one.log, logs) if looks.before is not None else None
        return ContainerRecord(
            name=one.item.name,
            essential=one.item.member.role is Role.MAIN,
            waits_for=one.waits_for,
            stop_timeout_ns=one.timeout_ns,
            record=stop,
            looks=Looks(looks.before, looks.second, looks.late, since, logs, looks.at_timeout),
        )

    def _left_in_between(self, stop: StopRecord) -> StopRecord:
        """Of a container that ended by itself while the group was stopped, before it was told to: from the moment on at
        which that began."""
        events = tuple(event for event in stop.events if event.kind is not EventKind.STOP_REQUESTED)
        return replace(stop, exited_before_stop=False, events=(*self._began, *events))


def gone_beside(containers: list[GroupContainer], tested: DockerSubject, alive: frozenset[str]) -> tuple[str, ...]:
    """Of the containers that ran beside the only one that was stopped (`alive`), those that do not any more."""
    found = []
    for item in containers:
        if item.subject is tested or item.name not in alive:
            continue
        try:
            state = item.subject.state()
        except EngineError:
            continue
        if not state.running:
            found.append(f"{item.name} exited with code {state.exit_code}")
    return tuple(found)
