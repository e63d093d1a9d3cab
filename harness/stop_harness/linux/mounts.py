"""Mounts of another mount namespace: what is mounted where, and one made read-only in that namespace alone."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from stop_harness.linux import own_thread, proc

CLONE_FS, CLONE_NEWNS = 0x200, 0x20000
"""<linux/sched.h>."""

MS_RDONLY, MS_REMOUNT, MS_BIND = 1 << 0, 1 << 5, 1 << 12
KEPT = {"nosuid": 1 << 1, "nodev": 1 << 2, "noexec": 1 << 3, "noatime": 1 << 10, "nodiratime": 1 << 11}
"""<linux/mount.h>: what a mount loses where it is not named again; `relatime` is what it gets without."""


class NotMounted(Exception):
    """Nothing is mounted at that path."""


class MountPoint(NamedTuple):
    """`device`: major and minor number. `kind`: of the file system. `options`: of the mount, not of its file system."""

    device: tuple[int, int]
    kind: str
    options: frozenset[str]


def mounted_at(pid: int, target: str) -> MountPoint | None:
    """The uppermost mount at a path in the namespace of `pid`, by proc_pid_mountinfo(5)."""
    wanted, found = f"/{target.strip('/')}", None
    for line in proc.text_of(pid, "mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) > 5 and after and _plain(fields[4]) == wanted:
            major, _, minor = fields[2].partition(":")
            found = MountPoint((int(major), int(minor)), after.split(" ")[0], frozenset(fields[5].split(",")))
    return found


def set_read_only(pid: int, target: str, *, read_only: bool) -> None:
    """Only this mount, in the namespace of `pid`: its file system stays as it is for everybody else, and nothing of it
    outlives the namespace. Raises NotMounted; OSError, EBUSY where a file is open for writing in it."""
    mount = mounted_at(pid, target)
    if mount is None:
        raise NotMounted
    flags = MS_REMOUNT | MS_BIND | (MS_RDONLY if read_only else 0)
    flags |= sum(flag for option, flag in KEPT.items() if option in mount.options)

    def remount() -> None:
        own_thread.call("unshare", CLONE_FS)  # a root and a working directory of its own, to be changed below
        root = os.open(f"/proc/{pid}/root", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            own_thread.call("setns", namespace, CLONE_NEWNS)
            os.fchdir(root)
            os.chroot(".")
            own_thread.call("mount", b"none", target.encode(), None, flags, None)
        finally:
            os.close(root)
            os.close(namespace)

    own_thread.apart(remount)


def _plain(path: str) -> str:
    """Without the octal escapes of spaces and their like."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)
