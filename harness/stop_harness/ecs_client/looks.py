"""The processes of a task's containers before and during its stop, where `stop-harness ecs serve` shows them.

They tell whether a container had other processes that SIGKILL may have ended, on engines that cannot prove it.
"""

from __future__ import annotations

import time
from typing import Any

from stop_harness.ecs_client.failures import ClientFailure, Kind
from stop_harness.ecs_client.service import Ecs
from stop_harness.model import NS_PER_S, Looks, ProcessInfo

SECOND_LOOK_S, LATE_LOOK_S = 0.3, 1.2
"""When a container is looked at again after its stop began; as in the trials of `run` and `check`."""

Tables = dict[str, tuple[ProcessInfo, ...]]


class Looking:
    """The looks at one task. Nobody but our own endpoint on this machine is asked."""

    def __init__(self, ecs: Ecs) -> None:
        self._ecs, self._arn = ecs, ""
        self._before: Tables = {}
        self._second: Tables = {}
        self._late: Tables = {}

    def before_stop(self, cluster: str | None, task: str) -> None:
        """The first look. `task`: its id or ARN. Raises ClientFailure only where ECS cannot be reached: what else is
        wrong, StopTask will say."""
        if not self._ecs.is_near:
            return
        try:
            seen = self._ecs.describe_task(cluster, task)
        except ClientFailure as failure:
            if failure.kind is Kind.UNREACHABLE:
                raise
            return
        if seen is not None and self._ecs.is_ours:
            self._arn = str(seen.get("taskArn", ""))
            self._before = self._tables()

    def during_stop(self) -> None:
        """The second and the late look, for each container whose time has come."""
        if len(self._late) >= len(self._before):
            return
        since_s = self._since_stop_calls_s()
        due_second = {name for name, s in since_s.items() if s >= SECOND_LOOK_S} - self._second.keys()
        due_late = {name for name, s in since_s.items() if s >= LATE_LOOK_S} - self._late.keys()
        if due_second or due_late:
            tables = self._tables()
            self._second |= {name: tables.get(name, ()) for name in due_second}
            self._late |= {name: tables.get(name, ()) for name in due_late}

    def seen(self) -> dict[str, Looks]:
        """All of them, by container."""
        names = self._before.keys() | self._second.keys() | self._late.keys()
        return {name: Looks(self._before.get(name), self._second.get(name), self._late.get(name)) for name in names}

    def _since_stop_calls_s(self) -> dict[str, float]:
        """How long ago each container was told to stop; those that were not yet are missing."""
        own = self._ecs.own_evidence(self._arn)
        containers: list[dict[str, Any]] = own[1].get("containers", []) if own is not None else []
        called = {str(item["name"]): item.get("stopCalledAtNs") for item in containers}
        return {name: (time.time_ns() - at_ns) / NS_PER_S for name, at_ns in called.items() if at_ns is not None}

    def _tables(self) -> Tables:
        found = self._ecs.own_processes(self._arn) or {}
        return {name: tuple(ProcessInfo(**row) for row in rows) for name, rows in found.items() if rows}
