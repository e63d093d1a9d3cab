"""Which container of a task waits for which, when the task starts and when it stops. Pure.

Container definitions are those of RegisterTaskDefinition: JSON objects whose members have the right types.
"""

from __future__ import annotations

import graphlib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

FIRELENS = "awsfirelens"
"""The log driver that sends a container's output through the task's FireLens router."""


class Condition(StrEnum):
    """What a container waits for before it starts. CREATE is internal: `volumesFrom`."""

    CREATE = "CREATE"
    START = "START"
    COMPLETE = "COMPLETE"
    SUCCESS = "SUCCESS"
    HEALTHY = "HEALTHY"


def edges(container: dict[str, Any], containers: list[dict[str, Any]]) -> tuple[tuple[str, Condition], ...]:
    """(name, condition) of everything that one container waits for before it starts.

    That is its `dependsOn`, and what `links`, `volumesFrom` and FireLens imply (ECS agent, task.go). Raises ValueError
    for a condition that ECS does not have.
    """
    found = [(item["containerName"], Condition(item["condition"])) for item in container.get("dependsOn", ())]
    found += [(link.partition(":")[0], Condition.START) for link in container.get("links", ())]
    found += [(item["sourceContainer"], Condition.CREATE) for item in container.get("volumesFrom", ())]
    if container.get("logConfiguration", {}).get("logDriver") == FIRELENS:
        named = {name for name, _ in found}
        routers = [item["name"] for item in containers if "firelensConfiguration" in item]
        found += [(name, Condition.START) for name in routers if name not in named and name != container["name"]]
    return tuple(dict.fromkeys(found))


def stops_after(needs: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    """For each container, those that must have stopped before it is told to stop, by name.

    `needs`: for each container those that it waits for before it starts. Stopping goes the other way round: a container
    is held back until everything that needs it is gone.
    """
    waits: dict[str, list[str]] = {name: [] for name in needs}
    for name in sorted(needs):
        for needed in set(needs[name]) & waits.keys():
            waits[needed].append(name)
    return {name: tuple(found) for name, found in waits.items()}


def find_cycle(needs: Mapping[str, Iterable[str]]) -> list[str]:
    """One circle of containers that wait for each other, the first repeated at the end; empty if there is none."""
    try:
        graphlib.TopologicalSorter(needs).prepare()
    except graphlib.CycleError as error:
        cycle: list[str] = error.args[1]  # in it, each is needed by the next
        return cycle[::-1]
    return []
