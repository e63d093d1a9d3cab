"""How every process of a container ended while it stopped: the bookkeeping from the kernel's process events to an
answer.

Where the events come from is another matter: `linux/process_connector.py` listens on this machine,
`engines/docker/witness.py` is told by a container of ours on the engine's. Pids are those of the engine's machine
unless said otherwise, times its CLOCK_MONOTONIC in ns, and compared only with one another.
"""

from __future__ import annotations

import signal
import threading

from stop_harness.linux.at_work import Work
from stop_harness.linux.process_events import EXECUTED, EXITED, FORKED, NAMED, ProcessEvent
from stop_harness.model import NS_PER_MS
from stop_harness.records import dataclass

EXIT_PATIENCE_S = 2.0
"""From the end of the stop until every exit is on record; measured below 1 ms, the rest is for a busy machine."""
UNREAD = "a command of "
"""Begins the name of a process that was gone before anybody could read which program it had become."""
MOST_KEPT = 500
"""Processes whose ends are kept of one container, those that live when the stop begins before others."""
MOST_PROCESSES = 20_000
"""Kept of one container. One that starts more during its stop is not followed any further."""


class FollowedProcess:
    """A process of a watched container. `parent` is None where nobody told. `threaded`: it has, or had, more than one
    thread. `masks`: of caught, ignored and blocked signals, None where nobody looked. `end_ns` and `status`: its exit
    and wait status, None while it lives. `newborn`: it did not live yet when the container was first looked at."""

    __slots__ = (
        "command", "end_ns", "ended", "inner", "label", "masks", "newborn", "parent", "pid", "since_ns", "status",
        "threaded",
    )  # fmt: skip

    def __init__(self, pid: int, parent: int | None, label: str, since_ns: int, *, newborn: bool) -> None:
        self.pid, self.parent, self.label, self.since_ns, self.newborn = pid, parent, label, since_ns, newborn
        self.threaded = self.ended = False
        self.inner: int | None = None
        self.masks: tuple[int, int, int] | None = None
        self.command = ""
        self.end_ns: int | None = None
        self.status: int | None = None

    @property
    def name(self) -> str:
        """The label without its pid."""
        return self.label.rpartition(" (")[0]


@dataclass(frozen=True)
class _Killed:
    """A process that SIGKILL ended. `within`: PID 1 was seen still at work after that, so it was not the teardown."""

    label: str
    at_ns: int
    within: bool


class KillWatch:
    """One container during its stop. Filled by the listening thread; ask it once the stop is over.

    `depth`: how many PID namespaces lie above the container's. `first`: PID 1. `kept`: the others, at most `MOST_KEPT`
    of the `count` that there were. `looked_ns`: when all of them were known, None before; who comes later is newborn.
    `work`: what they were doing then, by pid. `cpu_before`: when a look before that was taken, and the CPU time of each
    until then.
    """

    def __init__(self, watches: Watches, pid_one: int, depth: int) -> None:
        self._watches, self.pid_one, self.depth = watches, pid_one, depth
        self.processes: dict[int, FollowedProcess] = {}
        self.first = FollowedProcess(pid_one, None, "PID 1 (PID 1)", 0, newborn=False)
        self.kept: list[FollowedProcess] = []
        self.count = 0
        self.looked_ns: int | None = None
        self.cpu_before: dict[int, tuple[int, int]] = {}
        self.work: dict[int, Work] = {}
        self.killed: dict[int, _Killed] = {}
        self.pid_one_left_ns: int | None = None
        self.complete = True

    def over(self) -> bool:
        """Whether every exit is on record, or never will be. PID 1 exits last: the kernel makes it wait."""
        living = any(not process.ended for process in self.processes.values())
        return not self.complete or (self.pid_one_left_ns is not None and not living)

    def lost(self) -> tuple[str, ...] | None:
        """Who was SIGKILLed, PID 1 aside, earliest first; None where events are missing. Ends the watch."""
        return self._watches.finish(self)

    def abandon(self) -> None:
        """End the watch without an answer."""
        self._watches.drop(self)

    def labels(self) -> tuple[str, ...]:
        """`python3 (PID 7)` for each process that was killed; the text says so if it was not PID 1's exit."""
        assert self.pid_one_left_ns is not None
        labels = []
        for killed in sorted(self.killed.values(), key=lambda killed: killed.at_ns):
            before_ms = (self.pid_one_left_ns - killed.at_ns) // NS_PER_MS
            how = f", by another process of the container {before_ms} ms before PID 1 exited" if killed.within else ""
            labels.append(killed.label + how)
        return tuple(labels)


class Watches:
    """All containers that are followed at a time. A source of events derives from it; its thread holds `_changed` while
    it takes events, and notifies afterwards."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._owner: dict[int, KillWatch] = {}
        self._watches: set[KillWatch] = set()
        self._broken = False

    def watch(self, pid_one: int, *, container_id: str = "", jobs: bool = True) -> KillWatch | None:
        """Follow the container whose PID 1 has this pid, from now to the end of its stop. None: it is gone, is not the
        first process of a PID namespace on that machine, or not that of the container that is named.

        `jobs`: whether what was started from outside (`docker exec`) counts, too; a health check must not.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Listen no longer. Idempotent."""
        raise NotImplementedError

    def finish(self, watch: KillWatch) -> tuple[str, ...] | None:
        """See `KillWatch.lost`."""
        self._settle()
        with self._changed:
            self._changed.wait_for(watch.over, timeout=EXIT_PATIENCE_S)
            complete = watch.over() and watch.complete
        self.drop(watch)
        return watch.labels() if complete else None

    def drop(self, watch: KillWatch) -> None:
        """Follow a container no longer."""
        with self._changed:
            self._watches.discard(watch)
            self._owner = {pid: owner for pid, owner in self._owner.items() if owner is not watch}

    # What a source of events knows better

    def _settle(self) -> None:
        """Wait until everything that has happened so far has been told, where that can be asked for."""

    def _left_unnamed(self, pid: int) -> None:
        """A process is new, or may have another name now."""

    def _is_leaving(self, pid_one: int, event: ProcessEvent) -> bool:
        """Whether PID 1 had begun to exit when this exit was read."""
        raise NotImplementedError

    # What both do with events

    def _begin(self, pid_one: int, depth: int) -> KillWatch:
        watch = KillWatch(self, pid_one, depth)
        with self._changed:
            watch.complete = not self._broken
            self._owner[pid_one] = watch
            self._watches.add(watch)
        return watch

    def _add(
        self, watch: KillWatch, pid: int, label: str, since_ns: int, *, parent: int | None = None
    ) -> FollowedProcess:
        process = FollowedProcess(pid, parent, label, since_ns, newborn=watch.looked_ns is not None)
        watch.count += 1
        if len(watch.kept) < MOST_KEPT:
            watch.kept.append(process)
        if len(watch.processes) >= MOST_PROCESSES:
            watch.complete = False
        else:
            watch.processes[pid] = process
            self._owner[pid] = watch
            self._left_unnamed(pid)
        return process

    def _miss(self, *, broken: bool = False) -> None:
        """Events were dropped: nothing is proved about the stops in flight. `broken`: nor about any later one."""
        with self._changed:
            self._broken = self._broken or broken
            for watch in self._owner.values():
                watch.complete = False
            self._changed.notify_all()

    def _apply(self, event: ProcessEvent) -> None:
        if event.what == EXITED:
            # One whose parent is known belongs to it, even if the event of its fork was lost.
            watch = self._owner.get(event.numbers[1]) or self._owner.get(event.numbers[5])
            if watch is not None:
                self._exited(watch, event)
        elif event.what == FORKED:
            watch = self._owner.get(event.numbers[1])
            if watch is not None:
                self._forked(watch, event)
        elif event.what in {EXECUTED, NAMED} and event.numbers[1] in self._owner:
            self._changed_program(self._owner[event.numbers[1]], event)

    def _forked(self, watch: KillWatch, event: ProcessEvent) -> None:
        """A new process, or a new thread, which carries its process's number."""
        _, parent, thread, child = event.numbers[:4]
        known = watch.processes.get(child)
        if thread == child and child not in self._owner:
            before = watch.first if parent == watch.pid_one else watch.processes.get(parent)
            name = before.name if before else "a process"
            process = self._add(watch, child, f"{name} (host PID {child})", event.at_ns, parent=parent)
            if before is not None:  # until it calls exec, it is its parent's copy
                process.masks, process.command = before.masks, before.command
        elif thread != child and known is not None:
            known.threaded = True

    def _changed_program(self, watch: KillWatch, event: ProcessEvent) -> None:
        """It is another program now, or has another name, which has to be read before it is gone."""
        pid = event.numbers[1]
        process = watch.processes.get(pid)
        # On a busy machine an event may come long after it happened: what was read since then is newer than the event.
        if process is not None and event.at_ns < process.since_ns:
            return
        if event.what == EXECUTED and process is not None and not process.name.startswith(UNREAD):
            process.label, process.command, process.masks = f"{UNREAD}{process.name} (host PID {pid})", "", None
        self._left_unnamed(pid)

    def _exited(self, watch: KillWatch, event: ProcessEvent) -> None:
        """The end of a process, or of one of its threads: SIGKILL ends all of them with the same status.

        The first thread may leave before the others do, or another one may take its place in exec: so a process with
        threads is kept to the end.
        """
        thread, pid, status = event.numbers[:3]
        if pid == watch.pid_one:
            if thread == pid:
                watch.pid_one_left_ns = event.at_ns
                watch.first.end_ns, watch.first.status = event.at_ns, status
            return
        process = watch.processes.get(pid) or self._add(watch, pid, f"a process (host PID {pid})", event.at_ns)
        if event.at_ns < process.since_ns:
            return  # an earlier process that had this pid
        process.ended = process.ended or thread == pid
        if thread == pid or status & 0x7F:  # what ends a whole process ends each of its threads with the same status
            process.end_ns, process.status = event.at_ns, status
        if status & 0x7F == signal.SIGKILL:
            if pid not in watch.killed:
                watch.killed[pid] = _Killed(process.label, event.at_ns, not self._is_leaving(watch.pid_one, event))
        elif not process.threaded:
            watch.processes.pop(pid, None)
            self._owner.pop(pid, None)
