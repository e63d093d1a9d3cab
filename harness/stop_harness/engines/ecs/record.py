"""Scenario → the task that ECS is given; ECS's answers → events. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import datetime
from typing import Any

from stop_harness.ecs import stop_timeouts, task_definition
from stop_harness.model import NS_PER_S, Clock, ContainerRecord, Event, EventKind, Scenario, TaskDefinition

MEMORY_MIB, CPU_UNITS = 512, 256
"""Of a task that is made from an image alone; the smallest size of Fargate."""


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
    if subject.init:
        container["linuxParameters"] = {"initProcessEnabled": True}
    document: dict[str, Any] = {"family": "task", "containerDefinitions": [container]}
    if on_fargate(run_task):
        document |= {"requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc"}
        document |= {"cpu": str(CPU_UNITS), "memory": str(max(MEMORY_MIB, memory_mib))}
    return document


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


def measured_events(told: dict[str, Any]) -> tuple[Event, ...]:
    """The container engine's own record, as our endpoint passes it on."""
    events = [
        Event(EventKind(item["kind"]), item["atNs"], Clock.ENGINE, item["source"], item["signal"])
        for item in told["events"]
    ]
    if told["exitedAtNs"] is not None:
        events.append(Event(EventKind.EXITED, told["exitedAtNs"], Clock.ENGINE, "State.FinishedAt"))
    return tuple(events)


def whole(containers: tuple[ContainerRecord, ...]) -> tuple[Event, ...]:
    """The task as a whole: from the first stop signal, or stop call where none is on record, to the last exit, each
    clock by itself."""
    events = [event for item in containers if not item.ended_before_stop for event in item.events]
    found = []
    for clock in (Clock.ENGINE, Clock.HARNESS):
        seen = [event for event in events if event.clock is clock]
        sent = [event for event in seen if event.kind is EventKind.SIGNAL_SENT]
        ended = [event for event in seen if event.kind is EventKind.EXITED]
        called = [event for event in seen if event.kind is EventKind.STOP_REQUESTED and clock is Clock.ENGINE]
        found += [min(sent or called, key=_when)] if sent or called else []
        found += [max(ended, key=_when)] if ended else []
    return tuple(found)


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


def _when(event: Event) -> int:
    return event.at_ns
