"""Whether processes of this machine are at work right now: CPU time, what they sleep in, connections that they hold.

Linux; pids are the host's. What may not be read is not known: connections need the rights of ptrace(2), the rest none.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time

from stop_harness.linux import proc
from stop_harness.records import dataclass

MOST_LOOKED_AT = 200
"""Processes of one container; 0.1 ms each."""
MOST_THREADS = 64
"""Whose CPU time is added up. A program with more of them shows in these whether it is at work."""
MOST_FILES = 1_000
"""Looked through in one process for its connections, 3 µs each."""

ESTABLISHED, LISTENING = "01", "0A"
"""The states of /proc/net/tcp: <net/tcp_states.h>."""

LOWEST_CHOSEN_PORT = 32768
"""Of those that connect(2) chooses from in a new network namespace: net.ipv4.ip_local_port_range, ip(7)."""

CONNECTED = "03"
"""Of /proc/net/unix: SS_CONNECTED, <linux/net.h>."""


SHELL_PROGRAMS = frozenset({"sh", "dash", "bash", "busybox", "ash", "ksh", "mksh", "zsh"})
SCRIPT_FILES = (255, 10)
MOST_SCRIPT_BYTES = 1 << 16
ENDLESS_LOOP = re.compile(
    rb"(?:^|[\s;{(])(?:while\s+(?::|true|sleep\b|\[\s+1\s+\])|until\s+false\b|for\s*\(\(\s*;\s*;\s*\)\))"
)

NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Work:
    """One process at `at_ns`, CLOCK_MONOTONIC. `cpu_ns`: CPU time of all its threads so far. `group`: process group.
    The rest as in `ProcessFate`."""

    at_ns: int
    state: str
    waits_in: str
    group: int | None
    cpu_ns: int | None
    served: int | None
    opened: int | None
    loops: bool | None = None


def look(pids: list[int], connected: frozenset[int] = frozenset()) -> dict[int, Work]:
    """All of these that live. Connections are looked for in those that are in `connected`; they share a network
    namespace, which the first of `pids` shows."""
    stats = {pid: fields for pid in pids if (fields := proc.stat_of(pid))}
    sockets = {pid: _sockets(pid) for pid in {*connected, *(int(stats[pid][1]) for pid in connected & stats.keys())}}
    # A child that was forked has its parent's open files: those connections are the parent's.
    owned = {
        pid: None if sockets[pid] is None else (sockets[pid] or NOTHING) - (sockets[int(stats[pid][1])] or NOTHING)
        for pid in connected & stats.keys()
    }
    # The kernel walks through its whole table of connections for this, which takes 10 to 20 ms a file.
    served, opened = _connections(pids[0]) if any(owned.values()) else (NOTHING, NOTHING)
    found = {}
    for pid, fields in stats.items():
        own = owned.get(pid)
        waits_in = proc.text_of(pid, "wchan")
        found[pid] = Work(
            at_ns=time.monotonic_ns(),
            state=fields[0],
            waits_in="" if waits_in == "0" else waits_in,
            group=int(fields[2]),
            cpu_ns=cpu_ns(pid),
            served=None if own is None else len(own & served),
            opened=None if own is None else len(own & opened),
            loops=_loops(pid) if pid in owned else None,
        )
    return found


def _loops(pid: int) -> bool | None:
    """Whether the script that a shell runs from a file has a loop without end; None where it runs none that we may
    read. Shells keep it open: bash as 255, dash and busybox as 10."""
    try:
        if os.path.basename(os.readlink(f"/proc/{pid}/exe")) not in SHELL_PROGRAMS:
            return None
    except OSError:
        return None
    for number in SCRIPT_FILES:
        with contextlib.suppress(OSError):
            opened = os.open(f"/proc/{pid}/fd/{number}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
            try:
                if stat.S_ISREG(os.fstat(opened).st_mode):
                    return bool(ENDLESS_LOOP.search(os.pread(opened, MOST_SCRIPT_BYTES, 0)))
            finally:
                os.close(opened)
    return None


def clients(pids: list[int]) -> dict[int, int]:
    """How many connections that others have opened each of these holds and its parent does not; those whose files may
    not be read are left out. All share a network namespace, which the first of them shows."""
    stats = {pid: fields for pid in pids if (fields := proc.stat_of(pid))}
    sockets = {pid: found for pid in stats if (found := _sockets(pid)) is not None}
    if not any(sockets.values()):
        return dict.fromkeys(sockets, 0)
    accepted = _accepted(pids[0])
    return {pid: len((own & accepted) - sockets.get(int(stats[pid][1]), NOTHING)) for pid, own in sockets.items()}


def cpu_ns(pid: int) -> int | None:
    """CPU time of a process so far, to the nanosecond; None where the kernel does not say (CONFIG_SCHED_INFO)."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")[:MOST_THREADS]
        return sum(int(proc.text_of(pid, f"task/{thread}/schedstat").split()[0]) for thread in threads)
    except (OSError, IndexError, ValueError):
        return None


def cpu_times(pids: list[int]) -> dict[int, tuple[int, int]]:
    """When each was asked for, CLOCK_MONOTONIC, and its CPU time so far."""
    found = {pid: (time.monotonic_ns(), cpu_ns(pid)) for pid in pids}
    return {pid: (at_ns, used_ns) for pid, (at_ns, used_ns) in found.items() if used_ns is not None}


def _sockets(pid: int) -> frozenset[str] | None:
    """The inode numbers of a process's sockets; None where we may not look."""
    found = set()
    try:
        with os.scandir(f"/proc/{pid}/fd") as files:
            for _, file in zip(range(MOST_FILES), files, strict=False):
                with contextlib.suppress(OSError):
                    target = os.readlink(file.path)
                    if target.startswith("socket:["):
                        found.add(target[8:-1])
    except OSError:
        return None
    return frozenset(found)


def _accepted(pid: int) -> frozenset[str]:
    """Inode numbers of the connections in a process's network namespace that others have opened.

    A server that stops may listen no more: then the port tells, which is below those that connect(2) chooses from. A
    Unix socket that was accepted has the path of the one that listens.
    """
    served, others = _tcp(pid)
    accepted = {inode for inode, _ in served} | {inode for inode, port in others if port < LOWEST_CHOSEN_PORT}
    rows = [line.split() for line in proc.text_of(pid, "net/unix").splitlines()[1:]]
    accepted |= {row[6] for row in rows if len(row) > 7 and row[3] == "00000000" and row[5] == CONNECTED}
    return frozenset(accepted)


def _connections(pid: int) -> tuple[frozenset[str], frozenset[str]]:
    """Inode numbers of the established TCP connections in a process's network namespace: those accepted at a port where
    somebody listens there, and all others."""
    served, others = _tcp(pid)
    return frozenset(inode for inode, _ in served), frozenset(inode for inode, _ in others)


def _tcp(pid: int) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """(inode number, own port) of the same connections."""
    rows = [line.split() for name in ("net/tcp", "net/tcp6") for line in proc.text_of(pid, name).splitlines()[1:]]
    listening = {row[1].rpartition(":")[2] for row in rows if row[3] == LISTENING}
    served: list[tuple[str, int]] = []
    others: list[tuple[str, int]] = []
    for row in rows:
        port = row[1].rpartition(":")[2]
        if row[3] == ESTABLISHED:
            (served if port in listening else others).append((row[9], int(port, 16)))
    return served, others
