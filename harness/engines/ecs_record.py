"""Scenario → the task that ECS is given; ECS's answers → events. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import datetime
from typing import Any

from harness import task_definition
from harness.model import Clock, ContainerRecord, Event, EventKind, Scenario, Subject, TaskDefinition

MEMORY_MIB, CPU_UNITS = 512, 256
"""Of a task that is made from an image alone; the smallest size of Fargate."""


def task_of(scenario: Scenario, stop_timeout_s: int, run_task: dict[str, Any]) -> TaskDefinition:
    """The task that a trial starts: the scenario's own, or one made of its image."""
    task = scenario.subject.task
    if task is None:
        task = task_definition.parse(json.dumps(_document(scenario.subject, run_task)), scenario.name)
    if not scenario.stop.own_timeouts:
        task = task_definition.stop_timeouts_replaced(task, stop_timeout_s)
    family = re.sub(r"[^A-Za-z0-9_-]", "-", f"stop-harness-{scenario.name}")
    return replace(task, family=family, document=json.dumps({**json.loads(task.document), "family": family}))


def _document(subject: Subject, run_task: dict[str, Any]) -> dict[str, Any]:
    memory_mib = MEMORY_MIB if subject.memory_bytes is None else max(6, subject.memory_bytes // (1 << 20))
    container: dict[str, Any] = {
        "name": "subject",
        "image": subject.image,
        "essential": True,
        "memory": memory_mib,
        "environment": [{"name": name, "value": value} for name, value in subject.environment],
        "portMappings": [
            {"containerPort": port, **({"hostPort": host} if host else {})} for port, host in subject.ports
        ],
    }
    if subject.entrypoint is not None:
        container["entryPoint"] = list(subject.entrypoint)
    if subject.command is not None:
        container["command"] = list(subject.command)
    if subject.user:
        container["user"] = subject.user
    if subject.working_directory:
        container["workingDirectory"] = subject.working_directory
    if subject.init:
        container["linuxParameters"] = {"initProcessEnabled": True}
    document: dict[str, Any] = {"family": "task", "containerDefinitions": [container]}
    providers = [str(item.get("capacityProvider", "")) for item in run_task.get("capacityProviderStrategy", ())]
    if run_task.get("launchType") == "FARGATE" or any(name.startswith("FARGATE") for name in providers):
        document |= {"requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc"}
        document |= {"cpu": str(CPU_UNITS), "memory": str(max(MEMORY_MIB, memory_mib))}
    return document


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
    """The task as a whole: from the first stop signal to the last exit, each clock by itself."""
    events = [event for item in containers if not item.ended_before_stop for event in item.events]
    found = []
    for clock in (Clock.ENGINE, Clock.HARNESS):
        seen = [event for event in events if event.clock is clock]
        sent = [event for event in seen if event.kind is EventKind.SIGNAL_SENT]
        ended = [event for event in seen if event.kind is EventKind.EXITED]
        found += [min(sent, key=_when)] if sent else []
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
        Event(kind, round(stamp.timestamp() * 1e6) * 1000, Clock.ECS, name)
        for name, kind in kinds.items()
        if isinstance(stamp := task.get(name), datetime)
    )


def _when(event: Event) -> int:
    return event.at_ns
