"""Reading /proc of this machine: status, children, PID namespaces. Pids are the host's unless said otherwise.

What is gone reads as empty, or as None where that is a value of its own; only `roots` and `namespace_of` raise.
Everybody may read `status`, `stat`, `cgroup`, `cmdline`, `task/*/children` and `net` of any process; `ns` only of those
that he might trace, and of all others `wchan` reads "0" (proc(5)).
"""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import re
import stat
from collections.abc import Iterable
from functools import cache

from stop_harness.records import dataclass

PIECE_BYTES = 1 << 14

PF_EXITING = 4  # <linux/sched.h>, the flags field of /proc/PID/stat


SHIM = "containerd-shim"
"""Begins the name of the helper that containerd gives each container: the parent of PID 1 and of what `docker exec`
starts."""


def is_first_process_of(pid: int, container_id: str) -> bool:
    """Whether a process of which an engine says that it is the first of that container is that, on this machine.

    It is PID 1 of a PID namespace, unless the container shares that of others. Engines name the cgroup after the
    container, with cgroup v1 and v2, cgroupfs and systemd; where there are no cgroups (rootless, v1) the command line
    of its parent names it: containerd's shim, or conmon.
    """
    status = status_of(pid)
    if not container_id or not status:
        return False
    return container_id in text_of(pid, "cgroup") or container_id in text_of(_parent(status), "cmdline")


def is_pid_one(status: dict[str, str]) -> bool | None:
    """Whether a process is PID 1 of the PID namespace that it is in itself; None where that is not told."""
    numbers = namespace_pids(status)
    return numbers[-1] == 1 if numbers else None


def shows_waits(pid: int) -> bool:
    """Whether we are told in which kernel function a process sleeps; else `wchan` reads "0" as if it did not sleep."""
    try:
        os.stat(f"/proc/{pid}/ns/pid")
    except OSError:
        return False
    return True


def roots(pid_one: int, jobs: bool, container_id: str = "") -> list[int]:
    """PID 1, and with `jobs` what was started from outside in its PID namespace, except for the engine's own helper.
    Raises OSError where that cannot be read.

    In a PID namespace that containers share, everything that is in the container in any case: what loses its parent
    there goes to the PID 1 of all of them, and cannot be told from what was started from outside.
    """
    if not is_pid_one(status_of(pid_one)):
        return list(dict.fromkeys([pid_one, *members(container_id, pid_one)]))
    if not jobs:
        return [pid_one]
    try:
        namespace = namespace_of(pid_one)
        inside = {pid: status_of(pid) for pid in all_pids() if namespace_of(pid) == namespace}
    except PermissionError:
        inside = _inside(pid_one, container_id)
    from_outside = (pid for pid, status in inside.items() if _parent(status) not in inside and pid != pid_one)
    return [pid_one, *(pid for pid in from_outside if not inside[pid].get("Name", "").startswith("runc:["))]


def _inside(pid_one: int, container_id: str) -> dict[int, dict[str, str]]:
    """Who is in a container, for those who may not read namespaces: below its shim, or in a cgroup that is named after
    it, and deeper in PID namespaces than the shim. Raises PermissionError where neither tells."""
    status = status_of(pid_one)
    shim, depth = _parent(status), len(namespace_pids(status))
    if status_of(shim).get("Name", "").startswith(SHIM):
        found = living([shim])
    elif container_id and container_id in text_of(pid_one, "cgroup"):
        found = [pid for pid in all_pids() if container_id in text_of(pid, "cgroup")]
    else:
        raise PermissionError(errno.EACCES, "the processes of the container cannot be told from others")
    statuses = {pid: status_of(pid) for pid in found}
    return {pid: status for pid, status in statuses.items() if len(namespace_pids(status)) >= depth}


def members(container_id: str, first: int) -> list[int]:
    """Every process in a cgroup that is named after a container, and as deep in PID namespaces as its first process:
    Podman names that of its own helper after it, too. Raises PermissionError where there is none."""
    least = len(namespace_pids(status_of(first)))
    named = [pid for pid in all_pids() if container_id and container_id in text_of(pid, "cgroup")]
    found = [pid for pid in named if len(namespace_pids(status_of(pid))) >= least]
    if not found:
        raise PermissionError(errno.EACCES, "the processes of the container cannot be told from others")
    return found


def entered(pid_one: int, status: dict[str, str]) -> list[int]:
    """What `docker exec` started: beside PID 1, whose `status` this is, below its shim, and as deep in PID namespaces
    as it is.

    The shim did not start them itself. What loses its parent goes to the first thread of its reaper that lives
    (find_new_reaper, kernel/exit.c), which is the one that the shim began with; it has a dozen others.
    """
    shim, depth = _parent(status), len(namespace_pids(status))
    if not text_of(shim, "comm").startswith(SHIM):
        return []
    below = map(int, text_of(shim, f"task/{shim}/children").split())
    return [pid for pid in below if pid != pid_one and len(namespace_pids(status_of(pid))) == depth]


def all_pids() -> list[int]:
    """Of every process that /proc shows."""
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _parent(status: dict[str, str]) -> int:
    return int(status.get("PPid", "0"))


def living(roots: list[int]) -> list[int]:
    """These and all below them, also those in PID namespaces of their own."""
    tree = dict.fromkeys(roots)
    unseen = list(tree)
    while unseen:
        children = [child for child in children_of(unseen.pop()) if child not in tree]
        tree.update(dict.fromkeys(children))
        unseen += children
    return list(tree)


def namespace_of(pid: int) -> int | None:
    """The number of a process's PID namespace; None once it is gone, or where it has more rights than we have and is in
    no other namespace than ours. Raises PermissionError where it may be in any."""
    try:
        return os.stat(f"/proc/{pid}/ns/pid").st_ino
    except (FileNotFoundError, ProcessLookupError):
        return None
    except PermissionError:
        if len(namespace_pids(status_of(pid))) > 1:
            raise
        return None


@cache
def lists_children() -> bool:
    """Whether this kernel does (CONFIG_PROC_CHILDREN)."""
    return os.path.exists("/proc/thread-self/children")


def children_of(pid: int) -> list[int]:
    """Children of all threads; empty once it is gone."""
    children: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            children += [int(word) for word in _read(f"/proc/{pid}/task/{thread}/children").split()]
    return children


STATUS_FIELDS = (
    *("Name", "State", "PPid", "NSpid", "Threads", "ShdPnd", "SigBlk", "SigIgn", "SigCgt"),
    "voluntary_ctxt_switches",
)
_STATUS_LINE = re.compile(rf"^({'|'.join(STATUS_FIELDS)}):\t(.*)$", re.MULTILINE)
"""A sixth of the lines, in half of the time: a look reads this file several times for each process."""


def status_of(pid: int) -> dict[str, str]:
    """The lines of /proc/PID/status that anybody asks for, `STATUS_FIELDS`; empty once the process is gone."""
    return dict(_STATUS_LINE.findall(text_of(pid, "status")))


def stat_of(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third, the state, on; empty once the process is gone. See proc(5)."""
    return text_of(pid, "stat").rpartition(")")[2].split()


def cpu_ns(fields: list[str]) -> int | None:
    """CPU time of all threads so far, of the fields that `stat_of` returns; None once the process is gone."""
    if len(fields) < 13:
        return None
    ticks = int(fields[11]) + int(fields[12])  # utime and stime
    return ticks * (1_000_000_000 // os.sysconf("SC_CLK_TCK"))


MOST_THREADS = 256
"""Of a process with more threads than this nobody reads what each of them waits for: it would hold up the stop."""


@dataclass(frozen=True)
class Waiting:
    """What the threads of a process wait for without a time limit. None: not known, as there are too many threads, or
    as we may not read what they wait for.

    `locked_threads`: how many for a lock. The fourth argument of futex(2) is the time limit; whoever has none stays
    until another thread wakes it. `lock`: the address of the lock for which the main thread does; 0 for none.
    `polling_threads`: how many for descriptors by which nobody outside the process could wake them; 0 where it holds
    any other: a socket, a terminal, a FIFO, a timer, a watched folder.
    """

    locked_threads: int | None = None
    lock: int | None = None
    polling_threads: int | None = None


def waiting(pid: int, main_waits_in: str | None = None) -> Waiting:
    """Of a process; nothing is known of one that is gone. `main_waits_in`: the kernel function in which its main thread
    sleeps, where that was read already."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
        if len(threads) > MOST_THREADS:
            return Waiting()
        calls = {thread: _read(f"/proc/{pid}/task/{thread}/syscall").split() for thread in threads}
        known = {str(pid): main_waits_in}
        locks = {
            thread: _lock(f"/proc/{pid}/task/{thread}", words, known.get(thread)) for thread, words in calls.items()
        }
    except (OSError, ValueError, IndexError):
        return Waiting()
    return Waiting(sum(lock != 0 for lock in locks.values()), locks.get(str(pid), 0), _polling(pid, calls.values()))


def _lock(thread: str, words: list[bytes], waits_in: str | None) -> int:
    """The address of the lock for which a thread waits without a time limit; 0 for none. Raises OSError."""
    waits_in = _read(f"{thread}/wchan").decode() if waits_in is None else waits_in
    if not waits_in.startswith("futex") or len(words) < 5:
        return 0
    return int(words[1], 16) if int(words[4], 16) == 0 else 0


_LIMITS = {
    "x86_64": {7: 3, 271: 3, 23: 5, 270: 5, 232: 4, 281: 4},  # poll, ppoll, select, pselect6, epoll_wait, epoll_pwait
    "aarch64": {73: 3, 72: 5, 22: 4},  # ppoll, pselect6, epoll_pwait
}.get(platform.machine())
"""Which argument of a system call that waits for descriptors is its time limit. None: not known of this machine."""

_NO_LIMIT = frozenset({0, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF})
"""A null pointer, or -1 ms. Of poll(2) and epoll_wait(2) 0 ms is no wait, in which nobody is found asleep."""


def _polling(pid: int, calls: Iterable[list[bytes]]) -> int | None:
    if _LIMITS is None:
        return None
    try:
        polling = sum(_polls(words, _LIMITS) for words in calls)
        held = os.listdir(f"/proc/{pid}/fd") if polling else []
        return polling if all(_is_own(f"/proc/{pid}/fd/{each}") for each in held) else 0
    except (OSError, ValueError, IndexError):
        return None


def _polls(words: list[bytes], limits: dict[int, int]) -> bool:
    at = limits.get(int(words[0])) if len(words) > 5 else None
    return at is not None and int(words[at], 16) in _NO_LIMIT


def _is_own(descriptor: str) -> bool:
    """Whether nobody outside is at its other end, as far as its kind tells; pipes count as the process's own."""
    target, mode = os.readlink(descriptor), os.stat(descriptor).st_mode
    if target.startswith("pipe:"):
        return True
    if target.startswith("anon_inode:"):
        return target in {"anon_inode:[eventfd]", "anon_inode:[eventpoll]"}
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode) or target in {"/dev/null", "/dev/urandom", "/dev/random"}


def is_own_container(container_id: str) -> bool:
    """Whether this process runs in that container: the engine mounts files there from the folder that it has of it."""
    return is_in_container(container_id, text_of(os.getpid(), "mountinfo"))


def is_in_container(container_id: str, mounts: str) -> bool:
    """The same of a process with these mounts (proc_pid_mountinfo(5)). Outside, the engine's own mounts may name it,
    too, but not as the root of one of these files."""
    rows = (line.split() for line in mounts.splitlines())
    return any(len(row) > 4 and row[4] in FILES_BY_ENGINE and container_id in row[3] for row in rows)


FILES_BY_ENGINE = frozenset({"/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/run/.containerenv"})
"""What an engine mounts into every container. Measured with Docker 20.10; Podman has the last one beside."""


def text_of(pid: int, name: str) -> str:
    """A small file below /proc/PID; empty where it cannot be read."""
    try:
        return _read(f"/proc/{pid}/{name}").decode(errors="replace")
    except OSError:
        return ""


def _read(path: str) -> bytes:
    """All of a file. Raises OSError. A look reads dozens of them: open() takes four times as long (measured)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces = []
        while piece := os.read(descriptor, PIECE_BYTES):
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        os.close(descriptor)


def is_dead(status: dict[str, str]) -> bool:
    """Whether /proc/PID/status is that of a zombie, or of nobody."""
    return status.get("State", "X").startswith(("Z", "X")) or "Threads" not in status


def namespace_pids(status: dict[str, str]) -> list[int]:
    """The pid in each PID namespace that the process belongs to, the host's first."""
    return [int(word) for word in status.get("NSpid", "").split()]


def label(status: dict[str, str], depth: int) -> str:
    """`python3 (PID 7)`, the pid as inside the container."""
    return f"{status['Name']} (PID {namespace_pids(status)[depth]})"


def is_leaving(pid: int) -> bool:
    """Whether a process has begun to exit; True once it is gone."""
    fields = stat_of(pid)
    return not fields or bool(int(fields[6]) & PF_EXITING)
