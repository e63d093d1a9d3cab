"""Scenario → the task that ECS is given; ECS's answers → events. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from stop_harness import units
from stop_harness.ecs import fates_document, stop_timeouts, task_definition
from stop_harness.engines.interface import WITNESS_CAVEAT, EngineRecord
from stop_harness.model import (
    NS_PER_S,
    Clock,
    ContainerRecord,
    EngineInfo,
    Event,
    EventKind,
    HealthCheck,
    Mount,
    Scenario,
    StopRecord,
    Subject,
    TaskContainer,
    TaskDefinition,
    TaskRecord,
)

MEMORY_MIB, CPU_UNITS = 512, 256
"""Of a task that is made from an image alone; the smallest size of Fargate."""

BY_ITSELF = frozenset({"EssentialContainerExited", "TaskFailedToStart"})
"""stopCodes of a task that ended before anybody stopped it."""

OUT_OF_MEMORY = "OutOfMemoryError"
"""How the reason of a container begins that the OOM killer struck."""


def task_of(scenario: Scenario, stop_timeout_s: int, run_task: dict[str, Any]) -> TaskDefinition:
    """The task that a trial starts: the scenario's own, or one made of its image."""
    task = scenario.subject.task
    if task is None:
        task = task_definition.parse(json.dumps(_document(scenario, run_task)), scenario.name)
    if not scenario.stop.own_timeouts:
        task = task_definition.stop_timeouts_replaced(task, stop_timeout_s)
    family = re.sub(r"[^A-Za-z0-9_-]", "-", f"stop-harness-{scenario.name}")
    return replace(task, family=family, document=json.dumps({**json.loads(task.document), "family": family}))


def _document(scenario: Scenario, run_task: dict[str, Any]) -> dict[str, Any]:
    subject = scenario.subject
    ports = {**dict.fromkeys(scenario.reached_ports), **dict(subject.ports)}
    memory_mib = MEMORY_MIB if subject.memory_bytes is None else max(6, subject.memory_bytes // (1 << 20))
    container: dict[str, Any] = {
        "name": "subject",
        "image": subject.image,
        "essential": True,
        "memory": memory_mib,
        "environment": [{"name": name, "value": value} for name, value in subject.environment],
        "portMappings": [
            {"containerPort": port, **({"hostPort": host} if host else {})} for port, host in ports.items()
        ],
    }
    entrypoint, command = subject.entrypoint, subject.command
    if entrypoint == () and command:  # ECS takes an empty entryPoint as not set; the image's must not come back
        entrypoint, command = command[:1], command[1:]
    if entrypoint:
        container["entryPoint"] = list(entrypoint)
    if command:
        container["command"] = list(command)
    if subject.user:
        container["user"] = subject.user
    if subject.working_directory:
        container["workingDirectory"] = subject.working_directory
    container |= _settings(subject)
    document: dict[str, Any] = {"family": "task", "containerDefinitions": [container]}
    if subject.settings.pid is not None:
        document["pidMode"] = subject.settings.pid
    if on_fargate(run_task):
        document |= {"requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc"}
        document |= {"cpu": str(CPU_UNITS), "memory": str(max(MEMORY_MIB, memory_mib))}
    return document


def _settings(subject: Subject) -> dict[str, Any]:
    """`subject.settings` as members of a container definition; what has none there was refused."""
    it = subject.settings
    capabilities = {"add": list(it.cap_add), "drop": list(it.cap_drop)}
    linux = {
        "initProcessEnabled": subject.init,
        "capabilities": {key: value for key, value in capabilities.items() if value},
        "sharedMemorySize": -(-it.shm_size_bytes // (1 << 20)) if it.shm_size_bytes else None,
        "tmpfs": [_tmpfs(mount) for mount in it.mounts],
    }
    members = {
        "pseudoTerminal": it.tty,
        "interactive": it.stdin_open,
        "readonlyRootFilesystem": it.read_only,
        "privileged": it.privileged,
        "hostname": it.hostname,
        "cpu": it.cpu_shares,
        "dockerSecurityOptions": list(it.security_opt),
        "ulimits": [{"name": u.name, "softLimit": u.soft, "hardLimit": u.hard} for u in it.ulimits],
        "extraHosts": [{"hostname": name, "ipAddress": address} for name, address in it.extra_hosts],
        "systemControls": [{"namespace": name, "value": value} for name, value in it.sysctls],
        "dockerLabels": dict(it.labels),
        "healthCheck": None if it.healthcheck is None else _health_check(it.healthcheck),
        "linuxParameters": {key: value for key, value in linux.items() if value},
    }
    return {key: value for key, value in members.items() if value}


def _tmpfs(mount: Mount) -> dict[str, Any]:
    """ECS wants a size; half of the smallest task's memory where the scenario says none."""
    options = [option for option in (*mount.options.split(","), "ro" if mount.read_only else "") if option]
    sizes = [option for option in options if option.startswith("size=")]
    mib = -(-units.parse_size(sizes[0].removeprefix("size=")) // (1 << 20)) if sizes else MEMORY_MIB // 2
    rest = [option for option in options if option not in sizes]
    return {"containerPath": mount.target, "size": mib, **({"mountOptions": rest} if rest else {})}


def _health_check(check: HealthCheck) -> dict[str, Any] | None:
    if not check.checks:
        return None
    times = {"interval": check.interval_ns, "timeout": check.timeout_ns, "startPeriod": check.start_period_ns}
    seconds = {key: -(-value // NS_PER_S) for key, value in times.items() if value}
    return {"command": list(check.test), **seconds, **({"retries": check.retries} if check.retries else {})}


def on_fargate(run_task: dict[str, Any]) -> bool:
    """Whether RunTask's input asks for Fargate."""
    providers = [str(item.get("capacityProvider", "")) for item in run_task.get("capacityProviderStrategy", ())]
    return run_task.get("launchType") == "FARGATE" or any(name.startswith("FARGATE") for name in providers)


def port_not_published(scenario: Scenario) -> str | None:
    """Why a port that the scenario connects to cannot be reached in its task; None if all can."""
    task = scenario.subject.task
    containers = json.loads(task.document)["containerDefinitions"] if task is not None else ()
    mappings = [mapping for item in containers for mapping in item.get("portMappings", ())]
    if task is None or any("containerPortRange" in mapping for mapping in mappings):
        return None
    published = {mapping.get("containerPort") for mapping in mappings}
    missing = [str(port) for port in scenario.reached_ports if port not in published]
    return f"no container of the task publishes port {', '.join(missing)}: add it to portMappings" if missing else None


def timeout_refused(scenario: Scenario, *, fargate: bool) -> str | None:
    """Why ECS would not stop with one of the scenario's stop timeouts; None if it would with all."""
    allowed = stop_timeouts.FARGATE_STOP_TIMEOUT_S
    for timeout_ns in () if scenario.stop.own_timeouts else scenario.stop.timeouts_ns:
        if timeout_ns < NS_PER_S:
            return "ECS takes a stopTimeout of 0 as not set, so that its default of 30 s would apply; give 1s or more"
        if fargate and timeout_ns // NS_PER_S not in allowed:
            return f"Fargate takes stop timeouts from {allowed.start} to {allowed.stop - 1} s"
    return None


def engine_info(ours: dict[str, Any] | None, url: str, cluster: str, region: str) -> EngineInfo:
    """The cluster, and what can be proved on it. `ours`: what our own endpoint says of itself, None from another."""
    below: dict[str, Any] = (ours or {}).get("engine") or {}
    caveats: tuple[str, ...] = (
        "ECS does not tell who ended a container: SIGKILL is inferred",
        "ECS shows no processes: whether any were SIGKILLed when PID 1 exited is not known",
    )
    if ours is not None:
        caveats = tuple(text for text in below.get("caveats", ()) if str(text).startswith(WITNESS_CAVEAT))
    product = "Amazon ECS" if ours is None else f"local ECS endpoint on {below.get('product', 'a container engine')}"
    return EngineInfo(
        name="ecs",
        product=product,
        version=str(below.get("version") or region),
        host=f"{url}, cluster {cluster}",
        pid1_rules=True,
        whole_seconds=True,
        observes_sigkill=bool(below.get("observes_sigkill")),
        proves_lost_processes=bool(below.get("proves_lost_processes")),
        reports_oom=bool(below.get("reports_oom", True)),
        runs_images=True,
        caveats=caveats,
        remote=ours is None,
        stops_at_once=below.get("stops_at_once"),
        limits_groups=bool(below.get("limits_groups")),
        shares_memory=bool(below.get("shares_memory")),
    )


@dataclass(frozen=True)
class SeenStop:
    """The stop of one task, as this engine saw it.

    `task`: the last answer of DescribeTasks. `evidence`: by container what our own endpoint measured, None where
    another one answers. `observes_sigkill`: of the container engine below our endpoint. `called_at_ns`: the StopTask
    call, and `stopped_seen_ns`: when polling first saw a container STOPPED, both on this machine's monotonic clock;
    polling was `every_s` apart. `ended_before`: containers that DescribeTasks had shown STOPPED before the call.
    """

    definition: TaskDefinition
    task: dict[str, Any]
    evidence: dict[str, dict[str, Any]] | None
    observes_sigkill: bool
    called_at_ns: int | None
    stopped_seen_ns: dict[str, int] = field(default_factory=dict)
    every_s: float = 1.0
    ended_before: frozenset[str] = frozenset()

    @property
    def stop_code(self) -> str:
        """ECS's own; empty where it gave none."""
        return str(self.task.get("stopCode") or "")

    def containers(self) -> tuple[ContainerRecord, ...]:
        """One record for each container definition, without looks and logs."""
        return tuple(self._record_of(item) for item in self.definition.containers)

    def of_task(self, containers: tuple[ContainerRecord, ...], timeline: tuple[Event, ...]) -> EngineRecord:
        """The record of the task with these containers. `timeline`: what was seen from here."""
        record = TaskRecord(
            arn=str(self.task["taskArn"]),
            containers=containers,
            fargate=self.definition.fargate,
            stop_code=self.stop_code,
            stopped_reason=str(self.task.get("stoppedReason") or ""),
        )
        stop = StopRecord(
            events=(*timeline, *ecs_stamps(self.task), *record.events),
            exited_before_stop=self.stop_code in BY_ITSELF or record.nothing_to_stop,
            complete=all(item.record.complete for item in containers),
        )
        return EngineRecord(stop, record)

    def of_container(self, only: ContainerRecord, timeline: tuple[Event, ...]) -> EngineRecord:
        """The record of a task that was made for one container."""
        record = only.record
        signalled = any(event.kind is EventKind.SIGNAL_SENT for event in record.events)
        # The service may not have noticed yet that it had ended: Podman tells late.
        gone = self.stop_code in BY_ITSELF or (record.exited_before_stop and not signalled)
        events = (*timeline, *ecs_stamps(self.task), *record.events)
        return EngineRecord(replace(record, events=events, exited_before_stop=gone))

    def _record_of(self, definition: TaskContainer) -> ContainerRecord:
        name = definition.name
        shown: dict[str, Any] = next((item for item in self.task.get("containers", ()) if item["name"] == name), {})
        told = self.evidence.get(name) if self.evidence is not None else None
        reason, code = str(shown.get("reason") or ""), shown.get("exitCode")
        record = ContainerRecord(
            name=name,
            essential=definition.essential,
            waits_for=definition.waits_for,
            stop_timeout_ns=definition.stop_timeout_s * NS_PER_S,
            record=StopRecord(
                events=self._seen_events(definition),
                exit_code=code,
                oom_killed=reason.startswith(OUT_OF_MEMORY),
                exited_before_stop=name in self.ended_before,
                complete=self.evidence is None,
            ),
            ran=shown.get("runtimeId") is not None or code is not None,
            reason=reason,
        )
        return record if told is None else self._measured(record, told)

    def _measured(self, container: ContainerRecord, told: dict[str, Any]) -> ContainerRecord:
        """With what our endpoint measured in the place of what ECS and polling tell."""
        events = measured_events(told)
        called_ns = stopping_at_ns(self.task)
        record = container.record
        ended_before = record.exited_before_stop
        if told["exitedAtNs"] is not None and called_ns is not None:
            ended_before = told["exitedAtNs"] < called_ns
        sent = next((event.signal for event in events if event.kind is EventKind.SIGNAL_SENT), None)
        lost = told.get("lostProcesses")
        measured = replace(
            record,
            # Nobody measured the stop of a container that left before it was told to: polling saw it leave.
            events=events if told["stopCalledAtNs"] is not None else events + record.events,
            oom_killed=record.oom_killed if told["oomKilled"] is None else bool(told["oomKilled"]),
            exited_before_stop=ended_before,
            # An engine that reports no signals has no record of them that could have a gap.
            complete=bool(told["recordComplete"]) or not self.observes_sigkill,
            lost_processes=None if lost is None else tuple(lost),
            lost_process_count=told.get("lostProcessCount"),
            fates=fates_document.of_json(told.get("processFates")),
            fate_count=told.get("processFateCount"),
            stop_signal=told.get("configuredStopSignalNumber") or sent,
        )
        timeout_ns, granted_s = told["stopTimeoutSeconds"] * NS_PER_S, told.get("grantedSeconds")
        granted_ns = timeout_ns if granted_s is None else granted_s * NS_PER_S
        return replace(
            container,
            stop_timeout_ns=timeout_ns,
            record=measured,
            ran=bool(told["ran"]),
            cut_to_ns=granted_ns if granted_ns < timeout_ns else None,
        )

    def _seen_events(self, definition: TaskContainer) -> tuple[Event, ...]:
        """What polling saw, and ECS's own times where they are those of this container.

        It was told to stop when those that it waits for were gone. `executionStoppedAt` is the end of the first
        essential container: the end of this one if it is the only such, and it had its signal at `stoppingAt` if it
        waits for no other.
        """
        events: list[Event] = []
        seen = self.stopped_seen_ns
        if self.called_at_ns is not None and definition.name in seen:
            begun_ns = max([self.called_at_ns, *(seen[name] for name in definition.waits_for if name in seen)])
            events.append(Event(EventKind.STOP_REQUESTED, begun_ns, Clock.HARNESS, "StopTask call"))
            source = f"DescribeTasks every {self.every_s:g} s"
            events.append(Event(EventKind.EXITED, seen[definition.name], Clock.HARNESS, source))
        essential = [item.name for item in self.definition.containers if item.essential]
        if self.evidence is None and essential == [definition.name] and not definition.waits_for:
            kinds = {EventKind.STOP_REQUESTED: "stoppingAt", EventKind.EXITED: "executionStoppedAt"}
            stamps = {kind: self.task.get(name) for kind, name in kinds.items()}
            events += [
                Event(kind, _ns(stamp), Clock.ECS, kinds[kind])
                for kind, stamp in stamps.items()
                if isinstance(stamp, datetime)
            ]
        return tuple(events)


def measured_events(told: dict[str, Any]) -> tuple[Event, ...]:
    """The container engine's own record, as our endpoint passes it on."""
    events = [
        Event(EventKind(item["kind"]), item["atNs"], Clock.ENGINE, item["source"], item["signal"])
        for item in told["events"]
    ]
    if told["exitedAtNs"] is not None:
        events.append(Event(EventKind.EXITED, told["exitedAtNs"], Clock.ENGINE, "State.FinishedAt"))
    return tuple(events)


def ecs_stamps(task: dict[str, Any]) -> tuple[Event, ...]:
    """ECS's own times. `executionStoppedAt` is the first essential container's end."""
    kinds = {
        "startedAt": EventKind.STARTED,
        "stoppingAt": EventKind.STOP_REQUESTED,
        "executionStoppedAt": EventKind.EXITED,
        "stoppedAt": EventKind.STOP_RETURNED,
    }
    if len(task.get("containers", ())) > 1:
        del kinds["executionStoppedAt"]
    return tuple(
        Event(kind, _ns(stamp), Clock.ECS, name)
        for name, kind in kinds.items()
        if isinstance(stamp := task.get(name), datetime)
    )


def stopping_at_ns(task: dict[str, Any]) -> int | None:
    """When ECS was told to stop the task, by its own clock; None before."""
    stamp = task.get("stoppingAt")
    return _ns(stamp) if isinstance(stamp, datetime) else None


def _ns(stamp: datetime) -> int:
    return round(stamp.timestamp() * 1e6) * 1000
