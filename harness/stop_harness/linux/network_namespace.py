"""TCP sockets of another process's network namespace: what listens there on 127.0.0.1 is reached by nothing else."""

from __future__ import annotations

import ctypes
import os
import socket
import threading

CLONE_NEWNET = 0x40000000
"""<linux/sched.h>; os.setns() is there from Python 3.12 on."""


def socket_in(pid: int, family: int) -> socket.socket:
    """A TCP socket, not connected, in the network namespace of a process. Raises OSError, EPERM without the right.

    A socket belongs for good to the namespace in which it was made (network_namespaces(7)); a thread enters one for
    itself alone (setns(2)). So a thread of its own makes it, and ends there.
    """
    made: list[socket.socket | OSError] = []

    def make() -> None:
        try:
            with open(f"/proc/{pid}/ns/net", "rb") as namespace:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
                    number = ctypes.get_errno()
                    made.append(OSError(number, os.strerror(number)))
                    return
            made.append(socket.socket(family, socket.SOCK_STREAM))
        except OSError as error:
            made.append(error)

    thread = threading.Thread(target=make, name="network namespace")
    thread.start()
    thread.join()
    (result,) = made
    if isinstance(result, OSError):
        raise result
    return result
