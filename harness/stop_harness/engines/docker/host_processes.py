"""A container's processes read from /proc, where the engine is this machine's.

An engine may be "local" and run in another machine or PID namespace all the same (Docker Desktop): what /proc says
counts only where it agrees with the engine.
"""

from __future__ import annotations

from dataclasses import replace

from stop_harness.linux import at_work, listening, proc
from stop_harness.model import ProcessInfo
from stop_harness.records import dataclass

_SWITCHES = "voluntary_ctxt_switches"


@dataclass(frozen=True)
class PidOne:
    """The first process of a container. `pid` is the host's, `started` in clock ticks: a pid alone may be reused."""

    pid: int
    started: str
    container_id: str = ""

    @classmethod
    def of(cls, pid: int, container_id: str) -> PidOne | None:
        """None where it is gone, /proc is not that of the machine that runs the container, or the kernel does not list
        children (CONFIG_PROC_CHILDREN)."""
        fields = proc.stat_of(pid)
        if not fields or not proc.lists_children():
            return None
        return cls(pid, fields[19], container_id) if proc.is_first_process_of(pid, container_id) else None

    def lives(self) -> bool:
        """Whether it has not exited yet."""
        return self._is(proc.stat_of(self.pid))

    def _is(self, fields: list[str]) -> bool:
        return bool(fields) and fields[0] not in {"Z", "X"} and fields[19] == self.started

    def shows_waits(self) -> bool:
        """Whether we are told what its processes wait for; False as well once it is gone."""
        return proc.shows_waits(self.pid)

    def listening(self) -> frozenset[int] | None:
        """Where the container listens; None where that cannot be told."""
        return listening.ports(self.pid, proc.living([self.pid]))

    def table(self, *, without_waits: bool = False) -> tuple[ProcessInfo, ...] | None:
        """What the engine's `top` prints, at a fraction of its cost: that starts a `ps`, which reads all of /proc.

        The processes below PID 1, PID 1 first, and those that `docker exec` started. None once PID 1 is gone, and where
        we are not told what it waits for: the engine's `ps` is. `without_waits`: then a table that does not say it.
        """
        found = self.numbered_table(without_waits=without_waits)
        return None if found is None else found[0]

    def numbered_table(self, *, without_waits: bool = False) -> tuple[tuple[ProcessInfo, ...], dict[int, int]] | None:
        """The same, and the pid that each has inside the container, by its pid here."""
        if not self.lives() or not (without_waits or self.shows_waits()):
            return None
        try:
            first = proc.status_of(self.pid)
            shared = not proc.is_pid_one(first)
            others = proc.members(self.container_id, self.pid) if shared else proc.entered(self.pid, first)
        except OSError:
            return None
        found, inner = [], dict[int, int]()
        for pid in proc.living([self.pid, *others]):
            status = proc.status_of(pid)
            row = _row(pid, status)
            if row is not None:
                found.append(row)
                inner.update((pid, number) for number in proc.namespace_pids(status)[-1:])
        return (tuple(found), inner) if self.lives() else None


def _row(pid: int, status: dict[str, str]) -> ProcessInfo | None:
    """As `ps` prints it; None once it is gone."""
    try:
        waits_in = proc.text_of(pid, "wchan")
        command = proc.text_of(pid, "cmdline").rstrip("\0").replace("\0", " ")
        waiting = proc.waiting(pid, waits_in)
        return ProcessInfo(
            pid=pid,
            parent_pid=int(status["PPid"]),
            command=command or f"[{status['Name']}]",
            caught=int(status["SigCgt"], 16),
            ignored=int(status["SigIgn"], 16),
            blocked=int(status["SigBlk"], 16),
            pending=int(status["ShdPnd"], 16),
            state=status["State"][:1],
            waits_in="" if waits_in == "0" else waits_in,
            threads=int(status["Threads"]),
            switches=int(status[_SWITCHES]),
            cpu_ns=proc.cpu_ns(proc.stat_of(pid)),
            locked_threads=waiting.locked_threads,
            lock=waiting.lock,
            polling_threads=waiting.polling_threads,
            is_pid1=proc.is_pid_one(status),
        )
    except (KeyError, ValueError):
        return None


def with_clients(processes: tuple[ProcessInfo, ...]) -> tuple[ProcessInfo, ...]:
    """The same processes with the clients that each has, of the first of very many. `pid` must be the host's."""
    found = at_work.clients([process.pid for process in processes[: at_work.MOST_LOOKED_AT]])
    return tuple(replace(process, clients=found.get(process.pid)) for process in processes)


def with_progress(processes: tuple[ProcessInfo, ...]) -> tuple[ProcessInfo, ...]:
    """The same processes with what /proc knows beside: whether they move. `pid` must be the host's. A process counts
    only if /proc names its parent and its masks as the engine does."""
    return tuple(map(_with_progress, processes))


def _with_progress(process: ProcessInfo) -> ProcessInfo:
    status = proc.status_of(process.pid)
    try:
        if int(status["PPid"]) != process.parent_pid or int(status["SigIgn"], 16) != process.ignored:
            return process
        switches = int(status[_SWITCHES])
    except (KeyError, ValueError):
        return process
    waiting = proc.waiting(process.pid)
    cpu_ns = proc.cpu_ns(proc.stat_of(process.pid))
    return replace(
        process,
        switches=switches,
        cpu_ns=cpu_ns,
        locked_threads=waiting.locked_threads,
        lock=waiting.lock,
        polling_threads=waiting.polling_threads,
        is_pid1=proc.is_pid_one(status),
    )
