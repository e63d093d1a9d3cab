"""The stop of a whole group: who is told when, and with how much time.

Compose (pkg/compose/stop.go, dependencies.go, hook.go): a container is told to stop when all that depend on it have
gone, each on its own, replicas beside each other. First its hooks run, outside of its stop timeout; where one fails,
the container is not told to stop, and neither are those that wait for it.

A kubelet (pkg/kubelet/kuberuntime/kuberuntime_container.go, killContainer; kuberuntime_termination_order.go): every
container has the whole grace period for its hook, for waiting until the containers before it have gone (sidecars), and
for its stop; however little is left, its stop gets two seconds. A hook that fails keeps nobody back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from stop_harness.ecs.dependencies import stops_after
from stop_harness.engines.docker import group_hooks
from stop_harness.engines.docker.group_start import GroupContainer, needs_of
from stop_harness.engines.docker.subject import DockerSubject
from stop_harness.engines.looks import StopLooks, written_since
from stop_harness.errors import EngineError
from stop_harness.model import (
    NS_PER_S,
    STOP_OF_A_GROUP,
    Clock,
    ContainerRecord,
    Event,
    EventKind,
    Group,
    GroupKind,
    HookRecord,
    LogTail,
    Looks,
    Role,
    StopRecord,
    TaskRecord,
    Trial,
)

LEAST_GRACE_S = 1
"""A kubelet takes a shorter grace period for this one (pkg/kubelet/pod_workers.go, calculateEffectiveGracePeriod)."""

LEAST_STOP_S = 2
"""What the stop itself gets in any case (`minimumGracePeriodInSeconds`, kuberuntime_manager.go)."""


def waits_of(group: Group, containers: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """By container, those that must be gone before it is told to stop. `containers`: by container its member.

    In a pod only sidecars wait: for all main containers, and for the sidecar that started after them.
    """
    if group.kind is GroupKind.POD:
        sidecars = [member.name for member in group.members if member.role is Role.SIDECAR]
        mains = [member.name for member in group.members if member.role is Role.MAIN]
        waits = {name: (*mains, *sidecars[at + 1 : at + 2]) for at, name in enumerate(sidecars)}
    else:
        waits = stops_after({name: [need.member for need in needs] for name, needs in needs_of(group).items()})
    return {
        name: tuple(other for other, whose in containers.items() if whose in waits.get(member, ()))
        for name, member in containers.items()
    }


def pod_stop_s(grace_s: int, hook_s: float, waited_s: float) -> int:
    """What a kubelet gives the stop of a container, after its hook and its wait for others. Both are cut to whole
    seconds, to the container's favour."""
    return max(LEAST_STOP_S, grace_s - int(hook_s) - int(waited_s))


@dataclass
class _One:
    """What becomes of one container. `left`: it had ended when the stop of the group began. `log`: before its stop.

    `timeout_ns`: of its stop; in a pod known only when that begins.
    """

    item: GroupContainer
    waits_for: tuple[str, ...]
    timeout_ns: int
    left: bool
    looks: StopLooks | None = None
    log: LogTail = field(default_factory=LogTail)
    hooks: tuple[HookRecord, ...] = ()
    not_told: str | None = None
    over: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None


class GroupStop:
    """The stop of every container that runs. `containers` in the order of their start; `ended` ends its waits.

    `same_clock`: the engine's clock is this machine's. `hooks_over`: is told the name of each container whose hooks
    before the stop are over, once or more often.
    """

    def __init__(
        self,
        trial: Trial,
        group: Group,
        containers: list[GroupContainer],
        ended: threading.Event,
        *,
        same_clock: bool,
        hooks_over: Callable[[str], None],
    ) -> None:
        self._hooks_over = hooks_over
        self._trial, self._group, self._ended, self._same_clock = trial, group, ended, same_clock
        waits = waits_of(group, {item.name: item.member.name for item in containers})
        own = trial.scenario.stop.own_timeouts
        self._grace_s = max(LEAST_GRACE_S, (group.grace_ns if own else trial.stop_timeout_ns) // NS_PER_S)
        self._ones = {item.name: self._one(item, waits[item.name]) for item in containers}
        self._began: tuple[Event, ...] = ()
        self._begun_ns: int | None = None

    def _one(self, item: GroupContainer, waits_for: tuple[str, ...]) -> _One:
        asked_ns = self._trial.stop_timeout_ns
        if self._group.kind is GroupKind.POD:
            asked_ns = pod_stop_s(self._grace_s, 0, 0) * NS_PER_S
        elif self._trial.scenario.stop.own_timeouts:
            own_ns = item.member.stop_timeout_ns
            asked_ns = self._group.grace_ns if own_ns is None else own_ns
        timeout_ns = asked_ns // NS_PER_S * NS_PER_S  # Compose cuts what is less than a second (create.go)
        return _One(item, waits_for, timeout_ns, left=not item.subject.is_running())

    def run(self) -> None:
        """Return when the last has gone. Raises the first error; the others are stopped all the same."""
        self._begun_ns = time.time_ns()
        now = (time.monotonic_ns(), Clock.HARNESS), (self._begun_ns, Clock.ENGINE)
        self._began = tuple(
            Event(EventKind.STOP_REQUESTED, at_ns, clock, STOP_OF_A_GROUP)
            for at_ns, clock in now
            if clock is Clock.HARNESS or self._same_clock
        )
        stop = self._in_pod if self._group.kind is GroupKind.POD else self._in_project
        threads = [
            threading.Thread(target=self._run_one, args=(stop, one), name=f"stop {name}", daemon=True)
            for name, one in self._ones.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for one in self._ones.values():
            if one.error is not None:
                raise one.error

    def _run_one(self, stop: Callable[[_One], None], one: _One) -> None:
        try:
            if not one.left or one.waits_for:
                stop(one)
        except BaseException as error:  # noqa: BLE001 - raised where the stop is waited for
            one.error = error
        finally:
            self._hooks_over(one.item.name)
            one.over.set()

    # ── the two orders ──────────────────────────────────────────────────────────────────────────────────────────────

    def _in_project(self, one: _One) -> None:
        for name in one.waits_for:
            self._ones[name].over.wait()
        before = [other for name in one.waits_for if (other := self._ones[name]).not_told or other.error]
        if one.left:
            return
        if before:
            one.not_told = f"container {before[0].item.name}, which depends on it, was not stopped"
            return
        one.hooks, failed = run_hooks(one.item, self._ended)
        self._hooks_over(one.item.name)
        if failed is not None:
            one.not_told = failed
            return
        self._stop(one)

    def _in_pod(self, one: _One) -> None:
        if one.left:
            return
        subject, hook_s = one.item.subject, 0.0
        if one.item.member.before_stop:
            subject.follow()
            budget_ns = self._grace_s * NS_PER_S
            one.hooks = tuple(
                group_hooks.perform(hook, subject, budget_ns, self._ended) for hook in one.item.member.before_stop[:1]
            )
            hook_s = one.hooks[0].took_ns / NS_PER_S
            self._hooks_over(one.item.name)
        deadline = time.monotonic() + self._grace_s - int(hook_s)
        began = time.monotonic()
        for name in one.waits_for:
            self._ones[name].over.wait(timeout=max(0.0, deadline - time.monotonic()))
        one.timeout_ns = pod_stop_s(self._grace_s, hook_s, time.monotonic() - began) * NS_PER_S
        self._stop(one)

    def _stop(self, one: _One) -> None:
        subject = one.item.subject
        looks = one.looks = StopLooks(subject, one.timeout_ns)
        looks.before, one.log = subject.processes(), subject.logs()
        looks.begin()
        try:
            subject.stop(one.timeout_ns)
        finally:
            looks.end()

    # ── the record ──────────────────────────────────────────────────────────────────────────────────────────────────

    def record(self) -> TaskRecord:
        """Of every container, what is on record of it."""
        in_pod = self._group.kind is GroupKind.POD
        return TaskRecord(
            arn="",
            containers=tuple(self._record_of(one) for one in self._ones.values()),
            group=self._group.kind,
            grace_ns=self._grace_s * NS_PER_S if in_pod else None,
            begun_ns=self._begun_ns if in_pod and self._same_clock else None,
            about=self._group.stopped,
        )

    def _record_of(self, one: _One) -> ContainerRecord:
        subject = one.item.subject
        stop = replace(
            subject.record().stop, stop_signal=subject.stop_signal, stop_signal_source=subject.stop_signal_source
        )
        if one.left:
            stop = replace(stop, exited_before_stop=True)
        elif one.not_told is not None:
            stop = replace(stop, complete=True)  # there is no end that could be missing from it
        elif stop.exited_before_stop:
            stop = self._left_in_between(stop)
        looks, logs = one.looks or StopLooks(subject, one.timeout_ns), subject.logs()
        since = written_since(one.log, logs) if looks.before is not None else None
        return ContainerRecord(
            name=one.item.name,
            essential=one.item.member.role is Role.MAIN,
            waits_for=one.waits_for,
            stop_timeout_ns=one.timeout_ns,
            record=stop,
            looks=Looks(looks.before, looks.second, looks.late, since, logs, looks.at_timeout),
            hooks=one.hooks,
            not_told=one.not_told,
        )

    def _left_in_between(self, stop: StopRecord) -> StopRecord:
        """Of a container that ended by itself while the group was stopped, before it was told to: from the moment on at
        which that began."""
        events = tuple(event for event in stop.events if event.kind is not EventKind.STOP_REQUESTED)
        return replace(stop, exited_before_stop=False, events=(*self._began, *events))


def run_hooks(item: GroupContainer, ended: threading.Event) -> tuple[tuple[HookRecord, ...], str | None]:
    """The hooks of a service before its stop, in their order, and why Compose then does not stop it; None: it does."""
    done: list[HookRecord] = []
    for hook in item.member.before_stop:
        seen = group_hooks.perform(hook, item.subject, group_hooks.HOOK_PATIENCE_NS, ended)
        done.append(seen)
        if seen.cut_off or seen.reason:
            why = seen.reason or f"it had not ended after {group_hooks.HOOK_PATIENCE_NS // NS_PER_S} s"
            return tuple(
                done
            ), f"its hook before the stop failed (`{seen.command}`): {why}; Compose does not stop it then"
    return tuple(done), None


def gone_beside(containers: list[GroupContainer], tested: DockerSubject, alive: frozenset[str]) -> tuple[str, ...]:
    """Of the containers beside the only one that was stopped, those that ran when its stop began (`alive`) and do not
    any more, and those that had failed by then. One that had ended with exit code 0 had done its work."""
    found = []
    for item in containers:
        if item.subject is tested:
            continue
        try:
            state = item.subject.state()
        except EngineError:
            continue
        if state.exited and item.name in alive:
            found.append(f"{item.name} exited with code {state.exit_code} while it stopped")
        elif state.exited and state.exit_code != 0:
            found.append(f"{item.name} had exited with code {state.exit_code} before")
    return tuple(found)
