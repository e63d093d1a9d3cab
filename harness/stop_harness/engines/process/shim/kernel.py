"""What the shim asks of Linux: namespaces, /proc, and the exit status of processes that are not its children.

Standard library only and imported by `engines/process/shim/main.py` in its own process. Importing it works
everywhere; calling it works on Linux. Pids are the host's unless said otherwise, times CLOCK_MONOTONIC in ns.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import signal
import struct
import time

TYPE_CHECKING = False  # the typing module costs 3 ms of each start
if TYPE_CHECKING:
    from typing import Any

NS_PER_MS = 1_000_000

MOST_WITNESSED = 200
"""Processes watched by pidfd; a usual limit of open files is 1024. With more we cannot say what was lost."""

# <linux/sched.h>, <sys/mount.h>, <linux/prctl.h>, <linux/sockios.h>, <linux/pidfd.h> (since 6.13; EXIT since 6.15)
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x20000, 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 2, 4, 8, 16384, 1 << 18
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
PIDFD_GET_INFO, PIDFD_INFO_EXIT, PIDFD_INFO_BYTES = 0xC040FF0B, 1 << 3, 64
PF_EXITING = 4  # <linux/sched.h>, the flags field of /proc/PID/stat


# ── The kernel's calls that Python 3.11 lacks ────────────────────────────────────────────────────────────────────────


def libc_call(name: str, *arguments: object) -> None:
    """Call a libc function that returns -1 on failure; raises OSError then."""
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)


def kill_when_parent_dies() -> None:
    """SIGKILL for the caller once its parent is gone. Lost when a program changes its user id: prctl(2)."""
    libc_call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL)


def adopt_orphans() -> None:
    """Make the caller the parent of its descendants' orphans, so that none escapes."""
    libc_call("prctl", PR_SET_CHILD_SUBREAPER, 1)


def enter_namespaces(network: bool) -> bool:
    """New PID namespace for the next child and, if asked, a network namespace with `lo` up for both.

    Without the right to do so (no root, or root without CAP_SYS_ADMIN) within a new user namespace that keeps the ids;
    returns whether that was needed.
    """
    unprivileged = False
    flags = CLONE_NEWPID | (CLONE_NEWNET if network else 0)
    try:
        libc_call("unshare", flags)
    except PermissionError:
        unprivileged = True
        user, group = os.geteuid(), os.getegid()
        libc_call("unshare", flags | CLONE_NEWUSER)
        # setgroups must be denied before an unprivileged process may write gid_map: user_namespaces(7).
        for name, content in (
            ("setgroups", "deny"),
            ("uid_map", f"{user} {user} 1"),
            ("gid_map", f"{group} {group} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(content)
    if network:
        import socket

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", IFF_UP))
    return unprivileged


def mount_proc() -> None:
    """A /proc of the new PID namespace, in a mount namespace of the caller's own."""
    libc_call("unshare", CLONE_NEWNS)
    libc_call("mount", b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None)
    libc_call("mount", b"proc", b"/proc", b"proc", ctypes.c_ulong(MS_NOSUID | MS_NODEV | MS_NOEXEC), None)


def enter_mounts_of(pid: int) -> None:
    """The mount namespace of another process, with its /proc; the working directory becomes the root."""
    mounts = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY)
    libc_call("setns", mounts, CLONE_NEWNS)
    os.close(mounts)


def exit_status_of(pidfd: int) -> int | None:
    """The wait status of a reaped process that is not our child; None where the kernel is older than 6.15."""
    info = bytearray(PIDFD_INFO_BYTES)
    struct.pack_into("Q", info, 0, PIDFD_INFO_EXIT)
    try:
        fcntl.ioctl(pidfd, PIDFD_GET_INFO, info)
    except OSError:
        return None
    has_exit = struct.unpack_from("Q", info)[0] & PIDFD_INFO_EXIT
    return int(struct.unpack_from("i", info, PIDFD_INFO_BYTES - 4)[0]) if has_exit else None


# ── Reading /proc ────────────────────────────────────────────────────────────────────────────────────────────────────


def descendants_of(pid: int) -> list[int]:
    """Host pids of all descendants, parents first. Raises FileNotFoundError where the kernel does not list children."""
    found: list[int] = []
    parents = [pid]
    if not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
        raise FileNotFoundError(errno.ENOENT, "the kernel does not list children (CONFIG_PROC_CHILDREN)")
    while parents:
        parent = parents.pop(0)
        children = [child for thread in threads_of(parent) for child in children_of(parent, thread)]
        found += children
        parents += children
    return found


def threads_of(pid: int) -> list[str]:
    """Thread ids; empty once the process is gone."""
    try:
        return os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []


def children_of(pid: int, thread: str) -> list[int]:
    """Children that this thread forked or adopted; empty once it is gone."""
    try:
        with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def status_of(path: str) -> dict[str, str]:
    """The lines of a /proc/…/status; empty once the process is gone."""
    try:
        with open(f"{path}/status", errors="replace") as file:
            return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    except OSError:
        return {}


def process_row(pid: int) -> dict[str, Any] | None:
    """One row of the process table, None if it is gone or a zombie. A signal counts as blocked if all threads block it:
    the kernel gives a process's signal to any thread that does not. Source: signal(7)."""
    status = status_of(f"/proc/{pid}")
    if not status or status["State"].startswith(("Z", "X")):
        return None
    blocked = int(status["SigBlk"], 16)
    for thread in threads_of(pid):
        mask = status_of(f"/proc/{pid}/task/{thread}").get("SigBlk")
        blocked &= int(mask, 16) if mask else blocked
    waits_in = text_of(f"/proc/{pid}/wchan")
    return {
        "host_pid": pid,
        "host_parent": int(status["PPid"]),
        "pid": int(status.get("NSpid", str(pid)).split()[-1]),
        "command": text_of(f"/proc/{pid}/cmdline").rstrip("\0").replace("\0", " ") or f"[{status['Name']}]",
        "caught": int(status["SigCgt"], 16),
        "ignored": int(status["SigIgn"], 16),
        "blocked": blocked,
        "pending": int(status["ShdPnd"], 16),
        "state": status["State"][0],
        "waits_in": "" if waits_in == "0" else waits_in,
        "threads": int(status["Threads"]),
        "switches": int(status["voluntary_ctxt_switches"]),
        **progress_of(pid),
    }


def progress_of(pid: int) -> dict[str, int | None]:
    """CPU time so far, threads that wait for a lock without a time limit, and the lock of the main thread: all as
    `ProcessInfo` has them."""
    fields = text_of(f"/proc/{pid}/stat").rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12]) if fields else None  # utime and stime
    threads = threads_of(pid)
    found: dict[str, int | None] = {
        "cpu_ns": None if ticks is None else ticks * (1000 * NS_PER_MS // os.sysconf("SC_CLK_TCK")),
        "locked_threads": None,
        "lock": None,
    }
    if len(threads) <= MOST_WITNESSED:
        locks = {thread: lock_of(f"/proc/{pid}/task/{thread}") for thread in threads}
        if None not in locks.values():
            found |= {"locked_threads": sum(map(bool, locks.values())), "lock": locks.get(str(pid), 0)}
    return found


def lock_of(thread: str) -> int | None:
    """The address of the lock for which a thread waits without a time limit, the fourth argument of futex(2); 0 for
    none, None where we may not read that."""
    words = text_of(f"{thread}/syscall").split()
    if not words:
        return None
    if not text_of(f"{thread}/wchan").startswith("futex") or len(words) < 5:
        return 0
    return int(words[1], 16) if int(words[4], 16) == 0 else 0


def text_of(path: str) -> str:
    """A small file of /proc; empty where it cannot be read."""
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def process_table(pid_one: int, parent: int) -> list[dict[str, Any]] | None:
    """A row for each process of the subject, PID 1 first; None where it cannot be read or `parent` has reaped PID 1."""
    try:
        rows = [row for row in map(process_row, [pid_one, *descendants_of(pid_one)]) if row]
    except OSError:
        return None
    return rows if rows and rows[0]["host_parent"] == parent else None


def label_of(pid: int) -> str | None:
    """`python3 (PID 7)`, the PID as inside the namespace; None if it is gone or a zombie."""
    status = status_of(f"/proc/{pid}")
    if not status or status["State"].startswith(("Z", "X")):
        return None
    return f"{status['Name']} (PID {status.get('NSpid', str(pid)).split()[-1]})"


# ── Who was lost ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Witnessed:
    """One other process of the namespace, `row` as it was seen first, at `seen_ns`. `gone_ns`: when it was first seen
    gone while PID 1 still lived."""

    def __init__(self, label: str, pidfd: int, row: dict[str, Any], *, newborn: bool) -> None:
        self.label, self.pidfd, self.row, self.newborn = label, pidfd, row, newborn
        self.seen_ns = time.monotonic_ns()
        self.gone_ns: int | None = None

    def fate(self, status: int | None, exited_ns: int) -> dict[str, Any]:
        """What became of it, times before the end of PID 1. Who was there at the last look ended with it, or later."""
        end_ns = None if status is None else max(0, exited_ns - (self.gone_ns or exited_ns))
        born_ns = exited_ns - self.seen_ns if self.newborn else None
        return {"row": self.row, "name": self.label.rpartition(" (")[0], "status": status, "born_ns": born_ns} | {
            "end_ns": end_ns,
            "with_pid_one": self.gone_ns is None,
        }


class NamespaceWitness:
    """Remembers the other processes of a PID namespace by pidfd, to tell which of them were SIGKILLed.

    When PID 1 exits, the kernel SIGKILLs the rest of its namespace (pid_namespaces(7)), and a pidfd that was opened
    before tells each one's exit status afterwards. A process that was born after the last look is not seen.
    """

    def __init__(self, pid_one: int) -> None:
        self.pid_one = pid_one
        self.all: list[Witnessed] = []
        self.living: dict[int, Witnessed] = {}
        self.unsure = False
        self.first: dict[str, Any] | None = None
        self.fates: list[dict[str, Any]] = []

    def look(self) -> None:
        """Take in who lives now. Costs about 0.1 ms and 0.1 ms more per process."""
        # Once PID 1 exits the kernel kills the others, and one that is gone now would look as if it had been killed
        # from within.
        if self._pid_one_is_leaving():
            return
        now = time.monotonic_ns()
        for pid, seen in list(self.living.items()):
            if select.select([seen.pidfd], [], [], 0)[0]:  # readable: it has ended
                seen.gone_ns = now
                del self.living[pid]
        try:
            pids = descendants_of(self.pid_one)
        except OSError:
            self.unsure = True
            return
        newborn, self.first = self.first is not None, self.first or process_row(self.pid_one)
        for pid in pids:
            self._see(pid, newborn)

    def _see(self, pid: int, newborn: bool) -> None:
        if pid in self.living:
            self.living[pid].label = label_of(pid) or self.living[pid].label  # it may have called exec meanwhile
            return
        if len(self.all) >= MOST_WITNESSED:
            self.unsure = True
            return
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        except OSError:
            self.unsure = True
            return
        label, row = label_of(pid), process_row(pid)
        if label is None or row is None:
            os.close(pidfd)
            return
        self.living[pid] = Witnessed(label, pidfd, row, newborn=newborn)
        self.all.append(self.living[pid])

    def _pid_one_is_leaving(self) -> bool:
        """Whether the teardown has begun: who is gone from now on has not exited by itself."""
        try:
            with open(f"/proc/{self.pid_one}/stat", "rb") as file:
                return bool(int(file.read().rpartition(b")")[2].split()[6]) & PF_EXITING)
        except OSError:
            return True

    def lost(self, exited_ns: int) -> tuple[list[str] | None, list[str]]:
        """Once PID 1 is gone: who was SIGKILLed, None where that cannot be proved either way, and who is suspected.

        One that was gone at a look before was killed by a process of the container; its text says so. Suspected is who
        was there at the last look and whose end the kernel does not tell.
        """
        lost: list[str] = []
        suspected: list[str] = []
        for seen in self.all:
            status = exit_status_of(seen.pidfd)
            self.fates.append(seen.fate(status, exited_ns))
            if status is None and seen.gone_ns is None:
                suspected.append(seen.label)
            elif status is not None and status & 0x7F == signal.SIGKILL and seen.gone_ns is None:
                lost.append(seen.label)
            elif status is not None and status & 0x7F == signal.SIGKILL and seen.gone_ns is not None:
                before_ms = (exited_ns - seen.gone_ns) // NS_PER_MS
                lost.append(f"{seen.label}, by another process of the container {before_ms} ms before PID 1 exited")
            os.close(seen.pidfd)
        self.all.clear()
        # One proved loss is an answer. "Nobody was lost" is one only if everybody was seen and told how they ended.
        known = lost or not (self.unsure or suspected)
        return (lost if known else None), suspected
