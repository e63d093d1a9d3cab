"""The processes of one container that is watched: looks at them, and whom the kernel's SIGKILLs struck.

A look is taken now and then while the container runs, and as soon as a stop signal is heard of. Who was SIGKILLed is
told by the kernel by pid and name; the looks say who that was.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from stop_harness import signals
from stop_harness.engines.docker import listed_processes
from stop_harness.engines.docker.listed_processes import Table
from stop_harness.engines.docker.running import RunningContainer
from stop_harness.engines.docker.watched_table import WatchedTable
from stop_harness.evidence import process_tree
from stop_harness.evidence.lost_processes import KILLED_FROM_INSIDE
from stop_harness.evidence.process_tree import Tree
from stop_harness.linux.sigkill_trace import SentSigkill
from stop_harness.model import MOST_FATES, NS_PER_MS, Looks, ProcessFate

NAME_LENGTH = 15
"""Of the kernel's name of a process."""


@dataclass(frozen=True)
class _Look:
    at_ns: int
    table: Table
    inner: dict[int, int]


class WatchedProcesses:
    """Of one container. Times are CLOCK_MONOTONIC in ns.

    `pid_one`: its first process; None where that is not on this machine. `table`: reads its processes. `listened`: the
    kernel tells of SIGKILLs. `kills`: those that struck its processes, PID 1 aside. `doubtful_ns`: when one was sent on
    this machine and nobody knows to whom, or some were not told.
    """

    def __init__(self, found: RunningContainer, table: WatchedTable) -> None:
        self.pid_one, self.table = found.pid_one, table
        self._first_pid, self._command = found.state.pid, " ".join(found.command)
        self.listened = False
        self.kills: list[SentSigkill] = []
        self.doubtful_ns: list[int] = []
        self._health_checked = found.state.checks_health
        self._before: _Look | None = None
        self._at_signal: _Look | None = None
        self._late: _Look | None = None
        self._signal_ns: int | None = None

    def look(self) -> None:
        """While no stop is known to be under way."""
        self._before = self._taken() or self._before

    def look_at_signal(self, signal_ns: int) -> None:
        """A stop signal was heard of, which the engine had sent then."""
        if self._signal_ns is None:
            # Who leaves at once is gone before an engine answers. Without a look before, this one has to tell all.
            self._signal_ns, self._at_signal = signal_ns, self._taken(at_once=self._before is not None)

    def look_late(self) -> None:
        """A while after it."""
        self._late = self._taken() or self._late

    def go_on(self) -> None:
        """The signal was none of a stop, after all."""
        self._signal_ns = self._at_signal = self._late = None

    def knows(self, pid: int) -> bool:
        """Whether a process of this pid was seen in the container."""
        return pid == self._first_pid or any(pid in look.inner for look in self._looks())

    def looks(self) -> Looks:
        """As an observation has them."""
        return Looks(
            before=self._shown(self._before or self._at_signal),
            after_signal=self._shown(self._at_signal),
            late=self._shown(self._late),
        )

    def _shown(self, look: _Look | None) -> Table | None:
        if look is None or self.listened or not self._health_checked:
            return look.table if look is not None else None
        # Where the kernel does not tell who is killed, the table has to decide: without a health check's processes.
        return listed_processes.below_pid_one(look.table, self._first_pid)

    def looked_ns(self) -> int | None:
        """How old the look was that stands for the moment before the stop; see `Watched.looked_ns`."""
        if self._before is None:
            return None if self._at_signal is None else 0
        return max(0, (self._signal_ns or time.monotonic_ns()) - self._before.at_ns)

    def lost(self, begun_ns: int, gone_ns: int | None) -> tuple[str, ...] | None:
        """Who was SIGKILLed since the stop began; None where that is in doubt. `gone_ns`: when PID 1 exited."""
        if any(at_ns >= begun_ns for at_ns in self.doubtful_ns):
            return None
        return tuple(self._label(sent, gone_ns) for sent in self._since(begun_ns))

    def fates(self, begun_ns: int, stop_signal: int, exit_code: int | None) -> tuple[ProcessFate, ...] | None:
        """PID 1, whom SIGKILL struck, and who else was there at the last look, whose end nobody told; None where they
        are too many to be kept."""
        look = next(iter(self._looks()), None)
        struck = {sent.target: sent for sent in self._since(begun_ns)}
        alone = len(struck) == 1
        first = look.table[0].command if look is not None else self._command
        found = [ProcessFate(_name(first), first, 1, 0, self._first_pid, 0, exit_code=exit_code)]
        commands = {row.pid: row.command for row in look.table} if look is not None else {}
        for row in look.table if look is not None else ():
            if row.pid == self._first_pid or row.state == "Z":
                continue
            assert look is not None
            sent = struck.pop(row.pid, None)
            # Until it calls exec it is its parent's copy: then the kernel's name is that of what it became.
            copy = sent is not None and row.command == commands.get(row.parent_pid)
            found.append(
                ProcessFate(
                    name=sent.name if sent else _name(row.command),
                    command=sent.name if sent and copy else row.command,
                    pid=look.inner.get(row.pid),
                    parent_pid=look.inner.get(row.parent_pid, 0),
                    host_pid=row.pid,
                    exit_signal=signals.SIGKILL if sent else None,
                    by_teardown=sent is not None and self._by_teardown(sent),
                    handling=row.disposition(stop_signal),
                    state=row.state,
                    waits_in=row.waits_in,
                )
            )
        found += [self._newborn(sent, alone=alone) for sent in struck.values()]
        return tuple(found) if len(found) <= MOST_FATES else None

    def _newborn(self, sent: SentSigkill, *, alone: bool) -> ProcessFate:
        """One that no look has seen. What a loop starts again and again has the place of the one before it. `alone`:
        nobody else was left when PID 1 exited, so that PID 1 was its parent."""
        alike = [
            (row, look)
            for look in self._looks()
            for row in look.table
            if process_tree.program(row) == sent.name and row.pid != self._first_pid
        ]
        row, look = alike[0] if alike else (None, None)
        parent_pid = 1 if alone and self._by_teardown(sent) else None
        if row is not None and look is not None:
            parent_pid = look.inner.get(row.parent_pid)
        return ProcessFate(
            name=sent.name,
            command=row.command if row else "",
            parent_pid=parent_pid,
            host_pid=sent.target,
            exit_signal=signals.SIGKILL,
            by_teardown=self._by_teardown(sent),
        )

    def _since(self, begun_ns: int) -> list[SentSigkill]:
        """The SIGKILLs of the stop, without those of a health check, which is nobody's loss."""
        # What PID 1 takes along is of its end, whenever the engine came to its stamp.
        of_stop = (sent for sent in reversed(self.kills) if self._by_teardown(sent) or sent.at_ns >= begun_ns)
        found = {sent.target: sent for sent in of_stop}
        outside = self._from_outside() if self._health_checked else frozenset()
        return sorted((it for it in found.values() if it.target not in outside), key=lambda it: it.at_ns)

    def _from_outside(self) -> frozenset[int]:
        look = next(iter(self._looks()), None)
        if look is None:
            return frozenset()
        tree, first = Tree(look.table), Tree(look.table).pid1
        below = {row.pid for row in tree.descendants(first)} if first else set()
        return frozenset(row.pid for row in look.table if row.pid not in below and row is not first)

    def _by_teardown(self, sent: SentSigkill) -> bool:
        return sent.by_kernel and sent.sender == self._first_pid

    def _label(self, sent: SentSigkill, gone_ns: int | None) -> str:
        inner = next((look.inner[sent.target] for look in self._looks() if sent.target in look.inner), None)
        text = f"{sent.name} ({f'PID {inner}' if inner is not None else f'host PID {sent.target}'})"
        if self._by_teardown(sent) or gone_ns is None:
            return text
        return f"{text}, {KILLED_FROM_INSIDE} {max(0, gone_ns - sent.at_ns) // NS_PER_MS} ms before PID 1 exited"

    def _looks(self) -> list[_Look]:
        """The newest first."""
        return [look for look in (self._late, self._at_signal, self._before) if look is not None]

    def _taken(self, *, at_once: bool = False) -> _Look | None:
        at_ns = time.monotonic_ns()
        found = self.table.read(at_once=at_once)
        if found is None:
            return None
        table, inner = found
        return _Look(at_ns, table, inner if self.pid_one is None else {**inner, self._first_pid: 1})


def _name(command: str) -> str:
    return command.split(" ", 1)[0].rpartition("/")[2][:NAME_LENGTH]
