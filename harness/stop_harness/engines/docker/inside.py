"""Connections from inside a container's network namespace, where the engine is this machine's and we are root."""

from __future__ import annotations

import errno
import os
import socket
import time

from stop_harness.engines.docker.host_processes import PidOne
from stop_harness.linux import network_namespace
from stop_harness.records import dataclass

HOSTS = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
"""A server may listen on one of them only."""


@dataclass(frozen=True)
class Inside:
    """The inside of one container."""

    pid_one: PidOne

    def connect(self, port: int, timeout_s: float) -> socket.socket:
        """To a loopback port; the timeout stays set. ConnectionRefusedError where nobody listens, the container is
        gone, or we may not enter it."""
        deadline = time.monotonic() + timeout_s
        for family, host in HOSTS:
            try:
                fresh = network_namespace.socket_of(self.pid_one.pid, family)
            except OSError:  # no right to, no such family, or gone
                break
            fresh.settimeout(max(0.001, deadline - time.monotonic()))
            if self.pid_one.lives() and _reaches(fresh, host, port):  # else another process may have its pid by now
                fresh.settimeout(timeout_s)
                return fresh
            fresh.close()
        raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))


def _reaches(fresh: socket.socket, host: str, port: int) -> bool:
    """Whether somebody accepts. A connect to a free port of the ephemeral range can meet itself: RFC 9293, 3.5."""
    try:
        fresh.connect((host, port))
        return bool(fresh.getsockname() != fresh.getpeername())
    except BaseException as error:
        # Docker switches IPv6 off in a network without it, and then there is no ::1 where anybody could listen.
        absent = host == "::1" and isinstance(error, OSError) and error.errno == errno.EADDRNOTAVAIL
        if absent or isinstance(error, ConnectionRefusedError):
            return False
        fresh.close()
        raise
