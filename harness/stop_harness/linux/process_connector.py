"""The kernel's process events of this machine, for the containers that are followed; see `linux/silent_kills.py`.

One listener for a whole run; each container is known by the host pid of its PID 1.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import threading
import time

from stop_harness.linux import at_work, proc
from stop_harness.linux.process_events import ACKNOWLEDGED, BATCH, ProcessEvent, ProcessEventSocket
from stop_harness.linux.silent_kills import FollowedProcess, KillWatch, Watches
from stop_harness.model import NS_PER_MS

IDLE_NAP_S = 0.02
"""Between two reads while no container is watched."""
ALONE_NAP_S = 0.002
"""The same while the containers that are watched have no process but PID 1: there is nobody whose end must be seen at
once. Each wake-up costs as much as twenty events."""
SIGTERM_BIT = 1 << (signal.SIGTERM - 1)
"""Who handles it decides himself what becomes of his connections: those of the others alone are looked at."""
MOST_LOOKS = 8
MOST_LAG_NS = 100 * NS_PER_MS
"""What was lost this long ago can no longer be found out by a look."""


class ProcessConnector(Watches):
    """Listens in a thread from its making to `close`. Raises OSError where the kernel does not allow it."""

    def __init__(self) -> None:
        super().__init__()
        self._listener = ProcessEventSocket()
        self._unnamed: set[int] = set()
        self._next_sequence: dict[int, int] = {}
        self._woken, self._wake = os.pipe()
        self._thread = threading.Thread(target=self._listen, name="process connector", daemon=True)
        self._thread.start()

    def watch(self, pid_one: int, *, container_id: str = "", jobs: bool = True) -> KillWatch | None:
        """See `Watches.watch`."""
        if container_id and not proc.is_first_process_of(pid_one, container_id):
            return None
        # Not the first process of a namespace of its own: its exit would take nobody with it. Where a container shares
        # one, the engine's helper ends what is left of it.
        status = proc.status_of(pid_one)
        numbers = proc.namespace_pids(status)
        if not numbers or ((len(numbers) < 2 or numbers[-1] != 1) and not container_id):
            return None
        watch = self._begin(pid_one, len(numbers) - 1)
        _read(watch.first, status, watch.depth)
        try:
            # One look may miss what is started while it lasts; a look that finds nobody new proves that all are known.
            for _ in range(MOST_LOOKS):
                if not self._take_in(watch, proc.living(proc.roots(pid_one, jobs, container_id))):
                    return self._looked_at(watch)
        except OSError:
            self.drop(watch)
            return None
        watch.complete = False  # it starts processes faster than we look
        return watch

    def _looked_at(self, watch: KillWatch) -> KillWatch:
        """All are known. Now what each of them is doing."""
        with self._changed:
            watch.looked_ns = time.monotonic_ns()
            pids = list(watch.processes)
            deaf = frozenset(pid for pid, it in watch.processes.items() if it.masks and not it.masks[0] & SIGTERM_BIT)
        if 0 < len(pids) <= at_work.MOST_LOOKED_AT:
            watch.work = at_work.look([watch.pid_one, *pids], deaf)
        return watch

    def close(self) -> None:
        """End the thread. Idempotent."""
        if not self._thread.is_alive() and self._wake < 0:
            return
        os.close(self._wake)
        self._wake = -1
        self._thread.join(timeout=2)
        self._listener.close()
        os.close(self._woken)

    # Before the stop: who is there

    def _take_in(self, watch: KillWatch, pids: list[int]) -> int:
        """Add the living processes that are not known yet, and return how many there were.

        Those that a known one starts are added by its fork event; so once a look finds nobody new, nobody is missing.
        """
        new = 0
        for pid in pids:
            with self._changed:
                if pid in self._owner:
                    continue  # added by its fork event, or at an earlier look
                process = self._add(watch, pid, f"a process (host PID {pid})", time.monotonic_ns())
            # Read after it was added: if it still lives now, its exit event is yet to come.
            status = proc.status_of(pid)
            with self._changed:
                if proc.is_dead(status):  # its exit may have been told before it was known
                    watch.processes.pop(pid, None)
                    self._owner.pop(pid, None)
                    watch.count -= 1
                    if process in watch.kept:
                        watch.kept.remove(process)
                else:
                    _read(process, status, watch.depth)
                    new += 1
        return new

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
                # ENOBUFS: events were dropped, and the socket goes on. Any other error ends the listening for good.
                self._miss(broken=error.errno != errno.ENOBUFS)
                if error.errno != errno.ENOBUFS:
                    return
                continue
            with self._changed:
                for event in events:
                    self._take(event)
                self._name()
                self._changed.notify_all()
            if len(events) < BATCH:  # the queue is empty; a full batch means that more is waiting
                self._nap()

    def _nap(self) -> None:
        """Let events gather where nothing depends on seeing them at once."""
        with self._changed:
            nap_s = ALONE_NAP_S if self._watches else IDLE_NAP_S
            crowded = any(watch.processes for watch in self._watches)
        if not crowded:
            select.select([self._woken], [], [], nap_s)  # not a sleep: `close` wakes it

    def _take(self, event: ProcessEvent) -> None:
        if event.what == ACKNOWLEDGED:  # somebody began to listen; it carries his number
            return
        # The kernel numbers the events of each CPU by itself, so that a gap shows on which one some were lost.
        if event.sequence != self._next_sequence.get(event.cpu, event.sequence):
            self._catch_up(event)
        self._next_sequence[event.cpu] = (event.sequence + 1) & 0xFFFFFFFF
        self._apply(event)

    def _catch_up(self, event: ProcessEvent) -> None:
        """A few events were lost, short of memory: seen three times a minute with four fork loops on two CPUs.

        The child of a lost fork is found now, or by its exit. A lost exit leaves a process without an end, and that
        watch without an answer.
        """
        if time.monotonic_ns() - event.at_ns > MOST_LAG_NS:  # whoever was born and died in the gap is out of sight
            self._miss()
            return
        for watch in set(self._owner.values()):
            self._take_in(watch, proc.living([watch.pid_one, *watch.processes]))

    def _left_unnamed(self, pid: int) -> None:
        self._unnamed.add(pid)

    def _is_leaving(self, pid_one: int, event: ProcessEvent) -> bool:
        return proc.is_leaving(pid_one)

    def _name(self) -> None:
        """Read names and inner pids of what is new, after a whole batch: most short-lived ones are gone by then."""
        for pid in self._unnamed:
            watch = self._owner.get(pid)
            # A killed one keeps the name that it had: its pid may belong to somebody else by now.
            if watch is not None and pid in watch.processes and pid not in watch.killed:
                status = proc.status_of(pid)
                if not proc.is_dead(status):
                    _read(watch.processes[pid], status, watch.depth)
        self._unnamed.clear()


def _read(process: FollowedProcess, status: dict[str, str], depth: int) -> None:
    """What /proc says of a living process, whose `status` this is."""
    process.label = proc.label(status, depth)
    process.inner = proc.namespace_pids(status)[depth]
    process.parent = process.parent or int(status["PPid"])
    process.threaded = process.threaded or status["Threads"] != "1"
    # Programs undo their handlers when they leave, as Python does: of one that was there when the stop began, what it
    # handled then is what counts.
    if process.newborn or process.masks is None:
        process.masks = (int(status["SigCgt"], 16), int(status["SigIgn"], 16), int(status["SigBlk"], 16))
    process.command = proc.text_of(process.pid, "cmdline").rstrip("\0").replace("\0", " ")
