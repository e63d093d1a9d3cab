"""Reading /proc of this machine: status, children, PID namespaces. Pids are the host's unless said otherwise.

What is gone reads as empty, or as None where that is a value of its own; only `roots` and `namespace` raise.
"""

from __future__ import annotations

import contextlib
import os

PF_EXITING = 4  # <linux/sched.h>, the flags field of /proc/PID/stat


def roots(pid_one: int, jobs: bool) -> list[int]:
    """PID 1, and with `jobs` what was started from outside in its PID namespace, except for the engine's own helper.
    Raises OSError where that cannot be read."""
    if not jobs:
        return [pid_one]
    namespace = namespace_of(pid_one)
    pids = (int(name) for name in os.listdir("/proc") if name.isdecimal())
    inside = {pid: status_of(pid) for pid in pids if namespace_of(pid) == namespace}
    from_outside = (pid for pid, status in inside.items() if int(status.get("PPid", "0")) not in inside)
    return [pid_one, *(pid for pid in from_outside if not inside[pid].get("Name", "").startswith("runc:["))]


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


def lists_children() -> bool:
    """Whether this kernel does (CONFIG_PROC_CHILDREN)."""
    return os.path.exists("/proc/thread-self/children")


def children_of(pid: int) -> list[int]:
    """Children of all threads; empty once it is gone."""
    children: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                children += [int(word) for word in file.read().split()]
    return children


def status_of(pid: int) -> dict[str, str]:
    """The lines of /proc/PID/status; empty once the process is gone."""
    try:
        with open(f"/proc/{pid}/status", errors="replace") as file:
            return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    except OSError:
        return {}


def stat_of(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third, the state, on; empty once the process is gone. See proc(5)."""
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


def text_of(pid: int, name: str) -> str:
    """A small file below /proc/PID; empty where it cannot be read."""
    try:
        with open(f"/proc/{pid}/{name}", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


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
