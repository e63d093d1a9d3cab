"""Packets of a network namespace that wait for us, by the kernel's own queue (NFQUEUE, nfnetlink_queue).

A rule of iptables puts packets into a queue by its number; here each is let go at its time, or dropped. It works for
every protocol and for connections that were there before. With `--queue-bypass` in the rule packets pass as if it were
not there once nobody reads the queue any more: the end of this process is the end of what it does to them.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import itertools
import os
import select
import socket
import struct
import threading
import time

from stop_harness.linux import network_namespace
from stop_harness.linux.disturbance import Schedule

# <linux/netlink.h>, <linux/netfilter/nfnetlink_queue.h>
NETLINK_NETFILTER, SOL_NETLINK, NETLINK_NO_ENOBUFS = 12, 270, 5
NLM_F_REQUEST, NLM_F_ACK, NLMSG_ERROR = 1, 4, 2
SUBSYSTEM, VERDICT, CONFIG = 3 << 8, 1, 2
CONFIG_COMMAND, CONFIG_COPY, CONFIG_LENGTH = 1, 2, 3
BIND, COPY_PACKET = 1, 2
PACKET_HEADER, VERDICT_HEADER, PAYLOAD, WHOLE_LENGTH = 1, 2, 10, 13
DROP, ACCEPT = 0, 1
LOCAL_OUT = 3

COPIED_BYTES = 40
"""Of a packet, which nobody looks into: its whole length is told beside."""
MOST_PACKETS = 65536
BUFFER_BYTES = 8 << 20
IDLE_S = 0.2

_numbers = itertools.cycle(range(1, 65536))


class PacketQueue:
    """One queue, with a thread from its making to `close`. Raises OSError where the kernel does not allow it, or has no
    such queues. `number`: for the rule."""

    def __init__(self, namespace: int, schedule: Schedule) -> None:
        self.number = next(_numbers)
        self._schedule = schedule
        self._waiting: list[tuple[int, int]] = []
        self._ending = threading.Event()
        self._socket = network_namespace.socket_in(namespace, socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        try:
            self._socket.bind((0, 0))
            self._socket.settimeout(5)
            self._configure(CONFIG_COMMAND, struct.pack("!BBH", BIND, 0, 0))
            self._configure(CONFIG_COPY, struct.pack("!IB", COPIED_BYTES, COPY_PACKET))
            self._configure(CONFIG_LENGTH, struct.pack("!I", MOST_PACKETS))
            with contextlib.suppress(OSError):  # only root may have more than the system's limit
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
            self._socket.setsockopt(SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)
            self._socket.setblocking(False)
        except OSError:
            self._socket.close()
            raise
        self._woken, self._wake = os.pipe()
        self._thread = threading.Thread(target=self._run, name="packet queue", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let go what waits, and end. Call once no rule puts anything in any more. Idempotent."""
        if self._ending.is_set():
            return
        self._ending.set()
        os.write(self._wake, b"x")
        self._thread.join()
        self._socket.close()
        os.close(self._wake)
        os.close(self._woken)

    # ── the thread ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        while not self._ending.is_set():
            left_s = (self._waiting[0][0] - time.monotonic_ns()) / 1e9 if self._waiting else IDLE_S
            poll.poll(max(0.0, left_s * 1000))
            self._take_in()
            self._let_go(time.monotonic_ns())
        self._take_in()
        while self._waiting:
            self._verdict(ACCEPT, heapq.heappop(self._waiting)[1])

    def _take_in(self) -> None:
        """Every packet that has arrived by now."""
        while True:
            try:
                data = self._socket.recv(65536)
            except OSError as error:  # nothing more, or more than the buffer holds
                if error.errno == errno.ENOBUFS:
                    continue
                return
            found = _packet(data)
            if found is None:
                continue
            number, size, leaves = found
            goes_ns = self._schedule(size, leaves, time.monotonic_ns())
            if goes_ns is None:
                self._verdict(DROP, number)
            else:
                heapq.heappush(self._waiting, (goes_ns, number))

    def _let_go(self, now_ns: int) -> None:
        while self._waiting and self._waiting[0][0] <= now_ns:
            self._verdict(ACCEPT, heapq.heappop(self._waiting)[1])

    def _verdict(self, verdict: int, number: int) -> None:
        with contextlib.suppress(OSError):  # the namespace has gone, and the packet with it
            self._send(VERDICT, _attribute(VERDICT_HEADER, struct.pack("!II", verdict, number)), NLM_F_REQUEST)

    # ── netlink ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _configure(self, kind: int, value: bytes) -> None:
        self._send(CONFIG, _attribute(kind, value), NLM_F_REQUEST | NLM_F_ACK)
        answer = self._socket.recv(65536)
        _, kind, *_ = struct.unpack_from("=IHHII", answer)
        (problem,) = struct.unpack_from("=i", answer, 16)
        if kind != NLMSG_ERROR or problem:
            raise OSError(-problem, os.strerror(-problem))

    def _send(self, message: int, attributes: bytes, flags: int) -> None:
        body = struct.pack("!BBH", socket.AF_UNSPEC, 0, self.number) + attributes
        self._socket.send(struct.pack("=IHHII", 16 + len(body), SUBSYSTEM | message, flags, 0, 0) + body)


def _attribute(kind: int, value: bytes) -> bytes:
    size = 4 + len(value)
    return struct.pack("=HH", size, kind) + value + b"\0" * (-size % 4)


def _packet(data: bytes) -> tuple[int, int, bool] | None:
    """(its number, its bytes, whether it leaves) of one message; None for any other message."""
    number, leaves, size, at = None, False, 0, 20
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4:
            break
        if kind == PACKET_HEADER:
            number, _, hook = struct.unpack_from("!IHB", data, at + 4)
            leaves = hook == LOCAL_OUT
        elif kind == WHOLE_LENGTH:
            (size,) = struct.unpack_from("!I", data, at + 4)
        elif kind == PAYLOAD:
            size = size or length - 4
        at += length + (-length % 4)
    return None if number is None else (number, size, leaves)
