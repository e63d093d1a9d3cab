"""What the containers of a task are doing before and during its stop, where our own endpoint shows it."""

from __future__ import annotations

import threading
import time

from stop_harness.engines.ecs.api import EcsApi, evidence_path
from stop_harness.evidence import start_up
from stop_harness.model import NS_PER_S, Looks, ProcessInfo

FIRST_LOOK_S, LATE_LOOK_S, LOOK_EVERY_S = 0.3, 1.2, 0.3
"""When the process table of a container is looked at after its stop began; as in `trial/perform.py`."""

LAST_LOOK_EVERY_S = 1.0
"""Afterwards, at containers that do not take their stop signal."""


class TaskLooks:
    """Process tables of a task's containers before and during its stop, where our own endpoint shows them."""

    def __init__(self, api: EcsApi, arn: str) -> None:
        self._api, self._arn = api, arn
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._deaf: set[str] = set()
        self.before: dict[str, tuple[ProcessInfo, ...]] = {}
        self.second: dict[str, tuple[ProcessInfo, ...]] = {}
        self.late: dict[str, tuple[ProcessInfo, ...]] = {}
        self.last: dict[str, tuple[ProcessInfo, ...]] = {}

    def tables(self) -> dict[str, tuple[ProcessInfo, ...]]:
        """Container → its process table, of those that run."""
        found = self._api.ours(evidence_path(self._arn, "processes")) or {}
        return {name: tuple(ProcessInfo(**row) for row in rows) for name, rows in found.items() if rows}

    def of(self, name: str) -> Looks:
        """What was seen of one container."""
        return Looks(self.before.get(name), self.second.get(name), self.late.get(name), at_timeout=self.last.get(name))

    def begin(self, stop_signals: dict[str, int]) -> None:
        """The first look now, the others beside the stop: at those who do not take their stop signal again and again,
        so that the last is shortly before their stop timeout."""
        self.before = self.tables()
        self._deaf = {name for name, table in self.before.items() if not start_up.takes(table, stop_signals.get(name))}
        if self.before:
            self._thread = threading.Thread(target=self._look, name="ecs looks", daemon=True)
            self._thread.start()

    def end(self) -> None:
        """The stop is over."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _look(self) -> None:
        while not self._over.wait(LOOK_EVERY_S) and len(self.late) < len(self.before):
            self._look_at_those_due()
        while self._deaf and not self._over.wait(LAST_LOOK_EVERY_S):
            self.last |= {name: table for name, table in self.tables().items() if name in self._deaf}

    def _look_at_those_due(self) -> None:
        found = self._api.ours(evidence_path(self._arn)) or {}
        called = {item["name"]: item.get("stopCalledAtNs") for item in found.get("containers", ())}
        since_s = {name: (time.time_ns() - at_ns) / NS_PER_S for name, at_ns in called.items() if at_ns is not None}
        due_second = {name for name, s in since_s.items() if s >= FIRST_LOOK_S and name not in self.second}
        due_late = {name for name, s in since_s.items() if s >= LATE_LOOK_S and name not in self.late}
        if not due_second | due_late:
            return
        tables = self.tables()
        self.second |= {name: tables.get(name, ()) for name in due_second}
        self.late |= {name: tables.get(name, ()) for name in due_late}
