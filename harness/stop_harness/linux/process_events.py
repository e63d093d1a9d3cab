"""What the kernel's process connector sends: every fork, exec and exit on this machine, as one netlink datagram each.

Linux, the initial namespaces; root before Linux 6.6, everybody since. Pids are the host's, times CLOCK_MONOTONIC in ns,
a *wait status* is what waitpid(2) gives. Sources: <linux/cn_proc.h>, <linux/connector.h>, connector.rst and
drivers/connector/cn_proc.c of the kernel.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import socket
import struct
import time
from typing import NamedTuple

NETLINK_CONNECTOR, CN_IDX_PROC, CN_VAL_PROC = 11, 1, 1
PROC_CN_MCAST_LISTEN, PROC_CN_MCAST_IGNORE = 1, 2
ACKNOWLEDGED, FORKED, EXECUTED, NAMED, EXITED = 0, 0x1, 0x2, 0x200, 0x80000000
SO_RCVBUFFORCE = 33

REQUEST = struct.Struct("=IHHII IIIIHH I")
EVENT = struct.Struct("=24xII4xIIQ6I")
"""sequence number, acknowledged one, what, CPU, time in ns, then up to six numbers that depend on `what`."""

RECEIVE_BUFFER_BYTES = 64 << 20
"""The kernel charges about 0.8 KiB for an event: 80 000 of them, or 5 s of two busy fork loops (measured)."""
BATCH = 256
"""Events taken with one call. One by one would mean one wait for Python's global lock each."""
EVENT_BYTES = 128
ACKNOWLEDGE_PATIENCE_S = 1.0


class ProcessEvent(NamedTuple):
    """One event, a tuple because there are thousands a second. `numbers` of a fork: parent thread and process, child
    thread and process; of an exit: thread, process, wait status, signal to the parent, the parent's thread and process;
    of an exec or a new name: thread and process."""

    sequence: int
    acknowledged: int
    what: int
    cpu: int
    at_ns: int
    numbers: tuple[int, ...]


def parse(datagram: bytes | bytearray | memoryview, offset: int = 0) -> ProcessEvent:
    """Read one datagram. Raises struct.error when it is too short."""
    sequence, acknowledged, what, cpu, at_ns, *numbers = EVENT.unpack_from(datagram, offset)
    return ProcessEvent(sequence, acknowledged, what, cpu, at_ns, tuple(numbers))


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """struct msghdr of recvmsg(2)."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.POINTER(_Vector)),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """struct mmsghdr of recvmmsg(2)."""

    _fields_ = (("header", _Header), ("received", ctypes.c_uint))


class ProcessEventSocket:
    """The netlink socket. `read` raises OSError with ENOBUFS when the kernel had to drop events."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_CONNECTOR)
        try:
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
            except PermissionError:  # then the kernel grants as much as net.core.rmem_max says, without an error
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            self._socket.bind((0, CN_IDX_PROC))
            self._buffer = (ctypes.c_char * (BATCH * EVENT_BYTES))()
            start = ctypes.addressof(self._buffer)
            self._vectors = (_Vector * BATCH)(*(_Vector(start + n * EVENT_BYTES, EVENT_BYTES) for n in range(BATCH)))
            self._messages = (_Message * BATCH)()
            for message, vector in zip(self._messages, self._vectors, strict=True):
                message.header.vectors, message.header.vector_count = ctypes.pointer(vector), 1
            self._receive = ctypes.CDLL(None, use_errno=True).recvmmsg
            self._ask(PROC_CN_MCAST_LISTEN)
            self._await_acknowledgement()
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """For poll(2)."""
        return self._socket.fileno()

    def read(self) -> list[ProcessEvent]:
        """What has come so far, at most `BATCH` events."""
        count = self._receive(self._socket.fileno(), self._messages, BATCH, socket.MSG_DONTWAIT, None)
        if count < 0:
            number = ctypes.get_errno()
            if number == errno.EAGAIN:
                return []
            raise OSError(number, os.strerror(number))
        data = memoryview(self._buffer).cast("B")
        return [parse(data, n * EVENT_BYTES) for n in range(count) if self._messages[n].received >= EVENT.size]

    def close(self) -> None:
        """Kernels before 6.6 count listeners, so each takes its leave."""
        with contextlib.suppress(OSError):
            self._ask(PROC_CN_MCAST_IGNORE)
        self._socket.close()

    def _ask(self, operation: int) -> None:
        own_id = self._socket.getsockname()[0]
        done = 3  # NLMSG_DONE
        request = (REQUEST.size, done, 0, 0, own_id, CN_IDX_PROC, CN_VAL_PROC, 0, own_id, 4, 0, operation)
        self._socket.send(REQUEST.pack(*request))

    def _await_acknowledgement(self) -> None:
        """Outside the initial PID and user namespaces the kernel ignores the request without a word."""
        deadline = time.monotonic() + ACKNOWLEDGE_PATIENCE_S
        expected = (self._socket.getsockname()[0] + 1) & 0xFFFFFFFF
        while (left_s := deadline - time.monotonic()) > 0:
            if select.select([self._socket], [], [], left_s)[0]:
                for event in self.read():
                    if event.what == ACKNOWLEDGED and event.acknowledged == expected:
                        if event.numbers[0]:
                            raise OSError(event.numbers[0], os.strerror(event.numbers[0]))
                        return
        raise OSError(errno.ETIMEDOUT, "the kernel does not answer (not in the initial namespaces?)")


def unavailable() -> str | None:
    """Why this machine's kernel cannot be listened to from here; None if it can."""
    try:
        ProcessEventSocket().close()
    except PermissionError as error:
        return f"process connector: {error.strerror} (it needs root, or Linux 6.6 or newer)"
    except (OSError, AttributeError) as error:  # AttributeError: no netlink, not Linux
        return f"process connector: {error.strerror if isinstance(error, OSError) else 'needs Linux'}"
    return None
