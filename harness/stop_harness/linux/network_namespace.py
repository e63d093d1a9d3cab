"""Network namespaces of other processes: sockets that belong to one of them, and one to try things in."""

from __future__ import annotations

import os
import socket

from stop_harness.linux import own_thread

CLONE_NEWNET = 0x40000000
"""<linux/sched.h>; os.setns() and os.unshare() are there from Python 3.12 on."""


def opened(pid: int) -> int:
    """A descriptor of the namespace of a process, which keeps it alive. Raises OSError."""
    return os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def is_ours(namespace: int) -> bool:
    """Whether this process is in that namespace: what is changed there would change this machine's own network."""
    return os.path.samestat(os.fstat(namespace), os.stat("/proc/self/ns/net"))


def fresh() -> int:
    """A descriptor of a namespace that nobody is in. Raises OSError, EPERM without the right."""

    def leave() -> int:
        own_thread.call("unshare", CLONE_NEWNET)
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    found: int = own_thread.apart(leave)
    return found


def socket_in(
    namespace: int, family: int, kind: socket.SocketKind = socket.SOCK_STREAM, protocol: int = 0
) -> socket.socket:
    """A socket, not connected, in a namespace. Raises OSError, EPERM without the right.

    A socket belongs for good to the namespace in which it was made (network_namespaces(7)); a thread enters one for
    itself alone (setns(2)). So a thread of its own makes it, and ends there.
    """

    def make() -> socket.socket:
        own_thread.call("setns", namespace, CLONE_NEWNET)
        return socket.socket(family, kind, protocol)

    made: socket.socket = own_thread.apart(make)
    return made


def socket_of(pid: int, family: int) -> socket.socket:
    """A TCP socket likewise in the namespace of a process."""
    namespace = opened(pid)
    try:
        return socket_in(namespace, family)
    finally:
        os.close(namespace)
