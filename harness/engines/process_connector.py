"""Who was SIGKILLed while a container stopped: the kernel's process events of its processes, kept during the stop.

One listener for a whole run; each container is known by the host pid of its PID 1. Pids are the host's unless said
otherwise, times CLOCK_MONOTONIC in ns.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import threading
import time
from dataclasses import dataclass

from harness.engines import process_files
from harness.engines.process_events import ACKNOWLEDGED, BATCH, EXECUTED, EXITED, FORKED, NAMED, Listener, ProcessEvent
from harness.model import NS_PER_MS

IDLE_NAP_S = 0.02
"""Between two reads while no container is watched."""
ALONE_NAP_S = 0.002
"""The same while the containers that are watched have no process but PID 1: there is nobody whose end must be seen at
once. Each wake-up costs as much as twenty events."""
EXIT_PATIENCE_S = 2.0
"""From the end of the stop until every exit is on record; measured below 1 ms, the rest is for a busy machine."""
MOST_PROCESSES = 20_000
"""Kept of one container. One that starts more during its stop is not followed any further."""
MOST_LOOKS = 8
MOST_LAG_NS = 100 * NS_PER_MS
"""What was lost this long ago can no longer be found out by a look."""


class _Process:
    """A living process of a watched container. `threaded`: it has, or had, more than one thread."""

    __slots__ = ("ended", "label", "since_ns", "threaded")

    def __init__(self, label: str, since_ns: int) -> None:
        self.label, self.since_ns = label, since_ns
        self.threaded = self.ended = False


@dataclass(frozen=True)
class _Killed:
    """A process that SIGKILL ended. `within`: PID 1 was seen still at work after that, so it was not the teardown."""

    label: str
    at_ns: int
    within: bool


class Watch:
    """One container during its stop. Filled by the connector's thread; ask it once the stop is over."""

    def __init__(self, connector: ProcessConnector, pid_one: int, depth: int) -> None:
        self._connector, self.pid_one, self.depth = connector, pid_one, depth
        self.processes: dict[int, _Process] = {}
        self.killed: dict[int, _Killed] = {}
        self.pid_one_left_ns: int | None = None
        self.complete = True

    def over(self) -> bool:
        """Whether every exit is on record, or never will be. PID 1 leaves last: the kernel makes it wait."""
        living = any(not process.ended for process in self.processes.values())
        return not self.complete or (self.pid_one_left_ns is not None and not living)

    def lost(self) -> tuple[str, ...] | None:
        """Who was SIGKILLed, PID 1 aside, earliest first; None where events are missing. Ends the watch."""
        return self._connector.finish(self)

    def abandon(self) -> None:
        """End the watch without an answer."""
        self._connector.drop(self)

    def labels(self) -> tuple[str, ...]:
        """`python3 (PID 7)` for each process that was killed; the text says so if it was not PID 1's leaving."""
        assert self.pid_one_left_ns is not None
        labels = []
        for killed in sorted(self.killed.values(), key=lambda killed: killed.at_ns):
            before_ms = (self.pid_one_left_ns - killed.at_ns) // NS_PER_MS
            how = f", by another process of the container {before_ms} ms before PID 1 left" if killed.within else ""
            labels.append(killed.label + how)
        return tuple(labels)


class ProcessConnector:
    """Listens in a thread from its making to `close`. Raises OSError where the kernel does not allow it."""

    def __init__(self) -> None:
        self._listener = Listener()
        self._changed = threading.Condition()
        self._owner: dict[int, Watch] = {}
        self._watches: set[Watch] = set()
        self._unnamed: set[int] = set()
        self._next_sequence: dict[int, int] = {}
        self._broken = False
        self._woken, self._wake = os.pipe()
        self._thread = threading.Thread(target=self._listen, name="process connector", daemon=True)
        self._thread.start()

    def watch(self, pid_one: int, *, container_id: str = "", jobs: bool = True) -> Watch | None:
        """Follow the container whose PID 1 has this host pid, from now to the end of its stop. None: it is gone, is not
        the first process of a PID namespace on this machine, or not that of the container that is named.

        `jobs`: whether what was started from outside (`docker exec`) counts, too; a health check must not.
        """
        if container_id and not process_files.is_first_process_of(pid_one, container_id):
            return None
        numbers = process_files.namespace_pids(process_files.status_of(pid_one))
        if len(numbers) < 2 or numbers[-1] != 1:
            return None
        watch = Watch(self, pid_one, len(numbers) - 1)
        with self._changed:
            watch.complete = not self._broken
            self._owner[pid_one] = watch
            self._watches.add(watch)
        try:
            for _ in range(MOST_LOOKS):
                if not self._take_in(watch, process_files.living(process_files.roots(pid_one, jobs, container_id))):
                    return watch
        except OSError:
            self.drop(watch)
            return None
        watch.complete = False  # it starts processes faster than we look
        return watch

    def finish(self, watch: Watch) -> tuple[str, ...] | None:
        """See `Watch.lost`."""
        with self._changed:
            self._changed.wait_for(watch.over, timeout=EXIT_PATIENCE_S)
            complete = watch.over() and watch.complete
        self.drop(watch)
        return watch.labels() if complete else None

    def close(self) -> None:
        """End the thread. Idempotent."""
        if not self._thread.is_alive() and self._wake < 0:
            return
        os.close(self._wake)
        self._wake = -1
        self._thread.join(timeout=2)
        self._listener.close()
        os.close(self._woken)

    def drop(self, watch: Watch) -> None:
        """Follow a container no longer."""
        with self._changed:
            self._watches.discard(watch)
            self._owner = {pid: owner for pid, owner in self._owner.items() if owner is not watch}

    # Before the stop: who is there

    def _take_in(self, watch: Watch, pids: list[int]) -> int:
        """Add the living processes that are not known yet, and return how many there were.

        Those that a known one starts are added by its fork event; so once a look finds nobody new, nobody is missing.
        """
        new = 0
        for pid in pids:
            with self._changed:
                if pid in self._owner:
                    continue
                process = self._add(watch, pid, f"a process (host PID {pid})", time.monotonic_ns())
            # Read after it was added: if it still lives now, its exit event is yet to come.
            status = process_files.status_of(pid)
            with self._changed:
                if process_files.is_dead(status):
                    watch.processes.pop(pid, None)
                    self._owner.pop(pid, None)
                else:
                    process.label = process_files.label(status, watch.depth)
                    process.threaded = status["Threads"] != "1"
                    new += 1
        return new

    def _add(self, watch: Watch, pid: int, label: str, since_ns: int) -> _Process:
        process = _Process(label, since_ns)
        if len(watch.processes) >= MOST_PROCESSES:
            watch.complete = False
        else:
            self._unnamed.add(pid)
            watch.processes[pid] = process
            self._owner[pid] = watch
        return process

    # During the stop: what happens

    def _listen(self) -> None:
        with contextlib.suppress(OSError):  # to see what PID 1 does 0.1 ms after a kill, not 1 ms (measured)
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        poll = select.poll()
        for end in (self._woken, self._listener.fileno()):
            poll.register(end, select.POLLIN)
        while not any(end == self._woken for end, _ in poll.poll()):
            try:
                events = self._listener.read()
            except OSError as error:
                self._miss(broken=error.errno != errno.ENOBUFS)
                if error.errno != errno.ENOBUFS:
                    return
                continue
            with self._changed:
                for event in events:
                    self._take(event)
                self._name()
                self._changed.notify_all()
            if len(events) < BATCH:
                self._nap()

    def _nap(self) -> None:
        """Let events gather where nothing depends on seeing them at once."""
        with self._changed:
            nap_s = ALONE_NAP_S if self._watches else IDLE_NAP_S
            crowded = any(watch.processes for watch in self._watches)
        if not crowded:
            time.sleep(nap_s)

    def _miss(self, *, broken: bool = False) -> None:
        """Events were dropped: nothing is proved about the stops in flight."""
        with self._changed:
            self._broken = self._broken or broken
            for watch in self._owner.values():
                watch.complete = False
            self._changed.notify_all()

    def _take(self, event: ProcessEvent) -> None:
        if event.what == ACKNOWLEDGED:  # somebody began to listen; it carries his number
            return
        if event.sequence != self._next_sequence.get(event.cpu, event.sequence):
            self._catch_up(event)
        self._next_sequence[event.cpu] = (event.sequence + 1) & 0xFFFFFFFF
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
            self._unnamed.add(event.numbers[1])

    def _catch_up(self, event: ProcessEvent) -> None:
        """A few events were lost, short of memory: seen three times a minute with four fork loops on two CPUs.

        The child of a lost fork is found now, or by its exit. A lost exit leaves a process without an end, and that
        watch without an answer.
        """
        if time.monotonic_ns() - event.at_ns > MOST_LAG_NS:
            self._miss()
            return
        for watch in set(self._owner.values()):
            self._take_in(watch, process_files.living([watch.pid_one, *watch.processes]))

    def _forked(self, watch: Watch, event: ProcessEvent) -> None:
        """A new process, or a new thread, which carries its process's number."""
        _, parent, thread, child = event.numbers[:4]
        known = watch.processes.get(child)
        if thread == child and child not in self._owner:
            before = watch.processes.get(parent)
            name = before.label.rpartition(" (")[0] if before else "a process"
            self._add(watch, child, f"{name} (host PID {child})", event.at_ns)
        elif thread != child and known is not None:
            known.threaded = True

    def _exited(self, watch: Watch, event: ProcessEvent) -> None:
        """The end of a process, or of one of its threads: SIGKILL ends all of them with the same status.

        The first thread may leave before the others do, or another one may take its place in exec: so a process with
        threads is kept to the end.
        """
        thread, pid, status = event.numbers[:3]
        if pid == watch.pid_one:
            if thread == pid:
                watch.pid_one_left_ns = event.at_ns
            return
        process = watch.processes.get(pid) or self._add(watch, pid, f"a process (host PID {pid})", event.at_ns)
        if event.at_ns < process.since_ns:
            return  # an earlier process that had this pid
        process.ended = process.ended or thread == pid
        if status & 0x7F == signal.SIGKILL:
            if pid not in watch.killed:
                watch.killed[pid] = _Killed(process.label, event.at_ns, not process_files.is_leaving(watch.pid_one))
        elif not process.threaded:
            watch.processes.pop(pid, None)
            self._owner.pop(pid, None)

    def _name(self) -> None:
        """Read names and inner pids of what is new, after a whole batch: most short-lived ones are gone by then."""
        for pid in self._unnamed:
            watch = self._owner.get(pid)
            if watch is not None and pid in watch.processes and pid not in watch.killed:
                status = process_files.status_of(pid)
                if not process_files.is_dead(status):
                    watch.processes[pid].label = process_files.label(status, watch.depth)
        self._unnamed.clear()
