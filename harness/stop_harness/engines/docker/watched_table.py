"""The processes of a watched container: read from /proc where that tells all of them, else by the engine's `top`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stop_harness.engines.docker import reading, sdk
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.listed_processes import Table
from stop_harness.engines.docker.running import RunningContainer
from stop_harness.errors import EngineError
from stop_harness.linux import proc

STARTING = "runc init"
"""Command line of a container's first process until it becomes the container's program."""


class WatchedTable:
    """Of one container. `ask`: GET of a path of the engine's API with a query, in JSON; raises EngineError.

    `by_engine`: whoever is not root may read the signal masks of all processes, but not what they wait for, and nobody
    reads those of an engine on another machine. Then the engine's `ps` has to be asked, which costs its machine 15 ms
    and more, as it reads all of /proc (measured).
    """

    def __init__(self, found: RunningContainer, host: DockerHost, ask: Callable[..., Any]) -> None:
        self._found, self._host, self._ask = found, host, ask
        self._here = found.pid_one
        self.by_engine = self._here is None or not self._here.shows_waits()

    def read(self, *, at_once: bool = False) -> tuple[Table, dict[int, int]] | None:
        """The processes, PID 1 first, and the pid that each has inside the container, where they are on this machine.
        None once PID 1 leaves, before it has become the container's program, and where nobody tells.

        `at_once`: what /proc tells rather than waiting for the engine. Where a process sleeps may not be known then.
        """
        if self._here is not None and (at_once or not self.by_engine):
            found = self._here.numbered_table(without_waits=True)
            table, inner = found if found is not None else (None, {})
        else:
            table = self._by_engine()
            here = table if self._here is not None and table is not None else ()
            numbers = {row.pid: proc.namespace_pids(proc.status_of(row.pid)) for row in here}
            inner = {pid: inside[-1] for pid, inside in numbers.items() if inside}
        # Who is leaving has no command line any more, and a container that is just starting has another program's.
        leaving = self._here is not None and proc.is_leaving(self._here.pid)
        return None if not table or leaving or table[0].command == STARTING else (table, inner)

    def _by_engine(self) -> Table | None:
        state = self._found.state
        try:
            answer = self._ask(f"/containers/{self._found.id}/top", ps_args=reading.PS_ARGUMENTS)
            return reading.table_of(answer, self._host, shared_with_first=state.pid if state.shares_pids else None)
        except (EngineError, *sdk.NONSENSE_ERRORS):
            return None
