"""The start of a group's containers: each when what it waits for has come to hold, and never before."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from stop_harness.engines.docker import group_hooks
from stop_harness.engines.docker.group_places import GroupPlaces
from stop_harness.engines.docker.members import container_names, own_scenario
from stop_harness.engines.docker.starting import Placement
from stop_harness.engines.docker.subject import DockerSubject
from stop_harness.engines.interface import SubjectFailed, not_ready
from stop_harness.model import (
    NS_PER_S,
    Dependency,
    Group,
    GroupKind,
    LogTail,
    Member,
    Problem,
    ProblemKind,
    Role,
    Scenario,
    StartCondition,
    Trial,
)

POLL_S = 0.25
"""Between two looks at conditions; Compose takes 0.5 s (pkg/compose/convergence.go)."""

Holds = bool | str
"""Of a condition: whether it holds; as text why it never will."""


@dataclass(frozen=True)
class GroupContainer:
    """One container of a member. `name`: the member's, with a number behind it where there are several. `started_at`:
    on the monotonic clock, in seconds."""

    name: str
    member: Member
    subject: DockerSubject
    started_at: float


def needs_of(group: Group) -> dict[str, tuple[Dependency, ...]]:
    """By member, what it waits for before it starts.

    In a pod init containers and sidecars start one after the other, each when the one before has ended or started, and
    then the main containers, each when the one before it has (kubelet, kuberuntime_manager.go). Elsewhere it is what
    the member says, and whoever owns what it joins or links to.
    """
    if group.kind is GroupKind.POD:
        first = [member for member in group.members if member.role is not Role.MAIN]
        ordered = [*first, *(member for member in group.members if member.role is Role.MAIN)]
        return {
            member.name: () if before is None else (Dependency(before.name, _before(before)),)
            for before, member in zip([None, *ordered], ordered, strict=False)
        }
    known = {member.name for member in group.members}
    needs = {}
    for member in group.members:
        said = {need.member for need in member.waits_for}
        joined = [name for name in _joined(member) if name not in said]
        needs[member.name] = tuple(
            need for need in (*member.waits_for, *map(Dependency, dict.fromkeys(joined))) if need.member in known
        )
    return needs


def _before(member: Member) -> StartCondition:
    return StartCondition.COMPLETED if member.role is Role.INIT else StartCondition.STARTED


def _joined(member: Member) -> tuple[str, ...]:
    linked = (other for other, _ in member.links)
    owners = (member.network_of, member.pid_of, member.ipc_of, *member.volumes_from, *linked)
    return tuple(name for name in owners if name is not None)


class GroupStart:
    """Starts the containers of one trial's group, one after the other. `stopped` ends it.

    `containers`: those that were started, in that order. A member whose failed condition keeps nobody back
    (`required: false`) is left out of what others wait for.
    """

    def __init__(
        self,
        trial: Trial,
        group: Group,
        places: GroupPlaces,
        *,
        make: Callable[[Trial], DockerSubject],
        image_of: Callable[[Scenario], str],
        labels: Mapping[str, str],
        stopped: threading.Event,
    ) -> None:
        self._trial, self._group, self._places = trial, group, places
        self._make, self._image_of, self._labels, self._stopped = make, image_of, dict(labels), stopped
        self._needs = needs_of(group)
        self._passed: set[tuple[str, StartCondition]] = set()
        self._checked: set[str] = set()
        self._under_way: DockerSubject | None = None
        self.containers: list[GroupContainer] = []

    def run(self) -> None:
        """Return when all have started. Raises SubjectFailed where a condition fails or does not come to hold in time,
        and EngineError."""
        left = {member.name: member for member in self._group.members}
        while left:
            ready = [member for member in left.values() if self._may_start(member)]
            for member in ready:
                self._start(member)
                del left[member.name]
            if left and not ready:
                self._wait()

    def start_again(self, ended: Mapping[str, frozenset[int] | None]) -> None:
        """Those of the containers that ran and have ended, in the order of their first start, each under the conditions
        of that. Returns when they are as they were. `ended`: by name, the ports at which each listened, None where
        nobody could see them. Raises SubjectFailed and EngineError."""
        again = [item.member.name for item in self.containers if item.name in ended]
        self._passed = {(member, condition) for member, condition in self._passed if member not in again}
        for at, item in enumerate(self.containers):
            if item.name in ended:
                while not self._may_start(item.member):
                    self._wait()
                item.subject.stopped().start_again()
                self._checked.discard(item.name)
                started = self.containers[at] = replace(item, started_at=time.monotonic())
                self._after_start(item.member, item.name, item.subject)
                self._wait_until_as_it_was(started, ended[item.name])

    def _wait(self) -> None:
        if self._stopped.wait(POLL_S):
            raise SubjectFailed(Problem(ProblemKind.INTERRUPTED, "the run was interrupted"))

    def _wait_until_as_it_was(self, item: GroupContainer, ports: frozenset[int] | None) -> None:
        """Until one that was started again is healthy, where that is looked at, and listens where it did."""
        subject, deadline = item.subject, item.started_at + self._trial.scenario.readiness.timeout_ns / NS_PER_S
        checked, listened = subject.ready_signs().health_check, ports or frozenset()
        if ports is None and not checked:
            why = "has no health check, and where it listened cannot be seen from here: nobody knows when it is ready"
            raise not_ready(f"{item.name} {why}", {})
        while (checked and not subject.is_healthy()) or not listened <= subject.listening(()):
            state = subject.state()
            if not state.running:
                raise not_ready(f"{item.name} exited with code {state.exit_code}", self._log_of(item.name))
            if time.monotonic() > deadline:
                where = f" at port {', '.join(map(str, sorted(listened)))}" if listened else ""
                raise not_ready(f"{item.name} did not get ready{where}", self._log_of(item.name))
            self._wait()

    def of(self, member: str) -> list[GroupContainer]:
        """The started containers of a member."""
        return [item for item in self.containers if item.member.name == member]

    def abort(self) -> None:
        """Whatever a start waits for returns now."""
        if self._under_way is not None:
            self._under_way.abort()

    def unfinished(self) -> DockerSubject | None:
        """The container whose start failed; it may be there all the same."""
        return self._under_way

    # ── conditions ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _may_start(self, member: Member) -> bool:
        for need in self._needs[member.name]:
            if (need.member, need.condition) in self._passed:
                continue
            holds = self._holds(need)
            if holds is True or (isinstance(holds, str) and not need.required):
                self._passed.add((need.member, need.condition))
            elif holds is False:
                self._raise_if_late(member, need)
                return False
            else:
                raise self._failed(member, need, str(holds))
        return True

    def _holds(self, need: Dependency) -> Holds:
        found = self.of(need.member)
        if len(found) < len(container_names(self._group.member(need.member))):
            return False
        if need.condition is StartCondition.STARTED:
            return all(self._has_started(item) for item in found)
        if need.condition is StartCondition.COMPLETED:
            return _has_completed(found[0])
        answers = [self._is_healthy(item) for item in found]
        return next((item for item in answers if isinstance(item, str)), all(answers))

    def _has_started(self, item: GroupContainer) -> bool:
        """By the startup probe, where there is one."""
        probe = item.member.started
        if probe is None or item.name in self._checked:
            return True
        if not group_hooks.succeeds(probe, item.subject):
            return False
        self._checked.add(item.name)
        return True

    def _is_healthy(self, item: GroupContainer) -> Holds:
        state = item.subject.state()
        if not state.running:
            return f"it exited with code {state.exit_code}"
        if item.name not in self._checked:
            if not item.subject.ready_signs().health_check:
                return "it has no health check"
            self._checked.add(item.name)
        return "its health check fails" if state.healthy is False else item.subject.is_healthy()

    def _raise_if_late(self, member: Member, need: Dependency) -> None:
        found = self.of(need.member)
        patience_s = self._trial.scenario.readiness.timeout_ns / NS_PER_S
        if found and time.monotonic() - found[-1].started_at > patience_s:
            why = f"not within {patience_s:g} s"
            if need.condition is StartCondition.HEALTHY and found[-1].subject.state().healthy is None:
                why += ": the engine has run no health check yet (Podman never does without systemd), stop-harness has"
            raise self._failed(member, need, why)

    def _failed(self, member: Member, need: Dependency, why: str) -> SubjectFailed:
        logs: dict[str, LogTail] = {}
        for item in self.of(need.member):
            logs |= self._log_of(item.name)
        words = {
            StartCondition.STARTED: "has to be started",
            StartCondition.HEALTHY: "has to be healthy",
            StartCondition.COMPLETED: "has to have ended with exit code 0",
        }
        needed = f"container {need.member} {words[need.condition]} before {member.name} starts"
        return not_ready(f"{needed}, but {why}", logs)

    def _log_of(self, name: str) -> dict[str, LogTail]:
        return {item.name: item.subject.logs() for item in self.containers if item.name == name}

    # ── one member ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _start(self, member: Member) -> None:
        scenario = own_scenario(self._trial.scenario, member)
        image = self._image_of(scenario)
        self._places.refuse_root(member, image)
        for name in container_names(member):
            subject = self._make(replace(self._trial, scenario=scenario))
            self._under_way = subject
            if self._stopped.is_set():
                subject.abort()
            try:
                subject.start(image, self._labels, self._place(member, name))
            except SubjectFailed as failure:
                if member.name == self._group.stopped:
                    raise
                text = failure.problem.message if failure.problem is not None else str(failure)
                raise SubjectFailed(Problem(ProblemKind.START_FAILED, f"{name}: {text}")) from None
            self.containers.append(GroupContainer(name, member, subject, time.monotonic()))
            self._under_way = None
            self._after_start(member, name, subject)

    def _after_start(self, member: Member, name: str, subject: DockerSubject) -> None:
        """Its hooks, one after the other. One that fails fails the start, as with Compose and a kubelet."""
        for hook in member.after_start:
            done = group_hooks.perform(hook, subject, self._trial.scenario.readiness.timeout_ns, self._stopped)
            if done.cut_off or done.reason:
                why = done.reason or f"it had not ended after {done.took_ns / NS_PER_S:g} s"
                raise not_ready(
                    f"the hook after the start of {name} failed (`{done.command}`): {why}", self._log_of(name)
                )

    def _place(self, member: Member, name: str) -> Placement:
        own = f"{self._group.name}-{member.name}-{name.removeprefix(member.name).strip('-') or 1}"
        names = (member.container_name or own, member.name)
        pause, shared = self._places.pause, self._group.shared
        if pause is not None and shared is not None:
            return Placement(
                networks=() if shared.network else self._places.of(member.networks, names),
                network_of=pause.id if shared.network else None,
                pid_of=pause.id if shared.pid else None,
                ipc_of=pause.id if shared.ipc else None,
                address=self._places.address,
                groups=member.groups,
                in_pod=self._group.kind is GroupKind.POD,
                pod_address=self._places.pod_address,
            )
        owner = self.of(member.network_of)[0] if member.network_of is not None else None
        networks = self._places.of(member.networks, names)
        linked = tuple((self.of(other)[0].subject.container_id, alias) for other, alias in member.links)
        hosts = self._places.hosts_behind(linked, networks)
        return Placement(
            networks=networks,
            links=() if hosts else member.links,
            hosts=hosts,
            network_of=owner.subject.container_id if owner is not None else None,
            address=owner.subject.address if owner is not None else None,
            pid_of=self._id_of(member.pid_of),
            ipc_of=self._id_of(member.ipc_of),
            groups=member.groups,
            volumes_from=tuple(self.of(other)[0].subject.container_id for other in member.volumes_from),
        )

    def _id_of(self, member: str | None) -> str | None:
        return None if member is None else self.of(member)[0].subject.container_id


def _has_completed(item: GroupContainer) -> Holds:
    state = item.subject.state()
    if state.running:
        return False
    return state.exit_code == 0 or f"it exited with code {state.exit_code}"
