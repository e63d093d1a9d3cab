"""Ports for servers that are told where to listen, and for those that nobody listens at."""

from __future__ import annotations

import itertools
import os
import socket

FIRST, PER_PROCESS, PROCESSES = 12_000, 20, 1_000
"""Below the range that the kernel gives out by itself (net.ipv4.ip_local_port_range, from 32768 on), of which a port
may go to anybody's connection between the moment that it was found free and the moment that the server has it."""

_turns = itertools.count()


def free_port() -> int:
    """One that nobody uses now, and that other processes of the tests do not ask for."""
    begin = FIRST + os.getpid() % PROCESSES * PER_PROCESS
    for _ in range(PER_PROCESS):
        port = begin + next(_turns) % PER_PROCESS
        try:
            # As servers do it: what is in TIME_WAIT is no obstacle.
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    raise AssertionError(f"ports {begin} to {begin + PER_PROCESS - 1} are all taken")
