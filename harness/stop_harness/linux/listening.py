"""Where processes listen, by /proc/PID/net: TCP ports of a network namespace, whatever address they are bound to."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from ipaddress import ip_address

from stop_harness.linux import proc

LISTEN = "0A"
"""TCP_LISTEN, <net/tcp_states.h>; column `st` of /proc/net/tcp, proc(5)."""

RESOLVER = "0B00007F"
"""127.0.0.11 as /proc/net/tcp has it: Docker's name server, which listens in containers and is none of theirs."""


def addresses(tables: str) -> tuple[str, ...]:
    """`127.0.0.1:7000`, `[::]:80` and so on, of all that listens by the text of /proc/net/tcp and tcp6, by port."""
    found = set()
    for fields in (line.split() for line in tables.splitlines()):
        if len(fields) > 9 and fields[3] == LISTEN and not fields[1].startswith(RESOLVER):
            host, _, port = fields[1].partition(":")
            # Words of 32 bits, each in the byte order of the machine, as a printed number.
            words = [int(host[start : start + 8], 16) for start in range(0, len(host), 8)]
            address = ip_address(b"".join(struct.pack("=I", word) for word in words))
            found.add((int(port, 16), f"[{address}]" if address.version == 6 else str(address)))
    return tuple(f"{host}:{port}" for port, host in sorted(found))


def addresses_of(pid: int) -> tuple[str, ...]:
    """The same of the network namespace of a process."""
    return addresses("".join(proc.text_of(pid, f"net/{name}") for name in ("tcp", "tcp6")))


def ports(pid_one: int, pids: Iterable[int]) -> frozenset[int] | None:
    """TCP ports at which the processes `pids` listen, in the network namespace of `pid_one`.

    Where their open files cannot be read, all ports of the namespace, unless it is ours: there everybody listens. None
    where neither can be told.
    """
    sockets = _sockets(pid_one)
    if not sockets:
        return frozenset()
    try:
        owned = {inode for pid in pids for inode in _open_sockets(pid)}
    except PermissionError:
        return None if _is_our_network(pid_one) else frozenset(sockets.values())
    return frozenset(port for inode, port in sockets.items() if inode in owned)


def _sockets(pid: int) -> dict[str, int]:
    """Inode of each listening socket → its port."""
    found = {}
    for name in ("net/tcp", "net/tcp6"):
        for line in proc.text_of(pid, name).splitlines()[1:]:
            fields = line.split()
            if len(fields) > 9 and fields[3] == LISTEN and not fields[1].startswith(RESOLVER):
                found[fields[9]] = int(fields[1].rpartition(":")[2], 16)
    return found


def _open_sockets(pid: int) -> Iterable[str]:
    """Inodes of the sockets that a process has open; none once it is gone. Raises PermissionError."""
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, ProcessLookupError):
        return
    for name in names:
        try:
            target = os.readlink(f"{folder}/{name}")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if target.startswith("socket:["):
            yield target[len("socket:[") : -1]


def _is_our_network(pid: int) -> bool:
    """Whether a process shares our network namespace; True where that cannot be told."""
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino == os.stat("/proc/self/ns/net").st_ino
    except OSError:
        return True
