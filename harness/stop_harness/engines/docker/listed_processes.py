"""The process table as the engine's API prints it, and what it lets one suspect where the kernel cannot be asked."""

from __future__ import annotations

import time
from dataclasses import field, replace
from typing import Any

from stop_harness.evidence import process_tree
from stop_harness.evidence.process_tree import Reaction, Tree
from stop_harness.linux import at_work
from stop_harness.model import NS_PER_S, Clock, Event, EventKind, ProcessInfo
from stop_harness.records import dataclass

PS_COLUMNS = "pid,ppid,nlwp,blocked,ignored,caught,pending,stat,wchan:32,args"
"""For the engine's `ps` (procps). The last one may hold spaces, the others never do."""

JUST_BEFORE_NS = NS_PER_S
"""An older look says nothing about who was there when PID 1 exited."""

Table = tuple[ProcessInfo, ...]


@dataclass
class TablesSeen:
    """The tables of one container, each with when it was seen, CLOCK_MONOTONIC in ns. `cpu_before`: at the last of
    them, when each process was asked for its CPU time, and that."""

    tables: list[tuple[int, Table]] = field(default_factory=list)
    cpu_before: dict[int, tuple[int, int]] = field(default_factory=dict)

    def add(self, seen: Table, *, here: bool) -> None:
        """One more. `here`: its processes are this machine's, by their pids."""
        self.tables.append((time.monotonic_ns(), seen))
        if here and 1 < len(seen) <= at_work.MOST_LOOKED_AT:
            self.cpu_before = at_work.cpu_times([row.pid for row in seen])

    def suspected(self, timeline: list[Event], signal: int | None) -> tuple[str, ...]:
        """Who was probably still at work when PID 1 exited: where nobody could look into the kernel."""
        ours = {event.kind: event.at_ns for event in timeline if event.clock is Clock.HARNESS}
        sent_ns, left_ns = ours.get(EventKind.STOP_REQUESTED), ours.get(EventKind.STOP_RETURNED)
        if sent_ns is None or left_ns is None or signal is None:
            return ()
        return suspected(self.tables, signal, sent_ns, left_ns)


def table(answer: dict[str, Any]) -> Table | None:
    """Rows of `top`, PID 1 first; None where they cannot be understood. Podman gives each row as one string, and its
    table holds the `ps` that printed it."""
    processes = []
    for row in answer.get("Processes") or ():
        words = row if len(row) > 1 else str(row[0]).split(None, PS_COLUMNS.count(","))
        try:
            pid, parent, threads = (int(word) for word in words[0:3])
            blocked, ignored, caught, pending = (int(word, 16) for word in words[3:7])
            state, waits_in, command = (str(word) for word in words[7:])
        except (ValueError, IndexError):
            return None
        if PS_COLUMNS in command:
            continue
        waits_in = "" if waits_in in {"-", "0"} else waits_in
        processes.append(
            ProcessInfo(pid, parent, command, caught, ignored, blocked, pending, state[:1], waits_in, threads)
        )
    return tuple(processes) or None


def below_pid_one(processes: Table, pid_one: int) -> Table:
    """Without what was started from outside, as a health check is. `pid_one` is the host's; Podman's table has the
    container's pids."""
    pid1 = next((process for process in processes if process.pid in {1, pid_one}), None)
    return processes if pid1 is None else (pid1, *Tree(processes).descendants(pid1))


def with_first(processes: Table, first: int) -> Table:
    """The table of a container that shares its PID namespace: its first process stands first, and is not PID 1."""
    ordered = sorted(processes, key=lambda process: process.pid != first)
    return tuple(replace(process, is_pid1=False) if process.is_pid1 is None else process for process in ordered)


def suspected(looks: list[tuple[int, Table]], signal: int, sent_ns: int, left_ns: int) -> tuple[str, ...]:
    """Who was probably still at work when PID 1 exited, by the last look before that; times CLOCK_MONOTONIC in ns.

    Three signs: its parent dies of the stop signal, and nobody waits for it then; that has just happened; or it is
    still there after the signal although it does not handle it, so nobody has passed it on.
    """
    before = [(at_ns, processes) for at_ns, processes in looks if at_ns <= left_ns]
    if not before or before[-1][0] < left_ns - JUST_BEFORE_NS:
        return ()
    at_ns, processes = before[-1]
    tree = Tree(processes)
    pid_one = tree.pid1
    if pid_one is None:
        return ()
    parents_before = {process.pid: process.parent_pid for process in before[0][1]}
    found = []
    for process in tree.descendants(pid_one):
        parent = next(other for other in processes if other.pid == process.parent_pid)
        deserted = parent is not pid_one and process_tree.reaction(parent, signal) is Reaction.DEFAULT
        orphan = parent is pid_one and parents_before.get(process.pid, pid_one.pid) != pid_one.pid
        deaf = process_tree.reaction(process, signal) in {Reaction.DEFAULT, Reaction.IGNORED}
        if deserted or orphan or (deaf and at_ns > sent_ns):
            where = "PID" if pid_one.pid == 1 else "PID on the host"
            found.append(f"{process_tree.program(process)} ({where} {process.pid})")
    return tuple(found)
